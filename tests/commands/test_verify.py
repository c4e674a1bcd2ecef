"""``fastreid-ext verify``: some pairs and all pairs of a test set, on an untrained model."""

import csv
import json

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms
from fastreid.modeling import build_model
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.engine import verification
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.model_zoo import get_config

OVERRIDES = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.DEPTH": "50x",  # the default: the tiny one reads none
    "MODEL.MULTITASK.DESCRIPTOR": "linear64",
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATASETS.NAMES": "('SynthReIDTiny',)",
    "DATASETS.TESTS": "('SynthReIDTiny',)",
    "DATALOADER.NUM_WORKERS": "0",
}
PAIRS = [item for pair in OVERRIDES.items() for item in pair]


def config(**overrides):
    cfg = get_config("demo/res2net.yml")
    pairs = {key.replace("__", "."): value for key, value in overrides.items()}
    cfg.merge_from_list([*PAIRS, *(str(item) for pair in pairs.items() for item in pair)])
    return cfg


@pytest.fixture(scope="module")
def trained(random_run):
    """The folder of a run whose verification head has weights that are not small."""

    def change(model):
        torch.nn.init.normal_(model.heads.verification.linear.weight, std=20.0)
        model.heads.verification.linear.bias.data = torch.tensor([0.5, 0.0])

    return random_run("demo/res2net.yml", PAIRS, change)


@pytest.fixture
def model(trained):
    model = build_model(config(MODEL__HEADS__NUM_CLASSES=7)).eval()
    model.load_state_dict(torch.load(trained / "model.pth")["model"])
    return model


@pytest.fixture
def call(trained, synth_tiny):
    """``call("A.jpg", "B.jpg", KEY="value")``: the exit status."""

    def run(*arguments, name="demo/res2net.yml", **overrides):
        pairs = {"MODEL__WEIGHTS": trained / "model.pth"} | overrides
        flat = [str(x) for key, value in pairs.items() for x in (key.replace("__", "."), value)]
        return main(["verify", "--config-file", name, *map(str, arguments), *PAIRS, *flat])

    return run


@pytest.fixture
def files(synth_tiny):
    cfg = config()
    return [item[0] for item in eval_loader(cfg, "SynthReIDTiny")[0].dataset.img_items][:5]


def expected(model, first, second):
    """verify() of two files, read as the test reads them."""
    data = ReIDImages([(first, 0, 0), (second, 0, 0)], build_transforms(config(), is_train=False), relabel=False)
    return model.verify(*(data[i]["images"][None].float() for i in (0, 1))).item()


@torch.no_grad()
def features_in_batches(model, paths, at_once):
    """Path -> feature in float64, of images that share a batch with ``at_once`` - 1 others."""
    data = ReIDImages([(path, 0, 0) for path in paths], build_transforms(config(), is_train=False), relabel=False)
    images = torch.stack([data[i]["images"].float() for i in range(len(paths))])
    features = torch.cat([model(batch) for batch in images.split(at_once)]).double()
    return dict(zip(paths, features, strict=True))


def test_two_images(call, model, files, capsys):
    p = expected(model, *files[:2])
    for images in (files[:2], files[1::-1]):
        assert call(*images) == 0
        assert f"probability {p:.6f} of the same person, threshold 0.5" in capsys.readouterr().out
    for threshold, answer in ((p + 1e-3, "different people"), (p - 1e-3, "the same person")):
        assert call("--threshold", threshold, *files[:2]) == 0
        assert capsys.readouterr().out.startswith(f"{answer}: probability")
    assert 0.01 < p < 0.99
    assert call(files[0], files[0]) == 0  # the bias alone: sigmoid(0.5)
    assert "the same person: probability 0.622459" in capsys.readouterr().out


def test_a_pair_on_the_threshold_is_of_one_person(call, files, tmp_path, capsys):
    """As a report counts it; in a sentence and in a list."""
    exactly = repr(torch.tensor([0.5, 0.0], dtype=torch.float64).softmax(0)[0].item())
    (tmp_path / "pairs.csv").write_text(f"{files[0]},{files[0]}\n")
    assert call("--threshold", exactly, files[0], files[0]) == 0
    assert capsys.readouterr().out.startswith("the same person")
    assert call("--threshold", exactly, "--pairs", tmp_path / "pairs.csv") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(",0.622459,1")


