"""Relational distillation against loops in float64 (tolerance 1e-12), and its limits."""

import math

import pytest
import torch

from fastreid_ext.errors import ConfigError
from fastreid_ext.losses import relational_distance_loss, similarity_preserving_loss

LOSSES = [relational_distance_loss, similarity_preserving_loss]


def unit(rows):
    return [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in rows.tolist()]


def naive_distance(student, teacher):
    """Park et al., eq. 5 (distance over the mean of them), 6 (the mean), 8 (Huber); eq. 7 divided by the pairs."""

    def relations(rows):
        rows = unit(rows)
        found = [math.dist(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
        return [d / (sum(found) / len(found)) for d in found]

    gaps = [abs(s - t) for s, t in zip(relations(student), relations(teacher), strict=True)]
    return sum(0.5 * gap * gap if gap <= 1 else gap - 0.5 for gap in gaps) / len(gaps)


def naive_similarity(student, teacher):
    """Tung and Mori, eq. 2 and 3 (rows of the products, of length 1) and 4 (squared Frobenius norm over B^2)."""

    def matrix(rows):
        rows = unit(rows)
        products = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in rows] for a in rows]
        return [[p / math.sqrt(sum(q * q for q in row)) for p in row] for row in products]

    rows = zip(matrix(student), matrix(teacher), strict=True)
    return sum((s - t) ** 2 for a, b in rows for s, t in zip(a, b, strict=True)) / len(student) ** 2


@pytest.mark.parametrize(
    ("loss", "naive"),
    [(relational_distance_loss, naive_distance), (similarity_preserving_loss, naive_similarity)],
    ids=["distance", "similarity"],
)
@pytest.mark.parametrize("dims", [(2, 7), (7, 3)])
def test_the_equations(loss, naive, dims):
    student, teacher = (torch.randn(6, dim, dtype=torch.float64) for dim in dims)
    student[:2] = student[0] + 1e-3 * torch.randn(2, dims[0], dtype=torch.float64)  # a gap above Huber's delta
    expected = naive(student, teacher)
    assert expected > 1e-3
    assert abs(loss(student, teacher).item() - expected) < 1e-12


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient(loss):
    student, teacher = (torch.randn(5, dim, dtype=torch.float64, requires_grad=True) for dim in (4, 6))
    torch.autograd.gradcheck(lambda x: loss(x, teacher), student)
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.norm() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_zero_for_the_same_relations(loss):
    """Features that are turned, mirrored, of other lengths each, and in a space of more axes."""
    teacher = torch.randn(8, 5, dtype=torch.float64)
    turned = teacher @ torch.linalg.qr(torch.randn(9, 5, dtype=torch.float64))[0].T
    assert turned.shape == (8, 9)
    scaled = turned * torch.rand(8, 1, dtype=torch.float64).add(0.5)
    assert loss(scaled, teacher) < 1e-20
    assert loss(scaled.roll(1, 0), teacher) > 1e-3


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("what", ["two equal", "all equal", "zeros"])
def test_equal_features_have_a_finite_gradient(loss, what):
    """The same image twice in a batch, and a student that collapsed."""
    student, teacher = torch.randn(4, 3), torch.randn(4, 6)
    if what == "two equal":
        student[1], teacher[1] = student[0], teacher[0]
    elif what == "all equal":
        student[:], teacher[:] = student[0].clone(), teacher[0].clone()
    else:
        student[:] = 0
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all() and student.grad.abs().max() < 100
    assert (value < 1e-10) == (what == "all equal")


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_computed_in_float32(loss):
    student, teacher = torch.randn(6, 8).bfloat16(), torch.randn(6, 16).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype is torch.float32
    assert torch.allclose(value, loss(student.double(), teacher.double()).float(), rtol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_has_no_pairs_is_refused(loss):
    with pytest.raises(ConfigError, match="pairs of images, and the batch has 1: raise SOLVER.IMS_PER_BATCH"):
        loss(torch.randn(1, 3), torch.randn(1, 4))
    with pytest.raises(ValueError, match=r"got \(3, 3\) and \(4, 3\)"):
        loss(torch.randn(3, 3), torch.randn(4, 3))
