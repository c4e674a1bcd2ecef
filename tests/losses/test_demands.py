"""What losses demand of identities: an error where they are looked at, and one in a graph that can't look at them."""

import pytest
import torch

from fastreid_ext.errors import ConfigError
from fastreid_ext.losses import (
    bounded_exponential_distance_loss,
    soft_margin_triplet_loss,
    supervised_contrastive_loss,
)
from fastreid_ext.losses.demands import demand

ONE, PAIRS, ALONE = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 1, 1]), torch.arange(4)
CASES = [
    (soft_margin_triplet_loss, ONE, "at least two identities"),
    (bounded_exponential_distance_loss, ONE, "no images of two identities"),
    (bounded_exponential_distance_loss, ALONE, "no two images of one identity"),
    (supervised_contrastive_loss, ALONE, "no two in this batch of 4"),
]


def test_a_demand():
    demand(torch.tensor(True), "unused")
    with pytest.raises(ConfigError, match="^set the key$"):
        demand(torch.tensor(False), "set the key")


@pytest.mark.parametrize(("loss", "targets", "message"), CASES)
def test_targets_that_were_checked_are_not_looked_at_again(loss, targets, message):
    """On the meta device, where nothing can be looked at."""
    features = torch.randn(4, 3, device="meta")
    assert loss(features, targets.to("meta"), checked=True).shape == ()
    with pytest.raises(RuntimeError, match="meta"):  # torch refuses to read a number that is not there
        loss(features, targets.to("meta"))


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "targets", "message"), CASES)
def test_a_graph_refuses_them_too(loss, targets, message):
    """One graph without a break; on a GPU the assertion is the device's, and here an error with the same sentence."""
    features = torch.randn(4, 3)
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    assert torch.equal(compiled(features, PAIRS), loss(features, PAIRS))
    with pytest.raises(RuntimeError, match=message):
        compiled(features, targets)
