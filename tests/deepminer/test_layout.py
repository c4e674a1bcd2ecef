"""Where the branches of a Deep Miner start and how long their features are (figure 1)."""

import dataclasses

import pytest

from fastreid_ext.deepminer import BranchLayout
from fastreid_ext.model_zoo import get_config


def test_the_papers_final_model():
    layout = BranchLayout.from_config(get_config("DeepMiner/Market1501_R50.yml"))
    assert layout == BranchLayout() == BranchLayout((2, 3), 4, (2, 3), 0.8)
    assert layout.starts == {"ie2": 2, "ie3": 3, "local": 3}
    assert layout.branches == ("global", "ie2", "ie3", "local")
    assert layout.lengths(2048) == {"global": 2048, "ie2": 2048, "ie3": 2048, "local": 8192}


def test_branches_are_in_the_order_of_their_blocks():
    layout = BranchLayout(ie_blocks=[3, 1], local_stripes=0)
    assert list(layout.starts.items()) == [("ie1", 1), ("ie3", 3)]
    assert BranchLayout(ie_blocks=[], local_stripes=0).branches == ("global",)


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        BranchLayout().local_stripes = 2


def test_stripes_need_rows():
    BranchLayout(local_stripes=4).check_rows(4, 64)
    BranchLayout(local_stripes=0).check_rows(1, 16)
    with pytest.raises(ValueError, match=r"images of 48 rows give a last map of 3, too few for .*LOCAL_STRIPES \(4\)"):
        BranchLayout(local_stripes=4).check_rows(3, 48)


def test_the_advice_on_rows_is_one_that_helps():
    """A last stride that is 1 already, or that the trunk has in any case, can't be made smaller."""
    for last_stride in (1, 2):
        with pytest.raises(ValueError, match="or set MODEL.DEEPMINER.LOCAL_STRIPES 3") as error:
            BranchLayout(local_stripes=4).check_rows(3, 48, last_stride)
        assert str(error.value).endswith("or MODEL.BACKBONE.LAST_STRIDE 1") is (last_stride == 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ie_blocks": [4]}, r"MODEL.DEEPMINER.IE_BLOCKS must name each block once, out of \[1, 2, 3\]; got \[4\]"),
        ({"ie_blocks": [2, 2]}, "IE_BLOCKS must name each block once"),
        ({"attention_blocks": [0]}, r"ATTENTION_BLOCKS must name each block once, out of \[1, 2, 3, 4\]; got \[0\]"),
        ({"local_stripes": -1}, "LOCAL_STRIPES must be 0 or more, got -1"),
        ({"erase_threshold": 1.1}, r"ERASE_THRESHOLD must lie in \[0, 1\], got 1.1"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        BranchLayout(**settings)
