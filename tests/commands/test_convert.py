"""The command ``convert``, and the command line that loads what it wrote."""

import os
import pickle
import re
import shlex
from collections import OrderedDict

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext import cli
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.weights import read_state
from fastreid_ext.msreid.convert import RULES


def their_name(ours):
    """The inverse of the table, for a file of theirs without their network (tests/msreid compares the features)."""
    for theirs, pattern in (
        ("input_layer.0.0.{}", "backbone.conv1."),
        ("input_layer.0.1.{}", "backbone.bn1."),
        ("{}", "backbone."),
        ("mask.bottleneck.{}", "heads.mask.body."),
        ("mask.branch.{}", "heads.mask.shortcut."),
        ("reduction.bottleneck.{}", "heads.reduce.global_.body."),
        ("reduction.branch.{}", "heads.reduce.global_.shortcut."),
        ("local_reduction.bottleneck.{}", "heads.reduce.local.body."),
        ("local_reduction.branch.{}", "heads.reduce.local.shortcut."),
        ("bottleneck.{}", "heads.necks.global_.bnneck."),
        ("local_bottleneck.{}", "heads.necks.local.bnneck."),
        ("classifier.{}", "heads.necks.global_."),
        ("local_classifier.{}", "heads.necks.local."),
    ):
        if ours.startswith(pattern):
            return theirs.format(ours.removeprefix(pattern))
    _, stage, part, rest = ours.split(".", 3)
    parts = {
        "weigh": "spatial_attn.conv0.{}",
        "shrink": "spatial_attn.conv1.{}",
        "refine": "spatial_attn.conv2.{}",
        "squeeze": "channel_attn.conv.{}",
        "combine": "conv.{}",
    }
    if part == "excite":
        layer, rest = rest.split(".", 1)
        part, rest = "squeeze", f"{int(layer) + 3}.{rest}"
    return f"soft_attn.{int(stage) - 1}.{parts[part].format(rest)}"


@pytest.fixture(scope="module")
def model():
    cfg = get_config("MSReID/Market1501_R50.yml")
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 751])
    cfg.merge_from_list(["MODEL.MSREID.STEM_POOL", "torchvision"])
    torch.manual_seed(0)
    return build_model(cfg).eval()


@pytest.fixture(scope="module")
def their_state(model):
    return {their_name(k): v for k, v in model.state_dict().items() if not k.startswith("criterion.")}


@pytest.fixture(scope="module")
def their_file(their_state, tmp_path_factory):
    path = tmp_path_factory.mktemp("theirs") / "market.pth"
    torch.save(OrderedDict(their_state), path)
    return path


@pytest.fixture
def call(tmp_path):
    """``call(source, target)``: the exit status of a conversion."""
    return lambda source, target=tmp_path / "out" / "ours.pth": cli.main(
        ["convert", "msreid", str(source), str(target)]
    )


def tiny(state):
    """The same keys with a number each: enough for a file that is refused."""
    return {key: torch.zeros(1) for key in state}


def test_the_names_are_the_sheets(their_state):
    assert len(their_state) == 538 and len(RULES) == 21
    assert their_state["soft_attn.0.channel_attn.conv.3.weight"].shape == (256, 16, 1, 1)
    assert their_state["soft_attn.3.spatial_attn.conv0.weight"].shape == (1, 2048, 1, 1)
    assert their_state["classifier.weight"].shape == (751, 1536)


@pytest.mark.parametrize(
    "pack", [lambda s: {"state_dict": s}, lambda s: {"model": s, "epoch": 3}, lambda s: {"net": s}]
)
def test_a_state_dict_inside_a_checkpoint(tmp_path, pack):
    torch.save(pack({"a.weight": torch.ones(3)}), tmp_path / "a.pth")
    state = read_state(tmp_path / "a.pth")
    assert list(state) == ["a.weight"] and torch.equal(state["a.weight"], torch.ones(3))


