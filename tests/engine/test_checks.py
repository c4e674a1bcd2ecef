"""Every mistake of a user ends in one sentence that says what to change, before any training."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from fastreid_ext import get_cfg
from fastreid_ext.engine.checks.batches import check_training_set
from fastreid_ext.engine.checks.config import check_config
from fastreid_ext.errors import ConfigError


class Harmful:
    """Unpickling it leaves a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="session")
def trained(tmp_path_factory, command_line):
    """OUTPUT_DIR of a run of one epoch."""
    output = tmp_path_factory.mktemp("trained") / "out"
    result = command_line.run(output, overrides={"SOLVER.MAX_EPOCH": 1, "SOLVER.WARMUP_EPOCHS": 0})
    assert result.returncode == 0, result.stdout + result.stderr
    return output


@pytest.fixture
def weights(trained):
    """The weights of that run, whole or changed."""
    return torch.load(trained / "model_final.pth", weights_only=True)["model"]


IMPOSSIBLE = {
    "identities": (
        {"SOLVER__IMS_PER_BATCH": 64},
        ["12 identities", "a batch of 64 with 4 images each needs 16", "IMS_PER_BATCH to 48"],
    ),
    "images": ({"SOLVER__IMS_PER_BATCH": 128}, ["72 images", "SOLVER.IMS_PER_BATCH 128"]),
    "instances": ({"SOLVER__IMS_PER_BATCH": 18}, ["18 images per batch", "DATALOADER.NUM_INSTANCE (4)"]),
    "no instances": ({"DATALOADER__NUM_INSTANCE": 0}, ["DATALOADER.NUM_INSTANCE is 0"]),
    "empty batch": ({"SOLVER__IMS_PER_BATCH": 0}, ["SOLVER.IMS_PER_BATCH is 0"]),
    "no epochs": ({"SOLVER__MAX_EPOCH": 0}, ["SOLVER.MAX_EPOCH is 0"]),
    "checkpoint period": ({"SOLVER__CHECKPOINT_PERIOD": 0}, ["SOLVER.CHECKPOINT_PERIOD is 0"]),
    "keeps nothing": ({"SOLVER__CHECKPOINT_KEEP": "[]"}, ["SOLVER.CHECKPOINT_KEEP is ()", "best, final or latest"]),
    "keeps the optimizer of nothing": (
        {"SOLVER__CHECKPOINT_KEEP": "['periodic','optimizer']"},
        ["SOLVER.CHECKPOINT_KEEP is", "best, final or latest"],
    ),
    "keeps the optimiser of nothing else": (
        {"SOLVER__CHECKPOINT_KEEP": "['latest','optimizer']"},
        ["SOLVER.CHECKPOINT_KEEP is", "optimizer with another than latest"],
    ),
    "keeps twice": ({"SOLVER__CHECKPOINT_KEEP": "['best','best']"}, ["SOLVER.CHECKPOINT_KEEP is", "each once"]),
    "keeps another word": ({"SOLVER__CHECKPOINT_KEEP": "['lates','best']"}, ["CHECKPOINT_KEEP is", "mean latest?"]),
    "keeps a word alone": ({"SOLVER__CHECKPOINT_KEEP": "best"}, ["SOLVER.CHECKPOINT_KEEP"]),
    "sampler": ({"DATALOADER__SAMPLER_TRAIN": "SetReWeightSampler"}, ["SetReWeightSampler", "NaiveIdentitySampler"]),
    "no test set": ({"DATASETS__TESTS": "()"}, ["DATASETS.TESTS"]),
    "classes": ({"MODEL__HEADS__NUM_CLASSES": 99}, ["NUM_CLASSES is 99", "12 identities", "leave it at 0"]),
    "data set": ({"DATASETS__NAMES": "('Nowhere',)"}, ["'Nowhere'", "SynthReIDTiny", "Market1501"]),
    "no size": ({"INPUT__SIZE_TRAIN": "[0, 32]"}, ["INPUT.SIZE_TRAIN is [0, 32]", "height and width in pixels"]),
    "workers": ({"DATALOADER__NUM_WORKERS": -1}, ["DATALOADER.NUM_WORKERS is -1", "from 0 to 1024"]),
    "metric": ({"TEST__METRIC": "foo"}, ["TEST.METRIC is 'foo'", "cosine", "euclidean"]),
    "nothing": ({"SOLVER__MAX_EPOCH": "None"}, ["SOLVER.MAX_EPOCH has no value"]),
    "config file": ({"config": "nowhere.yml"}, ["nowhere.yml", "did you mean", "fastreid-ext configs"]),
    "cosine": (
        {"SOLVER__SCHED": "CosineAnnealingLR", "SOLVER__WARMUP_EPOCHS": 3},
        ["MAX_EPOCH (3) leaves no epoch", "WARMUP_EPOCHS (3)", "WARMUP_EPOCHS 0 and WARMUP_ITERS 0"],
    ),
    "early step": (
        {"SOLVER__STEPS": "[1,2]", "SOLVER__WARMUP_EPOCHS": 2},
        ["SOLVER.STEPS has [1]", "WARMUP_EPOCHS = 2"],
    ),
    "schedule": ({"SOLVER__SCHED": "StepLR"}, ["'StepLR'", "MultiStepLR"]),
    "warm-up method": ({"SOLVER__WARMUP_METHOD": "sudden"}, ["sudden"]),
    "optimiser": ({"SOLVER__OPT": "Adamant"}, ["'Adamant'", "did you mean Adamax"]),
    "rate factors": ({"SOLVER__LR_FACTORS": "[['haeds', 2.0]]"}, ["['haeds']", "'heads'"]),
    "precision": (
        {"SOLVER__AMP__ENABLED": True, "SOLVER__AMP__DTYPE": "half"},
        ["SOLVER.AMP.DTYPE", "'half'", "bf16"],
    ),
    "clipping": (
        {"SOLVER__CLIP_GRADIENTS__ENABLED": True, "SOLVER__CLIP_GRADIENTS__CLIP_TYPE": "rough"},
        ["CLIP_TYPE", "'rough'"],
    ),
    "model": ({"MODEL__META_ARCHITECTURE": "DeepMinre"}, ["DeepMinre"]),
    "backbone": ({"MODEL__BACKBONE__NAME": "build_nothing"}, ["build_nothing"]),
    "blocks": ({"MODEL__DEEPMINER__IE_BLOCKS": "[7]"}, ["IE_BLOCKS", "[7]"]),
    "loss": ({"MODEL__LOSSES__NAME": "('HingeLoss',)"}, ["'HingeLoss'", "CenterLoss"]),
    "unread": (
        {"MODEL__LOSSES__CIRCLE__MARGIN": 0.5},
        ["MODEL.LOSSES.CIRCLE.MARGIN has no effect", "no CircleLoss"],
    ),
    "ImageNet weights": (
        {
            "MODEL__BACKBONE__NAME": "build_resnet_backbone",
            "MODEL__BACKBONE__DEPTH": "18x",
            "MODEL__BACKBONE__PRETRAIN": True,
            "MODEL__BACKBONE__PRETRAIN_PATH": "nowhere.pth",
        },
        ["nowhere.pth", "MODEL.BACKBONE.PRETRAIN_PATH"],
    ),
    "one identity in a batch": ({"SOLVER__IMS_PER_BATCH": 4}, ["4 images per batch", "one identity only"]),
    "two warm-ups": ({"SOLVER__WARMUP_ITERS": 50}, ["WARMUP_EPOCHS (1)", "WARMUP_ITERS (50)", "set one of them to 0"]),
    "stripes": ({"INPUT__SIZE_TEST": "[16,32]"}, ["images of 16 rows give a last map of 1", "LOCAL_STRIPES (2)"]),
    "nothing to erase": (
        {"MODEL__DEEPMINER__IE_BLOCKS": "[]", "MODEL__DEEPMINER__ERASE_THRESHOLD": 0.5},
        ["MODEL.DEEPMINER.ERASE_THRESHOLD has no effect here: MODEL.DEEPMINER.IE_BLOCKS is []"],
    ),
    "attention that is not there": (
        {"MODEL__DEEPMINER__ATTENTION_BLOCKS": "[]", "MODEL__DEEPMINER__SAM__REDUCTION": 4},
        ["MODEL.DEEPMINER.SAM.REDUCTION has no effect here: MODEL.DEEPMINER.ATTENTION_BLOCKS is []"],
    ),
    "loss that FastReID drops": (
        {
            "MODEL__META_ARCHITECTURE": "Baseline",
            "MODEL__HEADS__NAME": "EmbeddingHead",
            "MODEL__LOSSES__NAME": "('TripletLoss', 'CenterLoss')",
        },
        ["CenterLoss", "CrossEntropyLoss", "silently ignores"],
    ),
    "batch augmentation": ({"INPUT__BATCH_AUGMENT__NAME": "['Mixup']"}, ["'Mixup'", "RandomErasing"]),
    "odd total batch": (
        {
            "INPUT__BATCH_AUGMENT__NAME": "['CompoundBatchErasing']",
            "INPUT__BATCH_AUGMENT__CBE__TOTAL_BATCH": True,
            "SOLVER__IMS_PER_BATCH": 17,
        },
        ["SOLVER.IMS_PER_BATCH (17)", "not a multiple of the 2 copies", "CompoundBatchErasing"],
    ),
    "total batch": (
        {
            "INPUT__REA__ENABLED": False,
            "INPUT__BATCH_AUGMENT__NAME": "['CompoundBatchErasing']",
            "INPUT__BATCH_AUGMENT__CBE__TOTAL_BATCH": True,
            "SOLVER__IMS_PER_BATCH": 112,
        },
        ["12 identities", "a batch of 56 with 4 images each needs 14", "IMS_PER_BATCH to 96"],
    ),
    "sensitivity": (
        {
            "MODEL__LOSSES__NAME": "['SmoothedCrossEntropyLoss', 'BoundedExponentialDistanceLoss']",
            "MODEL__LOSSES__BED__ALPHA": 0.0,
        },
        ["MODEL.LOSSES.BED.ALPHA is 0.0 and must be a finite number, above 0"],
    ),
    "label smoothing": (
        {"MODEL__LOSSES__SMOOTHED_CE__EPSILON": 1.0},
        ["SMOOTHED_CE.EPSILON is 1.0", "and below 1"],
    ),
    "an idle classifier": (
        {"MODEL__LOSSES__NAME": "['SoftMarginTripletLoss']"},
        ["no loss of MODEL.LOSSES.NAME trains the classifier"],
    ),
    "area": (
        {
            "INPUT__REA__ENABLED": False,
            "INPUT__BATCH_AUGMENT__NAME": "['CompoundBatchErasing']",
            "INPUT__BATCH_AUGMENT__CBE__AREA": "[0.1]",
        },
        ["INPUT.BATCH_AUGMENT.CBE.AREA is [0.1]", "the smallest and the largest share"],
    ),
    "stripes of CBE": (
        {
            "INPUT__REA__ENABLED": False,
            "INPUT__BATCH_AUGMENT__NAME": "['CompoundBatchErasing']",
            "INPUT__BATCH_AUGMENT__CBE__STRIPES": "[6,65]",
        },
        ["images of 64 rows", "65 stripes", "INPUT.BATCH_AUGMENT.CBE.STRIPES"],
    ),
    "half a pair": (
        {"DATALOADER__SAMPLER_TRAIN": "PairSampler", "SOLVER__IMS_PER_BATCH": 17},
        ["17 images per batch and process", "not whole pairs", "an even number"],
    ),
    "parts of a batch": (
        {"SOLVER__IMS_PER_BATCH": 16, "SOLVER__ACCUMULATION": 3},
        ["16 images per batch and process (SOLVER.IMS_PER_BATCH 16 on 1) can't be divided into 3 equal parts"],
    ),
    "one identity in a part": (
        {"SOLVER__IMS_PER_BATCH": 16, "SOLVER__ACCUMULATION": 4},
        ["4 images per part of a batch (SOLVER.IMS_PER_BATCH 16 on 1, in 4 parts by SOLVER.ACCUMULATION) show one"],
    ),
    "half an identity in a part": (
        {"SOLVER__IMS_PER_BATCH": 24, "SOLVER__ACCUMULATION": 4},
        ["6 images per part of a batch", "are not a multiple of DATALOADER.NUM_INSTANCE (4)"],
    ),
    "no part": ({"SOLVER__ACCUMULATION": 0}, ["SOLVER.ACCUMULATION is 0 and must be a whole number from 1"]),
    "share of pairs": (
        {"DATALOADER__SAMPLER_TRAIN": "PairSampler", "DATALOADER__PAIRS__POSITIVE_SHARE": 1.0},
        ["DATALOADER.PAIRS.POSITIVE_SHARE is 1.0 and must be a finite number, above 0 and below 1"],
    ),
    "annealing of pairs": (
        {"DATALOADER__SAMPLER_TRAIN": "PairSampler", "DATALOADER__PAIRS__NEGATIVE_ANNEAL": 0.5},
        ["DATALOADER.PAIRS.NEGATIVE_ANNEAL is 0.5 and must be a finite number from 1"],
    ),
    "pairs of another sampler": (
        {"DATALOADER__PAIRS__NEGATIVE_ANNEAL": 1.01},
        ["DATALOADER.PAIRS.NEGATIVE_ANNEAL has no effect here", "SAMPLER_TRAIN is 'NaiveIdentitySampler'"],
    ),
    "weights": ({"MODEL__WEIGHTS": "nowhere.pth"}, ["no checkpoint nowhere.pth", "MODEL.WEIGHTS"]),
}