@pytest.mark.parametrize("at_once", [64, 2])
def test_a_list_of_pairs(call, model, files, tmp_path, capsys, monkeypatch, at_once):
    """Within 1e-6: six digits are printed. Images share a batch as in the command: another size rounds differently."""
    monkeypatch.setattr(verification, "PAIRS_AT_ONCE", at_once)
    pairs = [(files[0], files[1]), (files[3], files[2]), (files[0], files[4])]
    (tmp_path / "pairs.csv").write_text("".join(f"{a}, {b}\n" for a, b in pairs) + "\n")
    assert call("--pairs", tmp_path / "pairs.csv", "--output", tmp_path / "out", TEST__IMS_PER_BATCH=at_once) == 0
    text = capsys.readouterr().out
    assert (tmp_path / "out" / "pairs.csv").read_text() == text
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["first"], row["second"]) for row in rows] == pairs
    features = features_in_batches(model, [files[n] for n in (0, 1, 3, 2, 4)], at_once)
    for row in rows:
        first, second = (features[row[side]][None] for side in ("first", "second"))
        p = model.pair_verification().probability(first, second).item()
        assert float(row["probability"]) == pytest.approx(p, abs=1e-6) and row["same"] == str(int(p >= 0.5))
        assert p == pytest.approx(expected(model, row["first"], row["second"]), abs=1e-4)  # one image at a time
    assert len({row["probability"] for row in rows}) == 3


def test_probabilities_near_one(call, model, files, tmp_path, capsys):
    """float32 has none between 1 - 6e-8 and 1; a report's threshold may lie there, and the answers must know it.

    Log odds of 25 and 26 are 1 - 1.4e-11 and 1 - 5.1e-12.
    """
    state = model.state_dict()
    state["heads.verification.linear.weight"] = torch.zeros_like(state["heads.verification.linear.weight"])
    for log_odds, answer in ((25.0, "different people"), (26.0, "the same person")):
        state["heads.verification.linear.bias"] = torch.tensor([log_odds, 0.0])
        torch.save({"model": state}, tmp_path / "sure.pth")
        assert call("--threshold", repr(1 - 1e-11), *files[:2], MODEL__WEIGHTS=tmp_path / "sure.pth") == 0
        assert capsys.readouterr().out.startswith(answer)


def naive(model, name, **overrides):
    """[(probability, one person)] of every pair of a test set that counts, one forward pass of the head a pair."""
    # FastReID's evaluator gets the queries and then the gallery, whatever they have in common.
    loader, count = eval_loader(config(TEST__EVALUATOR="host", **overrides), name)
    batches = list(loader)
    with torch.no_grad():
        features = torch.cat([model(batch) for batch in batches]).double()
    pids, camids = (torch.cat([batch[key] for batch in batches]).tolist() for key in ("targets", "camids"))
    head, pairs = model.heads.verification.double(), []
    with torch.no_grad():
        for i in range(count):
            for j in range(count, len(pids)):
                if pids[i] != pids[j] or camids[i] != camids[j]:
                    p = head.probability(features[i : i + 1], features[j : j + 1]).item()
                    pairs.append((p, pids[i] == pids[j]))
    model.float()
    return pairs


def rates(pairs, threshold):
    one, two = ([p for p, same in pairs if same is kind] for kind in (True, False))
    return np.mean([p >= threshold for p in one]), np.mean([p >= threshold for p in two])


def balanced(pairs):
    """The threshold with the highest balanced accuracy, of all scores of the pairs; of several the highest."""
    return max(sorted((p for p, _ in pairs), reverse=True), key=lambda t: np.subtract(*rates(pairs, t)))


