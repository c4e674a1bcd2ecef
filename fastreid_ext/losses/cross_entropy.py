"""Identification loss with smoothed labels.

Szegedy et al., Rethinking the Inception Architecture, 2016; Deep Miner (Benzine et al., 2021), eq. 3 and 4.
"""

import torch
import torch.nn.functional as F

from fastreid_ext.errors import ConfigError
from fastreid_ext.precision import at_least_float32, without_autocast


def smoothed_cross_entropy(logits: torch.Tensor, targets: torch.Tensor, epsilon: float = 0.1) -> torch.Tensor:
    """Cross entropy against q_y = 1 - eps + eps / K and q_i = eps / K elsewhere (Deep Miner, eq. 3, 4).

    The paper sums over the identities of one image; like the public baselines we average over the batch.
    FastReID's own loss smooths with 1 - eps and eps / (K - 1) instead.

    Args:
        logits: (B, K), any float type; computed in float32 or better. (B, H, K) of a classifier with H heads gives
            the sum of the heads' losses (Yan et al., 2021, L_c of eq. 5).
        targets: (B,) int64 in [0, K).
        epsilon: share of the label mass that is spread over all identities, in [0, 1).

    Returns:
        A scalar.

    Raises:
        ConfigError: epsilon outside [0, 1), an empty batch, or shapes that do not fit.
    """
    if not 0.0 <= epsilon < 1.0:
        raise ConfigError(f"epsilon must lie in [0, 1), got {epsilon}")
    if logits.dim() not in (2, 3) or targets.shape != logits.shape[:1] or logits.shape[0] == 0:
        raise ValueError(
            f"expected logits (B, K) or (B, H, K) and targets (B,) with B > 0, got {tuple(logits.shape)} and"
            f" {tuple(targets.shape)}"
        )
    heads = [logits] if logits.dim() == 2 else logits.unbind(dim=1)
    with without_autocast(logits):
        losses = [F.cross_entropy(at_least_float32(head), targets, label_smoothing=epsilon) for head in heads]
        return torch.stack(losses).sum()
