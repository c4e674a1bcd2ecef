"""The models of the five papers and FastReID's Baseline, with a batch of their own size, as steps.py trains them."""

import itertools
from typing import Any

import torch

from fastreid_ext.engine.compiling import compile_model
from fastreid_ext.engine.model import build_model
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.step import TrainingStep, step_settings
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.augmentation_table import sampled_per_batch

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode

IDENTITIES = 751  # Market1501's
# Paper -> its config for Market1501, and that of its demo.
CONFIGS = {
    "Baseline": ("Baseline/Market1501_R50.yml", "demo/baseline.yml"),
    "DeepMiner": ("DeepMiner/Market1501_R50.yml", "demo/deepminer.yml"),
    "MSReID": ("MSReID/Market1501_R50.yml", "demo/msreid.yml"),
    "MGRe": ("MGRe/Market1501_R50.yml", "demo/mgre.yml"),
    "OccludedReID": ("OccludedReID/Market1501_R50.yml", "demo/occluded.yml"),
    "Res2NetMultiTask": ("Res2NetMultiTask/Market1501_Res2Net50.yml", "demo/res2net.yml"),
}
# A dry run: a narrow trunk (with 16 channels at least, which MSReID's attention divides by 16) and small images.
TOY = {
    "MODEL.BACKBONE.NAME": "build_narrow_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "10x",
    "MODEL.BACKBONE.NARROW.WIDTH": 16,
    "MODEL.BACKBONE.FEAT_DIM": 128,
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "SOLVER.IMS_PER_BATCH": 8,
}
TOY_OF = {
    "OccludedReID": {
        "MODEL.BACKBONE.NAME": "build_dnl_backbone",
        "MODEL.BACKBONE.DNL.TRUNK": "build_narrow_resnet_backbone",
        "MODEL.BACKBONE.DNL.BLOCKS": [0, 1, 1, 0],
    },
}


def config(paper: str, device: str, toy: bool, **overrides: Any) -> CfgNode:
    """Return a paper's config with random weights for a device; keys of ``overrides`` have "__" for their dots."""
    full, small = CONFIGS[paper]
    cfg = get_config(small if toy else full)
    settings = {
        "MODEL.DEVICE": device,
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.HEADS.NUM_CLASSES": IDENTITIES,
        "SOLVER.FREEZE_ITERS": 0,  # all weights are trained from the first step on
        **({**TOY, **TOY_OF.get(paper, {})} if toy else {}),
        **{key.replace("__", "."): value for key, value in overrides.items()},
    }
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    return cfg


def batch(cfg: CfgNode) -> dict[str, torch.Tensor]:
    """Return a batch on the device: four images of each person, half of the pairs 2i and 2i + 1 of two persons."""
    count, device = sampled_per_batch(cfg), cfg.MODEL.DEVICE
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, *cfg.INPUT.SIZE_TRAIN, generator=generator) * 255
    data = {
        "images": images,
        "targets": (torch.arange(count) // 4).roll(1),
        "camids": torch.arange(count) % 6,
        "joints": torch.rand(count, 17, 3, generator=generator),
    }
    return {key: value.to(device) for key, value in data.items()}


class Batches:
    """The same batch without end; FastReID's Baseline writes into its images, so each time they are a copy."""

    def __init__(self, data: dict[str, torch.Tensor]):
        self.data = data

    def __iter__(self):
        return ({**self.data, "images": self.data["images"].clone()} for _ in itertools.count())


def training_step(cfg: CfgNode) -> TrainingStep:
    """Return the trainer's own step of a config, as :func:`config` makes it."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    model = compile_model(cfg, build_model(cfg)).train()
    step = TrainingStep(model, Batches(batch(cfg)), build_optimizer(cfg, model), **step_settings(cfg, model))
    step.iter = 0
    return step