@pytest.mark.parametrize("mistake", IMPOSSIBLE)
def test_impossible_configs(mistake, fails):
    overrides, parts = IMPOSSIBLE[mistake]
    sentence = fails(**overrides)
    assert [part for part in parts if part not in sentence] == [], sentence
    assert "\n" not in sentence


def test_mistakes_on_the_command_line(fails):
    assert fails("SEED").startswith("fastreid-ext train: the command line: Override list has odd length")
    assert fails(SOLVER__BASE_RL=0.1).startswith(
        "fastreid-ext train: the command line: Non-existent key: SOLVER.BASE_RL; did you mean"
    )


def test_no_gpu(fails, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sentence = fails(MODEL__DEVICE="cuda")
    assert "MODEL.DEVICE is 'cuda'" in sentence and "set MODEL.DEVICE cpu" in sentence


def test_unknown_device(fails):
    assert "MODEL.DEVICE" in fails(MODEL__DEVICE="gpu")


def test_batch_of_several_processes():

    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "DATASETS.NAMES", "('PKU',)", "DATASETS.TESTS", "('PKU',)"])
    cfg.merge_from_list(["DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "SOLVER.IMS_PER_BATCH", 24])
    check_config(cfg, 2)
    with pytest.raises(ConfigError, match=r"IMS_PER_BATCH 24 on 5\) can't be divided evenly among the 5 processes"):
        check_config(cfg, 5)
    with pytest.raises(ConfigError, match=r"8 images per batch and process .*NUM_INSTANCE \(16\)"):
        cfg.DATALOADER.NUM_INSTANCE = 16
        check_config(cfg, 3)
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.NUM_INSTANCE = ("PairSampler", 4)
    check_config(cfg, 3)
    with pytest.raises(ConfigError, match=r"3 images per batch and process \(.* 24 on 8\) are not whole pairs"):
        check_config(cfg, 8)


def test_pairs_of_one_person():
    cfg = get_cfg()
    cfg.merge_from_list(["DATALOADER.SAMPLER_TRAIN", "PairSampler", "SOLVER.IMS_PER_BATCH", 4])
    items = [(f"{n}.jpg", "a", n) for n in range(8)]
    with pytest.raises(ConfigError, match="SAMPLER_TRAIN is PairSampler, but .* all 8 images .* show the same one"):
        check_training_set(cfg, items, 1)
    check_training_set(cfg, [*items, ("8.jpg", "b", 0)], 1)


def test_eval_period_zero_evaluates_once(run_main):
    output = run_main(TEST__EVAL_PERIOD=0, SOLVER__MAX_EPOCH=2, SOLVER__STEPS="[]")
    assert (output / "log.txt").read_text().count("Evaluation results for SynthReIDTiny") == 1
    assert torch.load(output / "model_best.pth", weights_only=True)["epoch"] == 1


# ---- data -----------------------------------------------------------------------------------------------------------


def test_missing_data(fails, tmp_path, monkeypatch, market_keys):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "nowhere"))
    sentence = fails(**market_keys)
    for part in ("bounding_box_train", "query", "bounding_box_test"):
        assert f"{tmp_path}/nowhere/Market-1501-v15.09.15/{part}" in sentence
    assert "no such folder" in sentence and "Set FASTREID_DATASETS" in sentence


