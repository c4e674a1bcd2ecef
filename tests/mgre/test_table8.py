"""Table 8, MGRe beside larger trunks: its configs build what the paper counts."""

import pytest
import shapes
import torch
from fastreid.modeling import build_model
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.model_zoo import get_config

# config -> the paper's multiply-adds of one image, counted here, both in G; length of its feature
ROWS = {
    "ablation/table8_r101": (6.50, 6.48, 2048),
    "ablation/table8_r152": (8.95, 8.90, 2048),
    "ablation/table8_resnest101": (7.87, 7.82, 2048),
    "ablation/table8_resnest200": (12.61, 12.53, 2048),
    "ablation/table8_resnest269": (18.06, 17.95, 2048),
    "Market1501_R50": (7.89, 7.91, 2048),
}
DEEPEST = ("ablation/table8_resnest200", "ablation/table8_resnest269")


@pytest.mark.parametrize(
    "row", [pytest.param(name, marks=pytest.mark.slow if name in DEEPEST else ()) for name in ROWS]
)
def test_multiply_adds(row):
    """On the meta device: no memory, no arithmetic."""
    papers, counted, length = ROWS[row]
    cfg = get_config(f"MGRe/{row}.yml")
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 751])
    with shapes.OnMeta(), torch.no_grad():
        model = build_model(cfg).eval()
        with FlopCounterMode(display=False) as counter:
            feature = model({"images": torch.zeros(1, 3, *cfg.INPUT.SIZE_TEST)})
    assert feature.shape == (1, length)
    found = counter.get_total_flops() / 2e9
    assert found == pytest.approx(counted, abs=0.01) and found == pytest.approx(papers, rel=0.02)
