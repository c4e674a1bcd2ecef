"""The command ``reproduce zoo`` from data to model card, in a small size."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext import Extractor, get_cfg
from fastreid_ext.cli import main
from fastreid_ext.data.synthetic import generate
from fastreid_ext.engine import trainer
from fastreid_ext.errors import FileError
from fastreid_ext.reproduce import zoo
from fastreid_ext.reproduce.card import HEADINGS
from fastreid_ext.reproduce.speed import images_per_second
from fastreid_ext.reproduce.zoo import Recipe

SMALL = Recipe("small", "zoo/wide.yml", "SynthReIDTiny", "SynthReIDWideTiny")
OPTS = [
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]", "MODEL.BACKBONE.NARROW.WIDTH", "8"),
    *(
        "MODEL.BACKBONE.FEAT_DIM",
        "64",
        "SOLVER.MAX_EPOCH",
        "1",
        "SOLVER.WARMUP_EPOCHS",
        "0",
        "MODEL.DEVICE",
        "cpu",
        "SOLVER.WARMUP_ITERS",
        "0",
    ),
    *("DATASETS.NAMES", "('SynthReIDWideTiny',)", "DATASETS.TESTS", "('SynthReIDTiny', 'SynthReIDWideTiny')"),
    *("DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "16", "TEST.RANK_LIST.ENABLED", "False"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    for size in ("tiny", "wide_tiny"):
        generate(folder, size, workers=1, progress=False)
    return folder


@pytest.fixture
def runs(root, monkeypatch, runs_in_this_process):
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    monkeypatch.setattr(zoo, "MODEL", SMALL)
    return runs_in_this_process


def test_from_data_to_card(runs, tmp_path, capsys):
    command = ["reproduce", "zoo", "--output", str(tmp_path / "zoo"), "--seeds", "3", "4", "--opts", *OPTS]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert len(runs) == 2
    results = {
        seed: json.loads((tmp_path / f"zoo/runs/seed{seed}/results.json").read_text())["results"] for seed in (3, 4)
    }
    best = max((3, 4), key=lambda seed: results[seed]["SynthReIDTiny"]["mAP"])

    card = (tmp_path / "zoo/small.md").read_text()
    assert card.strip() in printed
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == list(HEADINGS)
    assert f"seeds 3, 4; seed {best} is shipped, the best of them on SynthReIDTiny" in card
    mean = np.mean([results[seed]["SynthReIDWideTiny"]["mAP"] for seed in (3, 4)])
    row = next(line for line in card.splitlines() if line.startswith("| SynthReIDWideTiny"))
    assert f"{mean:.1f} ±" in row and row.rstrip(" |").endswith(f"{results[best]['SynthReIDWideTiny']['mAP']:.1f}")
    (recipe,) = (line for line in card.splitlines() if line.startswith("`fastreid-ext reproduce zoo`"))
    assert " with `MODEL.BACKBONE.FEAT_DIM 64`, `MODEL.BACKBONE.NARROW.WIDTH 8`" in recipe
    assert re.search(
        ": 1 epoch with SmoothedCrossEntropyLoss and SupervisedContrastiveLoss; mirroring[^.]*\\. ", recipe
    )
    for group in ("skin tone 0", "build ", "balanced", "all  "):
        assert group in card, group
    numbers = json.loads((tmp_path / "zoo/small.json").read_text())
    assert numbers["chosen"] == best and numbers["speed"]["images_per_second"] > 0

    extractor = Extractor(tmp_path / "zoo/small.safetensors", device="cpu")
    image = np.zeros((64, 32, 3), np.uint8)
    trained = Extractor(tmp_path / f"zoo/runs/seed{best}", weights="model_final.pth", device="cpu")
    features = extractor([image], order="RGB")
    assert np.array_equal(features, trained([image], order="RGB"))
    (answer,) = extractor.same_person(features, features)
    assert answer.verdict == "same person"

    assert main(command) == 0 and len(runs) == 2  # what is finished is kept


def test_the_speed_is_that_of_whole_features():
    """With TEST.FLIP a feature takes two passes."""

    class Counting(nn.Module):
        seen = 0

        def forward(self, inputs):
            self.seen += len(inputs["images"])
            return inputs["images"].mean(dim=(2, 3))

    seen = []
    for flip in (False, True):
        cfg, model = get_cfg(), Counting().eval()
        cfg.INPUT.SIZE_TEST, cfg.TEST.FLIP.ENABLED, cfg.MODEL.DEVICE = [8, 4], flip, "cpu"
        assert images_per_second(cfg, model).images_per_second > 0
        seen.append(model.seen)
    assert seen[1] == 2 * seen[0] > 0


def test_every_augmentation_has_a_word():
    nodes = {key for key, node in get_cfg().INPUT.items() if isinstance(node, CfgNode) and "ENABLED" in node}
    assert set(zoo.AUGMENTATIONS) == nodes - {"JOINTS"}  # which are labels


def test_a_dry_run_does_nothing(runs, tmp_path, capsys):
    assert main(["reproduce", "zoo", "--output", str(tmp_path / "zoo"), "--dry-run", "--opts", *OPTS]) == 0
    printed = capsys.readouterr().out
    assert not runs and not Path(tmp_path / "zoo").exists()
    assert "train zoo/wide.yml with seed 2" in printed and "best mAP on SynthReIDTiny" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0", "0"], "--seeds is 0 0 and must be different numbers"),
        (["--opts", "DATASETS.TESTS", "('SynthReIDTiny',)"], "DATASETS.TESTS lacks SynthReIDWideTiny"),
        (["--opts", "SOLVER.MAX_EPOCHS", "3"], "SOLVER.MAX_EPOCHS"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_mistakes_are_a_sentence_before_anything_is_trained(runs, tmp_path, capsys, arguments, message, dry):
    assert main(["reproduce", "zoo", "--output", str(tmp_path / "zoo"), *dry, *arguments]) == 1
    printed = capsys.readouterr()
    assert message in printed.err and not printed.out and not runs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["TEST.REPORT.ENABLED", "False"], "TEST.REPORT.ENABLED is False"),
        (["SOLVER.CHECKPOINT_KEEP", "('best', 'latest')"], "SOLVER.CHECKPOINT_KEEP lacks final"),
        (["SEED", "5"], "--opts has SEED"),
        (["OUTPUT_DIR", "elsewhere"], "--opts has OUTPUT_DIR"),
        (["MODEL.META_ARCHITECTURE", "DeepMiner"], "must stay 'OccludedReID': the card"),
        (["MODEL.BACKBONE.NAME", "build_osnet_backbone"], "must stay 'build_narrow_resnet_backbone'"),
        (["MODEL.BACKBONE.PRETRAIN", "True", "MODEL.BACKBONE.PRETRAIN_PATH", "zoo"], "must stay False"),
        (["MODEL.WEIGHTS", "zoo"], "must stay ''"),
        (["KD.TEACHER", "zoo"], "must stay ''"),
        (["DATASETS.NAMES", "('SynthReIDWideTiny', 'Market1501')"], "DATASETS.NAMES has Market1501, and the card"),
        # The style of the people who choose the seed, and photographs by the name of drawn ones
        (["DATASETS.NAMES", "('SynthReIDWideTiny', 'SynthReIDBench')"], "DATASETS.NAMES has SynthReIDBench, and"),
        (
            ["DATASETS.NAMES", "('SynthReIDWideShop',)", "DATASETS.CSV", "[['SynthReIDWideShop', '/shop']]"],
            "DATASETS.NAMES has SynthReIDWideShop, and the card",
        ),
        (["DATASETS.NAMES", "()"], "DATASETS.NAMES is empty, and the card says"),
        # People that it was trained on
        (["DATASETS.COMBINEALL", "True"], "DATASETS.COMBINEALL is True and must stay False"),
        (["DATASETS.HOLD_OUT", "2"], "DATASETS.HOLD_OUT is 2 and must stay 0"),
        (["TEST.METRIC", "euclidean"], "TEST.METRIC is 'euclidean' and must stay 'cosine'"),
    ],
)
def test_settings_that_the_card_would_be_wrong_about(runs, tmp_path, capsys, options, message):
    """They are refused before hours of training, after which there would be no card or a false one."""
    command = ["reproduce", "zoo", "--output", str(tmp_path / "zoo"), "--seeds", "3", "--opts", *OPTS]
    assert main([*command, *options]) == 1
    assert message in capsys.readouterr().err and not runs and not (tmp_path / "zoo").exists()


REPORT = "report_SynthReIDWideTiny.json"
ROW = {"group": "build", "identities": 3, "queries": 4, "Rank-1": None, "mAP": 2.5}


def _without(content, *keys):
    return {key: value for key, value in content.items() if key not in keys}


DAMAGES = [
    *((name, damage) for name in ("report.json", REPORT) for damage in (None, b"\xff\xfe\0", "{", [], {})),
    *(("report.json", lambda found, key=key: _without(found, key)) for key in ("commit", "finished", "seed")),
    ("report.json", lambda found: found | {"environment": {}}),
    ("report.json", lambda found: found | {"environment": 3}),
    *((REPORT, {"groups": rows}) for rows in (3, [], [3], [ROW | {"group": 3}], [_without(ROW, "queries")], [ROW])),
    (REPORT, lambda found: {"groups": [row | {"mAP": "x"} for row in found["groups"]]}),
    ("results.json", lambda found: found | {"results": {"SynthReIDTiny": found["results"]["SynthReIDTiny"]}}),
    *(
        ("results.json", lambda found, bad=bad: found | {"results": {"SynthReIDTiny": {"Rank-1": 1.0, "mAP": bad}}})
        for bad in ("x", None, float("nan"), True, 10**400)
    ),
]


def test_files_of_a_run_that_are_damaged(runs, tmp_path, capsys):
    """Each is one sentence, before anything is written; with results.json deleted, the run is evaluated again."""
    command = ["reproduce", "zoo", "--output", str(tmp_path / "zoo"), "--seeds", "3", "--opts", *OPTS]
    assert main(command) == 0
    folder = tmp_path / "zoo/runs/seed3"
    (tmp_path / "zoo/small.safetensors").unlink()
    for name, damage in DAMAGES:
        path = folder / name
        whole = path.read_bytes()
        path.unlink()
        damage = damage(json.loads(whole)) if callable(damage) else damage
        if damage is not None:
            path.write_bytes(damage if isinstance(damage, bytes) else json.dumps(damage).encode())
        capsys.readouterr()
        assert main(command) == 1, (name, damage)
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert str(path) in said and "delete" in said, (name, damage, said)
        assert not (tmp_path / "zoo/small.safetensors").exists()
        path.write_bytes(whole)
    (folder / "report.json").write_text("{}")
    (folder / "results.json").unlink()
    assert main(command) == 0 and (tmp_path / "zoo/small.safetensors").exists()


def test_a_run_that_is_stopped_before_its_record_is_written_is_not_finished(runs, tmp_path, capsys, monkeypatch):
    def full(*args):
        raise FileError("the disk is full")

    command = ["reproduce", "zoo", "--output", str(tmp_path / "zoo"), "--seeds", "3", "--opts", *OPTS]
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "write_run_record", full)
        assert main(command) == 1 and "the disk is full" in capsys.readouterr().err
    assert main(command) == 0 and (tmp_path / "zoo/small.md").exists()
