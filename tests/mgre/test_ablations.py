"""The shipped ablations against what the paper says of its rows."""

import pytest
from fastreid.modeling import build_model
from shapes import OnMeta

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import config_file_of


def feature_length(config):
    cfg = get_cfg()
    merge_config(cfg, config_file_of(f"MGRe/{config}.yml"), ["MODEL.HEADS.NUM_CLASSES", "9", "MODEL.DEVICE", "meta"])
    cfg.MODEL.BACKBONE.PRETRAIN = False
    with OnMeta():
        return sum(build_model(cfg).heads.dims.values())


@pytest.mark.parametrize(
    ("whole", "rows"),
    [
        ("ablation/table4_s123", ("ablation/table4_baseline", "ablation/table7_baseline_jo")),
        (
            "ablation/SynthReID_s123",
            ("ablation/SynthReID_baseline", "ablation/SynthReID_baseline_fe", "ablation/SynthReID_baseline_jo"),
        ),
    ],
)
def test_a_baselines_feature_is_as_long_as_that_of_all_stages(whole, rows):
    """Section 4.4: "the feature dimension of MGRe and Baseline+ResNest101 are both 2048"."""
    assert {row: feature_length(row) for row in rows} == dict.fromkeys(rows, feature_length(whole))