def test_missing_test_data_is_found_before_training(fails, tmp_path):
    assert "Market1501 is missing" in fails(DATASETS__TESTS="('SynthReIDTiny','Market1501')")
    assert "Starting training" not in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.parametrize("part", ["query", "bounding_box_test", "bounding_box_train"])
@pytest.mark.parametrize("removed", ["files", "folder"])
def test_half_unpacked_data(part, removed, fails, market, market_keys, tmp_path):
    folder = market() / part
    shutil.rmtree(folder)
    if removed == "files":
        folder.mkdir()
    sentence = fails(SOLVER__IMS_PER_BATCH=8, **market_keys)
    assert "Market1501 is missing or only half unpacked" in sentence and part in sentence
    assert "Starting training" not in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("folder", ["bounding_box_train", "query"])
def test_broken_image(workers, folder, fails, market, market_keys):
    path = sorted((market() / folder).iterdir())[1]
    path.write_bytes(path.read_bytes()[:200])
    overrides = {"DATALOADER__NUM_WORKERS": workers, "SOLVER__IMS_PER_BATCH": 8, "SOLVER__MAX_EPOCH": 1}
    sentence = fails(SOLVER__WARMUP_EPOCHS=0, **overrides, **market_keys)
    assert sentence.startswith(f"fastreid-ext train: the image {path} can't be read")
    assert sentence.endswith("replace it or remove it") and "\n" not in sentence


