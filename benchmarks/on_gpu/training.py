"""Deep Miner and FastReID's Baseline with a ResNet-50 trained on SynthReID's bench size, with the demo's recipe.

Both train for as many epochs as the time allows, by a step that is measured first. A dry run trains the tiny size.
"""

import os
import statistics
import time
from pathlib import Path
from typing import Any

from on_gpu.call import OUT_OF_TIME, Call
from on_gpu.papers import TOY, training_step

from fastreid_ext.data.synthetic import SIZES, generate
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.model_zoo import get_config

# isort: split
from fastreid.config import CfgNode
from fastreid.utils.events import EventStorage

PAPERS = {"DeepMiner": "demo/deepminer.yml", "Baseline": "demo/baseline.yml"}
MOST_EPOCHS = 24  # of the demo's recipe
FEWEST_EPOCHS = 4
OVERHEAD = 1.4  # of an epoch over its bare steps: loading, logging, checkpoints
EVALUATION = 12.0  # seconds for the start of a run and its evaluation
R50 = {
    "MODEL.BACKBONE.DEPTH": "50x",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "INPUT.SIZE_TRAIN": [256, 128],
    "INPUT.SIZE_TEST": [256, 128],
    "DATALOADER.NUM_WORKERS": 14,
    "MODEL.CHANNELS_LAST": True,
}


def settings(call: Call, paper: str, epochs: int) -> CfgNode:
    """Return the config of a run."""
    size = "Tiny" if call.toy else "Bench"
    sets = (f"SynthReID{size}", f"SynthReIDOccluded{size}")
    cfg = get_config(PAPERS[paper])
    keys = {
        **({**TOY, "SOLVER.IMS_PER_BATCH": 16, "DATALOADER.NUM_WORKERS": 0} if call.toy else R50),
        **({"MODEL.BACKBONE.FEAT_DIM": 2048} if paper == "Baseline" and not call.toy else {}),
        "MODEL.DEVICE": call.device,
        "DATASETS.NAMES": sets[:1],
        "DATASETS.TESTS": sets,
        "SOLVER.MAX_EPOCH": epochs,
        "SOLVER.WARMUP_EPOCHS": min(3, epochs // 2),
        "SEED": 0,
        "TEST.RANK_LIST.ENABLED": False,
        "OUTPUT_DIR": str(Path(os.environ["ON_GPU_SCRATCH"]) / paper),
    }
    cfg.merge_from_list([item for pair in keys.items() for item in pair])
    return cfg


def step_seconds(call: Call, paper: str) -> float:
    """Return how long a step of a run takes, without loading."""
    cfg = settings(call, paper, MOST_EPOCHS)
    cfg.MODEL.HEADS.NUM_CLASSES = SIZES["tiny" if call.toy else "bench"].train_identities
    with EventStorage(0):
        step = training_step(cfg)
        for _ in range(1 if call.toy else 5):
            step.run_step()
        return statistics.median(call.seconds(step.run_step) for _ in range(1 if call.toy else 10))


def epochs_in(seconds: float, an_epoch: float) -> int:
    """Return how many epochs of both runs together fit into a time, of at most the recipe's."""
    return max(0, min(MOST_EPOCHS, int(seconds / an_epoch)))


def train(call: Call, paper: str, epochs: int) -> dict[str, Any]:
    """Train and return the results by test set."""
    start = time.monotonic()
    trainer = Trainer(settings(call, paper, epochs))
    trainer.resume_or_load(resume=False)
    results = trainer.train()
    metrics = ("Rank-1", "Rank-5", "mAP", "mINP")
    return {
        "epochs": epochs,
        "seconds": time.monotonic() - start,
        "results": {name: {key: float(values[key]) for key in metrics} for name, values in results.items()},
    }


def measure(call: Call) -> None:
    """Render, see how many epochs fit, train both."""
    size = "tiny" if call.toy else "bench"
    begun = time.monotonic()
    generate(os.environ["FASTREID_DATASETS"], size=size, workers=1 if call.toy else None, progress=False)
    call.row("rendering", lambda: {"size": size, "seconds": time.monotonic() - begun})
    steps = call.row("seconds of a step", lambda: {paper: step_seconds(call, paper) for paper in PAPERS})
    epochs = 2
    if not call.toy:
        iterations = SIZES[size].train_identities * SIZES[size].train_images // 64
        an_epoch = OVERHEAD * iterations * sum(steps[paper] for paper in PAPERS)
        epochs = epochs_in(call.left() - EVALUATION * len(PAPERS), an_epoch)
    for paper in PAPERS:
        if not call.toy and epochs < FEWEST_EPOCHS:
            call.row(paper, lambda: OUT_OF_TIME)
        else:
            call.row(paper, lambda paper=paper: train(call, paper, epochs))
