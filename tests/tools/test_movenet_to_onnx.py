"""The converter of MoveNet: its heads, its choice of a person, its command, and hostile files."""

import copy
import json
import random
import re

import numpy as np
import onnxruntime
import pytest
from movenet_to_onnx import main, movenet_to_onnx
from PIL import Image
from tensorflow_js_files import JOINTS, movenet

from fastreid_ext.cli import main as fastreid_ext
from fastreid_ext.data.poses import Poses
from fastreid_ext.errors import UserError
from fastreid_ext.pose.model import PoseModel

LEAST = 1.5  # of the tiny MoveNet


@pytest.fixture
def path(tmp_path):
    """The model.json of a tiny MoveNet."""
    return movenet().write(tmp_path)


def run(content, images, names):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(names, {"images": images})


def some_images(count, height=32, width=32):
    return np.random.RandomState(1).randint(0, 256, (count, 3, height, width)).astype(np.float32)


def by_hand(heat, offsets, regression, centers):
    """Joints (J, 3) in cells of one image, in words of MoveNet's decoding, from its heads (h, w, C)."""
    height, width, joints = heat.shape
    row, column = np.unravel_index(centers[..., 0].argmax(), (height, width))
    found = []
    for joint in range(joints):
        y, x = np.array([row, column]) + regression[row, column, 2 * joint : 2 * joint + 2]
        best = max(
            (heat[i, j, joint] / (np.hypot(i - y, j - x) + LEAST), i, j) for i in range(height) for j in range(width)
        )
        _, i, j = best
        down, right = offsets[i, j, 2 * joint : 2 * joint + 2]
        found.append([j + right, i + down, heat[i, j, joint]])
    return np.array(found)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)], ids=str)
def test_joints_are_those_of_movenets_decoding(tmp_path, size):
    """Of several images at once, each as MoveNet decodes it alone."""
    path = movenet(*size).write(tmp_path)
    (tmp_path / "movenet.onnx").write_bytes(movenet_to_onnx(path))
    model = PoseModel(tmp_path / "movenet.onnx")
    assert (model.kind, model.joints, model.input_size) == ("heat maps with offsets", JOINTS, size[::-1])
    assert model.takes == {"mean": (0, 0, 0), "std": (1, 1, 1), "color": "rgb"}
    images = some_images(5, *size)
    found = model(images)
    heads = heads_of(path, images)
    expected = np.stack([by_hand(*(head[image] for head in heads)) for image in range(5)])
    np.testing.assert_allclose(found[..., :2], 4 * expected[..., :2], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[..., 2], expected[..., 2], rtol=0, atol=1e-5)
    assert len({tuple(cell) for cell in np.rint(expected[..., :2]).reshape(-1, 2)}) > 3  # not all in one place
    heat = heads[0].reshape(5, -1, JOINTS)
    weighted = np.take_along_axis(heat, heat.argmax(axis=1)[:, None], axis=1)[:, 0]
    assert (weighted > expected[..., 2] + 1e-4).any()  # the weights chose another cell somewhere


def heads_of(path, images):
    """The four heads (B, h, w, C), converted without what is behind them."""
    from graph_to_onnx import OnnxGraph, convert
    from tensorflow_js import read_graph_model

    names = ["Sigmoid", *(f"StatefulPartitionedCall/{scope}/BiasAdd" for scope in ("kpt_offset_0", "kpt_regress_0"))]
    names.append("weighted_center")
    graph = OnnxGraph()
    maps, size = convert(read_graph_model(path), names, graph)
    outputs = {f"out{n}": (maps[name].name, ["batch", None, None, None]) for n, name in enumerate(names)}
    content = graph.model(size, outputs).SerializeToString()
    return [out.transpose(0, 2, 3, 1) for out in run(content, images, list(outputs))]


