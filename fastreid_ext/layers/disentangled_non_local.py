"""Disentangled non-local block.

Yin et al., Disentangled Non-Local Neural Networks, ECCV 2020; Yan et al., Occluded Person Re-Identification with
Single-scale Global Representations, ICCV 2021, eq. 1.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.precision import at_least_float32, without_autocast


class DisentangledNonLocal2d(nn.Module):
    """Add to every position a weighted sum of all positions: a whitened pairwise term and a unary one (eq. 1).

    w_ij = softmax_j((q_i - mean q)^T (k_j - mean k) / T) + softmax_j(W_m f_j), y_i = f_i + sum_j w_ij v_j. The paper
    prints f_i for the key and the value too; like Yin et al. we read f_j. Means and softmaxes run over the positions of
    one image. Affinities and softmaxes are float32 under any autocast. There are no biases: the means
    cancel one on q or k, the softmax one on W_m.

    The last projection starts at zero, so a pretrained network with this block inside starts as it was.

    Args:
        channels: C.
        reduction: q, k and v have C / reduction channels. 2 is Yin et al.'s, with a projection W_o of the sum back to
            C channels; 1 is the paper's eq. 1, where q, k and v are C x C and nothing follows.
        temperature: T above 0: 1 is eq. 1, 0.05 is Yin et al.'s code.

    Raises:
        ConfigError: a reduction that does not divide the channels, or a temperature that is not above 0.
    """

    def __init__(self, channels: int, reduction: int = 2, temperature: float = 1.0):
        super().__init__()
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ConfigError(f"a non-local block needs a temperature above 0, got {temperature}")
        if reduction < 1 or channels % reduction:
            raise ConfigError(
                f"a non-local block needs a reduction that divides its {channels} channels, got {reduction}"
            )
        inner = channels // reduction
        self.temperature = temperature
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, inner, 1, bias=False)
        self.mask = nn.Conv2d(channels, 1, 1, bias=False)
        self.project = nn.Conv2d(inner, channels, 1, bias=False) if reduction > 1 else nn.Identity()
        for convolution in (self.query, self.key, self.value, self.mask):
            nn.init.normal_(convolution.weight, std=0.01)
        nn.init.zeros_(self.last_projection.weight)

    @property
    def last_projection(self) -> nn.Conv2d:
        """The convolution that starts at zero: W_o, or W_v where nothing follows it."""
        return self.value if isinstance(self.project, nn.Identity) else self.project

    def forward(self, f: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, h, w).

        Raises:
            ValueError: an input that is not (B, C, h, w).
        """
        channels = self.query.in_channels
        if f.dim() != 4 or f.shape[1] != channels:
            raise ValueError(f"expected feature maps (B, {channels}, h, w), got {tuple(f.shape)}")
        query, key, value, mask = (_places(part(f)) for part in (self.query, self.key, self.value, self.mask))
        with without_autocast(f):
            query, key, value, mask = (at_least_float32(part) for part in (query, key, value, mask))
            query, key = (part - part.mean(dim=1, keepdim=True) for part in (query, key))  # whitened, (B, N, C')
            # With an axis of one head: ONNX has no attention without it.
            heads = (part[:, None] for part in (query, key, value))
            pairwise = F.scaled_dot_product_attention(*heads, scale=1 / self.temperature)[:, 0]  # (B, N, C')
            unary = mask.softmax(dim=1).transpose(1, 2) @ value  # (B, 1, C'): the same for every position
            y = (pairwise + unary).transpose(1, 2).unflatten(2, f.shape[2:])
        return f + self.project(y.to(f.dtype))


def _places(x: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, N, C) with N = h * w."""
    return x.flatten(2).transpose(1, 2)
