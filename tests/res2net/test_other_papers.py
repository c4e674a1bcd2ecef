"""The backbone below the other papers' models: chosen by config alone, one training step, one feature."""

import itertools

import pytest
import shapes
import torch
from fastreid.modeling import build_model
from small_training import batch

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.key_tracking import check_all_read, track
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.mgre.extraction import feature_extraction
from fastreid_ext.model_zoo import get_config
from fastreid_ext.res2net import Res2Net, Res2NetBottleneck

RES2NET = {
    "MODEL.BACKBONE.NAME": "build_res2net_backbone",
    "MODEL.BACKBONE.DEPTH": "26x",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.BACKBONE.RES2NET.WIDTH": 14,
    "MODEL.BACKBONE.RES2NET.SCALE": 3,
    "MODEL.DEVICE": "cpu",
    "MODEL.HEADS.NUM_CLASSES": 10,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
}
# config -> what it needs beside RES2NET
MODELS = {
    "demo/baseline.yml": {"MODEL.BACKBONE.FEAT_DIM": 2048},  # FastReID's head does not look it up
    "demo/deepminer.yml": {"MODEL.DEEPMINER.IE_BLOCKS": [3]},
    "demo/msreid.yml": {"MODEL.BACKBONE.WITH_IBN": False},
    "demo/mgre.yml": {"MODEL.BACKBONE.WITH_IBN": False},
    "demo/occluded.yml": {"MODEL.BACKBONE.DNL.BLOCKS": [0, 2, 3, 0]},  # the default: there are none to place
}


def config(file, overrides):
    cfg = get_config(file)
    cfg.merge_from_list([item for pair in {**RES2NET, **overrides}.items() for item in pair])
    return cfg


@pytest.mark.parametrize("file", MODELS)
def test_one_training_step_and_a_feature(file, storage):
    cfg, reads = track(config(file, MODELS[file]))
    model = build_model(cfg)
    check_all_read(cfg, get_cfg(), reads | {"MODEL.FREEZE_LAYERS"}, nodes=("MODEL",))
    assert type(model.backbone) is Res2Net
    before = {name: p.detach().clone() for name, p in model.backbone.named_parameters()}
    step = TrainingStep(model, itertools.repeat(batch()), build_optimizer(cfg, model))
    step.iter = 0
    step.run_step()
    for name, parameter in model.backbone.named_parameters():
        assert parameter.grad.isfinite().all() and not torch.equal(parameter, before[name]), name
    with torch.no_grad():
        feature = model.eval()(batch())
    assert feature.shape[0] == 4 and feature.isfinite().all() and not torch.equal(feature[0], feature[1])


def test_the_papers_ibn_is_refused():
    """MGRe's own trunk is ResNet-50-IBN: the config has to say that it goes without."""
    with shapes.OnMeta(), pytest.raises(ValueError, match="set MODEL.BACKBONE.WITH_IBN False"):
        build_model(config("demo/mgre.yml", {}))


@pytest.mark.parametrize("stage", [1, 4])
@pytest.mark.parametrize("blocks", [2, -1])
def test_mgre_extracts_features_by_blocks_of_the_stages_kind(stage, blocks):
    """As the stage's second block in every shape, with its own weights, also behind a stage of a single block."""
    with shapes.OnMeta():
        long, short = (Res2Net((n, 1, 1, n), width=14, scale=3) for n in (3, 1))
        expected = {key: v.shape for key, v in getattr(long, f"layer{stage}")[1].state_dict().items()}
        for trunk, count in ((long, 3), (short, 1)):
            extra = feature_extraction(trunk, stage, 128 * 2**stage, blocks)
            assert len(extra) == (count if blocks == -1 else blocks)
            for block in extra:
                assert type(block) is Res2NetBottleneck and not block.first
                assert {key: value.shape for key, value in block.state_dict().items()} == expected
    extra = feature_extraction(Res2Net((1, 1, 1, 1), width=14, scale=3), 1, 256, 2)
    assert not torch.equal(extra[0].conv3.weight, extra[1].conv3.weight)
    assert extra(torch.randn(2, 256, 4, 3)).shape == (2, 256, 4, 3)
