"""Keys that have no effect: said to whoever gave them, and to nobody else."""

import pytest
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.batches import check_training_set
from fastreid_ext.engine.checks.config import check_config, mistakes
from fastreid_ext.engine.checks.effects import TABLE, value_of, without_effect
from fastreid_ext.engine.checks.names import VECTORS, pooling_mistakes
from fastreid_ext.engine.key_tracking import leaves
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config_file, list_config_files

DATA = ("DATASETS.NAMES", "('SynthReIDTiny',)", "DATASETS.TESTS", "('SynthReIDTiny',)", "MODEL.DEVICE", "cpu")


def merged(config, *overrides):
    cfg = get_cfg()
    merge_config(cfg, get_config_file(config) if config.endswith(".yml") and config[0] != "/" else config, overrides)
    return cfg


IDLE = {
    "TEST.RERANK.K1": ("30", "TEST.RERANK.ENABLED is False"),
    "TEST.AQE.QE_K": ("7", "TEST.AQE.ENABLED is False"),
    "INPUT.CJ.PROB": ("0.7", "INPUT.CJ.ENABLED is False"),
    "INPUT.AUTOAUG.PROB": ("0.7", "INPUT.AUTOAUG.ENABLED is False"),
    "INPUT.AUTOAUG.ENABLED": ("True", "INPUT.AUTOAUG.PROB is 0.0"),
    "INPUT.AUGMIX.ENABLED": ("True", "INPUT.AUGMIX.PROB is 0.0"),
    "MODEL.FREEZE_LAYERS": ("['backbone']", "SOLVER.FREEZE_ITERS is 0"),
    "SOLVER.FREEZE_ITERS": ("10", "MODEL.FREEZE_LAYERS is []"),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": ("1.0", "SOLVER.CLIP_GRADIENTS.ENABLED is False"),
    "TEST.OCCLUSION.PROB": ("0.7", "TEST.OCCLUSION.ENABLED is False"),
    "TEST.OPEN_SET.SEED": ("3", "TEST.OPEN_SET.SHARE is 0.0"),
    "TEST.OPEN_SET.SHARE": ("0.5", "TEST.EVALUATOR is 'host'", "TEST.EVALUATOR", "host"),
    "TEST.PRECISE_BN.NUM_ITER": ("5", "TEST.PRECISE_BN.ENABLED is False"),
    "MODEL.LOSSES.TRI.MARGIN": ("0.5", "MODEL.LOSSES.NAME has no TripletLoss"),
    "MODEL.LOSSES.CIRCLE.MARGIN": ("0.5", "MODEL.LOSSES.NAME has no CircleLoss"),
    "MODEL.LOSSES.FL.GAMMA": ("3", "nothing reads it"),
    "MODEL.LOSSES.BED.ALPHA": ("0.5", "MODEL.LOSSES.NAME has no BoundedExponentialDistanceLoss"),
    "SOLVER.STEPS": ("[3]", "SOLVER.SCHED is 'CosineAnnealingLR'"),
    "SOLVER.GAMMA": ("0.5", "SOLVER.SCHED is 'CosineAnnealingLR'"),
    "SOLVER.CHECKPOINT_PERIOD": (
        "7",
        "SOLVER.CHECKPOINT_KEEP has no periodic",
        "SOLVER.CHECKPOINT_KEEP",
        "['best']",
    ),
    "SOLVER.MOMENTUM": ("0.5", "SOLVER.OPT is 'Adam'"),
    "MODEL.HEADS.MARGIN": ("0.5", "MODEL.HEADS.CLS_LAYER is 'Linear'"),
    "DATALOADER.PAIRS.POSITIVE_SHARE": ("0.7", "DATALOADER.SAMPLER_TRAIN is 'NaiveIdentitySampler'"),
    "MODEL.BACKBONE.PRETRAIN_PATH": ("x.pth", "MODEL.BACKBONE.PRETRAIN is False"),
    "INPUT.BATCH_AUGMENT.REA.PROB": ("0.7", "INPUT.BATCH_AUGMENT.NAME has no RandomErasing"),
    "SOLVER.AMP.DTYPE": ("bf16", "SOLVER.AMP.ENABLED is False"),
    "INPUT.JOINTS.TEST": ("True", "INPUT.JOINTS.ENABLED is False"),
    "MODEL.DEEPMINER.ERASE_THRESHOLD": ("0.5", "MODEL.DEEPMINER.IE_BLOCKS is []", "MODEL.DEEPMINER.IE_BLOCKS", "[]"),
    "MODEL.OCCLUDED.TEST_FEATURE": ("pooled", "MODEL.OCCLUDED.ME.ENABLED is True", "MODEL.OCCLUDED.ME.ENABLED", "True"),
    "MODEL.MSREID.MASK_BEFORE_REDUCE": ("True", "MODEL.MSREID.MASK is False", "MODEL.MSREID.MASK", "False"),
    "MODEL.MULTITASK.VERIFICATION_WEIGHT": (
        "0.5",
        "MODEL.MULTITASK.VERIFICATION is False",
        "MODEL.MULTITASK.VERIFICATION",
        "False",
    ),
    "TEST.REPORT.OCCLUSION_EDGES": ("[0.0, 0.3]", "TEST.PROTOCOL is 'cuhk03'", "TEST.PROTOCOL", "cuhk03"),
    "TEST.REPORT.OCCLUSION_FILES": (
        "[['SynthReID', 'x.csv']]",
        "TEST.PROTOCOL is 'cuhk03'",
        "TEST.PROTOCOL",
        "cuhk03",
    ),
    "SOLVER.HEADS_LR_FACTOR": (
        "2.0",
        "SOLVER.LR_FACTORS has a factor for heads",
        "SOLVER.LR_FACTORS",
        "[['heads', 3.0]]",
    ),
}


