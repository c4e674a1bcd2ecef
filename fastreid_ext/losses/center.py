"""Center loss.

Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, 2016; Deep Miner, eq. 6.
"""

import torch
import torch.distributed as dist
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.precision import at_least_float32, without_autocast


class CenterLoss(nn.Module):
    """Half the mean squared distance of a feature to the center of its identity (Deep Miner, eq. 6).

    The public baselines train the centers by an SGD of their own, with the loss weight divided out of the
    gradient of the mean squared distance. FastReID has only one optimiser, so the
    centers are a buffer and take the same step in closed form: c -= rate * (2 / B) * sum(c - x), after the
    loss of a training forward is computed. Where several forwards make one step, each moves them by its
    ``step_share``. Under DDP the step uses the images of all ranks and leaves the
    same centers on each. The paper prints a sum over the batch; we take the mean.

    Args:
        num_classes: K, identities of the training set.
        dim: D, length of a feature.
        rate: step of the centers, in [0, 1].

    Raises:
        ConfigError: a rate outside [0, 1], or sizes below one.
    """

    centers: torch.Tensor

    def __init__(self, num_classes: int, dim: int, rate: float = 0.5):
        super().__init__()
        if num_classes < 1 or dim < 1:
            raise ConfigError(f"a center loss needs num_classes and dim >= 1, got {num_classes} and {dim}")
        if not 0.0 <= rate <= 1.0:
            raise ConfigError(f"the rate of the centers must lie in [0, 1], got {rate}")
        self.rate = rate
        self.step_share = 1.0  # of a step that a forward pass is: less where the gradients of several are added
        self.register_buffer("centers", torch.randn(num_classes, dim))

    def forward(self, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of features (B, D) with identities targets (B,) in [0, K); a scalar.

        The centers move only in training mode with gradients enabled.

        Raises:
            ValueError: an empty batch, or shapes that do not fit.
        """
        if features.dim() != 2 or features.shape[1] != self.centers.shape[1]:
            raise ValueError(f"expected features (B, {self.centers.shape[1]}), got {tuple(features.shape)}")
        if targets.shape != features.shape[:1] or features.shape[0] == 0:
            raise ValueError(
                f"expected targets (B,) for features (B, D) with B > 0, got {tuple(targets.shape)} and"
                f" {tuple(features.shape)}"
            )
        with without_autocast(features):
            x = at_least_float32(features)
            loss = 0.5 * (x - self.centers[targets].to(x.dtype)).square().sum(dim=1).mean()
            if self.training and torch.is_grad_enabled():
                self._step(x.detach(), targets)
        return loss

    @torch.no_grad()
    def _step(self, x: torch.Tensor, targets: torch.Tensor) -> None:
        x, targets = _of_all_ranks(x), _of_all_ranks(targets)
        pull = (x.to(self.centers.dtype) - self.centers[targets]) * (self.rate * self.step_share * 2.0 / x.shape[0])
        self.centers.index_add_(0, targets, pull)

    def extra_repr(self) -> str:
        return f"num_classes={self.centers.shape[0]}, dim={self.centers.shape[1]}, rate={self.rate}"


def _of_all_ranks(x: torch.Tensor) -> torch.Tensor:
    """Concatenate x of every rank, in rank order; x itself without a process group."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    x = x.contiguous()
    gathered = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, x)
    return torch.cat(gathered)
