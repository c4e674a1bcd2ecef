"""Command lines of ``train``: keys of the wrong type, range, name or combination, and files that are none."""

import random
from collections.abc import Iterator
from typing import Any

from line_world import PROJECTS, pairs

REFUSED, ACCEPTED = True, False
Line = tuple[list[str], bool]

# For a key of each type, what no key of that type can be.
OF_TYPE: dict[type, list[str]] = {
    bool: ["1", "None", "yes", "[]", "0.5"],
    int: ["None", "abc", "[]", "1.5", "True", "1e999", "-7", str(10**30), "(1,"],
    float: ["None", "abc", "[]", "True", "1e999", "-1e999", "-7", "{}"],
    str: ["None", ""],
    list: ["None", "abc", "1", "True", "[None]", "{}"],
    tuple: ["None", "abc", "1", "True", "[None]", "{}"],
    type(None): ["1", "yes", "[]", "0.5", "auto"],  # MODEL.CHANNELS_LAST
}
MAY = {  # text that may be empty, lists of texts, and the norm that is the largest number
    ("MODEL.WEIGHTS", ""),
    ("MODEL.BACKBONE.PRETRAIN_PATH", ""),
    ("DATALOADER.CACHE_DIR", ""),
    ("TEST.PRECISE_BN.DATASET", ""),
    ("MODEL.BACKBONE.DEPTH", ""),
    ("MODEL.BACKBONE.SIE_COE", "-7"),
    ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", "1e999"),
}