@pytest.mark.parametrize("key", IDLE)
def test_a_key_under_a_switch_that_is_off(key):
    value, because, *others = IDLE[key]
    cfg = merged("demo/deepminer.yml", "SOLVER.AMP.ENABLED", "False", key, value, *others)
    assert list(without_effect(cfg)) == [f"{key} has no effect here: {because}"]


@pytest.mark.parametrize("prob", ["0.0", "0.5"])
def test_a_probability_that_is_given_is_meant(prob):
    """FastReID's own is 0 for AutoAug and AugMix; a sweep may begin there."""
    cfg = merged("demo/baseline.yml", *DATA, "INPUT.AUGMIX.ENABLED", "True", "INPUT.AUGMIX.PROB", prob)
    assert list(without_effect(cfg)) == []


def test_what_is_off_anyway_may_be_switched_off():
    """FastReID's evaluator draws no rank lists: to say that none are wanted is no mistake, to ask for some is."""
    host = ("SOLVER.AMP.ENABLED", "False", "TEST.EVALUATOR", "host")
    default = value_of(get_cfg(), "TEST.RANK_LIST.ENABLED")
    assert default is True and list(without_effect(merged("demo/deepminer.yml", *host))) == []
    assert list(without_effect(merged("demo/deepminer.yml", *host, "TEST.RANK_LIST.ENABLED", "False"))) == []
    (said,) = without_effect(merged("demo/deepminer.yml", *host, "TEST.RANK_LIST.QUERIES", "3"))
    assert said == "TEST.RANK_LIST.QUERIES has no effect here: TEST.EVALUATOR is 'host'"


LAST = "MODEL.BACKBONE.LAST_STRIDE"
OSNET = ("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_5")
MOBILE = ("MODEL.BACKBONE.NAME", "build_mobilenetv2_backbone", "MODEL.BACKBONE.DEPTH", "1.0x")


@pytest.mark.parametrize(
    ("overrides", "always"),
    [
        ((*OSNET, LAST, "2"), "build_osnet_backbone always has a last stride of 1"),
        ((*OSNET, LAST, "1"), None),
        (OSNET, None),
        ((*MOBILE, LAST, "1"), "build_mobilenetv2_backbone always has a last stride of 2"),
        ((*MOBILE, LAST, "2"), None),
        (MOBILE, None),
        (("MODEL.BACKBONE.NAME", "build_dnl_backbone", "MODEL.BACKBONE.DNL.TRUNK", OSNET[1], LAST, "2"), "osnet"),
        ((LAST, "1"), None),
        ((LAST, "2"), None),
    ],
)
@pytest.mark.parametrize("config", ["demo/deepminer.yml", "DeepMiner/Market1501_R50.yml"])
def test_the_last_stride_of_a_trunk_that_has_its_own(config, overrides, always):
    """Said to whoever gives another one; a shipped config sets it for its own trunk."""
    said = [one for one in without_effect(merged(config, "SOLVER.AMP.ENABLED", "False", *overrides)) if LAST in one]
    assert len(said) == bool(always)
    assert all(one.startswith(f"{LAST} has no effect here: ") and always in one for one in said)


