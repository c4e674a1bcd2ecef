"""Each operation that is converted to ONNX, against NumPy or torch, and those that are not."""

import numpy as np
import onnxruntime
import pytest
import torch
from graph_to_onnx import OPERATIONS, OnnxGraph, convert
from tensorflow_js import GraphModelError, read_graph_model
from tensorflow_js_files import CONVOLUTION, GraphFile

RANDOM = np.random.RandomState(0)
SIZES = [(7, 6), (8, 9)]


def run(graph, folder, name="y", count=3, size=(7, 6)):
    """Convert a graph and return (images (B, H, W, 3), what it gives (B, h, w, C), the size that was told)."""
    written = OnnxGraph()
    maps, told = convert(read_graph_model(graph.write(folder)), [name], written)
    assert told == size and maps[name].batched
    model = written.model(told, {"out": (maps[name].name, ["batch", maps[name].size[2], *maps[name].size[:2]])})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = RANDOM.randint(0, 256, (count, *size, 3)).astype(np.float32)
    (out,) = session.run(None, {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
    assert out.shape[1:] == (maps[name].size[2], *maps[name].size[:2])
    return images, out.transpose(0, 2, 3, 1)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def convolved(images, weight, steps, spread, padding, depthwise):
    """The sum of a convolution's definition, over (B, H, W, C) and weights (k, k, C, D), with TensorFlow's padding."""
    count, *sides, channels = images.shape
    taps, out = weight.shape[:2], weight.shape[3] * (channels if depthwise else 1)
    reach = [(tap - 1) * apart + 1 for tap, apart in zip(taps, spread, strict=True)]
    if padding == "SAME":
        ends = [-(-side // step) for side, step in zip(sides, steps, strict=True)]
        lacks = [max((e - 1) * s + r - side, 0) for e, s, r, side in zip(ends, steps, reach, sides, strict=True)]
    else:
        ends = [-(-(side - r + 1) // step) for side, r, step in zip(sides, reach, steps, strict=True)]
        lacks = [0, 0]
    padded = np.pad(images, [(0, 0), *((lack // 2, lack - lack // 2) for lack in lacks), (0, 0)])
    result = np.zeros((count, *ends, out))
    for y, x in np.ndindex(*ends):
        for row, column in np.ndindex(*taps):
            pixel = padded[:, y * steps[0] + row * spread[0], x * steps[1] + column * spread[1]]
            if depthwise:
                result[:, y, x] += (pixel[:, :, None] * weight[row, column]).reshape(count, out)
            else:
                result[:, y, x] += pixel @ weight[row, column]
    return result


CONVOLUTIONS = [
    ("_FusedConv2D", (3, 3), (1, 1), (1, 1), "SAME", ["BiasAdd", "Relu6"]),
    ("_FusedConv2D", (3, 3), (2, 2), (1, 1), "SAME", ["BiasAdd", "Relu"]),
    ("_FusedConv2D", (2, 5), (3, 2), (1, 1), "SAME", ["BiasAdd"]),
    ("_FusedConv2D", (1, 1), (1, 1), (1, 1), "VALID", []),
    ("_FusedConv2D", (3, 2), (2, 1), (1, 2), "VALID", ["BiasAdd"]),
    ("FusedDepthwiseConv2dNative", (3, 3), (2, 2), (1, 1), "SAME", ["BiasAdd", "Relu6"]),
    ("FusedDepthwiseConv2dNative", (3, 3), (1, 1), (2, 2), "SAME", ["BiasAdd"]),
    ("DepthwiseConv2dNative", (3, 3), (1, 1), (1, 1), "VALID", None),
    ("DepthwiseConv2dNative", (5, 5), (2, 2), (1, 1), "SAME", None),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("op", "taps", "steps", "spread", "padding", "fused"), CONVOLUTIONS)
def test_convolutions(tmp_path, op, taps, steps, spread, padding, fused, size):
    depthwise, out = op != "_FusedConv2D", 2 if op != "_FusedConv2D" else 5
    weight = (RANDOM.standard_normal((*taps, 3, out)) / 50).astype(np.float32)
    bias = RANDOM.standard_normal(6 if depthwise else out).astype(np.float32)
    graph = GraphFile()
    given = [graph.image(*size), graph.constant("w", weight)] + ([graph.constant("b", bias)] if fused else [])
    more = {**CONVOLUTION, "strides": [1, *steps, 1], "dilations": [1, *spread, 1], "padding": padding}
    graph.add(op, "y", *given, **more, **({} if fused is None else {"fused_ops": fused}))
    images, found = run(graph, tmp_path, size=size)
    expected = convolved(images, weight, steps, spread, padding, depthwise) + (bias if fused else 0)
    low, high = {"Relu": (0, np.inf), "Relu6": (0, 6)}.get((fused or [None])[-1], (-np.inf, np.inf))
    assert not fused or fused[-1] != "Relu6" or (expected.min() < 0 and expected.max() > 6)
    close(found, expected.clip(low, high))


@pytest.mark.parametrize("op", ["AddV2", "Sub", "Mul", "RealDiv"])
@pytest.mark.parametrize("shape", [(), (3,), (1, 1, 1, 3), (6, 3), (7, 6, 1), (1, 7, 1, 3)], ids=str)
def test_arithmetic_with_constants(tmp_path, op, shape):
    function = {"AddV2": np.add, "Sub": np.subtract, "Mul": np.multiply, "RealDiv": np.divide}[op]
    value = RANDOM.uniform(1, 2, shape).astype(np.float32)
    for turned in (False, True):
        graph = GraphFile()
        given = [graph.image(7, 6), graph.constant("c", value)]
        one = graph.add("AddV2", "one", given[0], graph.constant("1", np.float32(1)))
        graph.add(op, "y", *[one, given[1]][:: -1 if turned else 1])
        images, found = run(graph, tmp_path)
        close(found, function(value, images + 1) if turned else function(images + 1, value))


@pytest.mark.parametrize(("corners", "halves"), [(False, True), (True, False), (False, False)])
@pytest.mark.parametrize("size", [(14, 12), (5, 9), (7, 6), (3, 20)], ids=str)
def test_resizing(tmp_path, corners, halves, size):
    graph = GraphFile()
    wanted = graph.constant("size", np.array(size, np.int32))
    graph.add("ResizeBilinear", "y", graph.image(7, 6), wanted, align_corners=corners, half_pixel_centers=halves)
    images, found = run(graph, tmp_path)
    maps = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    if corners or halves:
        expected = torch.nn.functional.interpolate(maps, size, mode="bilinear", align_corners=corners).numpy()
        return close(found, expected.transpose(0, 2, 3, 1))
    for y, x in np.ndindex(*size):  # pixel y is y H/h of the source
        (top, down), (left, right) = (
            (min(int(at * side / end), side - 1), at * side / end % 1)
            for at, side, end in zip((y, x), (7, 6), size, strict=True)
        )
        rows = images[:, top] * (1 - down) + images[:, min(top + 1, 6)] * down
        close(found[:, y, x], rows[:, left] * (1 - right) + rows[:, min(left + 1, 5)] * right)
    return None


def test_what_only_changes_the_batch_or_the_type(tmp_path):
    """Cast, Unpack, ExpandDims, Squeeze and Identity leave the values as they are, for any number of images."""
    graph, zero = GraphFile(), np.int32(0)
    y = graph.add("Cast", "cast", graph.image(7, 6), DstT={"type": "DT_FLOAT"}, SrcT={"type": "DT_INT32"})
    y = graph.add("Unpack", "unpack", y, axis=0, num=1)
    y = graph.add("ExpandDims", "back", y, graph.constant("0", zero))
    y = graph.add("Squeeze", "squeeze", y, squeeze_dims=[0])
    y = graph.add("ExpandDims", "again", y, graph.constant("00", zero))
    y = graph.add("Identity", "same", y, "^cast")
    graph.add("Sigmoid", "y", graph.add("Mul", "mul", y, graph.constant("c", np.float32(0.01))))
    images, found = run(graph, tmp_path)
    close(found, 1 / (1 + np.exp(-0.01 * images)))


def test_all_operations_were_tested():
    tested = {op for op, *_ in CONVOLUTIONS} | {"AddV2", "Sub", "Mul", "RealDiv", "ResizeBilinear", "Sigmoid"}
    assert tested | {"Cast", "Unpack", "ExpandDims", "Squeeze", "Identity"} == set(OPERATIONS)


@pytest.mark.parametrize("packed", [None, "float16", "uint8", "uint16"])
@pytest.mark.parametrize("files", [1, 3])
def test_weights_in_all_types_and_several_files(tmp_path, packed, files):
    graph, value = GraphFile(), RANDOM.uniform(-3, 5, (7, 5)).astype(np.float32)
    graph.constant("before", np.array([1, 2, 3], np.int32))
    graph.constant("c", value, packed)
    graph.constant("behind", np.float32(7))
    found = read_graph_model(graph.write(tmp_path, files)).weights
    error = {None: 0, "float16": 2e-3, "uint8": 8 / 255 / 2 * 1.01, "uint16": 8 / 65535 / 2 * 1.1}[packed]
    np.testing.assert_allclose(found["c"], value, rtol=0, atol=error)
    assert found["before"].tolist() == [1, 2, 3] and found["behind"] == 7 and found["c"].dtype == np.float32


# ---- what can't be converted ----------------------------------------------------------------------------------------


def add_to_image(op, *constants, **attributes):
    def make():
        graph = GraphFile()
        names = [graph.constant(f"c{number}", value) for number, value in enumerate(constants)]
        graph.add(op, "y", graph.image(7, 6), *names, **attributes)
        return graph

    return make


def of_constants():
    graph = GraphFile()
    graph.add("AddV2", "y", graph.constant("a", np.ones(3)), graph.constant("b", np.ones(3)))
    return graph


def second_input():
    graph = GraphFile()
    graph.add("AddV2", "y", graph.image(7, 6), graph.image(7, 6, "other"))
    return graph


def around():
    graph = GraphFile()
    graph.add("AddV2", "y", graph.add("Identity", "z", "y"), graph.image(7, 6))
    return graph


def second_output():
    graph = GraphFile()
    graph.add("Identity", "y", graph.add("Unpack", "z", graph.image(7, 6), axis=0, num=1) + ":1")
    return graph


def image_of(*sides):
    def make():
        graph = GraphFile()
        graph.add("Placeholder", "y", shape={"shape": {"dim": [{"size": str(side)} for side in sides]}})
        return graph

    return make


WEIGHT, BIAS = np.ones((3, 3, 3, 4)), np.ones(4)
FUSED = {**CONVOLUTION, "fused_ops": ["BiasAdd"]}
REFUSED = [
    (add_to_image("Softmax"), "operation 'Softmax' of 'y' can't be converted: known are AddV2, Cast, "),
    (add_to_image("Sigmoid", 1.0), "'Sigmoid' of 'y' can't be converted with 2 inputs"),
    (add_to_image("Cast", DstT={"type": "DT_INT32"}), "'Cast' of 'y' can't be converted to 'DT_INT32'"),
    (add_to_image("Unpack", axis=3, num=3), "only the batch of one image can be taken apart"),
    (add_to_image("Unpack", axis=0, num=2), "only the batch of one image can be taken apart"),
    (add_to_image("Squeeze", squeeze_dims=[0, 1]), "where 1 whole numbers stand"),
    (add_to_image("ExpandDims", np.int32(1)), "only an image can be put into a batch"),
    (add_to_image("ExpandDims", np.int32(0)), "on what is not maps"),
    (add_to_image("ResizeBilinear", np.array([0, 4], np.int32)), "to 0 x 4"),
    (add_to_image("ResizeBilinear", np.array([2, 1 << 30], np.int32)), "to 2 x 1073741824"),
    (add_to_image("ResizeBilinear", np.ones(2)), "where 2 whole numbers stand"),
    (add_to_image("Mul", np.ones((2, 1, 1, 1))), "with a constant float32 of shape"),
    (add_to_image("Mul", np.int32(2)), "with a constant int32 of shape"),
    (add_to_image("Mul", np.ones(4)), "which do not fit"),
    (add_to_image("_FusedConv2D", WEIGHT, BIAS, **{**FUSED, "padding": "EXPLICIT"}), "with padding 'EXPLICIT'"),
    (add_to_image("_FusedConv2D", WEIGHT, BIAS, **{**FUSED, "data_format": "NCHW"}), "in the layout 'NCHW'"),
    (add_to_image("_FusedConv2D", WEIGHT, BIAS, **{**FUSED, "fused_ops": ["BiasAdd", "Elu"]}), "'Elu'. fused"),
    (add_to_image("_FusedConv2D", WEIGHT, BIAS, **{**FUSED, "strides": [1, 0, 1, 1]}), r"with strides \[0, 1\]"),
    (add_to_image("_FusedConv2D", WEIGHT, **FUSED), "with 0 inputs behind the weights"),
    (add_to_image("_FusedConv2D", WEIGHT[:, :, :2], BIAS, **FUSED), "of 3 channels with weights"),
    (add_to_image("_FusedConv2D", WEIGHT, BIAS[:2], **FUSED), "with a bias"),
    (add_to_image("DepthwiseConv2dNative", np.ones((9, 9, 3, 1)), **{**CONVOLUTION, "padding": "VALID"}), "smaller"),
    (of_constants, "of two constants"),
    (second_input, "takes a second input, 'other'"),
    (around, "depends on itself"),
    (second_output, "on output 1 of 'z'"),
    (image_of(1, -1, -1, 3), "an image .* of a fixed size is taken"),
    (image_of(1, 10**9, 8, 3), "an image .* of a fixed size is taken"),
    (image_of(1, 8, 8), "an image .* of a fixed size is taken"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_converted_is_named(tmp_path, make, message):
    path = make().write(tmp_path)
    with pytest.raises(GraphModelError, match=message) as error:
        convert(read_graph_model(path), ["y"], OnnxGraph())
    assert "\n" not in str(error.value)


def test_a_node_that_is_not_there_and_a_constant_without_weights(tmp_path):
    graph = GraphFile()
    graph.add("Identity", "y", "nowhere")
    graph.add("Const", "empty")
    model = read_graph_model(graph.write(tmp_path))
    for name, message in (("y", "has no node 'nowhere'"), ("empty", "constant 'empty' has no weights")):
        with pytest.raises(GraphModelError, match=message):
            convert(model, [name], OnnxGraph())