# KEY VALUE ... that no project can train with.
WRONG = """
SOLVER.WARMUP_EPOCHS -5
SOLVER.WARMUP_EPOCHS 3
SOLVER.WARMUP_EPOCHS 2 SOLVER.WARMUP_ITERS 50
SOLVER.STEPS [2,1] SOLVER.SCHED MultiStepLR
SOLVER.STEPS [1.5] SOLVER.SCHED MultiStepLR
SOLVER.STEPS [0] SOLVER.SCHED MultiStepLR
SOLVER.GAMMA 0.5
SOLVER.STEPS [2]
SOLVER.SCHED StepLR
SOLVER.SCHED cosineannealinglr
SOLVER.OPT adam
SOLVER.OPT LBFGS
SOLVER.OPT SparseAdam
SOLVER.OPT Optimizer
SOLVER.MOMENTUM 0.5 SOLVER.OPT Adam
SOLVER.LR_FACTORS [["nowhere",0.1]]
SOLVER.LR_FACTORS [["heads",-1.0]]
SOLVER.LR_FACTORS [["heads",1.0],["heads",2.0]]
SOLVER.LR_FACTORS ["heads",1.0]
SOLVER.BASE_LR 0
SOLVER.ETA_MIN_LR 1.0
SOLVER.IMS_PER_BATCH 0
SOLVER.IMS_PER_BATCH 1
SOLVER.IMS_PER_BATCH 17
SOLVER.IMS_PER_BATCH 4096
SOLVER.FREEZE_ITERS 5 MODEL.FREEZE_LAYERS []
SOLVER.FREEZE_ITERS 5 MODEL.FREEZE_LAYERS ['nowhere']
SOLVER.FREEZE_ITERS 0 MODEL.FREEZE_LAYERS ['backbone']
SOLVER.CLIP_GRADIENTS.ENABLED True SOLVER.CLIP_GRADIENTS.CLIP_TYPE rough
SOLVER.CLIP_GRADIENTS.ENABLED True SOLVER.CLIP_GRADIENTS.CLIP_VALUE 0
SOLVER.CLIP_GRADIENTS.ENABLED False SOLVER.CLIP_GRADIENTS.CLIP_VALUE 2.0
SOLVER.AMP.DTYPE half SOLVER.AMP.ENABLED True
SOLVER.AMP.DTYPE bf16 SOLVER.AMP.ENABLED False
SOLVER.BASE_RL 0.1
SOLVER 0.1
SOLVER.BASE_LR.X 0.1
_BASE_ x.yml
TEST.RERANK.ENABLED True TEST.RERANK.K1 0
TEST.RERANK.ENABLED True TEST.RERANK.K2 -1
TEST.RERANK.ENABLED True TEST.RERANK.LAMBDA 5
TEST.RERANK.K1 30
TEST.AQE.ENABLED True TEST.AQE.QE_TIME -1
TEST.AQE.ENABLED True TEST.AQE.QE_K 0
TEST.AQE.QE_K 3
TEST.METRIC manhattan
TEST.EVALUATOR Host
TEST.EVALUATOR host TEST.PROTOCOL cuhk03
TEST.PROTOCOL duke
TEST.OCCLUSION.ENABLED True TEST.OCCLUSION.AREA [0.5,0.1]
TEST.OCCLUSION.PROB 0.9
TEST.OPEN_SET.SHARE 1.0
TEST.OPEN_SET.SHARE -0.1
TEST.OPEN_SET.SEED 3
TEST.REPORT.OCCLUSION_EDGES [0.5,0.1]
TEST.RANK_LIST.ENABLED True TEST.RANK_LIST.TOPK 0
TEST.RANK_LIST.ENABLED True TEST.RANK_LIST.TOPK 100000
TEST.EVAL_MEMORY_MB 0
TEST.PRECISE_BN.ENABLED True TEST.PRECISE_BN.DATASET Nowhere
DATASETS.NAMES ()
DATASETS.NAMES ('Nowhere',)
DATASETS.NAMES SynthReIDTiny
DATASETS.NAMES ('Market1501',)
DATASETS.NAMES ('SynthReIDTiny','SynthReIDTiny')
DATASETS.TESTS ()
DATASETS.TESTS ('market1501',)
DATASETS.TESTS ('HeldOut',)
DATASETS.TESTS (1,)
DATASETS.HOLD_OUT 1
DATASETS.HOLD_OUT 50
DATASETS.VALIDATION 12
DATASETS.VALIDATION 99
DATALOADER.SAMPLER_TRAIN naiveidentitysampler
DATALOADER.SAMPLER_TRAIN SetReWeightSampler
DATALOADER.SET_WEIGHT [1.0]
DATALOADER.NUM_WORKERS -1
DATALOADER.CACHE_DIR odd/text
DATALOADER.PAIRS.POSITIVE_SHARE 1.0 DATALOADER.SAMPLER_TRAIN PairSampler
INPUT.SIZE_TRAIN [64]
INPUT.SIZE_TRAIN [0,32]
INPUT.SIZE_TEST [64,32,3]
INPUT.SIZE_TEST [64,100000]
INPUT.FLIP.PROB 1.5 INPUT.FLIP.ENABLED True
INPUT.CJ.PROB 0.9
INPUT.CJ.ENABLED True INPUT.CJ.HUE 0.7
INPUT.PADDING.ENABLED True INPUT.PADDING.MODE wrap
INPUT.PADDING.ENABLED True INPUT.PADDING.MODE reflect INPUT.PADDING.SIZE 40
INPUT.CROP.ENABLED True INPUT.CROP.SCALE [1.0,0.1]
INPUT.REA.VALUE [1]
INPUT.JOINTS.TEST True INPUT.JOINTS.ENABLED False
INPUT.BATCH_AUGMENT.NAME ['Mixup']
INPUT.BATCH_AUGMENT.NAME ['RandomErasing','CompoundBatchErasing']
INPUT.BATCH_AUGMENT.NAME ['RandomErasing'] INPUT.BATCH_AUGMENT.REA.AREA [0.5,0.1] INPUT.REA.ENABLED False
INPUT.BATCH_AUGMENT.NAME ['CompoundBatchErasing'] INPUT.BATCH_AUGMENT.CBE.STRIPES [65] INPUT.REA.ENABLED False
MODEL.META_ARCHITECTURE MGN
MODEL.META_ARCHITECTURE deepminer
MODEL.META_ARCHITECTURE Distiller
MODEL.BACKBONE.NAME resnet50
MODEL.BACKBONE.NAME build_resnet_backbone MODEL.BACKBONE.DEPTH 51x
MODEL.BACKBONE.NAME build_resnet_backbone MODEL.BACKBONE.DEPTH 50
MODEL.BACKBONE.NORM bn
MODEL.BACKBONE.NORM syncBN
MODEL.BACKBONE.LAST_STRIDE 3
MODEL.BACKBONE.FEAT_DIM 77
MODEL.BACKBONE.PRETRAIN_PATH odd/text
MODEL.BACKBONE.NAME build_resnet_backbone MODEL.BACKBONE.PRETRAIN True MODEL.BACKBONE.PRETRAIN_PATH odd/text
MODEL.HEADS.NAME Head
MODEL.HEADS.POOL_LAYER gempool
MODEL.HEADS.POOL_LAYER globalavgpool
MODEL.HEADS.POOL_LAYER Identity
MODEL.HEADS.NECK_FEAT middle
MODEL.HEADS.CLS_LAYER linear
MODEL.HEADS.MARGIN 0.5
MODEL.HEADS.NUM_CLASSES 99
MODEL.LOSSES.NAME ()
MODEL.LOSSES.NAME ('tripletloss',)
MODEL.LOSSES.NAME (1,)
MODEL.LOSSES.FL.GAMMA 3
MODEL.PIXEL_STD [0,1,1]
MODEL.PIXEL_STD [-1,1,1]
MODEL.PIXEL_MEAN [1]
MODEL.DEVICE gpu
MODEL.DEVICE mps
MODEL.DEVICE meta
MODEL.DEVICE cpu:3
MODEL.WEIGHTS nowhere.pth
MODEL.WEIGHTS odd/text
MODEL.WEIGHTS odd/zip
MODEL.WEIGHTS odd/empty
MODEL.WEIGHTS odd/nothing
MODEL.WEIGHTS odd/loop
MODEL.WEIGHTS https://example.org/x.pth
OUTPUT_DIR odd/text
OUTPUT_DIR odd/text/below
OUTPUT_DIR ~nobody-of-that-name/x
OUTPUT_DIR odd/fifo
SEED -7
SEED
--num-gpus 0
--num-gpus -1
--machine-rank 5
--no-such-option
""".strip().splitlines()