def test_the_command_and_pose_run(path, tmp_path, capsys):
    output = tmp_path / "below" / "movenet.onnx"
    output.parent.mkdir()
    assert main([str(path), str(output)]) == 0 and capsys.readouterr().out == f"written: {output}\n"
    root = tmp_path / "images"
    root.mkdir()
    pixels = np.random.RandomState(0).randint(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(root / f"{number}.png")
    args = ["--model", output, "--images", root, "--output", tmp_path / "poses.npz", "--padding", 1, "--threads", 1]
    assert fastreid_ext(["pose", "run", *map(str, args)]) == 0
    assert f"3 images below {root}; heat maps with offsets of 17 joints from 32x32" in capsys.readouterr().out
    expected = PoseModel(output)(pixels.transpose(0, 3, 1, 2).astype(np.float32))  # 0 to 255, as the file says
    np.testing.assert_allclose(Poses.load(tmp_path / "poses.npz").joints, expected, rtol=0, atol=1e-4)


def test_no_file_of_weights_is_written_where_none_can_be(path, tmp_path, capsys):
    assert main([str(path), str(tmp_path / "no" / "movenet.onnx")]) == 1
    assert main([str(tmp_path / "no.json"), str(tmp_path / "movenet.onnx")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("movenet_to_onnx: ") for line in lines)
    assert not list(tmp_path.rglob("*.onnx"))


# ---- hostile files --------------------------------------------------------------------------------------------------


def refused(path):
    """The sentence that a file is refused with."""
    with pytest.raises(UserError) as error:
        movenet_to_onnx(path)
    sentence = str(error.value)
    assert "\n" not in sentence and len(sentence) < 600
    return sentence


def edited(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def entry(content):
    return content["weightsManifest"][0]


def nodes(content):
    return content["modelTopology"]["node"]


def node_of(content, name):
    return next(node for node in nodes(content) if node["name"] == name)


def without(name):
    def edit(content):
        content["modelTopology"]["node"] = [node for node in nodes(content) if name not in node["name"].split("/")]

    return edit


EDITS = [
    (lambda content: content.update(format="layers-model"), "is not a graph model of TensorFlow.js"),
    (lambda content: content.pop("modelTopology"), "is not a graph model of TensorFlow.js"),
    (lambda content: content.update(weightsManifest={}), "is not a graph model of TensorFlow.js"),
    (lambda content: content.update(weightsManifest=[7]), "has an entry of weights that can't be read"),
    (lambda content: nodes(content).append({"name": 7, "op": "Const"}), "has a node that can't be read"),
    (lambda content: nodes(content).append([]), "has a node that can't be read"),
    (lambda content: nodes(content)[3]["attr"].update(axis={"i": "9" * 5000}), "has a node that can't be read"),
    (lambda content: nodes(content)[3]["attr"].update(axis={"i": 1e999}), "has a node that can't be read"),
    (lambda content: nodes(content)[3]["attr"].update(axis={"s": "%%"}), "has a node that can't be read"),
    (lambda content: nodes(content).extend([7] * 100_000), "more than 100000"),
    (lambda content: entry(content).update(paths=["../weights.bin"]), "'../weights.bin', which is not a file beside"),
    (lambda content: entry(content).update(paths=["/etc/hostname"]), "'/etc/hostname', which is not a file beside"),
    (lambda content: entry(content).update(paths=["link.bin"]), "'link.bin', which is not a file beside it"),
    (lambda content: entry(content).update(paths=["."]), "'.', which is not a file beside it"),
    (lambda content: entry(content).update(paths=["a\0b"]), "which is not a file beside it"),
    (lambda content: entry(content).update(paths=[7]), "7, which is not a file beside it"),
    (lambda content: entry(content).update(paths=[]), r"bytes of weights, but \[\] have 0: download"),
    (lambda content: entry(content)["weights"][0].update(shape=[1 << 40]), "bytes of weights, but"),
    (lambda content: entry(content)["weights"][0].update(shape=[1] * 99), "has an entry of weights that can't be"),
    (lambda content: entry(content)["weights"][0].update(shape=[-1]), "has an entry of weights that can't be read"),
    (lambda content: entry(content)["weights"][0].update(shape="33"), "has an entry of weights that can't be read"),
    (lambda content: entry(content)["weights"][0].update(dtype="string"), "has an entry of weights that can't be"),
    (
        lambda content: entry(content)["weights"][0].update(quantization={"dtype": "uint8", "scale": "x", "min": 0}),
        "has an entry of weights that can't be read",
    ),
    (without("kpt_offset_0"), "has no head kpt_offset_0: it is not a MoveNet for one person"),
    (without("weighted_center"), "it is not a MoveNet for one person"),
    (
        lambda content: node_of(content, "Sigmoid").update(op="Relu"),
        "has no Sigmoid behind .*: it is not a MoveNet for one person",
    ),
    (without("weighted"), "has no RealDiv behind 'Sigmoid': it is not a MoveNet for one person"),
    (without("distance"), "does not weight its heat maps by a distance"),
]


@pytest.mark.parametrize(("edit", "message"), EDITS, ids=range(len(EDITS)))
def test_hostile_files(path, edit, message):
    (path.parent / "link.bin").symlink_to(path.parent / "weights0.bin")
    assert re.search(message, refused(edited(path, edit)))


def test_what_is_no_json_and_weights_of_another_length(path):
    weights = path.parent / "weights0.bin"
    whole, text = weights.read_bytes(), path.read_text()
    for content in (whole[:-1], whole + b"\0", b""):
        weights.write_bytes(content)
        assert "bytes of weights, but ['weights0.bin'] have" in refused(path)
    weights.unlink()
    assert "which is not a file beside it" in refused(path)
    for content in ("", "{", "[" * 100_000, "7", "[]", "null", text[: len(text) // 2]):
        path.write_text(content)
        refused(path)


def test_heads_that_do_not_fit(tmp_path):
    graph = movenet()
    for weight in graph.weights:
        if weight["name"].startswith("StatefulPartitionedCall/kpt_offset_0/BiasAdd"):
            weight["shape"][-1] = JOINTS
    graph.data = [
        data[: len(data) // 2] if weight["name"].startswith("StatefulPartitionedCall/kpt_offset_0/BiasAdd") else data
        for weight, data in zip(graph.weights, graph.data, strict=True)
    ]
    assert "the heads of" in refused(graph.write(tmp_path))


def mutated(content, draw):
    """A copy of what JSON holds with one value, somewhere, that is another."""
    content = copy.deepcopy(content)
    place = content[draw.choice(["modelTopology", "weightsManifest"])]
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw.choice(keys)
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.1:
            place[key] = draw.choice([None, -1, 0, 7, 1 << 70, 1.5, "x", "", [], {}, [[]], {"i": "3"}, True, ["x"]])
            return content
        place = inner


def test_no_damage_is_a_traceback(path):
    content, draw, outcomes = json.loads(path.read_text()), random.Random(0), set()
    for _ in range(300):
        path.write_text(json.dumps(mutated(content, draw)))
        try:
            movenet_to_onnx(path)
            outcomes.add("converted")
        except UserError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert outcomes == {"converted", "refused"}
