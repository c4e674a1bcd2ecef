"""Models whose heat maps come with offsets, and files that say which images they take."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from fastreid_ext.cli import main
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.pose.model import PoseModel
from fastreid_ext.pose.options import NOTE

FLOAT = TensorProto.FLOAT
COLOURS = np.array([[60, 60, 200], [200, 100, 200], [100, 220, 200]])


def repeated(name, array):
    """Nodes that give an array (1, ..) once for each image, and the constants that they need."""
    shape = np.array([-1, *[1] * (array.ndim - 1)])
    nodes = [
        ("ReduceSum", ["images", "sides"], [f"{name}_sum"], {"keepdims": 0}),
        ("Mul", [f"{name}_sum", "zero"], [f"{name}_zero"], {}),
        ("Reshape", [f"{name}_zero", f"{name}_shape"], [f"{name}_each"], {}),
        ("Add", [f"{name}_each", f"{name}_value"], [name], {}),
    ]
    return nodes, [(f"{name}_shape", shape), (f"{name}_value", array.astype(np.float32))]


@pytest.fixture
def with_offsets(tiny_model):
    """Write a model of (B, 3, 8, 4) whose outputs are the same arrays (1, ..) for each image, in this order."""

    def make(**arrays):
        nodes, constants = [], [("sides", np.array([1, 2, 3])), ("zero", np.float32(0))]
        for name, array in arrays.items():
            more, values = repeated(name, array)
            nodes, constants = nodes + more, constants + values
        outputs = {name: (FLOAT, ["B", *array.shape[1:]]) for name, array in arrays.items()}
        return tiny_model({"images": (FLOAT, ["B", 3, 8, 4])}, nodes, outputs, constants)

    return make


def maps_with_offsets():
    maps, offsets, weights = np.zeros((1, 2, 4, 2)), np.zeros((1, 2, 2, 4, 2)), np.ones((1, 2, 4, 2))
    maps[0, 0, 3, 1], maps[0, 1, 0, 0], maps[0, 1, 1, 1] = 0.75, 0.5, 0.25
    offsets[0, 0, :, 3, 1], offsets[0, 1, :, 1, 1] = (0.25, -0.5), (-1, 2)
    weights[0, 1, 1, 1] = 3
    return {"maps": maps, "offsets": offsets, "weights": weights}


def test_offsets_and_weights_are_told_from_the_shapes(with_offsets):
    arrays = maps_with_offsets()
    model = PoseModel(with_offsets(**arrays))
    assert (model.kind, model.joints, model.takes) == ("heat maps with offsets", 2, {})
    images = np.zeros((3, 3, 8, 4), np.float32)
    # 2 pixels a cell
    assert model(images).tolist() == [[[2.5, 5, 0.75], [0, 6, 0.25]]] * 3
    del arrays["weights"]
    assert PoseModel(with_offsets(**arrays))(images).tolist() == [[[2.5, 5, 0.75], [0, 0, 0.5]]] * 3


@pytest.mark.parametrize(
    ("change", "udp", "message"),
    [
        ({"offsets": np.zeros((1, 2, 3, 4, 2))}, False, r"perhaps with offsets \(B, J, 2, h, w\) and weights"),
        ({"offsets": np.zeros((1, 4, 4, 2))}, False, "perhaps with offsets"),
        ({"weights": np.zeros((1, 1, 4, 2))}, False, "perhaps with offsets"),
        ({"more": np.zeros((1, 2, 4, 2))}, False, "perhaps with offsets"),
        ({}, True, "gives offsets, which say where a joint is in its cell: remove --udp"),
    ],
)
def test_what_does_not_fit(with_offsets, change, udp, message):
    with pytest.raises(PoseError, match=message):
        PoseModel(with_offsets(**{**maps_with_offsets(), **change}), udp=udp)


def noted(path, note):
    model = onnx.load(path)
    model.metadata_props.add(key=NOTE, value=note if isinstance(note, str) else json.dumps(note))
    onnx.save(model, path)
    return path


TAKES = {"mean": [0, 10, 30], "std": [255, 100, 50], "color": "bgr"}


def test_a_file_says_which_images_it_takes(colour_model, ramps, tmp_path, capsys):
    """The same joints with a note as with options, and options count more than a note."""

    def run(output, model, *options):
        args = ["--model", model, "--images", ramps.root, "--output", tmp_path / output, "--threads", 1, *options]
        assert main(["pose", "run", *map(str, args)]) == 0
        capsys.readouterr()
        return Poses.load(tmp_path / output).joints

    colours = np.concatenate([COLOURS] * 6)[:17]
    options = ("--mean", 0, 10, 30, "--std", 255, 100, 50, "--color", "bgr")
    make = {"mean": (0, 10, 30), "std": (255, 100, 50), "bgr": True}
    told = run("options.npz", colour_model(colours, **make), *options)
    assert (told[..., 2] > 0.7).all()
    path = noted(colour_model(colours, **make), TAKES)
    assert PoseModel(path).takes == {"mean": (0, 10, 30), "std": (255, 100, 50), "color": "bgr"}
    assert np.array_equal(run("note.npz", path), told)
    assert (run("other.npz", path, "--mean", 200, 200, 200)[..., 2] < 0.7).any()
    path = noted(colour_model(colours, **make, name="wrong.onnx"), {**TAKES, "mean": [200, 200, 200], "color": "rgb"})
    assert np.array_equal(run("more.npz", path, "--mean", 0, 10, 30, "--color", "bgr"), told)


@pytest.mark.parametrize(
    "note",
    [
        *("", "[", "[]", "1", "null", "[" * 2000),
        {},
        {**TAKES, "mean": [1, 2]},
        {**TAKES, "mean": "123456"},
        {**TAKES, "mean": 7},
        {**TAKES, "std": [1, 0, 1]},
        {**TAKES, "std": [1, 2, "x"]},
        {**TAKES, "std": [1, 2, None]},
        {**TAKES, "mean": [0, 0, float("nan")]},
        {**TAKES, "mean": [0, 0, 10**999]},
        {**TAKES, "color": "grey"},
        {**TAKES, "color": []},
    ],
    ids=str,
)
def test_a_damaged_note_is_one_sentence(with_offsets, note):
    with pytest.raises(PoseError, match="has a note fastreid_ext_pose, .*: write it again") as error:
        PoseModel(noted(with_offsets(**maps_with_offsets()), note))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
