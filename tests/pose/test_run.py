"""``fastreid-ext pose run``: joints whose place in the picture is known, and runs that are interrupted."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import warm
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.data.poses import Poses
from fastreid_ext.engine.joints import joints_of
from fastreid_ext.errors import FileError
from fastreid_ext.model_zoo import get_config
from fastreid_ext.pose.chunks import SavedChunks
from fastreid_ext.pose.crops import Crop
from fastreid_ext.pose.model import PoseModel

# Colours of the ramps' pictures: a place each, so far from the edges that the neighbours of its cell are in the picture
PLACES = np.random.RandomState(0).uniform(0.3, 0.7, (17, 2))
COLOURS = np.concatenate([20 + 235 * PLACES, np.full((17, 1), 200)], axis=1)


@pytest.fixture
def run(tmp_path, ramps, capsys):
    """Run a model on the ramps, or another folder, into poses.npz; return status, output and errors."""

    def run(model, *options, images=ramps.root, output="poses.npz"):
        args = ["--model", model, "--images", images, "--output", tmp_path / output, "--threads", 1, *options]
        status = main(["pose", "run", *map(str, args)])
        out, err = capsys.readouterr()
        assert "\r" not in err  # progress is plain lines here
        lines = [line for line in err.splitlines() if line and not line.startswith("poses:")]
        return status, out.splitlines(), lines

    return run


@pytest.fixture
def fails(run):
    """Run a model that can't be run, and return the sentence."""

    def fails(model, *options, **more):
        status, out, lines = run(model, *options, **more)
        assert status == 1 and out == [] and len(lines) == 1
        assert lines[0].startswith("fastreid-ext pose run: ")
        return lines[0]

    return fails


@pytest.fixture
def killed_after(monkeypatch):
    """Make the model end the run after so many batches, by an error, or let it be as it was with None."""
    whole = PoseModel.__call__

    def after(batches, error=KeyboardInterrupt):
        calls = []

        def call(self, images):
            calls.append(len(images))
            if len(calls) > batches:
                raise error
            return whole(self, images)

        monkeypatch.setattr(PoseModel, "__call__", whole if batches is None else call)
        return calls

    return after


def errors_px(ramps, poses, model, padding):
    """Return what joints are off their places, in image pixels, (N, 17, 2), and the model's pixel in each image."""
    off, steps = [], []
    for name in ramps.names:
        joints, size = poses.of(name)
        assert size == ramps.sizes[name]
        off.append(joints[:, :2] - ramps.places(COLOURS, size))
        steps.append(Crop(size, model, padding).step)
    return np.array(off), np.array(steps)[:, None, None]


CASES = [
    ("heat", {}, ()),
    ("heat", {"batch": 2}, ("--padding", "1")),
    ("heat", {"batch": 4, "bgr": True}, ("--color", "bgr", "--padding", "1.2")),
    ("heat", {"open_size": True}, ("--size", "96", "48", "--batch-size", "3")),
    ("heat", {"mean": (0, 10, 30), "std": (255, 100, 50)}, ["--mean", "0", "10", "30", "--std", "255", "100", "50"]),
    ("udp", {"size": (64, 48)}, ("--udp",)),
    ("simcc", {}, ("--batch-size", "1")),
    ("simcc", {"batch": 4, "size": (64, 48)}, ("--padding", "1.1")),
]


@pytest.mark.parametrize(("kind", "more", "options"), CASES)
def test_joints_are_where_their_colours_are(colour_model, run, ramps, tmp_path, kind, more, options):
    """To the model's own grid and to the rounding of colours, and without a bias to one side.

    A cell is 4 pixels of the model; with the quarter cell that decoding adds, a joint is off by 1 at most. UDP's cells
    are not at whole pixels, which the model takes instead: half a pixel more. A bin of SimCC is half a pixel. A
    colour is rounded in the picture and in the crop: one level in all, 1/slope of a pixel of the image.
    """
    status, lines, errors = run(colour_model(COLOURS, kind=kind, **more), *options)
    assert (status, errors) == (0, [])
    height, width = more.get("size", (96, 48))
    head = f"7 images below {ramps.root}; {'SimCC' if kind == 'simcc' else 'heat maps'} of 17 joints from"
    assert lines[0] == f"{head} {height}x{width}"
    assert lines[-1] == f"written: {tmp_path / 'poses.npz'}"
    assert "7 images with a pose; a joint is seen if its confidence is above 0.2" in lines
    assert [path.name for path in tmp_path.glob("poses*")] == ["poses.npz"]
    poses = Poses.load(tmp_path / "poses.npz")
    assert list(poses.names) == ramps.names
    padding = float(options[options.index("--padding") + 1]) if "--padding" in options else 1.25
    off, steps = errors_px(ramps, poses, (width, height), padding)
    slopes = np.array([235 / (np.array(ramps.sizes[name]) - 1) for name in ramps.names])[:, None]  # levels a pixel
    grid = {"heat": 1, "udp": 1.5, "simcc": 0.25}[kind]
    assert (np.abs(off) <= grid * steps + 1 / slopes).all()
    # the mean of 119 such errors is near 0 (measured: 0.19 and 0.03 at most): half a pixel of the image would show
    assert np.abs(off.mean(axis=(0, 1))).max() < (0.1 if kind == "simcc" else 0.25)
    assert (poses.joints[..., 2] > 0.7).all()