OF_PROJECT = {
    "deepminer": """
MODEL.DEEPMINER.IE_BLOCKS [7]
MODEL.DEEPMINER.IE_BLOCKS [2,2]
MODEL.DEEPMINER.ERASE_THRESHOLD 1.5
MODEL.DEEPMINER.LOCAL_STRIPES 50
MODEL.DEEPMINER.IE_BLOCKS [] MODEL.DEEPMINER.ERASE_THRESHOLD 0.5
MODEL.DEEPMINER.ATTENTION_BLOCKS [] MODEL.DEEPMINER.SAM.REDUCTION 4
MODEL.DEEPMINER.SAM.ENABLED False MODEL.DEEPMINER.CHAM.ENABLED False
MODEL.DEEPMINER.CHAM.ACTIVATION relu
MODEL.MSREID.MASK False
MODEL.HEADS.NAME EmbeddingHead
INPUT.JOINTS.ENABLED True""",
    "msreid": """
MODEL.MSREID.POOL max
MODEL.MSREID.DIM 0
MODEL.MSREID.MASK False MODEL.MSREID.MASK_BEFORE_REDUCE True
MODEL.MSREID.STEM_POOL torch
MODEL.DEEPMINER.LOCAL_STRIPES 3
MODEL.HEADS.NAME MGReLocationHead""",
    "mgre": """
MODEL.MGRE.LOCATION.MIN_JOINTS 100
MODEL.MGRE.LOCATION.MARGIN -1
MODEL.MGRE.FE.BLOCKS 99
MODEL.MGRE.STAGES [1,1]
MODEL.MGRE.STAGES [5]
MODEL.MGRE.WHOLE_IMAGE []
MODEL.MGRE.REGIONS []
MODEL.MGRE.REGIONS [[1,2,3]]
MODEL.MGRE.REGIONS [1]
MODEL.MGRE.REGIONS [["a",1,"x",0.5,4,4,0.1,0.1,[0,1]]]
MODEL.MGRE.REGIONS [["a",1,0.5,0.5,4,4,0.1,0.1,7]]
MODEL.MGRE.REGIONS [[1,1,0.5,0.5,4,4,0.1,0.1,[0,1]]]
MODEL.MGRE.TEST_WEIGHTS [1,2,3]
MODEL.MGRE.TEST_WEIGHTS [1,2,3,-4]
MODEL.MGRE.BOXES labelled
MODEL.MGRE.LAMBDA 0
INPUT.JOINTS.ENABLED False
INPUT.JOINTS.FILES ['nowhere.npz']
INPUT.JOINTS.FILES ['odd/text']
INPUT.JOINTS.FILES ['a','b']
INPUT.JOINTS.FLIP_PAIRS [[1,99]]
INPUT.JOINTS.FLIP_PAIRS [[1]]
INPUT.AUTOAUG.ENABLED True INPUT.AUTOAUG.PROB 0.5""",
    "occluded": """
MODEL.OCCLUDED.CLASSIFIER.HEADS 3
MODEL.OCCLUDED.CLASSIFIER.MODE both
MODEL.OCCLUDED.ME.BETA 1.0
MODEL.OCCLUDED.TEST_FEATURE pooled
MODEL.LOSSES.NAME ('SmoothedCrossEntropyLoss',)
MODEL.BACKBONE.NAME build_dnl_resnet_backbone MODEL.BACKBONE.DNL.BLOCKS [9,9,9,9]
MODEL.BACKBONE.NAME build_dnl_resnet_backbone MODEL.BACKBONE.DNL.BLOCKS [1] MODEL.BACKBONE.DEPTH 18x
DATALOADER.SAMPLER_TRAIN TrainingSampler""",
    "res2net": """
MODEL.MULTITASK.DESCRIPTOR linear0
MODEL.MULTITASK.DESCRIPTOR mean
MODEL.MULTITASK.DROPOUT 1.0
MODEL.MULTITASK.VERIFICATION False MODEL.MULTITASK.VERIFICATION_WEIGHT 0.5
DATALOADER.SAMPLER_TRAIN NaiveIdentitySampler
MODEL.BACKBONE.NAME build_res2net_backbone MODEL.BACKBONE.DEPTH 18x
MODEL.BACKBONE.NAME build_res2net_backbone MODEL.BACKBONE.DEPTH 26x MODEL.BACKBONE.WITH_IBN True
MODEL.BACKBONE.NAME build_res2net_backbone MODEL.BACKBONE.RES2NET.SCALE 0
SOLVER.IMS_PER_BATCH 15""",
    "baseline": """
MODEL.LOSSES.NAME ('CenterLoss',)
INPUT.BATCH_AUGMENT.NAME ['RandomErasing'] INPUT.REA.ENABLED False
MODEL.LOSSES.CIRCLE.MARGIN 0.5
MODEL.LOSSES.CE.ALPHA 0.5
MODEL.HEADS.NAME DeepMinerHead
MODEL.BACKBONE.FEAT_DIM 128
MODEL.META_ARCHITECTURE MoCo SOLVER.IMS_PER_BATCH 24""",
}