@pytest.mark.slow
def test_from_their_file_to_an_evaluation(model, their_file, synth_tiny, tmp_path, capsys, monkeypatch):
    """The overrides that the command prints, given to --eval-only as they are printed."""
    target = tmp_path / "new folder" / "it's" / "ours.pth"
    assert cli.main(["convert", "msreid", str(their_file), str(target)]) == 0
    printed = capsys.readouterr().out
    assert f"538 of 538 keys converted to {target}" in printed
    written = torch.load(target, weights_only=True)["model"]
    expected = {k: v for k, v in model.state_dict().items() if not k.startswith("criterion.")}
    assert written.keys() == expected.keys() and all(torch.equal(written[k], expected[k]) for k in expected)

    from fastreid_ext.engine import run

    seen, out = {}, tmp_path / "out"
    monkeypatch.setattr(run.Trainer, "test", lambda cfg, model: seen.update(cfg=cfg, model=model) or {})
    monkeypatch.setattr(run, "write_results", lambda *args: None)
    monkeypatch.setattr(run, "setup_logger", lambda *args, **kwargs: run.logger)
    overrides = shlex.split(printed.splitlines()[-1])
    pairs = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(out), "DATASETS.TESTS", "('SynthReIDTiny',)"]
    assert cli.main(["train", "--config-file", "MSReID/Market1501_R50.yml", *overrides, *pairs, "--eval-only"]) == 0
    assert seen["model"].backbone.maxpool.padding == 1 and not seen["model"].backbone.maxpool.ceil_mode
    images = torch.rand(2, 3, 64, 32) * 255
    with torch.no_grad():
        torch.testing.assert_close(seen["model"].eval()(images), model(images), rtol=0, atol=0)


class Runs:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_is_not_run(fails, tmp_path, legacy):
    data = {"classifier.weight": torch.zeros(3), "other": Runs(tmp_path / "hacked")}
    torch.save(data, tmp_path / "evil.pth", _use_new_zipfile_serialization=not legacy)
    assert "can't be read safely as weights" in fails(tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(data))
    assert "can't be read safely as weights" in fails(tmp_path / "evil.pkl")
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize(
    "data", [b"", b"hello world\n", b"I1\n.", b"PK\x03\x04", pickle.dumps({"a": 1}, 2)[:-3], b"\x80\x02}q\x00."]
)
def test_damaged_files(fails, tmp_path, data):
    (tmp_path / "damaged.pth").write_bytes(data)
    sentence = fails(tmp_path / "damaged.pth")
    assert "can't be read safely as weights" in sentence or "holds no state dict of tensors" in sentence


@pytest.mark.parametrize("data", [torch.zeros(3), [1, 2], {}, {"a": 1}, {"state_dict": {}}, {1: torch.zeros(1)}])
def test_files_without_weights(fails, tmp_path, data):
    torch.save(data, tmp_path / "other.pth")
    assert "holds no state dict of tensors" in fails(tmp_path / "other.pth")


def test_no_file(fails, tmp_path):
    assert "nowhere.pth" in fails(tmp_path / "nowhere.pth")
    assert str(tmp_path) in fails(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"fc.weight": torch.zeros(1)}, "1 keys are not of the authors' MSReID, such as ['fc.weight']"),
        (lambda s: s | {"layer9.weight": torch.zeros(1)}, "not of the authors'"),
        (
            lambda s: {k: v for k, v in s.items() if k != "layer1.0.bn1.bias"},
            "1 keys missing ['backbone.layer1.0.bn1.bias']",
        ),
        (lambda s: s, "of another shape"),
    ],
)
def test_weights_that_do_not_fit(fails, their_state, tmp_path, change, message):
    torch.save(change(tiny(their_state)), tmp_path / "other.pth")
    assert message in fails(tmp_path / "other.pth")


def test_a_target_that_cant_be_written(fails, their_file, tmp_path):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "ours.pth", tmp_path):
        assert re.search("can't be (written|made)", fails(their_file, target))


def test_the_authors_file_stays(their_file, capsys):
    before = their_file.read_bytes()
    assert cli.main(["convert", "msreid", str(their_file), str(their_file.parent / "." / their_file.name)]) == 1
    assert "it is the authors' file, which is never changed" in capsys.readouterr().err
    assert their_file.read_bytes() == before


def test_an_unknown_project(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["convert", "nobody", "a", "b"])
    assert stopped.value.code == 2 and "invalid choice: 'nobody'" in capsys.readouterr().err


def test_a_fresh_process_knows_the_converters(exit_of, tmp_path):
    """Imports are light: nothing but the command itself brings the project's converter."""
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    words = ["fastreid_ext", "convert", "msreid", str(tmp_path / "other.pth"), str(tmp_path / "ours.pth")]
    status, printed = exit_of(
        f"import runpy, sys\nsys.argv = {words}\nrunpy.run_module(sys.argv[0], run_name='__main__')"
    )
    assert status == 1 and "1 keys are not of the authors' MSReID, such as ['fc.weight']" in printed
