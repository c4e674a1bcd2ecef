"""Average query expansion by blocks, against FastReID's own."""

import pytest
import torch
from fastreid.evaluation.query_expansion import aqe

from fastreid_ext.evaluation import blocks
from fastreid_ext.evaluation.expansion import expand


@pytest.fixture
def features():
    rng = torch.Generator().manual_seed(0)
    return torch.randn(45, 12, generator=rng) + 2 * torch.randn(5, 12, generator=rng)[torch.arange(45) % 5]


@pytest.mark.parametrize(("neighbours", "alpha", "times"), [(5, 3.0, 1), (1, 1.0, 1), (10, 3.0, 2), (4, 0.0, 3)])
def test_the_hosts_features(features, neighbours, alpha, times, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_ROWS", 7)
    before = features.clone()
    found = expand(features, neighbours, alpha, times)
    expected = torch.cat(aqe(features[:15], features[15:], times, neighbours, alpha))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(features, before)


def test_half_types(features):
    found = expand(features.half(), 5, 3.0)
    expected = expand(features.half().float(), 5, 3.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_more_neighbours_than_features(features):
    """The host raises; the mean is of all."""
    torch.testing.assert_close(expand(features[:4], 9, 0.0), features[:4].mean(dim=0).expand(4, -1))
