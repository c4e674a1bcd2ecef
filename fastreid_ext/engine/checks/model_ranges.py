"""The table of ranges for MODEL and KD: FastReID's keys, and those of the papers."""

from typing import Any

from fastreid.layers import any_softmax, get_norm, pooling
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.engine.checks.rules import FLAG, TEXT, Rule, also, listed, nearest, number, one_of, share, whole
from fastreid_ext.losses.bounded_exponential_distance import REDUCTIONS
from fastreid_ext.modeling.distillation_table import DISTILLATION_LOSSES

NORMS = ("BN", "syncBN", "GhostBN", "FrozenBN", "GN")
LONGEST, SIDE, BLOCKS = 2**20, 4096, 50
MOST = 10**6  # of a weight, a scale or a margin: beyond it every loss overflows
WEIGHT, POSITIVE, NOT_NEGATIVE = number(0, MOST), number(above=0, high=MOST), number(0, MOST)


def _norm_exists(name: Any) -> bool:
    """Ask FastReID itself, whose names are in a function."""
    try:
        return isinstance(name, str) and name != "" and get_norm(name, 32) is not None
    except KeyError:
        return False


def _names_of(registry: Any) -> Rule:
    return one_of(lambda: registry._obj_map, listed=False)


NORM = Rule(
    _norm_exists, f"a norm of FastReID's: {', '.join(NORMS)}", lambda value: nearest(value, NORMS, everything_said=True)
)
THREE_NUMBERS = listed(
    number(-MOST, MOST), least=3, most=3, what="three finite numbers, one for each of red, green and blue"
)