# ---- weights --------------------------------------------------------------------------------------------------------


@pytest.fixture
def wrong(weights, tmp_path):
    """``wrong(kind)``: a file that can't be evaluated."""

    def make(kind: str) -> Path:
        path = tmp_path / f"{kind}.pth"
        if kind == "random bytes":
            path.write_bytes(torch.randint(0, 256, (5000,), dtype=torch.uint8).numpy().tobytes())
        elif kind == "empty":
            path.write_bytes(b"")
        elif kind == "torn":
            torch.save({"model": weights}, path)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        elif kind == "harmful pickle":
            path.write_bytes(pickle.dumps({"model": Harmful(tmp_path / "executed")}))
        elif kind == "harmful":
            torch.save({"model": weights, "extra": Harmful(tmp_path / "executed")}, path)
        else:
            data = {
                "text": {"model": "resnet50"},
                "number": 7,
                "nothing": {"model": {}},
                "another key": {"epoch": 3, "state_dict": weights},
                "other model": {"model": {"fc.weight": torch.zeros(2), "fc.bias": torch.zeros(2)}},
                "incomplete": {"model": {k: v for k, v in weights.items() if "layer4" not in k}},
            }[kind]
            torch.save(data, path)
        return path

    return make


WRONG = {
    "random bytes": "not a checkpoint",
    "empty": "not a checkpoint",
    "torn": "not a checkpoint",
    "harmful pickle": "not a checkpoint",
    "harmful": "not a checkpoint",
    "text": "holds no weights",
    "number": "holds no weights",
    "nothing": "holds no weights",
    "another key": "at the key 'model'; it has one at 'state_dict': save that one alone",
    "other model": "none of the model's weights: it holds ['fc.bias', 'fc.weight']",
    "incomplete": "weights that the test feature needs are not in ",
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_weights(kind, wrong, fails, tmp_path):
    path = wrong(kind)
    sentence = fails("--eval-only", MODEL__WEIGHTS=path)
    assert WRONG[kind] in sentence and str(path) in sentence, sentence
    assert not (tmp_path / "executed").exists()


def test_weights_of_an_evaluation_are_named(fails):
    assert "MODEL.WEIGHTS" in fails("--eval-only")


@pytest.mark.parametrize("layout", ["host", "bare", "parallel"])
def test_layouts_that_load(layout, weights, run_main, tmp_path):
    data = {
        "host": {"model": weights, "optimizer": {}, "epoch": 59, "metric": 0.5},
        "bare": weights,
        "parallel": {f"module.{key}": value for key, value in weights.items()},
    }[layout]
    torch.save(data, tmp_path / "weights.pth")
    output = run_main("--eval-only", MODEL__WEIGHTS=tmp_path / "weights.pth")
    log = (output / "log.txt").read_text()
    count = sum(not key.endswith("num_batches_tracked") for key in weights)
    assert f"loaded {count - 6} of the model's {count} weights" in log
    assert "not loaded: 6 weights of training alone, which no test feature reads" in log
    assert " missing" not in log


def test_what_did_not_load_is_counted_and_listed(weights, run_main, fails, tmp_path):
    weights["backbone.renamed.weight"] = weights.pop("backbone.layer1.0.conv1.weight")
    weights["backbone.conv1.weight"] = torch.zeros(1)
    torch.save({"model": weights}, tmp_path / "weights.pth")
    short = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0, "SOLVER__STEPS": "[]"}
    sentence = fails(MODEL__WEIGHTS=tmp_path / "weights.pth", **short)
    assert "weights.pth is of another model: 2 of the" in sentence and "MODEL.WEIGHTS_PARTIAL True" in sentence
    output = run_main(MODEL__WEIGHTS=tmp_path / "weights.pth", MODEL__WEIGHTS_PARTIAL=True, **short)
    log = (output / "log.txt").read_text()
    count = sum(not key.endswith("num_batches_tracked") for key in weights)
    assert f"loaded {count - 2} of the model's {count} weights and buffers" in log
    assert "2 missing, 1 of them of another shape; 1 unexpected" in log
    assert "  missing     backbone.layer1.0.conv1.weight\n" in log
    assert "  missing     backbone.conv1.weight\n" in log
    assert "  unexpected  backbone.renamed.weight\n" in log


