"""The shipped configs: the recipe, and rows of tables 2 and 3 that differ by what the table says and nothing else."""

import pytest

from fastreid_ext.engine.key_tracking import leaves
from fastreid_ext.model_zoo import get_config

BASE = "Res2NetMultiTask/Base-Res2NetMultiTask.yml"
TRUNKS = {
    "R50": {},
    "R101": {"MODEL.BACKBONE.DEPTH": "101x"},
    "Res2Net50": {"MODEL.BACKBONE.NAME": "build_res2net_backbone"},
    "Res2Net101": {"MODEL.BACKBONE.NAME": "build_res2net_backbone", "MODEL.BACKBONE.DEPTH": "101x"},
}


def values(file):
    return dict(leaves(get_config(file)))


def changes(file, base):
    before, after = values(base), values(file)
    return {key: value for key, value in after.items() if value != before[key] and key != "OUTPUT_DIR"}


def test_the_recipe():
    """Sections III.B and C; tests/engine/test_schedule.py has the rates."""
    recipe = {
        "MODEL.META_ARCHITECTURE": "Res2NetMultiTask",
        "MODEL.BACKBONE.NAME": "build_resnet_backbone",
        "MODEL.BACKBONE.DEPTH": "50x",
        "MODEL.BACKBONE.PRETRAIN": True,
        "MODEL.MULTITASK.DESCRIPTOR": "linear4096",
        "MODEL.MULTITASK.DROPOUT": 0.5,
        "MODEL.MULTITASK.VERIFICATION": True,
        "MODEL.MULTITASK.VERIFICATION_WEIGHT": 1.0,
        "MODEL.LOSSES.SMOOTHED_CE.EPSILON": 0.0,
        "MODEL.LOSSES.SMOOTHED_CE.SCALE": 1.0,  # the mean over both images of a pair: 0.5 for each
        "INPUT.SIZE_TRAIN": [256, 128],
        "INPUT.SIZE_TEST": [256, 128],
        "INPUT.FLIP.ENABLED": True,
        "INPUT.PADDING.ENABLED": True,
        "INPUT.REA.ENABLED": False,
        "INPUT.BATCH_AUGMENT.NAME": ["RandomErasing"],
        "INPUT.BATCH_AUGMENT.REA.PROB": 0.5,
        "INPUT.BATCH_AUGMENT.REA.FILL": "random",
        "DATALOADER.SAMPLER_TRAIN": "PairSampler",
        "DATALOADER.PAIRS.POSITIVE_SHARE": 0.5,
        "DATALOADER.PAIRS.NEGATIVE_ANNEAL": 1.0,
        "SOLVER.LR_FACTORS": [["backbone", 0.1], ["heads.verification", 0.1]],
        "SOLVER.CLIP_GRADIENTS.ENABLED": True,
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "norm",
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": 1.0,
        "SOLVER.IMS_PER_BATCH": 64,
        "SOLVER.MAX_EPOCH": 256,
        "TEST.METRIC": "cosine",
    }
    found = values(BASE)
    assert {key: found[key] for key in recipe} == recipe


@pytest.mark.parametrize("data", ["Market1501", "DukeMTMC"])
@pytest.mark.parametrize("trunk", TRUNKS)
def test_rows_of_table_3(trunk, data):
    expected = {"DATASETS.NAMES": (data,), "DATASETS.TESTS": (data,), **TRUNKS[trunk]}
    found = changes(f"Res2NetMultiTask/{data}_{trunk}.yml", BASE)
    base = values(BASE)  # Market1501 is FastReID's default: no change there
    assert found == {key: value for key, value in expected.items() if base[key] != value}


@pytest.mark.parametrize("tenths", range(11))
def test_rows_of_table_2(tenths):
    """ResNet-50 on Market1501; 0.5 is the recipe itself."""
    found = changes(f"Res2NetMultiTask/ablation/table2_er{tenths:02d}.yml", "Res2NetMultiTask/Market1501_R50.yml")
    assert found == ({} if tenths == 5 else {"INPUT.BATCH_AUGMENT.REA.PROB": tenths / 10})


ABLATION = "Res2NetMultiTask/ablation"


@pytest.mark.parametrize("tenths", [0, 2, 4, 5, 8, 10])
def test_rows_of_table_2_on_synthreid(tenths):
    found = changes(f"Res2NetMultiTask/ablation/SynthReID_er{tenths:02d}.yml", f"{ABLATION}/Base-SynthReID.yml")
    assert found == ({} if tenths == 5 else {"INPUT.BATCH_AUGMENT.REA.PROB": tenths / 10})


def test_rows_on_synthreid_differ_from_the_demo_in_their_length_and_start_alone():
    assert set(changes(f"{ABLATION}/Base-SynthReID.yml", "demo/res2net.yml")) == {
        "MODEL.WEIGHTS_PARTIAL",
        "SOLVER.BASE_LR",
        "SOLVER.WARMUP_EPOCHS",
        "SOLVER.MAX_EPOCH",
    }


def test_resnet_row_on_synthreid():
    """Its trunk alone is another one than Res2Net's."""
    assert changes(f"{ABLATION}/SynthReID_resnet.yml", f"{ABLATION}/SynthReID_er05.yml") == {
        "MODEL.BACKBONE.RES2NET.SCALE": 1,
        "MODEL.BACKBONE.RES2NET.WIDTH": 64,
    }
