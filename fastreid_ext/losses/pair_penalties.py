"""What losses of pairs make of a distance, number by number: the curves of figure 3 of Yan et al., ICCV 2021.

The losses of a batch (:mod:`bounded_exponential_distance`, :mod:`triplet`) are means of these. Distances may have any
shape; the penalties have the same one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fastreid_ext.errors import ConfigError


def bounded_exponential_penalty(distances: Tensor, same: Tensor | bool, alpha: float = 0.3) -> Tensor:
    """1 - exp(-alpha d) where both images show one person, exp(-alpha d) where they do not (Yan et al., eq. 3).

    Args:
        distances: d, 0 or more.
        same: whether the two show one person, for each distance or for all of them.
        alpha: sensitivity, > 0.
    """
    far = -torch.expm1(-alpha * distances)  # 1 - exp(.) without the cancellation at small distances
    return torch.where(_of_all(same, distances), far, torch.exp(-alpha * distances))


def triplet_penalty(positive: Tensor, negative: Tensor, margin: float = 0.3) -> Tensor:
    """max(0, margin + distance of the positive - distance of the negative) (Hermans et al., 2017).

    Raises:
        ConfigError: the margin is not positive.
    """
    if not margin > 0:
        raise ConfigError(f"the triplet margin must be positive, got {margin}")
    return F.relu(margin + positive - negative)


def contrastive_penalty(distances: Tensor, same: Tensor | bool, margin: float = 0.3) -> Tensor:
    """The distance d where both images show one person, max(0, margin - d) where they do not.

    Linear, as Yan et al. say ("the linear penalization in the contrastive loss"); Hadsell et al., CVPR 2006, square
    both.

    Raises:
        ConfigError: the margin is not positive.
    """
    if not margin > 0:
        raise ConfigError(f"the margin of the contrastive loss must be positive, got {margin}")
    return torch.where(_of_all(same, distances), distances, F.relu(margin - distances))


def focal_penalty(distances: Tensor, same: Tensor | bool, alpha: float = 0.3, gamma: float = 2.0) -> Tensor:
    """-(1 - p)^gamma log p of Lin et al., ICCV 2017, where p is the probability of what is true of the pair.

    The focal loss is of a classifier's probability, and the paper does not say how it becomes one of a distance. Here
    exp(-alpha d) is that of one person, for which the BED loss is 1 - p.

    Args:
        distances: d, 0 or more; at 0 the penalty of two persons is infinite, and its gradient is taken for 0.
        same: whether the two show one person, for each distance or for all of them.
        alpha: how fast the probability falls, > 0.
        gamma: of the focal loss, 0 or more; 0 is the cross entropy.

    Raises:
        ConfigError: a negative gamma.
    """
    if not gamma >= 0:
        raise ConfigError(f"gamma of the focal loss must be 0 or more, got {gamma}")
    there = distances > 0
    d = alpha * torch.where(there, distances, 1.0)  # at 0 a power and the logarithm have no gradient
    one, two = torch.exp(-d), -torch.expm1(-d)
    at_zero = alpha * distances * float(gamma == 0)
    of_one = torch.where(there, two**gamma * d, at_zero)  # -log p is alpha d
    of_two = torch.where(there, -(one**gamma) * torch.log(two), math.inf)
    return torch.where(_of_all(same, distances), of_one, of_two)


def _of_all(same: Tensor | bool, distances: Tensor) -> Tensor:
    if isinstance(same, Tensor):
        return same.to(distances.device, torch.bool)
    return distances.new_full((), same, dtype=torch.bool)  # made there: the processor waits for one that is sent
