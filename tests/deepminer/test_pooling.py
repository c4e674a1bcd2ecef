"""Section 3.3 of Deep Miner: averages of horizontal stripes. Tolerance: 1e-12 (float64)."""

import math

import pytest
import torch

from fastreid_ext.deepminer.pooling import StripePool

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def naive(y, stripes):
    """Stripe s covers the rows from floor(s h / n) to ceil((s + 1) h / n); top stripe first, its channels together."""
    height = y.shape[2]
    out = []
    for maps in y.tolist():
        vector = []
        for s in range(stripes):
            first, last = math.floor(s * height / stripes), math.ceil((s + 1) * height / stripes)
            for channel in maps:
                values = [v for row in channel[first:last] for v in row]
                vector.append(sum(values) / len(values))
        out.append(vector)
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize("height", [4, 5, 6, 7, 8, 24])
@pytest.mark.parametrize("stripes", [1, 2, 4])
def test_equals_the_averages(height, stripes):
    y = torch.randn(2, 3, height, 5, dtype=torch.float64)
    torch.testing.assert_close(StripePool(stripes)(y), naive(y, stripes), **TIGHT)


def test_numbers_by_hand():
    # Rows 0..7 hold their number, channel 1 hold ten times it; stripes of two rows: 0.5, 2.5, 4.5, 6.5
    y = torch.arange(8.0)[:, None].expand(8, 3)
    y = torch.stack([y, 10 * y])[None]
    assert StripePool(4)(y).tolist() == [[0.5, 5, 2.5, 25, 4.5, 45, 6.5, 65]]


def test_one_stripe_is_the_global_average():
    y = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(StripePool(1)(y), y.mean(dim=(2, 3)), **TIGHT)


def test_every_row_counts():
    y = torch.randn(1, 2, 7, 3, dtype=torch.float64, requires_grad=True)
    StripePool(4)(y).sum().backward()
    assert (y.grad > 0).all()


def test_gradcheck():
    assert torch.autograd.gradcheck(StripePool(4), torch.randn(2, 2, 6, 2, dtype=torch.float64, requires_grad=True))


def test_fewer_rows_than_stripes():
    with pytest.raises(ValueError, match="4 stripes need a map of at least 4 rows, got 3.*LOCAL_STRIPES"):
        StripePool(4)(torch.randn(2, 3, 3, 5))
