"""The table of config key -> what it may be set to, for every key of FastReID's and of ours."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from fastreid.config import CfgNode

from fastreid_ext.data.batches import SAMPLERS
from fastreid_ext.data.erased_pixels import FILLS
from fastreid_ext.engine.checks.model_ranges import MODEL_RANGES, NOT_NEGATIVE, POSITIVE, SIDE, THREE_NUMBERS
from fastreid_ext.engine.checks.rules import (
    FLAG,
    TEXT,
    Rule,
    also,
    listed,
    number,
    one_of,
    pair,
    rising,
    share,
    whole,
)
from fastreid_ext.engine.csv_sets import is_listing
from fastreid_ext.engine.epoch_checkpoints import KEPT
from fastreid_ext.engine.precision import DTYPES
from fastreid_ext.engine.schedule import SCHEDULES, WARMUP_METHODS
from fastreid_ext.evaluation.distances import DISTANCE_METRICS
from fastreid_ext.evaluation.evaluator import EVALUATORS, PROTOCOLS, SAME_IMAGE
from fastreid_ext.modeling.augmentation_table import AUGMENTATIONS

METRICS = (*DISTANCE_METRICS, "jaccard")  # the last is FastReID's own name of a distance
# More is a slip of the finger, and would end in a lack of memory.
EPOCHS, ITERS, BATCH = 100_000, 10**9, 2**16
MOST_SEED = 2**31 - 1


# They need a closure, or gradients of another kind, in every step.
NO_OPTIMISERS = ("Optimizer", "LBFGS", "SparseAdam")


def _optimisers() -> list[str]:
    kinds = {name: kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    return [
        name for name, kind in kinds.items() if issubclass(kind, torch.optim.Optimizer) and name not in NO_OPTIMISERS
    ]


SIZE = listed(
    whole(1, SIDE),
    least=1,
    most=2,
    what=f"height and width in pixels, from 1 to {SIDE}, such as ",
    such_as="[256, 128]",
)
AREA = pair(
    share(above=0),
    "the smallest and the largest share of the image that is erased, above 0 and not above 1, such as [0.02, 0.4]",
)
FACTOR = Rule(
    lambda entry: (
        isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str) and number(0).holds(entry[1])
    ),
    "a name and a factor",
)

NAMED_FILE = Rule(
    lambda entry: isinstance(entry, list | tuple) and len(entry) == 2 and all(map(TEXT.holds, entry)),
    "the name of a data set and a file",
)

RANGES: dict[str, Rule] = {
    "SEED": whole(-1, MOST_SEED, such_as="; -1 draws one"),
    "CUDNN_BENCHMARK": FLAG,
    **MODEL_RANGES,
    # ---- input ----
    "INPUT.SIZE_TRAIN": SIZE,
    "INPUT.SIZE_TEST": SIZE,
    "INPUT.CROP.SIZE": SIZE,
    "INPUT.CROP.SCALE": pair(share(above=0), "the smallest and the largest share of the image, such as [0.16, 1]"),
    "INPUT.CROP.RATIO": pair(POSITIVE, "the smallest and the largest width / height, above 0, such as [0.75, 1.33]"),
    "INPUT.PADDING.MODE": one_of(("constant", "edge", "reflect", "symmetric")),
    "INPUT.PADDING.SIZE": whole(0, SIDE),
    "INPUT.CJ.BRIGHTNESS": NOT_NEGATIVE,
    "INPUT.CJ.CONTRAST": NOT_NEGATIVE,
    "INPUT.CJ.SATURATION": NOT_NEGATIVE,
    "INPUT.CJ.HUE": number(0, 0.5),
    "INPUT.REA.VALUE": THREE_NUMBERS,
    **{
        f"INPUT.{node}.ENABLED": FLAG
        for node in (
            *("CROP", "FLIP", "PADDING", "CJ", "GRAYSCALE", "BLUR", "AFFINE", "AUTOAUG", "AUGMIX", "REA", "RPT"),
            "JOINTS",
        )
    },
    **{
        f"INPUT.{node}.PROB": share() for node in ("FLIP", "CJ", "GRAYSCALE", "BLUR", "AUTOAUG", "AUGMIX", "REA", "RPT")
    },
    "INPUT.BLUR.SIGMA": pair(
        number(above=0, high=100), "the smallest and the largest standard deviation in pixels, such as [0.1, 2.0]"
    ),
    "INPUT.JOINTS.FILES": listed(TEXT, what="a list of pose files"),
    "INPUT.JOINTS.FLIP_PAIRS": listed(
        listed(whole(0, 1000), least=2, most=2), what="a list of pairs of joints, such as [[1, 2], [3, 4]]"
    ),
    "INPUT.JOINTS.TEST": FLAG,
    "INPUT.BATCH_AUGMENT.NAME": listed(one_of(lambda: AUGMENTATIONS)),
    **{f"INPUT.BATCH_AUGMENT.{node}.PROB": share() for node in ("REA", "CBE")},
    **{f"INPUT.BATCH_AUGMENT.{node}.AREA": AREA for node in ("REA", "CBE")},
    **{f"INPUT.BATCH_AUGMENT.{node}.RATIO": share(above=0) for node in ("REA", "CBE")},
    **{f"INPUT.BATCH_AUGMENT.{node}.FILL": one_of(FILLS) for node in ("REA", "CBE")},
    "INPUT.BATCH_AUGMENT.CBE.STRIPES": listed(whole(1, SIDE), least=1),
    "INPUT.BATCH_AUGMENT.CBE.TOTAL_BATCH": FLAG,
    # ---- data ----
    "DATASETS.COMBINEALL": FLAG,
    "DATASETS.CSV": Rule(is_listing, 'a list of [name, folder], such as [["Shop", "path/to/folder"]]'),
    "DATASETS.HOLD_OUT": also(
        whole(0, 10**6),
        lambda value: value != 1,
        "0, which holds nothing out, or 2 and more images: those of an identity are found by each other",
    ),
    "DATASETS.VALIDATION": whole(0, 10**7, such_as=" identities"),
    "DATALOADER.SAMPLER_TRAIN": one_of(lambda: sorted(SAMPLERS)),
    "DATALOADER.NUM_INSTANCE": whole(1, BATCH),
    "DATALOADER.NUM_WORKERS": whole(0, 1024),
    "DATALOADER.FAST_PIXELS": FLAG,
    "DATALOADER.VERIFY_IMAGES": FLAG,
    "DATALOADER.SET_WEIGHT": listed(NOT_NEGATIVE),
    "DATALOADER.PAIRS.POSITIVE_SHARE": share(above=0, below=1),
    "DATALOADER.PAIRS.NEGATIVE_ANNEAL": number(1, 1000),
    # ---- solver ----
    "SOLVER.AMP.ENABLED": FLAG,
    "SOLVER.AMP.DTYPE": one_of(DTYPES),
    "SOLVER.OPT": one_of(_optimisers, listed=False),
    "SOLVER.MAX_EPOCH": whole(1, EPOCHS),
    "SOLVER.BASE_LR": number(above=0, high=100),
    "SOLVER.HEADS_LR_FACTOR": NOT_NEGATIVE,
    "SOLVER.BIAS_LR_FACTOR": NOT_NEGATIVE,
    "SOLVER.MOMENTUM": share(below=1),
    "SOLVER.NESTEROV": FLAG,
    "SOLVER.WEIGHT_DECAY": NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_NORM": NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_BIAS": NOT_NEGATIVE,
    "SOLVER.SCHED": one_of(SCHEDULES),
    "SOLVER.DELAY_EPOCHS": whole(0, EPOCHS),
    "SOLVER.GAMMA": share(above=0),
    "SOLVER.STEPS": also(
        listed(whole(1, EPOCHS)), rising, "a rising list of epochs from 1 on, such as [40, 70], or [] for no step"
    ),
    "SOLVER.ETA_MIN_LR": NOT_NEGATIVE,
    "SOLVER.WARMUP_FACTOR": share(),
    "SOLVER.WARMUP_ITERS": whole(0, ITERS),
    "SOLVER.WARMUP_EPOCHS": whole(0, EPOCHS),
    "SOLVER.WARMUP_METHOD": one_of(WARMUP_METHODS),
    "SOLVER.FREEZE_ITERS": whole(0, ITERS),
    "SOLVER.CHECKPOINT_KEEP": also(
        listed(one_of(KEPT)),
        lambda value: (
            len(set(value)) == len(value)
            and set(value) & {"best", "final", "latest"}
            and set(value) != {"latest", "optimizer"}  # model_latest has the optimiser's state in any case
        ),
        f"a list of {', '.join(KEPT)}, each once, with best, final or latest among them, and optimizer with another"
        " than latest",
    ),
    "SOLVER.CHECKPOINT_PERIOD": whole(1, EPOCHS),
    "SOLVER.IMS_PER_BATCH": whole(1, BATCH),
    "SOLVER.ACCUMULATION": whole(1, BATCH),
    "SOLVER.COMPILE": FLAG,
    "SOLVER.LR_FACTORS": also(
        listed(FACTOR),
        lambda value: len({name for name, _ in value}) == len(value),
        'a list of names and factors of 0 or more, each name once, such as [["backbone", 0.1]]',
    ),
    "SOLVER.LAYER_DECAY": share(above=0),
    "SOLVER.EMA.ENABLED": FLAG,
    "SOLVER.EMA.DECAY": share(below=1),
    "SOLVER.CLIP_GRADIENTS.ENABLED": FLAG,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": one_of(("norm", "value")),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": POSITIVE,
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Rule(
        lambda value: value == math.inf or number(1).holds(value), "1 or more, 2.0 for the usual length, or .inf"
    ),
    # ---- test ----
    "TEST.EVAL_PERIOD": whole(0, EPOCHS, such_as="; 0 evaluates after the last epoch only"),
    "TEST.IMS_PER_BATCH": whole(1, BATCH),
    "TEST.METRIC": one_of(METRICS),
    **{f"TEST.{node}.ENABLED": FLAG for node in ("ROC", "FLIP", "AQE", "RERANK", "PRECISE_BN", "OCCLUSION")},
    "TEST.AQE.ALPHA": number(0, 100),
    "TEST.AQE.QE_TIME": whole(1, 100),
    "TEST.AQE.QE_K": whole(1, 10_000),
    "TEST.RERANK.K1": whole(1, 10_000),
    "TEST.RERANK.K2": whole(1, 10_000),
    "TEST.RERANK.LAMBDA": share(),
    "TEST.PRECISE_BN.NUM_ITER": whole(1, ITERS),
    "TEST.EVALUATOR": one_of(EVALUATORS),
    "TEST.EVAL_MEMORY_MB": whole(1, 10**8),
    "TEST.PROTOCOL": one_of(PROTOCOLS),
    "TEST.SAME_IMAGE": one_of(SAME_IMAGE),
    "TEST.OCCLUSION.PROB": share(),
    "TEST.OCCLUSION.AREA": AREA,
    "TEST.OCCLUSION.RATIO": share(above=0),
    "TEST.OCCLUSION.FILL": one_of(FILLS),
    "TEST.OCCLUSION.SEED": whole(0, MOST_SEED),
    "TEST.OPEN_SET.SHARE": share(below=1),
    "TEST.OPEN_SET.SEED": whole(0, MOST_SEED),
    "TEST.REPORT.ENABLED": FLAG,
    "TEST.REPORT.OCCLUSION_EDGES": also(
        listed(share(below=1)), rising, "increasing shares from 0 to below 1, such as [0.0, 0.25]"
    ),
    "TEST.REPORT.OCCLUSION_FILES": also(
        listed(NAMED_FILE),
        lambda value: len({name for name, _ in value}) == len(value),
        'a list of data sets and files, each set once, such as [["OccludedDuke", "occlusion.csv"]]',
    ),
    "TEST.RANK_LIST.ENABLED": FLAG,
    "TEST.RANK_LIST.QUERIES": whole(1, 1000),
    "TEST.RANK_LIST.TOPK": whole(1, 100),
}

# Names of files, data sets and losses, and tables of a paper's own: their own checks say more about them.
FREE = {
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.BACKBONE.DEPTH",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "MODEL.LOSSES.NAME",
    "MODEL.MGRE.REGIONS",
    "KD.MODEL_CONFIG",
    "KD.MODEL_WEIGHTS",
    "KD.TEACHER",
    "KD.TEACHER_WEIGHTS",
    "DATASETS.NAMES",
    "DATASETS.TESTS",
    "DATASETS.TESTS_OPTIONAL",
    "DATALOADER.CACHE_DIR",
    "TEST.PRECISE_BN.DATASET",
    "OUTPUT_DIR",
}


def out_of_range(cfg: CfgNode) -> Iterator[tuple[str, str]]:
    """Yield (key, sentence) of every key whose value is not admissible; without recording a read of it."""
    for key, rule in RANGES.items():
        *path, last = key.split(".")
        node: Any = cfg
        for part in path:
            node = dict.get(node, part, {})
        if last in node and not rule.holds(value := dict.__getitem__(node, last)):
            yield key, rule.complaint(key, value)