# Values that each project can train with, one or two of them at a time.
RIGHT: dict[str, list[Any]] = {
    "SOLVER.BASE_LR": [1, 0.01, "1e-5"],
    "SOLVER.OPT": ["AdamW", "Adam"],
    "SOLVER.SCHED MultiStepLR SOLVER.STEPS": ["[]", "[2]", "(2,)"],
    "SOLVER.WARMUP_EPOCHS 0 SOLVER.WARMUP_ITERS": [0, 3],
    "SOLVER.MAX_EPOCH": [2, 50],
    "SOLVER.CHECKPOINT_PERIOD": [1, 99],
    "SOLVER.CHECKPOINT_KEEP": ["['best','periodic']", "('final','latest','periodic','optimizer')"],
    "SOLVER.LAYER_DECAY": [0.75],
    "SOLVER.WEIGHT_DECAY": [0, 0.1],
    "SOLVER.CLIP_GRADIENTS.ENABLED True SOLVER.CLIP_GRADIENTS.CLIP_TYPE": ["norm", "value"],
    "SOLVER.LR_FACTORS": ["[['backbone', 0.0]]", "[]"],
    "SEED": [-1, 0, 2**31 - 1],
    "TEST.METRIC": ["euclidean", "cosine"],
    "TEST.EVAL_PERIOD": [0, 1],
    "TEST.RERANK.ENABLED True TEST.RERANK.K1": [1, 50],
    "TEST.AQE.ENABLED True TEST.AQE.QE_K": [1, 99],
    "TEST.OCCLUSION.ENABLED True TEST.OCCLUSION.PROB": [0, 1, 0.3],
    "TEST.EVALUATOR": ["host", "streamed"],
    "DATASETS.HOLD_OUT": [2],
    "DATASETS.VALIDATION": [2],
    "DATASETS.TESTS": ["['SynthReIDOccludedTiny']", "('SynthReIDTiny','SynthReIDOccludedTiny')"],
    "INPUT.FLIP.ENABLED": [True, False],
    "INPUT.PADDING.ENABLED": [True, False],
    "INPUT.CJ.ENABLED True INPUT.CJ.PROB": [0, 1],
    "INPUT.REA.ENABLED False INPUT.BATCH_AUGMENT.NAME": ["[]"],
    "MODEL.PIXEL_MEAN": ["[0,0,0]"],
    "MODEL.BACKBONE.LAST_STRIDE": [1],
    "MODEL.BACKBONE.NORM": ["BN", "GhostBN", "FrozenBN"],
    "MODEL.HEADS.NORM": ["BN"],
    "OUTPUT_DIR": ["2024", "with blank", "out/below"],
    "DATALOADER.CACHE_DIR": ["cache", ""],
}