@pytest.mark.parametrize(
    ("name", "depth", "idle"), [("resnet", "18x", True), ("resnet", "34x", True), ("resnet", "50x", False)]
)
def test_non_local_blocks_of_a_shallow_resnet(name, depth, idle):
    """FastReID reads the key and makes none."""
    trunk = ("MODEL.BACKBONE.NAME", f"build_{name}_backbone", "MODEL.BACKBONE.DEPTH", depth)
    cfg = merged("demo/deepminer.yml", *trunk, "MODEL.BACKBONE.WITH_NL", "True")
    said = [one for one in without_effect(cfg) if "WITH_NL" in one]
    key = "MODEL.BACKBONE.WITH_NL has no effect here: FastReID puts no non-local blocks into a ResNet of depth"
    assert said == [f"{key} {depth}"] * idle
    with torch.device("meta"):
        blocks = [key for key in build_backbone(cfg).state_dict() if key.startswith("NL_")]
    assert bool(blocks) is not idle


def test_cameras_of_fastreids_transformer(monkeypatch):
    """FastReID reads how much their embedding weighs, and gives its transformer none; a fork may."""
    transformer = ("MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.BACKBONE.DEPTH", "small")
    cfg = merged("demo/baseline.yml", *transformer, "MODEL.BACKBONE.SIE_COE", "1.0")
    (said,) = (one for one in without_effect(cfg) if "SIE_COE" in one)
    assert said == "MODEL.BACKBONE.SIE_COE has no effect here: FastReID's build_vit_backbone makes no camera embedding"

    def of_a_fork(cfg):
        return cfg.camera

    without_source = {}
    exec("def build(cfg): return cfg", without_source)
    for build in (of_a_fork, without_source["build"], print):
        monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_vit_backbone", build)
        assert not [one for one in without_effect(cfg) if "SIE_COE" in one]


@pytest.mark.parametrize(("key", "value"), [("POSITIONS", "alternate"), ("REDUCTION", "4"), ("TEMPERATURE", "0.5")])
def test_settings_of_no_non_local_block(key, value):
    node = "MODEL.BACKBONE.DNL"
    overrides = ("MODEL.BACKBONE.NAME", "build_dnl_backbone", f"{node}.{key}", value)
    cfg = merged("demo/deepminer.yml", *overrides, f"{node}.BLOCKS", "[0, 0, 0, 0]")
    said = [one for one in without_effect(cfg) if node in one]
    assert said == [f"{node}.{key} has no effect here: {node}.BLOCKS is [0, 0, 0, 0]"]
    cfg = merged("demo/deepminer.yml", *overrides, f"{node}.BLOCKS", "[0, 0, 1, 0]")
    assert not [one for one in without_effect(cfg) if node in one]


def test_a_last_stride_of_ones_own_yaml(tmp_path):
    own = tmp_path / "own.yml"
    own.write_text(f"_BASE_: {get_config_file('demo/deepminer.yml')}\nMODEL: {{BACKBONE: {{NAME: {OSNET[1]}}}}}")
    assert not [one for one in without_effect(merged(str(own))) if LAST in one]
    own.write_text(f"{own.read_text()[:-2]}, LAST_STRIDE: 2}}}}")
    assert [one for one in without_effect(merged(str(own))) if LAST in one]


def test_a_model_of_the_users_own_may_read_the_settings_of_any_loss(monkeypatch):
    kind = type("MyModel", (nn.Module,), {"__module__": "my_models"})
    monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, "MyModel", kind)
    alpha = ("MODEL.LOSSES.BED.ALPHA", "0.5")
    assert list(without_effect(merged("demo/deepminer.yml", *alpha)))
    assert list(without_effect(merged("demo/deepminer.yml", *alpha, "MODEL.META_ARCHITECTURE", "MyModel"))) == []