def test_the_geometry_joint_by_joint(colour_model, run, ramps, tmp_path):
    """At the model's own size nothing is resampled: joints that lie on the pixels of cells come out to the digit."""
    width, height = 48, 96
    ramp = np.full((height, width, 3), 200, np.uint8)
    ramp[..., 0], ramp[..., 1] = 20 + 4 * np.arange(width)[None], 20 + 2 * np.arange(height)[:, None]
    (tmp_path / "set").mkdir()
    Image.fromarray(ramp).save(tmp_path / "set" / "a.png")
    pixels = np.array([[4 * (n % 10 + 1), 4 * (n + 3)] for n in range(17)])  # on cells, none at the edge
    colours = np.column_stack([20 + 4 * pixels[:, 0], 20 + 2 * pixels[:, 1], np.full(17, 200)])
    for kind in ("heat", "simcc"):
        output = f"{kind}.npz"
        model = colour_model(colours, kind=kind, name=f"{kind}.onnx")
        assert run(model, "--padding", 1, images=tmp_path / "set", output=output)[0] == 0
        joints, size = Poses.load(tmp_path / output).of("a.png")
        assert size == (width, height)
        np.testing.assert_allclose(joints[:, :2], pixels, rtol=0, atol=1e-5)
        np.testing.assert_allclose(joints[:, 2], 1, rtol=0, atol=1e-3)


def test_a_colour_that_is_not_there_has_no_confidence(colour_model, run, ramps, tmp_path):
    colours = COLOURS.copy()
    colours[3] = 255, 0, 0
    assert run(colour_model(colours))[0] == 0
    joints = Poses.load(tmp_path / "poses.npz").joints
    assert (joints[:, 3, 2] < 0.01).all() and (np.delete(joints, 3, axis=1)[..., 2] > 0.7).all()


def test_other_joints_than_cocos(colour_model, run, fails, tmp_path):
    model = colour_model(COLOURS[:5])
    assert "gives 5 joints: --sheet can draw COCO's 17 only" in fails(model, "--sheet", tmp_path / "sheet.png")
    status, lines, _ = run(model)
    assert status == 0 and "5 joints are not COCO's 17: what they cover can't be reported" in lines
    assert Poses.load(tmp_path / "poses.npz").joints.shape == (7, 5, 3)