CONFIG_FILES = """
nowhere.yml
demo/nowhere.yml
demo
odd/empty
odd/text
odd/bytes
odd/latin
odd/nothing
odd/fifo
odd/loop
odd/zip
/dev/null
deepminer.pth
images/a.png
""".strip().splitlines()


def wrong_types(seed: int) -> Iterator[Line]:
    """Yield for each key each value that its type can't have, in the project whose turn it is."""
    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.key_tracking import leaves

    turn = random.Random(seed)
    for key, default in leaves(get_cfg()):
        for value in OF_TYPE[type(default)]:
            if (key, value) not in MAY:
                project = turn.choice(PROJECTS)
                yield ["train", "--config-file", f"demo/{project}.yml", *pairs(project), key, value], REFUSED


def wrong_values() -> Iterator[Line]:
    """Yield what no project can train with, for each of them, and what one of them can't."""
    for project in PROJECTS:
        for line in (*WRONG, *OF_PROJECT[project].strip().splitlines()):
            if (project, line.split()[0]) == ("occluded", "MODEL.FREEZE_LAYERS"):
                continue
            yield ["train", "--config-file", f"demo/{project}.yml", *pairs(project), *_words(line)], REFUSED
    for file in CONFIG_FILES:
        yield ["train", "--config-file", file, *pairs("deepminer")], REFUSED
    yield ["train", *pairs("deepminer")], REFUSED
    yield ["train", "--config-file", "demo/deepminer.yml", "--eval-only", *pairs("deepminer")], REFUSED
    for project in PROJECTS:
        other = PROJECTS[PROJECTS.index(project) - 1]
        line = ["train", "--config-file", f"demo/{project}.yml", "--eval-only", *pairs(project), "MODEL.WEIGHTS"]
        yield [*line, f"{other}.pth"], REFUSED
        yield [*line, f"{project}.pth"], ACCEPTED


def right_values(seed: int, count: int) -> Iterator[Line]:
    """Yield lines of one to three settings that each project can be trained with."""
    draw = random.Random(seed)
    for number in range(count):
        project = PROJECTS[number % len(PROJECTS)]
        chosen = draw.sample(sorted(RIGHT), k=draw.randint(1, 3))
        line = [word for keys in chosen for word in (*keys.split(), str(draw.choice(RIGHT[keys])))]
        yield ["train", "--config-file", f"demo/{project}.yml", *pairs(project), *line], ACCEPTED


def _words(line: str) -> list[str]:
    return [{'""': ""}.get(word, word) for word in line.split(" ")]