def test_a_part_of_a_shipped_config_may_be_switched_off(tmp_path):
    off = ("INPUT.REA.ENABLED", "False", "SOLVER.SCHED", "CosineAnnealingLR", "MODEL.FREEZE_LAYERS", "[]")
    cfg = merged(
        "OccludedReID/OccludedDuke_R50.yml", *off, "INPUT.BATCH_AUGMENT.NAME", "[]", "INPUT.AUTOAUG.ENABLED", "False"
    )
    assert list(without_effect(cfg)) == []
    own = tmp_path / "own.yml"
    own.write_text(f"_BASE_: {get_config_file('demo/deepminer.yml')}\nTEST: {{RERANK: {{ENABLED: True, K1: 30}}}}")
    assert list(without_effect(merged(str(own)))) == []
    assert list(without_effect(merged(str(own), "TEST.RERANK.ENABLED", "False"))) == []  # K1 is the yaml's
    again = merged(str(own), "TEST.RERANK.ENABLED", "False", "TEST.RERANK.K1", "40")
    assert [sentence[:14] for sentence in without_effect(again)] == ["TEST.RERANK.K1"]
    own.write_text(f"_BASE_: {get_config_file('demo/deepminer.yml')}\nTEST: {{RERANK: {{K1: 30}}}}")
    assert [sentence[:14] for sentence in without_effect(merged(str(own)))] == ["TEST.RERANK.K1"]


def test_a_config_that_was_not_merged_by_us():
    cfg = get_cfg()
    cfg.TEST.RERANK.K1 = 30
    assert [sentence[:14] for sentence in without_effect(cfg)] == ["TEST.RERANK.K1"]


def test_shipped_configs_have_no_mistake():
    ablations = [name for name in list_config_files() if "/ablation/" in name]  # all written from one table
    for name in [*set(list_config_files()).difference(ablations), *ablations[::5]]:
        assert list(mistakes(merged(name, "MODEL.DEVICE", "cpu"), 1)) == [], name


def test_the_table_names_keys():
    keys = {key for key, _ in leaves(get_cfg())}
    for switch in TABLE:
        for key in (*switch.keys, *switch.by):
            assert key in keys or any(each.startswith(f"{key}.") for each in keys), key
        assert switch.off(get_cfg()) in (True, False)
    assert value_of(get_cfg(), "TEST.RERANK.K1") == 20


def test_all_mistakes_of_a_start_are_listed():
    cfg = merged(
        "demo/deepminer.yml", *DATA, "SOLVER.WARMUP_EPOCHS", "30", "TEST.RERANK.K1", "9", "SOLVER.IMS_PER_BATCH", "7"
    )
    cfg.TEST.RERANK.LAMBDA = 5.0
    with pytest.raises(ConfigError) as error:
        check_config(cfg, 1)
    for part in ("LAMBDA is 5.0", "7 images per batch", "leaves no epoch after SOLVER.WARMUP_EPOCHS"):
        assert part in str(error.value), error.value
    cfg.TEST.RERANK.LAMBDA = 0.3
    with pytest.raises(ConfigError, match="3 mistakes:(.|\n)*TEST.RERANK.K1 has no effect here"):
        check_config(cfg, 1)


