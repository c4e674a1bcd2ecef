"""What a vision transformer's stages hand on: a map, and beside it the tokens that are no place of the image.

A paper's part works on the map alone. Class and register tokens, and rotary positions, go on as they were.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["BEHIND", "LastMap", "Tokens", "map_of", "on_map", "run_module"]

BEHIND = "non_local"  # the name of what works on a block's map, in the block


@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch between two blocks.

    Attributes:
        sequence: (B, N + rows * columns, C), the N class and register tokens first.
        rows, columns: h and w of the map.
        prefix: N.
        rope: rotary positions of the map, as the network's own code makes them; None = it has none.
        rope_by_block: each block has rotary positions of its own, ``rope[i]``.
        passed: how many blocks the tokens went through.
        checkpointing: keep what comes into a block alone, and run the block again for its gradients.
    """

    sequence: Tensor
    rows: int
    columns: int
    prefix: int
    rope: Tensor | None = None
    rope_by_block: bool = False
    passed: int = 0
    checkpointing: bool = False

    @property
    def map(self) -> Tensor:
        """The map (B, C, h, w)."""
        places = self.sequence[:, self.prefix :].transpose(1, 2)
        return places.unflatten(2, (self.rows, self.columns)).contiguous()

    def with_map(self, y: Tensor) -> "Tokens":
        """Return the same tokens with another map (B, C, h, w).

        Raises:
            ValueError: a map of another size, where positions are rotary: they are of this size.
        """
        rows, columns = y.shape[2:]
        if self.rope is not None and (rows, columns) != (self.rows, self.columns):
            raise ValueError(
                f"rotary positions are those of a map of {self.rows} x {self.columns}, and a part between two blocks"
                f" made it {rows} x {columns}"
            )
        places = y.flatten(2).transpose(1, 2).to(self.sequence.dtype)
        sequence = torch.cat([self.sequence[:, : self.prefix], places], dim=1) if self.prefix else places
        return replace(self, sequence=sequence, rows=rows, columns=columns)

    def through(self, module: nn.Module) -> "Tokens":
        """Return the tokens behind a block, with what stands behind it, or behind a norm, which has no parts."""
        if next(module.children(), None) is None:
            return replace(self, sequence=module(self.sequence))
        settings = {}
        if self.rope is not None:
            settings["rope"] = self.rope[self.passed] if self.rope_by_block else self.rope
        if self.checkpointing and torch.is_grad_enabled():
            sequence = checkpoint(module, self.sequence, use_reentrant=False, **settings)
        else:
            sequence = module(self.sequence, **settings)
        y = replace(self, sequence=sequence, passed=self.passed + 1)
        return y.with_map(getattr(module, BEHIND)(y.map)) if BEHIND in module._modules else y


class LastMap(nn.Module):
    """What ends a vision transformer's trunk: its map without the tokens beside it."""

    def forward(self, y: Tokens) -> Tensor:
        """Tokens -> (B, C, h, w)."""
        return y.map


def run_module(module: nn.Module, y: Tensor | Tokens) -> Tensor | Tokens:
    """Run a module of a stage on what the one before it gave."""
    return y.through(module) if isinstance(y, Tokens) and not isinstance(module, LastMap) else module(y)


def map_of(y: Tensor | Tokens) -> Tensor:
    """Return the map (B, C, h, w) of what a stage hands on."""
    return y.map if isinstance(y, Tokens) else y


def on_map(part: Callable[[Tensor], Tensor], y: Tensor | Tokens) -> Tensor | Tokens:
    """Let a part, (B, C, h, w) -> the same, work on the map alone of what a stage hands on."""
    return y.with_map(part(y.map)) if isinstance(y, Tokens) else part(y)