def test_the_report_and_the_sheet(colour_model, run, tmp_path, capsys):
    status, lines, _ = run(colour_model(COLOURS), "--sheet", tmp_path / "sheet.png", "--threshold", "0.5")
    assert status == 0 and f"drawn: {tmp_path / 'sheet.png'}" in lines and (tmp_path / "sheet.png").is_file()
    assert main(["pose", "report", str(tmp_path / "poses.npz"), "--threshold", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines() == lines[1:-2]


# ---- interruptions --------------------------------------------------------------------------------------------------

SMALL = ("--batch-size", "2", "--save-every", "2")


@pytest.fixture
def reference(colour_model, run, tmp_path):
    """The pose file that a run without an interruption makes."""
    assert run(colour_model(COLOURS), *SMALL, output="whole.npz")[0] == 0
    return Poses.load(tmp_path / "whole.npz")


def same(path, reference):
    poses = Poses.load(path)
    assert poses.names == reference.names and np.array_equal(poses.sizes, reference.sizes)
    np.testing.assert_allclose(poses.joints, reference.joints, rtol=0, atol=1e-5)
    return True


KILLER = """
import os, signal, sys
from fastreid_ext.pose import model
from fastreid_ext.cli import main
calls, whole = [], model.PoseModel.__call__
def call(self, images):
    calls.append(1)
    if len(calls) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, images)
model.PoseModel.__call__ = call
main(sys.argv[1:])
"""


def test_a_killed_run_goes_on(colour_model, run, ramps, reference, killed_after, tmp_path):
    model, output = colour_model(COLOURS), tmp_path / "poses.npz"
    args = ["pose", "run", "--model", model, "--images", ramps.root, "--output", output, "--threads", "1", *SMALL]
    killed = warm.run(["-c", KILLER, *args], os.environ)
    assert killed.returncode == -signal.SIGKILL
    done = sorted(path.name for path in tmp_path.glob("poses.npz*/[!.]*"))
    assert done == [
        "000000.npz",
        "000001.npz",
        "settings.json",
    ]
    calls = killed_after(99)
    status, lines, _ = run(model, *SMALL)
    assert status == 0 and lines[1] == "4 of them had been done before an interruption"
    assert calls == [2, 1]  # of 7
    assert [path.name for path in tmp_path.glob("*poses*")] == ["poses.npz"] and same(output, reference)


def test_ctrl_c_and_errors_keep_what_was_done(colour_model, run, reference, killed_after, tmp_path):
    """Also what is too little for a part of its own."""
    model, output = colour_model(COLOURS), tmp_path / "poses.npz"
    often = ("--batch-size", "2", "--save-every", "100")
    killed_after(1)
    status, lines, errors = run(model, *often)
    assert (status, lines, errors) == (130, [], ["fastreid-ext pose run: interrupted"]) and not output.exists()
    calls = killed_after(1, error=FileError("the disk is gone"))
    assert run(model, *often)[2] == ["fastreid-ext pose run: the disk is gone"]
    assert calls == [2, 2]
    calls = killed_after(99)
    assert run(model, "--batch-size", "5")[1][1] == "4 of them had been done before an interruption"
    assert calls == [3] and same(output, reference)


def test_an_unreadable_image_is_named_and_what_was_done_is_kept(colour_model, run, fails, ramps, tmp_path):
    model, broken = colour_model(COLOURS), ramps.root / ramps.names[4]
    whole = broken.read_bytes()
    broken.write_bytes(whole[:100])
    assert f"{broken} can't be read as an image" in fails(model, *SMALL)
    broken.write_bytes(whole)
    assert run(model, *SMALL)[1][1] == "4 of them had been done before an interruption"


def test_images_that_came_and_went(colour_model, run, ramps, reference, killed_after, tmp_path):
    """The pose file has a row for each image that is there when it is finished."""
    killed_after(1)
    assert run(colour_model(COLOURS), *SMALL)[0] == 130
    killed_after(None)
    gone = ramps.names[0]
    (ramps.root / gone).rename(ramps.root / "train" / "new.png")
    assert run(colour_model(COLOURS), *SMALL)[0] == 0
    names = sorted([*ramps.names[1:], "train/new.png"])
    poses = Poses.load(tmp_path / "poses.npz")
    assert list(poses.names) == names
    np.testing.assert_allclose(poses.of("train/new.png")[0], reference.of(gone)[0], rtol=0, atol=1e-5)


OTHERS = [
    ("model", None),
    ("padding", ("--padding", "1.5")),
    ("mean", ("--mean", "1", "2", "3")),
    ("std", ("--std", "1", "2", "3")),
    ("color", ("--color", "bgr")),
    ("udp", ("--udp",)),
]


@pytest.mark.parametrize(("key", "options"), OTHERS, ids=[key for key, _ in OTHERS])
def test_parts_of_another_run_are_not_mixed(colour_model, run, fails, killed_after, tmp_path, key, options):
    model = colour_model(COLOURS)
    killed_after(1)
    assert run(model, *SMALL)[0] == 130
    killed_after(None)
    folder = tmp_path / "poses.npz.chunks"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    other = colour_model(COLOURS[::-1], name="model.onnx") if key == "model" else model
    sentence = fails(other, *SMALL, *(options or ()))
    assert f"{folder} holds an interrupted run with another {key}: use the same again, or delete" in sentence
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_another_folder_of_images_is_not_mixed(colour_model, run, fails, killed_after, ramps, tmp_path):
    killed_after(1)
    assert run(colour_model(COLOURS), *SMALL)[0] == 130
    ramps.root.rename(tmp_path / "moved")
    assert "with another images: " in fails(colour_model(COLOURS), images=tmp_path / "moved")


def test_options_that_do_not_matter_may_change(colour_model, run, reference, killed_after, tmp_path):
    killed_after(1)
    assert run(colour_model(COLOURS), *SMALL)[0] == 130
    killed_after(None)
    assert run(colour_model(COLOURS), "--batch-size", "3", "--threads", "2", "--save-every", "9")[0] == 0
    assert same(tmp_path / "poses.npz", reference)


def test_a_run_that_did_nothing_binds_nobody(colour_model, run, killed_after, tmp_path):
    killed_after(0)
    assert run(colour_model(COLOURS))[0] == 130
    assert not (tmp_path / "poses.npz.chunks").exists()


def test_damaged_parts(colour_model, run, fails, killed_after, tmp_path):
    model, folder = colour_model(COLOURS), tmp_path / "poses.npz.chunks"
    killed_after(1)
    run(model, *SMALL)
    killed_after(None)
    part = folder / "000000.npz"
    part.write_bytes(part.read_bytes()[:50])
    assert f"{part} is damaged: delete it, then its images are processed again" in fails(model)
    for content in ("{", "[1]", json.dumps([["a", "b", "c"]])):
        (folder / "settings.json").write_text(content)
        assert f"settings.json can't be read: delete {folder} to start" in fails(model)
    (folder / "settings.json").unlink()
    assert f"settings.json can't be read: delete {folder} to start" in fails(model)
    part.unlink()
    (folder / "notes.txt").write_text("mine")
    assert run(model)[0] == 0 and [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_two_at_once(colour_model, run, fails, tmp_path):
    chunks = SavedChunks(tmp_path / "poses.npz.chunks", {})
    assert "another process uses" in fails(colour_model(COLOURS))
    chunks.close()
    assert run(colour_model(COLOURS))[0] == 0


def test_killed_before_the_parts_were_removed(colour_model, run, reference, killed_after, tmp_path):
    killed_after(2)
    assert run(colour_model(COLOURS), *SMALL)[0] == 130
    killed_after(None)
    (tmp_path / "whole.npz").rename(tmp_path / "poses.npz")
    assert run(colour_model(COLOURS), *SMALL)[0] == 0 and same(tmp_path / "poses.npz", reference)


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_mistakes_are_one_sentence(colour_model, fails, ramps, tmp_path):
    model = colour_model(COLOURS)
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "there.npz").write_text("mine")
    for args, more, message in (
        ((tmp_path / "text.onnx",), {}, "text.onnx can't be used as an ONNX model"),
        ((tmp_path / "no.onnx",), {}, "there is no file"),
        ((model,), {"images": tmp_path / "no"}, "there is no folder"),
        ((model,), {"images": tmp_path / "empty"}, "there is no image below"),
        ((model,), {"output": "there.npz"}, "there.npz already exists: delete it, or choose another --output"),
        ((model, "--std", "0.229", "0.224", "0.225"), {}, "multiply deviations of pixels in [0, 1] by 255"),
        ((model, "--std", "1", "1", "0"), {}, "is not on the 0-255 scale"),
        ((model, "--mean", "nan", "0", "0"), {}, "values that are not finite"),
        ((colour_model(COLOURS, kind="simcc", name="s.onnx"), "--udp"), {}, "remove --udp"),
    ):
        assert message in fails(*args, **more), message
    assert (tmp_path / "there.npz").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.glob("*.npz*")) == ["there.npz"]


@pytest.mark.parametrize("option", [("--padding", "0.9"), ("--padding", "nan"), ("--batch-size", "0"), ("--size", "9")])
def test_options_out_of_range(option, capsys):
    with pytest.raises(SystemExit):
        main(["pose", "run", "--model", "a", "--images", "b", "--output", "c", *option])
    assert option[0] in capsys.readouterr().err


# ---- a data set -----------------------------------------------------------------------------------------------------


def test_a_training_reads_what_was_written(colour_model, run, synth_tiny, synth_root, tmp_path):
    root = synth_root / "SynthReID-tiny"
    status, lines, _ = run(colour_model(COLOURS), images=root)
    assert status == 0 and "regions of MGRe, images with 2 or more of the joints seen:" in lines
    poses = Poses.load(tmp_path / "poses.npz")
    assert len(poses) == len(list(root.glob("*/*.jpg")))
    cfg = get_config("demo/mgre.yml")
    cfg.merge_from_list(["INPUT.JOINTS.FILES", [str(tmp_path / "poses.npz")], "DATASETS.NAMES", ("SynthReIDTiny",)])
    dataset = load_dataset("SynthReIDTiny", ("train",))
    shares = joints_of(cfg, {"SynthReIDTiny": dataset}, ("train",), dataset.train)
    assert shares.shape == (len(dataset.train), 17, 3)
    first = Path(dataset.train[0][0]).relative_to(root).as_posix()
    joints, size = poses.of(first)
    np.testing.assert_allclose(shares[0, :, :2], (joints[:, :2] + 0.5) / size, rtol=0, atol=1e-6)
