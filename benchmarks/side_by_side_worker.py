"""One side of side_by_side.py: times training step and test of a config, of whichever fastreid_ext is on the path.

It uses what the commits that are compared both have, so it reads the older names too. Each line of its input is one
request, "train" or "test", and is answered by its seconds; the first line of the output is "ready" and the layout.
"""

import itertools
import sys
import time
from typing import Any

import torch

from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.model_zoo import get_config

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage

IDENTITIES = 751  # Market1501's
IMAGES = 10**9  # of a long training, for which a layout of memory is tried


def config(name: str, batch: int, overrides: list[str]) -> CfgNode:
    cfg = get_config(name)
    cfg.merge_from_list(
        ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", IDENTITIES]
        + ["SOLVER.FREEZE_ITERS", 0, "SOLVER.IMS_PER_BATCH", batch, *overrides]
    )
    try:
        from fastreid_ext.engine.layout import settled_layout, with_layout
    except ImportError:  # as it was before there was a choice
        return cfg
    return with_layout(cfg, settled_layout(cfg, IMAGES))


def training_step(cfg: CfgNode) -> TrainingStep:
    try:
        from fastreid_ext.engine.model import build_model
        from fastreid_ext.engine.step import step_settings
    except ImportError:
        from fastreid.modeling import build_model

        from fastreid_ext.engine.trainer import Trainer

        step_settings = Trainer.step_settings
    torch.manual_seed(0)
    model = build_model(cfg).train()
    step = TrainingStep(model, Batches(images_of(cfg)), build_optimizer(cfg, model), **step_settings(cfg, model))
    step.iter = 0
    return step


def images_of(cfg: CfgNode) -> dict[str, torch.Tensor]:
    """Return a batch: four images of each person."""
    count, generator = cfg.SOLVER.IMS_PER_BATCH, torch.Generator().manual_seed(0)
    return {
        "images": torch.rand(count, 3, *cfg.INPUT.SIZE_TRAIN, generator=generator) * 255,
        "targets": torch.arange(count) // 4,
        "camids": torch.arange(count) % 6,
        "joints": torch.rand(count, 17, 3, generator=generator),
    }


class Batches:
    """The same batch without end; FastReID's Baseline writes into its images, so each time they are a copy."""

    def __init__(self, data: dict[str, torch.Tensor]):
        self.data = data

    def __iter__(self) -> Any:
        return ({**self.data, "images": self.data["images"].clone()} for _ in itertools.count())


def main() -> None:
    name, batch, *overrides = sys.argv[1:]
    cfg = config(name, int(batch), overrides)
    step = training_step(cfg)
    images = images_of(cfg)["images"]

    def test() -> None:
        step.model.eval()
        with torch.no_grad():
            step.model({"images": images.clone()})

    def train() -> None:
        step.model.train()
        step.run_step()

    works = {"test": test, "train": train}
    with EventStorage(0), step.loading():
        for work in works.values():  # memory and kernels are settled by then
            work()
        print("ready", getattr(cfg.MODEL, "CHANNELS_LAST", "as it comes"), flush=True)
        for line in sys.stdin:
            begin = time.perf_counter()
            works[line.strip()]()
            print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main()
