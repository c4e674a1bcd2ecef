"""Division by the L2 norm: as torch's normalize, but with a gradient at zero. Tolerance: 1e-12 (float64)."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid_ext.layers.unit_length import in_range, unit_length

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


@pytest.mark.parametrize("shape", [(5,), (4, 5), (4, 3, 5), (4, 1), (0, 5)])
def test_as_torch_and_as_by_hand(shape):
    x = torch.randn(shape, dtype=torch.float64)
    unit = unit_length(x)
    torch.testing.assert_close(unit, F.normalize(x, dim=-1), **TIGHT)
    rows = [[v / math.sqrt(sum(w * w for w in row)) for v in row] for row in x.reshape(-1, shape[-1]).tolist()]
    torch.testing.assert_close(unit, torch.tensor(rows, dtype=torch.float64).reshape(shape), **TIGHT)


def test_gradient():
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_length, (x,))
    scaled = (x.detach() * 7).requires_grad_()
    coefficients = torch.randn(4, 5, dtype=torch.float64)
    ours, theirs = (
        torch.autograd.grad((f(scaled) * coefficients).sum(), scaled)[0]
        for f in (unit_length, lambda x: F.normalize(x))
    )
    torch.testing.assert_close(ours, theirs, **TIGHT)
    torch.testing.assert_close((ours * scaled).sum(dim=1), torch.zeros(4, dtype=torch.float64), **TIGHT)  # tangential


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_zero_stays_zero_and_its_gradient_passes(dtype):
    x = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0]], dtype=dtype, requires_grad=True)
    unit = unit_length(x)
    assert unit[0].tolist() == [0.0, 0.0, 0.0]
    coefficients = torch.tensor([[1.0, -2.0, 5.0]] * 2, dtype=unit.dtype)
    (unit * coefficients).sum().backward()
    assert x.grad[0].tolist() == [1.0, -2.0, 5.0]
    assert x.grad.isfinite().all()
    assert F.normalize(torch.zeros(1, 3, requires_grad=True)).grad_fn is not None  # which would multiply it by 1e12


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_types_are_computed_in_float32(dtype, autocast):
    """At 2048 values of order 200 a squared length is 8e7, past float16's range. Tolerance: float32 against float64."""
    x = (torch.randn(3, 2048) * 200).to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        unit = unit_length(x)
    assert unit.dtype == torch.float32
    torch.testing.assert_close(unit.double(), F.normalize(x.double(), dim=-1), rtol=1e-6, atol=1e-8)


def test_float64_stays_float64():
    assert unit_length(torch.ones(2, 2, dtype=torch.float64)).dtype == torch.float64


def test_length_does_not_matter_and_the_input_is_left_alone():
    x = torch.randn(4, 5, dtype=torch.float64)
    before = x.clone()
    torch.testing.assert_close(unit_length(x * 1e-6), unit_length(x), **TIGHT)
    torch.testing.assert_close(unit_length(unit_length(x)), unit_length(x), **TIGHT)
    assert torch.equal(x, before)


def test_only_rows_out_of_range_are_scaled():
    x = torch.tensor([[3.0, 4.0], [3e20, -4e20], [3e-20, 4e-20], [0.0, 0.0], [1e16, 1e-16]])
    y = in_range(x)
    assert torch.equal(y[[0, 3, 4]], x[[0, 3, 4]])
    torch.testing.assert_close(y[1:3], torch.tensor([[0.75, -1.0], [0.75, 1.0]]))
    assert in_range(torch.tensor([[math.nan, 1.0]])).isnan().any() and x[1, 0] == 3e20
