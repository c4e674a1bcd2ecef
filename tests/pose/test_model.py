"""ONNX files: what is told from them, and one sentence for each that is no pose model."""

import os
import sys

import numpy as np
import pytest
from onnx import TensorProto

from fastreid_ext.data.poses import PoseError
from fastreid_ext.files import file_hash
from fastreid_ext.pose.model import PoseModel
from fastreid_ext.pose.options import BATCH_SIZE

COLOURS = [[60, 60, 200], [200, 100, 200], [100, 220, 200]]
FLOAT = TensorProto.FLOAT
IMAGES = {"images": (FLOAT, ["B", 3, 8, 4])}


@pytest.mark.parametrize(("kind", "told"), [("heat", "heat maps"), ("udp", "heat maps"), ("simcc", "SimCC")])
def test_what_is_told_from_the_file(colour_model, kind, told):
    model = PoseModel(colour_model(COLOURS, size=(64, 32), kind=kind))
    assert (model.input_size, model.batch_size, model.kind, model.joints) == ((32, 64), BATCH_SIZE, told, 3)
    assert PoseModel(colour_model(COLOURS, kind=kind, batch=4)).batch_size == 4
    assert PoseModel(colour_model(COLOURS, kind=kind, batch=4), batch_size=4).batch_size == 4
    assert PoseModel(colour_model(COLOURS, kind=kind), batch_size=5).batch_size == 5


def test_open_dimensions(colour_model):
    path = colour_model(COLOURS, size=(64, 32), open_size=True, name="open.onnx")
    assert PoseModel(path, size=(64, 32)).input_size == (32, 64)
    assert PoseModel(colour_model(COLOURS, size=(64, 32)), size=(64, 32)).input_size == (32, 64)
    with pytest.raises(PoseError, match="takes images of any size: say with --size HEIGHT WIDTH .* --size 256 192"):
        PoseModel(path)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("kind", ["heat", "simcc"])
def test_a_fixed_batch_is_filled_and_cut(colour_model, kind, dtype):
    images = np.random.RandomState(0).standard_normal((3, 3, 32, 16)).astype(np.float32)
    at_once = PoseModel(colour_model(COLOURS, size=(32, 16), kind=kind, dtype=dtype), batch_size=3)(images)
    fixed = PoseModel(colour_model(COLOURS, size=(32, 16), kind=kind, dtype=dtype, batch=2))
    assert at_once.shape == (3, 3, 3)
    parts = [fixed(images[:2]), fixed(images[2:])]
    assert [len(part) for part in parts] == [2, 1]
    np.testing.assert_allclose(np.concatenate(parts), at_once, rtol=0, atol=1e-6)


def test_simcc_in_the_other_order(tiny_model):
    """The lengths tell x from y: 4x8 pixels have 8 half columns and 16 half rows."""
    values = np.zeros((1, 1, 16), np.float32), np.zeros((1, 1, 8), np.float32)
    values[0][0, 0, 6], values[1][0, 0, 3] = 0.5, 0.25
    nodes = [
        ("ReduceMax", ["images"], ["none"], {"keepdims": 1}),
        ("Mul", ["none", "zero"], ["nothing"], {}),
        ("Reshape", ["nothing", "shape"], ["flat"], {}),
        ("Add", ["flat", "first"], ["a"], {}),
        ("Add", ["flat", "second"], ["b"], {}),
    ]
    constants = [
        ("zero", np.float32(0)),
        ("shape", np.array([1, 1, 1])),
        ("first", values[0]),
        ("second", values[1]),
    ]
    path = tiny_model(
        {"images": (FLOAT, [1, 3, 8, 4])}, nodes, {"a": (FLOAT, [1, 1, 16]), "b": (FLOAT, [1, 1, 8])}, constants
    )
    assert PoseModel(path)(np.zeros((1, 3, 8, 4), np.float32)).tolist() == [[[1.5, 3, 0.25]]]


