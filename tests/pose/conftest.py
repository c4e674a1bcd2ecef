"""A miniature data set, and people to put into the files of pose models."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

IMAGES = (
    "train/0001_c1.jpg",
    "train/0002_c1.jpg",
    "train/0003_c2.png",
    "query/0001_c1.jpg",
    "query/0009_c3.jpg",
)


@pytest.fixture
def root(tmp_path):
    """A data set of five images of 40x80, two of which have the same name."""
    folder = tmp_path / "set"
    for name in IMAGES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 80), (90, 120, 60)).save(folder / name)
    return folder


@pytest.fixture
def write(tmp_path):
    """Write a value as JSON, or a text as it is, and return the path."""

    def write(value, name="poses.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return path

    return write


@pytest.fixture
def upright():
    """Make (17, 3) joints of someone who faces the camera, joint j lying j pixels below the top.

    Odd joints, the person's left, are 5 pixels right of x; even ones 5 pixels left of it; the nose is at x.
    """

    def make(x=20.0, top=8.0, confidence=0.9):
        joints = np.empty((17, 3))
        joints[:, 0] = x + np.where(np.arange(17) % 2, 5, -5)
        joints[0, 0] = x
        joints[:, 1] = top + np.arange(17)
        joints[:, 2] = confidence
        return joints

    return make


@pytest.fixture
def flat():
    """Turn joints into the flat list of numbers that the formats hold."""
    return lambda joints: [float(value) for value in np.asarray(joints).reshape(-1)]


@pytest.fixture
def colour_model(tmp_path):
    """Write a pose model (.onnx) that finds colours: joint j is where the picture is most like colours[j].

    It undoes the normalisation it is told of, compares every pixel p with each colour c by exp(-|p - c|^2 / 2000) and
    puts that out: of the pixels of a heat map's cells, or, for SimCC, the highest of each half column and half row.
    """

    def make(
        colours,  # (J, 3) red, green, blue, 0 to 255
        size=(96, 48),  # H, W
        kind="heat",  # heat: pixel 4 i is cell i; udp: the last pixel is the last cell; simcc
        batch="B",
        open_size=False,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        bgr=False,
        dtype=TensorProto.FLOAT,
        name="model.onnx",
    ):
        height, width = size
        kept = {}

        def constant(key, value):
            kept[key] = numpy_helper.from_array(np.asarray(value), key)
            return key

        def floats(key, value, shape):
            return constant(key, np.asarray(value, np.float32)[:, :: -1 if bgr else 1].reshape(shape))

        node = helper.make_node
        nodes = [
            node("Cast", ["images"], ["given"], to=TensorProto.FLOAT),
            node("Mul", ["given", floats("std", [std], (1, 3, 1, 1))], ["scaled"]),
            node("Add", ["scaled", floats("mean", [mean], (1, 3, 1, 1))], ["raw"]),
        ]
        pixels = "raw"
        if kind == "simcc":
            halves = constant("halves", np.array([1, 1, 2, 2], np.float32))
            how = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}  # bin 2 i is pixel i
            nodes.append(node("Resize", [pixels, "", halves], ["fine"], **how))
            pixels = "fine"
        nodes += [
            node("Unsqueeze", [pixels, constant("one", np.array([1]))], ["each"]),
            node("Sub", ["each", floats("colours", colours, (1, len(colours), 3, 1, 1))], ["apart"]),
            node("Mul", ["apart", "apart"], ["squares"]),
            node("ReduceSum", ["squares", constant("two", np.array([2]))], ["distance"], keepdims=0),
            node("Div", ["distance", constant("width", np.float32(-2000))], ["negative"]),
            node("Exp", ["negative"], ["like"]),
        ]
        if kind == "simcc":
            nodes += [
                node("ReduceMax", ["like"], ["x_"], axes=[2], keepdims=0),
                node("ReduceMax", ["like"], ["y_"], axes=[3], keepdims=0),
            ]
            outputs, ranks = ["x_", "y_"], [3, 3]
        else:
            for axis, pixels_there in ((2, height), (3, width)):
                cells = np.arange(pixels_there // 4) * 4
                if kind == "udp":
                    cells = np.rint(np.linspace(0, pixels_there - 1, len(cells))).astype(int)
                out = "maps_" if axis == 3 else "rows"
                there = "rows" if axis == 3 else "like"
                nodes.append(node("Gather", [there, constant(f"cells{axis}", cells)], [out], axis=axis))
            outputs, ranks = ["maps_"], [4]
        nodes += [node("Cast", [out], [out[:-1]], to=dtype) for out in outputs]
        shape = [batch, 3, "H", "W"] if open_size else [batch, 3, height, width]
        graph = helper.make_graph(
            nodes,
            "colours",
            [helper.make_tensor_value_info("images", dtype, shape)],
            [
                helper.make_tensor_value_info(out[:-1], dtype, [None] * rank)
                for out, rank in zip(outputs, ranks, strict=True)
            ],
            list(kept.values()),
        )
        return save_graph(graph, tmp_path / name)

    return make


@pytest.fixture
def tiny_model(tmp_path):
    """Write a model of a few nodes: {input: (type, shape)}, nodes as (operator, inputs, outputs, attributes)."""

    def make(inputs, nodes, outputs, constants=(), name="tiny.onnx"):
        graph = helper.make_graph(
            [helper.make_node(kind, there, out, **more) for kind, there, out, more in nodes],
            "tiny",
            [helper.make_tensor_value_info(key, *value) for key, value in inputs.items()],
            [helper.make_tensor_value_info(key, *value) for key, value in outputs.items()],
            [numpy_helper.from_array(np.asarray(value), key) for key, value in constants],
        )
        return save_graph(graph, tmp_path / name)

    return make


def save_graph(graph, path):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def ramps(tmp_path):
    """A data set of pictures whose colour says where in the picture it is, and where colours are in one.

    Red goes from 20 at the centre of the first column to 255 at that of the last, green so from the first row to the
    last, and blue is 200: a colour's place is a share of width - 1 and height - 1, to the rounding of a colour.
    """
    folder = tmp_path / "ramps"

    class Ramps:
        root = folder
        sizes = {
            "train/a.png": (32, 64),
            "train/b.png": (40, 64),
            "train/c.png": (64, 40),
            "query/a.png": (30, 30),
            "query/d.png": (28, 64),
            "query/e.png": (37, 75),
            "query/f.png": (33, 61),
        }
        names = sorted(sizes)

        @staticmethod
        def places(colours, size):
            """Return the places (J, 2) in an image of this size."""
            return (np.asarray(colours)[:, :2] - 20) / 235 * (np.array(size) - 1)

    for name, (width, height) in Ramps.sizes.items():
        pixels = np.full((height, width, 3), 200, dtype=np.uint8)
        pixels[..., 0] = np.rint(np.linspace(20, 255, width))[None]
        pixels[..., 1] = np.rint(np.linspace(20, 255, height))[:, None]
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return Ramps
