"""The attention modules of Deep Miner (section 3.4, figures 5 and 6): ATT(Y) = CHAM(SAM(Y))."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.tokens import Tokens, on_map
from fastreid_ext.precision import at_least_float32, without_autocast

CHANNEL_ACTIVATIONS = ("softmax", "sigmoid", "softmax_spatial")


class SpatialAttention(nn.Module):
    """SAM: every position of the map is mixed with the positions it is related to (figure 5).

    SAM(Y) = gamma * BN(Y F) + Y with F = softmax(A^T B) over D = h * w positions, A and B two 1x1 convolutions
    of Y. F acts on Y itself: there is no value convolution. gamma starts at 0, so the module starts as the
    identity. The affinity and its softmax are float32 under autocast.

    Args:
        channels: C of the map.
        reduction: A and B have C / reduction channels (the paper: 8).
    """

    def __init__(self, channels: int, reduction: int = 8):
        super().__init__()
        inner = max(channels // reduction, 1)
        self.query = nn.Conv2d(channels, inner, kernel_size=1)
        # A bias here would add the same number to a whole row of the softmax: it could never learn.
        self.key = nn.Conv2d(channels, inner, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        a = self.query(y).flatten(2)  # (B, C/8, D)
        b = self.key(y).flatten(2)
        with without_autocast(y):
            affinity = at_least_float32(a).transpose(1, 2) @ at_least_float32(b)  # (B, D, D)
            weights = affinity.softmax(dim=-1)
        # Place p becomes sum_q F[p, q] Y[q].
        mixed = y.flatten(2) @ weights.transpose(1, 2).to(y.dtype)  # (B, C, D)
        # gamma in y's dtype: a float32 factor would lift the whole map to float32 under autocast.
        return self.gamma.to(y.dtype) * self.norm(mixed.view_as(y)) + y


class ChannelAttention(nn.Module):
    """CHAM: a squeeze-and-excitation block without the pooling, so every position weighs its own channels (figure 6).

    CHAM(Y) = act(W2 relu(W1 Y)) * Y. The paper's activation is a softmax and does not name its axis; over C
    channels it would shrink the map C-fold and starve the next batch norm, so by default it is multiplied by
    the number of entries it runs over: the mean weight is then 1.

    Args:
        channels: C of the map.
        reduction: the hidden map has C / reduction channels (the paper: 16).
        activation: "softmax" over channels, "sigmoid", or "softmax_spatial" over the positions of each channel.
        rescale: multiply a softmax by the number of its entries; has no meaning for "sigmoid".

    Raises:
        ConfigError: an unknown activation.
    """

    def __init__(self, channels: int, reduction: int = 16, activation: str = "softmax", rescale: bool = True):
        super().__init__()
        if activation not in CHANNEL_ACTIVATIONS:
            raise ConfigError(f"CHAM's activation must be one of {CHANNEL_ACTIVATIONS}, got {activation!r}")
        inner = max(channels // reduction, 1)
        self.squeeze = nn.Conv2d(channels, inner, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)
        self.excite = nn.Conv2d(inner, channels, kernel_size=1)
        self.activation = activation
        self.rescale = rescale

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        scores = self.excite(self.relu(self.squeeze(y)))
        with without_autocast(y):
            weights = self._activate(at_least_float32(scores))
        return y * weights.to(y.dtype)

    def _activate(self, scores: torch.Tensor) -> torch.Tensor:
        if self.activation == "sigmoid":
            return scores.sigmoid()
        if self.activation == "softmax":
            weights, entries = scores.softmax(dim=1), scores.shape[1]
        else:
            weights, entries = scores.flatten(2).softmax(dim=2).view_as(scores), scores[0, 0].numel()
        return weights * entries if self.rescale else weights

    def extra_repr(self) -> str:
        return f"activation={self.activation}, rescale={self.rescale}"


def build_attention(channels: int, sam: dict[str, Any] | None, cham: dict[str, Any] | None) -> nn.Sequential:
    """ATT(Y) = CHAM(SAM(Y)) with the modules that are given."""
    modules: list[tuple[Callable[..., nn.Module], dict[str, Any] | None]] = [
        (SpatialAttention, sam),
        (ChannelAttention, cham),
    ]
    return nn.Sequential(*(part(channels, **settings) for part, settings in modules if settings is not None))


def attention_behind(
    blocks: Sequence[int], channels: Mapping[int, int], sam: dict[str, Any] | None, cham: dict[str, Any] | None
) -> nn.ModuleDict:
    """Return ATT for each of some blocks, by its number as text.

    Args:
        blocks: numbers of blocks; none = no attention.
        channels: block -> channels of its output.
        sam, cham: settings of the two modules, or None to leave one out.

    Raises:
        ConfigError: blocks, but neither module.
    """
    if blocks and sam is None and cham is None:
        raise ConfigError(
            "MODEL.DEEPMINER.ATTENTION_BLOCKS names blocks but SAM and CHAM are both off: empty it, or enable one"
        )
    return nn.ModuleDict({str(i): build_attention(channels[i], sam, cham) for i in sorted(blocks)})


def attend(attention: nn.ModuleDict, stage: int, y: torch.Tensor | Tokens) -> torch.Tensor | Tokens:
    """Pass the map of what a stage hands on through the attention behind it, if there is one."""
    key = str(stage)
    return on_map(attention[key], y) if key in attention else y
