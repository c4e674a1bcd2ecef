"""Losses of relational distillation: a student's pairwise relations in a batch follow a teacher's.

They compare distances or similarities of pairs, and so features of any two lengths. Test features are compared by
their direction, so both losses divide every feature by its length first. Park et al., Relational Knowledge
Distillation, CVPR 2019; Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019.
"""

import torch
import torch.nn.functional as F

from fastreid_ext.errors import ConfigError
from fastreid_ext.layers.unit_length import in_range, unit_length
from fastreid_ext.precision import without_autocast


def relational_distance_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean Huber loss (delta 1) between the distances of the student's pairs and those of the teacher's.

    The distances of each side are divided by their mean (Park et al., eq. 5 to 8, of whose sum over all pairs of
    different images we take the mean). Where all features of a side are equal, its distances are 0; the gradient of a
    zero distance is zero.

    Args:
        student: (B, D) features, any float type; computed in float32 or better.
        teacher: (B, E) features of the same images; no gradient flows into them.

    Returns:
        A scalar, 0 or more.

    Raises:
        ConfigError: a batch of one image, which has no pair.
        ValueError: shapes that do not fit.
    """
    _check(student, teacher)
    with without_autocast(student):
        return F.huber_loss(_scaled_distances(student), _scaled_distances(teacher.detach()))


def similarity_preserving_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the student's and the teacher's matrices of similarities (Tung and Mori, eq. 2 to 4).

    A matrix (B, B) has the products of all pairs of features, and each of its rows is divided by its length.

    Args, returns and errors as :func:`relational_distance_loss`.
    """
    _check(student, teacher)
    with without_autocast(student):
        return F.mse_loss(_similarities(student), _similarities(teacher.detach()))


def _scaled_distances(features: torch.Tensor) -> torch.Tensor:
    """Return the distances (B (B - 1)) of the ordered pairs of different rows, divided by their mean."""
    x = unit_length(in_range(features))
    # The matrix-product form loses half the digits of small distances, and those are the ones that rank.
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = distances[~torch.eye(len(x), dtype=torch.bool, device=x.device)]
    mean = pairs.mean()
    return pairs / torch.where(mean > 0, mean, torch.ones_like(mean))


def _similarities(features: torch.Tensor) -> torch.Tensor:
    x = unit_length(in_range(features))
    return unit_length(x @ x.T)


def _check(student: torch.Tensor, teacher: torch.Tensor) -> None:
    if student.dim() != 2 or teacher.dim() != 2 or len(student) != len(teacher):
        raise ValueError(
            f"expected features (B, D) and (B, E) of the same images, got {tuple(student.shape)} and"
            f" {tuple(teacher.shape)}"
        )
    if len(student) < 2:
        raise ConfigError(
            f"relational distillation compares pairs of images, and the batch has {len(student)}: raise"
            " SOLVER.IMS_PER_BATCH to two or more for each process"
        )
