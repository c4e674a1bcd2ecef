"""Penalties of a pair by its distance, against the formulas in Python's own numbers, and the losses made of them."""

import math

import pytest
import torch

from fastreid_ext.errors import ConfigError
from fastreid_ext.losses import batch_hard_triplet_loss, bounded_exponential_distance_loss
from fastreid_ext.losses.pair_penalties import (
    bounded_exponential_penalty,
    contrastive_penalty,
    focal_penalty,
    triplet_penalty,
)

DISTANCES = [1e-6, 0.1, 0.29, 0.31, 1.0, 2.0, 7.5]


def bed(d, same, alpha):
    return 1 - math.exp(-alpha * d) if same else math.exp(-alpha * d)


def contrastive(d, same, margin):
    return d if same else max(0.0, margin - d)


def focal(d, same, alpha, gamma):
    p = math.exp(-alpha * d) if same else 1 - math.exp(-alpha * d)
    return -((1 - p) ** gamma) * math.log(p)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(
    ("ours", "reference", "settings"),
    [
        (bounded_exponential_penalty, bed, (0.3,)),
        (bounded_exponential_penalty, bed, (2.0,)),
        (contrastive_penalty, contrastive, (0.3,)),
        (contrastive_penalty, contrastive, (1.5,)),
        (focal_penalty, focal, (0.3, 2.0)),
        (focal_penalty, focal, (1.0, 0.0)),
    ],
)
def test_penalties_are_the_formulas(ours, reference, settings, same):
    found = ours(torch.tensor(DISTANCES, dtype=torch.float64), same, *settings)
    expected = [reference(d, same, *settings) for d in DISTANCES]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("same", [True, False])
def test_the_gradient_of_the_focal_penalty_is_finite_at_zero(gamma, same):
    """(alpha d)^(gamma + 1) of one person begins with a slope of 0, and with alpha where gamma is 0."""
    d = torch.tensor([0.0, 1e-20, 0.5], requires_grad=True)
    (slope,) = torch.autograd.grad(focal_penalty(d, same, 0.3, gamma).sum(), d)
    assert torch.isfinite(slope).all()
    assert slope[0].item() == (pytest.approx(0.3) if same and gamma == 0 else 0)


def test_a_triplet_by_hand():
    positive, negative = torch.tensor([1.0, 1.0, 0.2]), torch.tensor([0.5, 1.3, 1.0])
    torch.testing.assert_close(triplet_penalty(positive, negative, 0.3), torch.tensor([0.8, 0.0, 0.0]))


def test_limits():
    """Eq. 4: the BED loss of far pairs is 1 and 0; only it is bounded for one person; each pair has its own kind."""
    far = torch.tensor([1e4], dtype=torch.float64)
    assert bounded_exponential_penalty(far, True).item() == 1.0 and bounded_exponential_penalty(far, False).item() == 0
    assert min(contrastive_penalty(far, True).item(), focal_penalty(far, True).item()) > 1e3
    assert focal_penalty(torch.zeros(1), False).item() == math.inf and focal_penalty(torch.zeros(1), True).item() == 0
    both = bounded_exponential_penalty(torch.tensor([1.0, 1.0]), torch.tensor([True, False]), 0.5)
    torch.testing.assert_close(both, torch.tensor([1 - math.exp(-0.5), math.exp(-0.5)]))


def test_the_losses_of_a_batch_are_means_of_them():
    """Two images of each of two people on a line: the distances are known, so the means can be written down."""
    features, targets = torch.tensor([[0.0], [0.4], [1.0], [3.0]], dtype=torch.float64), torch.tensor([1, 1, 2, 2])
    near = [bed(d, True, 0.3) for d in (0.4, 2.0)]
    apart = [bed(d, False, 0.3) for d in (1.0, 3.0, 0.6, 2.6)]
    expected = sum(near) / 2 + sum(apart) / 4
    found = bounded_exponential_distance_loss(features, targets, 0.3, normalize=False)
    assert found.item() == pytest.approx(expected, rel=1e-9)
    # hardest positives 0.4, 0.4, 2, 2; nearest negatives 1, 0.6, 0.6, 2.6
    expected = sum(max(0.0, 0.3 + p - n) for p, n in ((0.4, 1.0), (0.4, 0.6), (2.0, 0.6), (2.0, 2.6))) / 4
    assert batch_hard_triplet_loss(features, targets, 0.3).item() == pytest.approx(expected, rel=1e-9)


def test_settings_that_can_not_be():
    d = torch.ones(2)
    with pytest.raises(ConfigError, match="the triplet margin must be positive, got 0"):
        triplet_penalty(d, d, 0)
    with pytest.raises(ConfigError, match="the margin of the contrastive loss must be positive, got -1"):
        contrastive_penalty(d, True, -1)
    with pytest.raises(ConfigError, match="gamma of the focal loss must be 0 or more, got -2"):
        focal_penalty(d, True, 0.3, -2)