@pytest.mark.slow
def test_report_with_a_threshold_of_other_people(call, model, tmp_path, capsys):
    """Every rate is that of a loop over all pairs (probabilities within 1e-6)."""
    assert call("--report", "--output", tmp_path / "out", DATASETS__VALIDATION=5) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    record = json.loads((tmp_path / "out" / "verify.json").read_text())
    test, validation = naive(model, "SynthReIDTiny"), naive(model, "Validation", DATASETS__VALIDATION=5)
    threshold = balanced(validation)
    assert record["threshold"]["chosen_on"] == "Validation" and record["warnings"] == []
    assert record["threshold"]["probability"] == pytest.approx(threshold, abs=1e-6)
    assert f"{record['pairs']['two_people']} of two\n" in printed.out and "Area below the ROC curve" in printed.out
    assert f"answer by the chosen threshold: --threshold {record['threshold']['probability']!r}\n" in printed.out
    assert record["pairs"] == {"one_person": sum(s for _, s in test), "two_people": sum(not s for _, s in test)}
    for key, at in (("at_threshold", threshold), ("at_one_half", 0.5)):
        true, false = rates(test, at)
        assert record[key]["true_positive_rate"] == pytest.approx(true, abs=1e-9)
        assert record[key]["false_positive_rate"] == pytest.approx(false, abs=1e-9)
        right = np.mean([(p >= at) == same for p, same in test])
        assert record[key]["accuracy"] == pytest.approx(right, abs=1e-9)
    for rate, limit in (("1e-02", 1e-2), ("1e-03", 1e-3), ("1e-04", 1e-4)):
        fit = [true for p, _ in test for true, false in [rates(test, p)] if false <= limit]
        assert record["true_positive_rate_at"][rate]["true_positive_rate"] == pytest.approx(max(fit, default=0.0))
    text = (tmp_path / "out" / "verify.md").read_text()
    assert "| chosen on Validation |" in text and "| one half" in text and "Warning" not in text
    assert f"{record['pairs']['one_person']} of one person" in text
    with Image.open(tmp_path / "out" / "verify.png") as picture:
        assert picture.format == "PNG"


def test_pairs_of_held_out_images(model):
    """Each is loaded once, and is query and gallery."""
    curve = verification.curve_of(config(DATASETS__HOLD_OUT=2), model, "HeldOut")
    pairs = naive(model, "HeldOut", DATASETS__HOLD_OUT=2)
    assert (curve.positives, curve.negatives) == (sum(s for _, s in pairs), sum(not s for _, s in pairs))
    one, two = (np.array([p for p, same in pairs if same is kind]) for kind in (True, False))
    wins = (one[:, None] > two).mean() + (one[:, None] == two).mean() / 2
    assert curve.area == pytest.approx(wins, abs=1e-3)


@pytest.mark.slow
def test_a_threshold_that_no_probability_expresses(call, model, tmp_path, capsys):
    """Log odds of some hundreds: all the same probability in float64."""
    state = model.state_dict()
    state["heads.verification.linear.bias"] = torch.tensor([500.0, 0.0])
    torch.save({"model": state}, tmp_path / "sure.pth")
    assert call("--report", "--output", tmp_path / "out", MODEL__WEIGHTS=tmp_path / "sure.pth") == 0
    assert "is a probability of 1 to the last digit: --threshold does not tell it" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert record["threshold"]["probability"] == 1 and record["threshold"]["log_odds"] > 40


@pytest.mark.slow
def test_report_on_the_same_pairs_says_so(call, model, tmp_path, capsys):
    assert call("--report", "--output", tmp_path / "out") == 0
    assert "warning: the threshold was chosen on the very pairs of SynthReIDTiny" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "verify.json").read_text())
    assert record["threshold"]["chosen_on"] == "SynthReIDTiny" and len(record["warnings"]) == 1
    assert record["threshold"]["probability"] == pytest.approx(balanced(naive(model, "SynthReIDTiny")), abs=1e-6)
    assert "Warning: the threshold was chosen on the very pairs" in (tmp_path / "out" / "verify.md").read_text()