WRONG = {
    "POOL_LAYER": (["MODEL.HEADS.POOL_LAYER", "Identity"], "makes no vector"),
    "syncBN": (["MODEL.BACKBONE.NORM", "syncBN"], "for GPUs only"),
    "data set": (
        ["DATASETS.NAMES", "('market1501',)"],
        "no data set is registered as 'market1501' (DATASETS.NAMES); did",
    ),
    "twice": (["DATASETS.NAMES", "('PKU','PKU')"], "DATASETS.NAMES names PKU 2 times"),
    "loss": (["MODEL.LOSSES.NAME", "['centerloss']"], "did you mean CenterLoss"),
    "losses": (["MODEL.LOSSES.NAME", "['CenterLoss', 'CenterLoss']"], "name each loss once"),
    "batch of one": (
        ["DATALOADER.SAMPLER_TRAIN", "TrainingSampler", "SOLVER.IMS_PER_BATCH", "1"],
        "one image per batch and process",
    ),
    "BED": (
        ["MODEL.LOSSES.NAME", "['BoundedExponentialDistanceLoss']", "DATALOADER.SAMPLER_TRAIN", "TrainingSampler"],
        "set NaiveIdentitySampler",
    ),
    "teachers": (
        [
            "MODEL.META_ARCHITECTURE",
            "Distiller",
            "MODEL.LOSSES.NAME",
            "['CrossEntropyLoss']",
            "KD.MODEL_CONFIG",
            "['a']",
        ],
        "KD.MODEL_CONFIG has 1 teachers and KD.MODEL_WEIGHTS weights of 0",
    ),
    "no teacher": (
        [
            *("MODEL.META_ARCHITECTURE", "Distiller", "MODEL.LOSSES.NAME", "['CrossEntropyLoss']"),
            *("KD.MODEL_CONFIG", f"['{__file__}']", "KD.MODEL_WEIGHTS", "['gone.pth']"),
        ],
        "there is no file gone.pth, which KD names for a teacher",
    ),
    "MoCo's queue": (
        ["MODEL.META_ARCHITECTURE", "MoCo", "MODEL.LOSSES.NAME", "['CrossEntropyLoss']", "MODEL.QUEUE_SIZE", "65"],
        "MODEL.QUEUE_SIZE (65) of MoCo must be a multiple of SOLVER.IMS_PER_BATCH (64)",
    ),
    "batch norms' data set": (
        ["TEST.PRECISE_BN.ENABLED", "True", "TEST.PRECISE_BN.DATASET", "Market"],
        "no data set is registered as 'Market' (TEST.PRECISE_BN.DATASET)",
    ),
    "no test set": (["DATASETS.TESTS", "()"], "DATASETS.TESTS is empty and must name a data set"),
    "mirror": (
        ["INPUT.PADDING.ENABLED", "True", "INPUT.PADDING.MODE", "reflect", "INPUT.PADDING.SIZE", "64"],
        "must be below the 64 pixels",
    ),
    "nesterov": (["SOLVER.OPT", "SGD", "SOLVER.NESTEROV", "True", "SOLVER.MOMENTUM", "0"], "MOMENTUM above 0"),
    "floor": (["SOLVER.ETA_MIN_LR", "1"], "SOLVER.ETA_MIN_LR (1), where the cosine ends, is above"),
    "device": (["MODEL.DEVICE", "mps"], "MODEL.DEVICE is 'mps', on which"),
    "meta": (["MODEL.DEVICE", "meta"], "MODEL.DEVICE is 'meta', on which"),
    "second cpu": (["MODEL.DEVICE", "cpu:1"], "there is one cpu"),
    "address": (["MODEL.WEIGHTS", "https://example.org/x.pth"], "nothing is downloaded"),
    "long": (["MODEL.WEIGHTS", "x" * 300], "longer than a file system allows"),
    "folder": (["MODEL.WEIGHTS", "/"], "which is a folder"),
    "no output": (["OUTPUT_DIR", ""], "OUTPUT_DIR is empty"),
    "file": (["OUTPUT_DIR", __file__], "is a file, so name another folder"),
    "nobody": (["OUTPUT_DIR", "~nobody-of-that-name/x"], "there is no such user"),
}


@pytest.mark.parametrize("what", WRONG)
def test_combinations_that_can_not_work(what):
    overrides, part = WRONG[what]
    cfg = merged("demo/deepminer.yml", *DATA, *overrides)
    (sentence,) = mistakes(cfg, 1)
    assert part in sentence and "\n" not in sentence


def test_a_backbone_that_ends_in_a_vector_needs_no_pooling():
    cfg = merged("demo/deepminer.yml", "MODEL.HEADS.POOL_LAYER", "Identity", "MODEL.BACKBONE.NAME", VECTORS)
    assert list(pooling_mistakes(cfg)) == []


