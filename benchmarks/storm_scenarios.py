"""The commands that a storm hits: all projects, on models and data so small that a run takes seconds."""

import os
from pathlib import Path

from storm_plan import BETWEEN_FILES, TRAINING, Scenario

# The demos have two loader workers.
PROJECTS = {
    "DeepMiner": ("demo/deepminer.yml", ("DATALOADER.NUM_WORKERS", "0")),
    "MSReID": ("demo/msreid.yml", ("MODEL.MSREID.DIM", "64")),
    "MGRe": ("demo/mgre.yml", ("MODEL.HEADS.EMBEDDING_DIM", "32", "DATALOADER.NUM_WORKERS", "0")),
    "Res2NetMultiTask": (
        "demo/res2net.yml",
        (
            *("MODEL.BACKBONE.RES2NET.WIDTH", "4", "MODEL.MULTITASK.DESCRIPTOR", "linear64"),
            *("SOLVER.WARMUP_METHOD", "linear"),
        ),
    ),
    "OccludedReID": ("demo/occluded.yml", ()),
}
SMALL = (
    *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.LAST_STRIDE", "1"),
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
    *("SOLVER.AMP.ENABLED", "False", "SOLVER.IMS_PER_BATCH", "16", "SOLVER.MAX_EPOCH", "2"),
    *("SOLVER.WARMUP_EPOCHS", "0", "SOLVER.WARMUP_ITERS", "0"),
    *("TEST.EVAL_PERIOD", "1", "TEST.RANK_LIST.ENABLED", "False"),
)
SYNTH = ("DATASETS.NAMES", "('SynthReIDTiny',)", "DATASETS.TESTS", "('SynthReIDTiny',)")
CUHK03 = ("DATASETS.NAMES", "('CUHK03Labeled',)", "DATASETS.TESTS", "('CUHK03Labeled',)")
DATA, MAT, STORE, DISTRACTORS = "datasets", "cuhk03_mat", "store", 6000
THINNER = 4  # channels of FastReID's ResNet are divided by it


def scenarios() -> list[Scenario]:
    """Return every scenario, those before it that it needs the end of."""
    found = [Scenario(name, train(name), (*TRAINING, "rendering"), ("--resume",)) for name in PROJECTS]
    found += [
        Scenario(
            "MSReID on CUHK03",
            train("MSReID", *CUHK03, "DATALOADER.CACHE_DIR", "{folder}/cache"),
            (*TRAINING, "extraction"),
            ("--resume",),
            data=MAT,
        ),
        Scenario(
            "OccludedReID on two ranks",
            train("OccludedReID", options=("--num-gpus", "2", "--dist-url", "tcp://127.0.0.1:{port}")),
            TRAINING,  # either rank may be the one that renders, and the probe hears the first one
            ("--resume",),
            cost=4.0,
        ),
    ]
    found += [
        Scenario(f"extract {name}", extract(name), ("start", "extract", BETWEEN_FILES), data=DATA) for name in PROJECTS
    ]
    found += [
        Scenario(f"search by {kind}", search(kind, *options), ("start", "index", BETWEEN_FILES), copied=STORE)
        for kind, options in (("hnsw", ()), ("ivfpq", ("--nlist", "64", "--pq-bits", "6")))
    ]
    return found


def train(project: str, *changed: str, options: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the arguments of a training on SynthReID, which is rendered at its first use, or on what is changed."""
    config, own = PROJECTS[project]
    return ("train", "--config-file", config, *options, *SMALL, *own, *SYNTH, *changed, "OUTPUT_DIR", "{folder}/out")


def extract(project: str) -> tuple[str, ...]:
    """Return the arguments of an extraction with the weights that the project's own scenario ends with."""
    config, own = PROJECTS[project]
    weights = ("MODEL.WEIGHTS", f"{{work}}/reference/{project}/out/model_final.pth", "TEST.IMS_PER_BATCH", "8")
    images = ("--dataset", "SynthReIDTiny", "--split", "gallery", "--save-every", "8", "--output", "{folder}/features")
    return ("extract", "--config-file", config, *images, *SMALL, *own, *weights)


def search(kind: str, *options: str) -> tuple[str, ...]:
    """Return the arguments of a search that builds its index."""
    stores = ("--gallery", "{folder}/store", "--query", "{work}/queries", "--output", "{folder}/found")
    return ("search", *stores, "--index", kind, "--show", "0", *options)


def arguments(scenario: Scenario, folder: Path, work: Path, port: int, again: bool) -> list[str]:
    """Fill in a scenario's arguments."""
    head, *rest = scenario.arguments
    filled = [head, *(scenario.again if again else ()), *rest]
    return [item.format(folder=folder, work=work, port=port) for item in filled]


def warm_up() -> None:
    """Import, once for all runs, what they need; in one thread, as a process with several can't be forked safely."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
    import faiss
    import h5py  # noqa: F401
    import scipy.io  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401

    import fastreid_ext.engine.run
    import fastreid_ext.evaluation.rank_list
    import fastreid_ext.search.extract
    import fastreid_ext.search.searching  # noqa: F401

    faiss.omp_set_num_threads(1)
    make_thin()


def make_thin() -> None:
    """Divide the channels of FastReID's ResNets, so that steps and checkpoints are small."""
    from fastreid.modeling.backbones.resnet import ResNet

    whole = ResNet._make_layer

    def _make_layer(self: ResNet, block: type, planes: int, *args: object, **kwargs: object) -> object:
        return whole(self, block, planes // THINNER, *args, **kwargs)

    ResNet._make_layer = _make_layer


# ---- what lies there before anything runs ---------------------------------------------------------------------------


def make_inputs(work: Path, seed: int) -> None:
    """Write SynthReID-tiny, CUHK03's miniature and two feature stores into the storm's folder."""
    from storm_cuhk03 import write_cuhk03

    from fastreid_ext.data.synthetic import generate

    generate(work / DATA, size="tiny", workers=1, progress=False)
    write_cuhk03(work / MAT, seed)
    write_store(work / STORE, DISTRACTORS, seed)
    write_store(work / "queries", 20, seed + 1)


def write_store(folder: Path, count: int, seed: int) -> None:
    """Write a finished feature store of random features."""
    import numpy as np

    from fastreid_ext.search.features import IDENTITY
    from fastreid_ext.search.image_list import ImageList
    from fastreid_ext.search.writer import FeatureWriter

    images = ImageList(folder, [(f"{n}.jpg", str(n // 4), str(n % 2)) for n in range(count)], "random features")
    identity = {**dict.fromkeys(IDENTITY, "0" * 64), "metric": "cosine", "flip": False}
    writer = FeatureWriter(folder, images, identity)
    writer.add(np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32), count)
    writer.finish()
