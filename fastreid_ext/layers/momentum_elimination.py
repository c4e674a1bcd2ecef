"""Elimination of the bad momentum effect.

Tang et al., Long-Tailed Classification by Keeping the Good and Removing the Bad Momentum Causal Effect, NeurIPS 2020;
Yan et al., Occluded Person Re-Identification with Single-scale Global Representations, ICCV 2021, eq. 6.
"""

import torch
import torch.distributed as dist
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.layers.unit_length import unit_length


class MomentumElimination(nn.Module):
    """Keep the running mean mu of the training features and subtract it at inference (eq. 6).

    mu = beta mu + (1 - beta) (mean of a batch), of features divided by their L2 norm; mu starts at zero. A training
    forward :meth:`observe`\\ s its features, and :meth:`after_step`, which the trainer's ``AfterStep`` hook calls when
    the optimiser has moved, takes their mean over all ranks into mu. So forward passes outside a step (FastReID's
    PreciseBN) leave mu unchanged, and every rank has the same mu. Without the hook mu stays zero. A step that float16's
    loss scaling skips moves mu too: its features are as good as any.

    Subtracting one vector from all features leaves Euclidean distances as they are: it acts under cosine distance.

    Args:
        dim: D, length of a feature.
        beta: share of the old mean, in [0, 1).

    Raises:
        ConfigError: a beta outside [0, 1), or a length below one.
    """

    mu: torch.Tensor

    def __init__(self, dim: int, beta: float = 0.9):
        super().__init__()
        if dim < 1 or not 0.0 <= beta < 1.0:
            raise ConfigError(f"momentum elimination needs beta in [0, 1) and a dim of 1 or more, got {beta} and {dim}")
        self.beta = beta
        self.register_buffer("mu", torch.zeros(dim))
        self._seen: torch.Tensor | None = None  # (D + 1,): the sum of the features since the last step, their number

    @torch.no_grad()
    def observe(self, features: torch.Tensor) -> None:
        """Note the features (B, D) of a training forward; several forwards of one step add up.

        Raises:
            ConfigError: features that are not (B, D) with B > 0.
        """
        self._check(features)
        unit = unit_length(features).to(self.mu.dtype)
        seen = torch.cat([unit.sum(dim=0), unit.new_full((1,), unit.shape[0])])
        self._seen = seen if self._seen is None else self._seen + seen

    @torch.no_grad()
    def after_step(self) -> None:
        """Move mu towards the mean of all features observed since the last step, on all ranks (eq. 6)."""
        total, self._seen = self._seen, None
        if total is None:
            return
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(total)
        self.mu.lerp_(total[:-1] / total[-1], 1.0 - self.beta)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the L2-normalised features minus mu, (B, D) in float32.

        Raises:
            ConfigError: features that are not (B, D) with B > 0.
        """
        self._check(features)
        return unit_length(features) - self.mu

    def _check(self, features: torch.Tensor) -> None:
        if features.dim() != 2 or features.shape[1] != len(self.mu) or features.shape[0] == 0:
            raise ValueError(f"expected features (B, {len(self.mu)}) with B > 0, got {tuple(features.shape)}")

    def extra_repr(self) -> str:
        return f"dim={len(self.mu)}, beta={self.beta}"