ADVICE = {
    "a warm-up as long as the run": (
        ["SOLVER.WARMUP_EPOCHS", "24"],
        "for none set WARMUP_EPOCHS 0 and WARMUP_ITERS 0",
        ["SOLVER.WARMUP_EPOCHS", "0", "SOLVER.WARMUP_ITERS", "0"],
    ),
    "two warm-ups": (
        ["SOLVER.WARMUP_EPOCHS", "2", "SOLVER.WARMUP_ITERS", "50"],
        "set one of them to 0",
        ["SOLVER.WARMUP_EPOCHS", "2", "SOLVER.WARMUP_ITERS", "0"],
    ),
    "the other of them": (
        ["SOLVER.WARMUP_EPOCHS", "2", "SOLVER.WARMUP_ITERS", "50"],
        "set one of them to 0",
        ["SOLVER.WARMUP_EPOCHS", "0", "SOLVER.WARMUP_ITERS", "50"],
    ),
    "a delay": (["SOLVER.DELAY_EPOCHS", "24"], "lower DELAY_EPOCHS", ["SOLVER.DELAY_EPOCHS", "20"]),
    "an early step": (
        ["SOLVER.SCHED", "MultiStepLR", "SOLVER.STEPS", "[2, 9]"],
        "the first may be 3",
        ["SOLVER.SCHED", "MultiStepLR", "SOLVER.STEPS", "[3, 9]"],
    ),
    "a batch of one": (
        ["DATALOADER.SAMPLER_TRAIN", "TrainingSampler", "SOLVER.IMS_PER_BATCH", "1"],
        "set SOLVER.IMS_PER_BATCH to 2 or more",
        ["DATALOADER.SAMPLER_TRAIN", "TrainingSampler", "SOLVER.IMS_PER_BATCH", "2"],
    ),
    "a whole number": (["SOLVER.MAX_EPOCH", "30.0"], "write 30", ["SOLVER.MAX_EPOCH", "30"]),
}


@pytest.mark.parametrize("what", ADVICE)
def test_advice_leads_to_what_is_accepted(what):
    wrong, advice, right = ADVICE[what]
    with pytest.raises(ConfigError) as error:
        check_config(merged("demo/deepminer.yml", *DATA, *wrong), 1)
    assert advice in str(error.value)
    check_config(merged("demo/deepminer.yml", *DATA, *right), 1)


def test_advice_about_identities():
    cfg = merged("demo/deepminer.yml", *DATA)
    items = [(f"{n}.jpg", n % 3, n) for n in range(90)]
    with pytest.raises(ConfigError, match="has 3 identities, .* lower SOLVER.IMS_PER_BATCH to 12"):
        check_training_set(cfg, items, 1)
    cfg.SOLVER.IMS_PER_BATCH = 12
    check_training_set(cfg, items, 1)
    check_config(cfg, 1)
    cfg.SOLVER.IMS_PER_BATCH = 64
    with pytest.raises(ConfigError, match="3 identities, and each of 2 processes needs two in a batch"):
        check_training_set(cfg, items, 2)
    with pytest.raises(ConfigError, match="of 1 identity, and nobody to tell it from: train on two people"):
        check_training_set(cfg, items[::3], 1)


def test_advice_about_identities_in_parts_of_a_batch():
    cfg = merged("demo/deepminer.yml", *DATA, "SOLVER.ACCUMULATION", "2")
    items = [(f"{n}.jpg", n % 5, n) for n in range(90)]
    with pytest.raises(ConfigError, match="has 5 identities, .* lower SOLVER.IMS_PER_BATCH to 16"):  # not 20: 10 a part
        check_training_set(cfg, items, 1)
    cfg.SOLVER.IMS_PER_BATCH = 16
    check_training_set(cfg, items, 1)
    check_config(cfg, 1)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATION = 64, 4
    with pytest.raises(ConfigError, match="needs two in each of the 4 parts .*, or lower SOLVER.ACCUMULATION$"):
        check_training_set(cfg, items, 1)


def test_a_home_folder_is_written_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    cfg = merged("demo/deepminer.yml", "OUTPUT_DIR", "~/x", "MODEL.WEIGHTS", "~/y.pth")
    assert (cfg.OUTPUT_DIR, cfg.MODEL.WEIGHTS) == ("/home/me/x", "/home/me/y.pth")
