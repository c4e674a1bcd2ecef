"""Small occluded models: a ResNet of 0.2 M weights with a non-local block in layer2 and layer3, 64 x 32 images."""

import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model

from fastreid_ext.layers import DisentangledNonLocal2d
from fastreid_ext.model_zoo import get_config

TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_dnl_backbone",
    "MODEL.BACKBONE.DEPTH": "50x",  # the default: the tiny ones read no depth
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.BACKBONE.DNL.BLOCKS": [0, 1, 1, 0],
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
}
TRAINING = {
    "DATASETS.NAMES": ("SynthReIDTiny",),
    "DATASETS.TESTS": ("SynthReIDTiny",),
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.AMP.ENABLED": False,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.WARMUP_EPOCHS": 0,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.MAX_EPOCH": 2,
    "TEST.RANK_LIST.ENABLED": False,
}


def pairs(*settings):
    return [item for part in settings for pair in (part or {}).items() for item in pair]


@pytest.fixture
def make_cfg():
    """``make_cfg({"MODEL.OCCLUDED.ME.ENABLED": False})``: the demo's full model on the tiny backbone."""

    def make(overrides=None, config="demo/occluded.yml"):
        cfg = get_config(config)
        cfg.merge_from_list(pairs(TINY, {"MODEL.HEADS.NUM_CLASSES": 10}, overrides))
        return cfg

    return make


@pytest.fixture
def make_model(make_cfg):
    """``make_model({...})``: the model of :func:`make_cfg`, awake: what starts at zero would hide what is behind it."""

    def make(overrides=None, config="demo/occluded.yml"):
        model = build_model(make_cfg(overrides, config))
        for module in model.modules():
            if isinstance(module, DisentangledNonLocal2d):
                torch.nn.init.normal_(module.last_projection.weight, std=0.1)
        return model

    return make


@pytest.fixture
def batch():
    """Six images of three identities, on the 0-255 scale."""
    return {"images": torch.randint(0, 256, (6, 3, 64, 32)).float(), "targets": torch.tensor([3, 3, 9, 9, 1, 1])}


@pytest.fixture
def command_line_arguments():
    """``command_line_arguments(output, "--resume", overrides={...})``: of a tiny run on SynthReIDTiny."""

    def arguments(output, *args, overrides=None, config="demo/occluded.yml"):
        settings = pairs(TINY, TRAINING, {"OUTPUT_DIR": output}, overrides)
        return ["--config-file", config, *map(str, args), *map(str, settings)]

    return arguments


@pytest.fixture
def run_main(synth_tiny, tmp_path, forget_logs, command_line_arguments):
    """``run_main("--resume", output=..., overrides={...})``: the command line in this process; returns OUTPUT_DIR."""
    from fastreid_ext.cli import main

    def run(*args, output=tmp_path / "out", overrides=None, config="demo/occluded.yml"):
        if status := main(["train", *command_line_arguments(output, *args, overrides=overrides, config=config)]):
            raise SystemExit(status)
        return output

    return run