MODEL_RANGES: dict[str, Rule] = {
    "MODEL.META_ARCHITECTURE": _names_of(META_ARCH_REGISTRY),
    "MODEL.FREEZE_LAYERS": listed(TEXT, what="a list of module names, such as ['backbone']"),
    "MODEL.QUEUE_SIZE": whole(1, 2**24),
    "MODEL.PIXEL_MEAN": THREE_NUMBERS,
    "MODEL.PIXEL_STD": listed(
        # In float32 a smaller one is 0, or makes a pixel infinite.
        number(1e-6, MOST),
        least=3,
        most=3,
        what="three finite numbers above 0, from 1e-6 on: images are divided by them",
    ),
    "MODEL.BACKBONE.NAME": _names_of(BACKBONE_REGISTRY),
    "MODEL.BACKBONE.LAST_STRIDE": one_of((1, 2)),
    "MODEL.BACKBONE.FEAT_DIM": whole(1, LONGEST),
    "MODEL.BACKBONE.NORM": NORM,
    **dict.fromkeys((f"MODEL.BACKBONE.WITH_{part}" for part in ("IBN", "SE", "NL")), FLAG),
    "MODEL.BACKBONE.SIE_COE": NOT_NEGATIVE,
    "MODEL.BACKBONE.STRIDE_SIZE": listed(whole(1, SIDE), least=2, most=2, what="two whole numbers, 1 or more"),
    "MODEL.BACKBONE.DROP_PATH_RATIO": share(below=1),
    "MODEL.BACKBONE.DROP_RATIO": share(below=1),
    "MODEL.BACKBONE.ATT_DROP_RATE": share(below=1),
    "MODEL.BACKBONE.PRETRAIN": FLAG,
    "MODEL.BACKBONE.PRETRAIN_PARTIAL": FLAG,
    "MODEL.WEIGHTS_PARTIAL": FLAG,
    "MODEL.CHANNELS_LAST": Rule(
        lambda value: value is None or FLAG.holds(value), "True, False, or None, by which a long training tries both"
    ),
    "MODEL.BACKBONE.DNL.BLOCKS": listed(
        whole(0, BLOCKS), least=4, most=4, what="how many blocks of stages 1 to 4, such as [0, 2, 3, 0]"
    ),
    "MODEL.BACKBONE.DNL.POSITIONS": one_of(("last", "alternate")),
    "MODEL.BACKBONE.DNL.REDUCTION": whole(1, 2048),
    "MODEL.BACKBONE.DNL.TEMPERATURE": POSITIVE,
    "MODEL.BACKBONE.DNL.TRUNK": _names_of(BACKBONE_REGISTRY),
    "MODEL.BACKBONE.NARROW.WIDTH": Rule(lambda value: whole(8, 64).holds(value) and value % 8 == 0, "8, 16, ... 64"),
    "MODEL.BACKBONE.TIMM.NAME": TEXT,  # which names there are, timm knows
    "MODEL.BACKBONE.TIMM.DROP_PATH": share(below=1),
    "MODEL.BACKBONE.TIMM.CHECKPOINTING": FLAG,
    "MODEL.BACKBONE.RES2NET.WIDTH": whole(1, 1024),
    "MODEL.BACKBONE.RES2NET.SCALE": whole(1, 64),
    "MODEL.BACKBONE.RES2NET.V1B": FLAG,
    "MODEL.HEADS.NAME": _names_of(REID_HEADS_REGISTRY),
    "MODEL.HEADS.NORM": NORM,
    "MODEL.HEADS.NUM_CLASSES": whole(0, 10**7),
    "MODEL.HEADS.EMBEDDING_DIM": whole(0, LONGEST),
    "MODEL.HEADS.WITH_BNNECK": FLAG,
    "MODEL.HEADS.NECK_FEAT": one_of(("before", "after")),
    "MODEL.HEADS.POOL_LAYER": one_of(pooling.__all__),
    "MODEL.HEADS.CLS_LAYER": one_of(any_softmax.__all__),
    "MODEL.HEADS.MARGIN": share(),
    "MODEL.HEADS.SCALE": POSITIVE,
    # ---- losses: EPSILON -1 is FastReID's adaptive smoothing, and a margin of 0 its soft margin ----
    "MODEL.LOSSES.CE.EPSILON": Rule(
        lambda value: value == -1 or share(below=1).holds(value), "from 0 to below 1, or -1 for the adaptive smoothing"
    ),
    "MODEL.LOSSES.CE.ALPHA": share(),
    "MODEL.LOSSES.FL.ALPHA": share(),
    "MODEL.LOSSES.FL.GAMMA": NOT_NEGATIVE,
    "MODEL.LOSSES.TRI.MARGIN": NOT_NEGATIVE,
    "MODEL.LOSSES.TRI.NORM_FEAT": FLAG,
    "MODEL.LOSSES.TRI.HARD_MINING": FLAG,
    "MODEL.LOSSES.CIRCLE.MARGIN": share(),
    "MODEL.LOSSES.CIRCLE.GAMMA": POSITIVE,
    "MODEL.LOSSES.COSFACE.MARGIN": share(),
    "MODEL.LOSSES.COSFACE.GAMMA": POSITIVE,
    "MODEL.LOSSES.SMOOTHED_CE.EPSILON": share(below=1),
    "MODEL.LOSSES.HARD_TRIPLET.MARGIN": POSITIVE,
    "MODEL.LOSSES.BED.ALPHA": POSITIVE,
    "MODEL.LOSSES.BED.NORM": FLAG,
    "MODEL.LOSSES.BED.REDUCTION": one_of(REDUCTIONS),
    "MODEL.LOSSES.SUPCON.TEMPERATURE": POSITIVE,
    "MODEL.LOSSES.CENTER.RATE": share(),
    **{
        f"MODEL.LOSSES.{node}.SCALE": WEIGHT
        for node in (
            "CE",
            "FL",
            "TRI",
            "CIRCLE",
            "COSFACE",
            "SMOOTHED_CE",
            "SOFT_TRIPLET",
            "HARD_TRIPLET",
            "BED",
            "SUPCON",
        )
    },
    "MODEL.LOSSES.CENTER.SCALE": WEIGHT,
    "MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION.ENABLED": FLAG,
    "MODEL.TEST_FEATURE.MOMENTUM_ELIMINATION.BETA": share(below=1),
    # ---- Deep Miner, MSReID ----
    "MODEL.DEEPMINER.IE_BLOCKS": listed(one_of((1, 2, 3)), what="a list of blocks out of 1, 2 and 3"),
    "MODEL.DEEPMINER.ERASE_THRESHOLD": share(),
    "MODEL.DEEPMINER.LOCAL_STRIPES": whole(0, SIDE),
    "MODEL.DEEPMINER.ATTENTION_BLOCKS": listed(one_of((1, 2, 3, 4)), what="a list of blocks out of 1, 2, 3 and 4"),
    "MODEL.DEEPMINER.SAM.ENABLED": FLAG,
    "MODEL.DEEPMINER.SAM.REDUCTION": whole(1, 2048),
    "MODEL.DEEPMINER.CHAM.ENABLED": FLAG,
    "MODEL.DEEPMINER.CHAM.REDUCTION": whole(1, 2048),
    "MODEL.DEEPMINER.CHAM.ACTIVATION": one_of(("softmax", "sigmoid", "softmax_spatial")),
    "MODEL.DEEPMINER.CHAM.RESCALE": FLAG,
    "MODEL.DEEPMINER.TEST_BRANCH_NORM": FLAG,
    **{f"MODEL.MSREID.{key}": FLAG for key in ("ATTENTION", "LOCAL", "MASK", "MASK_BEFORE_REDUCE", "SHARED_CENTERS")},
    "MODEL.MSREID.DIM": whole(1, LONGEST),
    "MODEL.MSREID.POOL": one_of(("sum", "concat")),
    "MODEL.MSREID.INIT": one_of(("authors", "torch")),
    "MODEL.MSREID.STEM_POOL": one_of(("host", "torchvision")),
    # ---- occluded re-identification, multi-task Res2Net ----
    "MODEL.OCCLUDED.RP.ENABLED": FLAG,
    "MODEL.OCCLUDED.RP.CLASSIFIER": FLAG,
    "MODEL.OCCLUDED.ME.ENABLED": FLAG,
    "MODEL.OCCLUDED.ME.BETA": share(below=1),
    "MODEL.OCCLUDED.TEST_FEATURE": one_of(("neck", "pooled")),
    "MODEL.OCCLUDED.CLASSIFIER.MODE": one_of(("per_head", "summed", "circle")),
    "MODEL.OCCLUDED.CLASSIFIER.HEADS": whole(1, 4096),
    "MODEL.OCCLUDED.CLASSIFIER.SCALE": POSITIVE,
    "MODEL.OCCLUDED.CLASSIFIER.GAMMA": POSITIVE,
    "MODEL.MULTITASK.DESCRIPTOR": TEXT,  # its pattern is the head's
    "MODEL.MULTITASK.DROPOUT": share(below=1),
    "MODEL.MULTITASK.VERIFICATION": FLAG,
    "MODEL.MULTITASK.VERIFICATION_WEIGHT": POSITIVE,
    # ---- MGRe ----
    "MODEL.MGRE.STAGES": listed(one_of((1, 2, 3)), what="a list of stages out of 1, 2 and 3"),
    "MODEL.MGRE.WHOLE_IMAGE": listed(one_of((1, 2, 3, 4)), what="a list of stages out of 1, 2, 3 and 4"),
    "MODEL.MGRE.MAPS": one_of(("own", "last")),
    "MODEL.MGRE.BOXES": one_of(("located", "labelled")),
    "MODEL.MGRE.SAMPLE": FLAG,
    "MODEL.MGRE.LOCATION_INPUT": one_of(("raw", "fused")),
    "MODEL.MGRE.FE.BLOCKS": whole(-1, 8, such_as=": -1 has as many as the stage, 0 has none"),
    "MODEL.MGRE.LOCATION.MARGIN": share(below=0.5),
    "MODEL.MGRE.LOCATION.CONFIDENCE": share(below=1),
    "MODEL.MGRE.LOCATION.MIN_JOINTS": whole(1, len(COCO_JOINTS)),
    "MODEL.MGRE.LOCATION.UNITS": one_of(("pixels", "shares")),
    "MODEL.MGRE.LOCATION.WEIGHT": POSITIVE,
    "MODEL.MGRE.LAMBDA": POSITIVE,
    "MODEL.MGRE.TEST_WEIGHTS": listed(POSITIVE, least=4, most=4, what="four finite numbers above 0"),
    # ---- knowledge distillation ----
    "KD.LOSSES.NAME": also(
        listed(one_of(DISTILLATION_LOSSES), least=1),
        lambda value: len(set(value)) == len(value),
        f"a list out of {', '.join(DISTILLATION_LOSSES)}, each once",
    ),
    **{f"KD.LOSSES.{entry.node}.SCALE": POSITIVE for entry in DISTILLATION_LOSSES.values()},
    "KD.EMA.ENABLED": FLAG,
    "KD.EMA.MOMENTUM": share(below=1),
}