# ---- output folder --------------------------------------------------------------------------------------------------


def test_output_of_another_config(trained, fails, tmp_path):
    output = tmp_path / "copy"
    shutil.copytree(trained, output)
    written = (output / "config.yaml").read_text()
    same = {"SOLVER__WARMUP_EPOCHS": 0, "SOLVER__MAX_EPOCH": 2, "DATALOADER__NUM_WORKERS": 1, "SEED": 3}
    sentence = fails("--resume", OUTPUT_DIR=output, SOLVER__BASE_LR=0.5, **same)
    assert "SOLVER.BASE_LR was 0.00035 and is 0.5" in sentence
    assert "MAX_EPOCH" not in sentence and "NUM_WORKERS" not in sentence and "SEED" not in sentence
    assert (output / "config.yaml").read_text() == written


def test_a_longer_run_needs_another_cosine(run_main, fails):
    cosine = {"SOLVER__SCHED": "CosineAnnealingLR", "TEST__EVAL_PERIOD": 0}
    run_main(SOLVER__MAX_EPOCH=2, **cosine)
    assert "SOLVER.MAX_EPOCH was 2 and is 3" in fails("--resume", SOLVER__MAX_EPOCH=3, **cosine)


def test_config_is_written_with_the_classes(trained):
    written = yaml.safe_load((trained / "config.yaml").read_text())
    assert written["MODEL"]["HEADS"]["NUM_CLASSES"] == 12 and written["SOLVER"]["MAX_EPOCH"] == 1


def test_unwritable_output(fails, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = fails(OUTPUT_DIR=tmp_path / "file" / "out")
    assert "OUTPUT_DIR" in sentence and "can't be written" in sentence


# ---- several processes ----------------------------------------------------------------------------------------------


def test_the_sentence_of_two_processes(command_line, tmp_path):
    """Of ranks that are forked here; those that train in tests/engine/test_distributed.py are spawned, as a user's."""
    two = ("--num-gpus", 2, "--dist-url", "auto")
    overrides = {"DATALOADER.NUM_INSTANCE": 16}
    result = command_line.run(tmp_path / "out", *two, overrides=overrides, env={"FORK_RANKS": "1"})
    assert result.returncode != 0
    assert "fastreid-ext train: 8 images per batch and process" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_the_sentence_of_two_processes_of_torchrun(command_line, tmp_path):
    result = command_line.run_ranks(tmp_path / "out", overrides={"DATALOADER.NUM_INSTANCE": 16})
    assert result.returncode != 0
    assert "fastreid-ext train: 8 images per batch and process" in result.stderr