@pytest.mark.slow
def test_people_that_were_trained_on(call, tmp_path, capsys):
    assert call("--report", "--output", tmp_path / "out", DATASETS__VALIDATION=8) == 0
    assert "3 of the 8 identities of Validation were seen in training" in capsys.readouterr().err
    (sentence,) = json.loads((tmp_path / "out" / "verify.json").read_text())["warnings"]
    assert sentence.endswith("to choose a threshold")


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_mistakes(fails, files, tmp_path):
    assert "name two images before the KEY VALUE pairs" in fails()
    assert "name two images before the KEY VALUE pairs" in fails(files[0])
    assert "--report writes a table, numbers and a curve: add --output" in fails("--report")
    for wrong in ("nan", "50", "fpr_1e-9", "-1"):
        sentence = fails(f"--threshold={wrong}", *files[:2])
        assert f"--threshold is {wrong} and must be balanced, fpr_1e-2" in sentence and "or a probability" in sentence
    assert "the image nowhere.jpg can't be read" in fails(files[0], "nowhere.jpg")
    assert "nowhere.csv" in fails("--pairs", "nowhere.csv")
    (tmp_path / "pairs.csv").write_text(f"{files[0]},{files[1]}\n{files[0]}\n")
    assert "line 2 of" in fails("--pairs", tmp_path / "pairs.csv")
    (tmp_path / "pairs.csv").write_text("\n")
    assert "pairs.csv holds no pair" in fails("--pairs", tmp_path / "pairs.csv")
    assert "weights are missing: add MODEL.WEIGHTS" in fails(*files[:2], MODEL__WEIGHTS="")
    assert "there is no checkpoint nowhere.pth" in fails(*files[:2], MODEL__WEIGHTS="nowhere.pth")
    assert "no data set is registered as 'Nowhere'" in fails(
        "--report", "--output", tmp_path / "out", "--test-set", "Nowhere"
    )


def test_options_without_effect(fails, files, tmp_path):
    out = ("--output", tmp_path / "out")
    assert "compares the pairs of a file: remove one" in fails("--report", "--pairs", "pairs.csv", *out)
    assert "--report chooses the threshold itself" in fails("--report", "--threshold", 0.5, *out)
    for option in (("--report", *out), ("--pairs", "pairs.csv")):
        assert f"say what is compared: remove {files[0]}" in fails(*option, *files[:2])
    assert "--test-set names what --report measures" in fails("--test-set", "SynthReIDTiny", *files[:2])
    assert "--output is the folder of --report or --pairs" in fails(*out, *files[:2])
    assert not (tmp_path / "out").exists()


def test_weights_of_a_run_that_diverged(fails, files, model, tmp_path):
    for value, sentence in ((float("nan"), "its training diverged"), (3e38, "images are not finite")):
        state = model.state_dict()
        state["heads.embedding.weight"].fill_(value)
        torch.save({"model": state}, tmp_path / "diverged.pth")
        assert sentence in fails(*files[:2], MODEL__WEIGHTS=tmp_path / "diverged.pth")


def test_models_without_a_head(fails, files, tmp_path, trained):
    state = torch.load(trained / "model.pth")["model"]
    without = {key: value for key, value in state.items() if not key.startswith("heads.verification")}
    torch.save({"model": without}, tmp_path / "without.pth")
    keys = {"MODEL__WEIGHTS": tmp_path / "without.pth", "MODEL__MULTITASK__VERIFICATION": False}
    sentence = fails("--by", "head", *files[:2], **keys)
    assert "this Res2NetMultiTask has no verification task (MODEL.MULTITASK.VERIFICATION False)" in sentence
    assert f"there is no {tmp_path}/same_person.json" in fails(*files[:2], **keys)  # its similarity answers
    # a head that the checkpoint lacks is never a random one
    assert "2 weights that the test feature needs are not in " in fails(
        *files[:2], MODEL__WEIGHTS=tmp_path / "without.pth"
    )


def test_options_of_similarities(fails, files):
    """The head, which is the default of a model that has one, takes none of them."""
    assert "--threshold fpr_1e-3 is of similarities, and this model's head" in fails("--threshold=fpr_1e-3", *files[:2])
    assert "--prior is for answers by similarity" in fails("--prior", "0.1", *files[:2])
    assert "--same-person is for answers by similarity" in fails("--same-person", "x.json", *files[:2])
