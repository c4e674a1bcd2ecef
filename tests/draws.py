"""Random numbers for large models: drawing their weights takes longer than most tests that need them.

A tensor of many numbers is filled with repetitions of the first ones. Their count is a prime, so that no two filters
are equal. The seed decides them as ever, and models of small tensors have torch's own numbers. Tests of how weights are
spread take the fixture ``all_drawn``.
"""

import functools

import torch

LARGE = 1 << 16
DRAWN = 8191


def repeat_draws() -> None:
    """Let ``normal_`` and ``uniform_`` of this process's tensors do so."""
    for name in ("normal_", "uniform_"):
        draw = getattr(torch.Tensor, name)
        if not hasattr(draw, "__wrapped__"):
            setattr(torch.Tensor, name, _repeating(draw))


def _repeating(draw):
    @functools.wraps(draw)
    def fill(self, *args, **kwargs):
        if self.numel() < LARGE or self.device.type != "cpu" or not self.is_contiguous():
            return draw(self, *args, **kwargs)
        with torch.no_grad():
            flat = self.view(-1)
            draw(flat[:DRAWN], *args, **kwargs)
            end = DRAWN
            while end < len(flat):  # twice as many every time
                more = flat[end : 2 * end]
                more.copy_(flat[: len(more)])
                end *= 2
        return self

    return fill