@pytest.mark.parametrize(
    ("inputs", "nodes", "outputs", "message"),
    [
        ({"a": (FLOAT, ["B", 3])}, [("Neg", ["a"], ["y"], {})], ["y"], "should take one float tensor of images"),
        (
            {"a": (TensorProto.UINT8, ["B", 3, 8, 4])},
            [("Cast", ["a"], ["y"], {"to": FLOAT})],
            ["y"],
            r"takes a tensor\(uint8\) \['B', 3, 8, 4\]",
        ),
        (IMAGES | {"b": IMAGES["images"]}, [("Add", ["images", "b"], ["y"], {})], ["y"], "but takes images .*, b "),
        ({"a": (FLOAT, ["B", 8, 4, 3])}, [("Neg", ["a"], ["y"], {})], ["y"], "which are not RGB images"),
        (IMAGES, [("Flatten", ["images"], ["y"], {})], ["y"], r"gives y \(32, 96\): a pose model gives one output"),
        (IMAGES, [("Transpose", ["images"], ["y"], {"perm": [0, 2, 3, 1]})], ["y"], "not heat maps .*, 8 high and 4 w"),
        (
            IMAGES,
            [("ReduceMax", ["images"], [out], {"axes": [1 + n], "keepdims": 0}) for n, out in enumerate("yz")],
            ["y", "z"],
            r"gives y \(32, 8, 4\), z \(32, 3, 4\): a pose model gives",
        ),
        (
            IMAGES,
            [("ReduceMax", ["images"], [out], {"axes": [2], "keepdims": 0}) for out in "yz"],
            ["y", "z"],
            r"or two of SimCC, \(B, J, k 4\) and \(B, J, k 8\)",
        ),
        (IMAGES, [("Cast", ["images"], ["y"], {"to": TensorProto.INT64})], ["y"], "a pose model gives one output"),
        (IMAGES, [("Neg", ["images"], [out], {}) for out in "xyz"], ["x", "y", "z"], "a pose model gives one output"),
    ],
    ids=["rank", "type", "inputs", "channels-last", "flat", "maps-last", "joints", "lengths", "integers", "three"],
)
def test_what_is_no_pose_model(tiny_model, inputs, nodes, outputs, message):
    numbers = TensorProto.INT64 if nodes[0][3].get("to") == TensorProto.INT64 else FLOAT
    with pytest.raises(PoseError, match=message) as error:
        PoseModel(tiny_model(inputs, nodes, {out: (numbers, None) for out in outputs}))
    assert "\n" not in str(error.value)


def test_wishes_that_do_not_fit_the_file(colour_model):
    for more, wishes, message in (
        ({"batch": 4}, {"batch_size": 8}, "takes 4 images at once and no other number: remove --batch-size"),
        ({}, {"size": (64, 32)}, r"takes images of 96 x 48, not --size \(64, 32\)"),
        ({"kind": "simcc"}, {"udp": True}, "gives SimCC, which has no cells: remove --udp"),
    ):
        with pytest.raises(PoseError, match=message):
            PoseModel(colour_model(COLOURS, **more), **wishes)


def test_a_model_that_fails_or_gives_no_number(tiny_model, colour_model):
    model = PoseModel(tiny_model(IMAGES, [("Log", ["images"], ["y"], {})], {"y": (FLOAT, ["B", 3, 8, 4])}))
    with pytest.raises(PoseError, match="values that are not finite: check --mean and --std"):
        model(np.full((1, 3, 8, 4), -1, np.float32))
    with pytest.raises(PoseError, match="can't be run on 1 images: .*") as error:
        model(np.zeros((1, 3, 9, 4), np.float32))
    assert "\n" not in str(error.value)
    # the file says that any number of images will do, but it always gives one result
    path = tiny_model(
        IMAGES, [("ReduceMax", ["images"], ["y"], {"axes": [0], "keepdims": 1})], {"y": (FLOAT, [1, 3, 8, 4])}
    )
    with pytest.raises(PoseError, match="gave 1 results for 2 images: try --batch-size 1"):
        PoseModel(path)(np.zeros((2, 3, 8, 4), np.float32))


def test_hostile_files(tmp_path, colour_model):
    whole = colour_model(COLOURS).read_bytes()
    path = tmp_path / "broken.onnx"
    for content in (b"", b"\x80\x04N.", b"<html>not found</html>", whole[: len(whole) // 2], os.urandom(999)):
        path.write_bytes(content)
        with pytest.raises(PoseError, match="broken.onnx can't be used as an ONNX model: ") as error:
            PoseModel(path)
        assert "\n" not in str(error.value) and len(str(error.value)) < 400
    with pytest.raises(PoseError, match="there is no file .*nowhere.onnx: --model is a pose model in ONNX format"):
        PoseModel(tmp_path / "nowhere.onnx")
    with pytest.raises(PoseError, match="there is no file"):
        PoseModel(tmp_path)


def test_onnxruntime_is_not_there(colour_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PoseError, match=r"onnxruntime can't be imported .*: pip install fastreid-ext\[pose\]"):
        PoseModel(colour_model(COLOURS))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_device_that_is_not_there(colour_model, monkeypatch):
    import onnxruntime

    there = onnxruntime.get_available_providers()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(PoseError, match="can't use cuda: use --device cpu, .* CUDAExecutionProvider .here are CPU"):
        PoseModel(colour_model(COLOURS), device="cuda")
    if "CUDAExecutionProvider" not in there:
        # listed, but when it is asked for, onnxruntime falls back to the CPU with a mere warning
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        with pytest.raises(PoseError, match="can't use cuda"):
            PoseModel(colour_model(COLOURS), device="cuda")


def test_the_hash_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
