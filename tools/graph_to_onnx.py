"""Turns operations of a TensorFlow graph on maps into ONNX: from channels last to channels first, for any batch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tensorflow_js import GraphModel, GraphModelError, Node

from fastreid_ext.foreign_files import shown

OPSET, IR_VERSION = 18, 8  # onnxruntime 1.14 or later; of opset 18 is Resize with axes
LARGEST_SIDE = 4096  # pixels of the input
BATCH = "batch"
TO_FIRST = (0, 3, 1, 2)  # (B, h, w, C) -> (B, C, h, w)


@dataclass(frozen=True)
class Maps:
    """A tensor of the ONNX graph: (B, C, h, w).

    Attributes:
        name: in the ONNX graph.
        size: h, w, C.
        batched: False where TensorFlow's graph has taken the image out of its batch of one; the tensor still has B.
    """

    name: str
    size: tuple[int, int, int]
    batched: bool = True


class OnnxGraph:
    """Nodes and constants of an ONNX graph that is being written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(
            numpy_helper.from_array(np.ascontiguousarray(value, dtype).reshape(np.shape(value)), name)
        )
        return name

    def model(self, size: tuple[int, int], outputs: Mapping[str, tuple[str, list[Any]]]) -> onnx.ModelProto:
        """Return the model of what has been added.

        Args:
            size: height and width of the input, which is called ``images``.
            outputs: name -> (tensor, shape).
        """
        nodes = [helper.make_node("Identity", [tensor], [name]) for name, (tensor, _) in outputs.items()]
        of_type = helper.make_tensor_value_info
        graph = helper.make_graph(
            [*self.nodes, *nodes],
            "pose",
            [of_type("images", TensorProto.FLOAT, [BATCH, 3, *size])],
            [of_type(name, TensorProto.FLOAT, shape) for name, (_, shape) in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


def convert(model: GraphModel, names: list[str], graph: OnnxGraph) -> tuple[dict[str, Maps], tuple[int, int]]:
    """Add what some nodes of a graph model depend on to an ONNX graph.

    Args:
        model: the graph model.
        names: of the nodes, whose outputs must be maps.
        graph: takes the nodes.

    Returns:
        The maps by name, and height and width of the input.

    Raises:
        GraphModelError: an operation, or a kind of it, that can't be converted.
    """
    found: dict[str, Maps | np.ndarray] = {}
    size = None
    for node in model.needed_for(names):
        given = [_input(node, one, found) for one in node.inputs]
        if node.op == "Const":
            if node.name not in model.weights:
                raise GraphModelError(f"the constant {shown(node.name)} has no weights")
            found[node.name] = model.weights[node.name]
        elif node.op == "Placeholder":
            if size is not None:
                raise GraphModelError(f"the graph takes a second input, {shown(node.name)}")
            size = _input_size(node)
            found[node.name] = Maps("images", (*size, 3))
        elif node.op in OPERATIONS:
            try:
                inspect.signature(OPERATIONS[node.op]).bind(graph, node, *given)
            except TypeError:
                raise _can_not(node, f"with {len(given)} inputs") from None
            found[node.name] = OPERATIONS[node.op](graph, node, *given)
        else:
            raise GraphModelError(
                f"the operation {shown(node.op)} of {shown(node.name)} can't be converted: known are"
                f" {', '.join(sorted(OPERATIONS))}"
            )
    outputs = {name: _maps(model.nodes[name], found[name]) for name in names}
    if size is None:
        raise GraphModelError("the graph takes no image: none of these nodes depends on a Placeholder")
    return outputs, size


def _input(node: Node, name: str, found: Mapping[str, Any]) -> Any:
    base, _, number = name.partition(":")
    if number not in ("", "0"):
        raise _can_not(node, f"on output {number} of {shown(base)}")
    return found[base]


def _can_not(node: Node, what: str) -> GraphModelError:
    return GraphModelError(f"the operation {shown(node.op)} of {shown(node.name)} can't be converted {what}")


def _maps(node: Node, value: Any, batched: bool = True) -> Maps:
    if not isinstance(value, Maps) or value.batched != batched:
        raise _can_not(node, f"on what is not maps ({'B, ' if batched else ''}h, w, C)")
    return value


def _whole(node: Node, value: Any, count: int) -> list[int]:
    """Return the whole numbers of a constant, or of an attribute."""
    array = np.asarray(value if not isinstance(value, Maps) else [], dtype=object if isinstance(value, list) else None)
    numbers = array.reshape(-1).tolist()
    if len(numbers) != count or not all(type(number) is int for number in numbers):
        raise _can_not(node, f"with {shown(numbers)} where {count} whole numbers stand")
    return numbers


def _input_size(node: Node) -> tuple[int, int]:
    try:
        sides = [int(side["size"]) for side in node.attributes["shape"]["dim"]]
    except (TypeError, KeyError, ValueError):
        sides = []
    if len(sides) != 4 or sides[3] != 3 or not all(0 < side <= LARGEST_SIDE for side in sides[1:3]):
        raise _can_not(node, f"of shape {shown(sides)}: an image (1, H, W, 3) of a fixed size is taken")
    return sides[1], sides[2]


# ---- operations -----------------------------------------------------------------------------------------------------


def _same(graph: OnnxGraph, node: Node, maps: Any) -> Any:
    return maps


def _cast(graph: OnnxGraph, node: Node, maps: Any) -> Maps:
    if node.attributes.get("DstT") != "DT_FLOAT":
        raise _can_not(node, f"to {shown(node.attributes.get('DstT'))}")
    return _maps(node, maps)  # whole numbers come as floats already


def _take_out(graph: OnnxGraph, node: Node, maps: Any) -> Maps:
    """Unpack and Squeeze: the only image of a batch."""
    axes = node.attributes.get("axis" if node.op == "Unpack" else "squeeze_dims")
    if _whole(node, axes, 1) != [0] or node.attributes.get("num", 1) != 1:
        raise _can_not(node, f"along {shown(axes)}: only the batch of one image can be taken apart")
    return Maps(_maps(node, maps).name, maps.size, batched=False)


def _put_in(graph: OnnxGraph, node: Node, maps: Any, axis: Any) -> Maps:
    """ExpandDims: the image becomes a batch again."""
    if _whole(node, axis, 1) != [0]:
        raise _can_not(node, f"along {shown(axis)}: only an image can be put into a batch")
    return Maps(_maps(node, maps, batched=False).name, maps.size)


def _of_two(graph: OnnxGraph, node: Node, first: Any, second: Any) -> Maps:
    """Add, Sub, Mul and RealDiv, where a constant is stretched as in NumPy."""
    names, sizes = [], []
    for value in (first, second):
        if isinstance(value, Maps):
            names.append(_maps(node, value).name)
            sizes.append((1, *value.size))
        else:
            if value.ndim > 4 or value.dtype != np.float32 or (value.ndim == 4 and len(value) != 1):
                raise _can_not(node, f"with a constant {value.dtype} of shape {value.shape}")
            value = value.reshape((1,) * (4 - value.ndim) + value.shape)
            names.append(graph.constant(value.transpose(TO_FIRST)))
            sizes.append(value.shape)
    if not isinstance(first, Maps) and not isinstance(second, Maps):
        raise _can_not(node, "of two constants")
    try:
        size = np.broadcast_shapes(*sizes)
    except ValueError:
        raise _can_not(node, f"of {shown(sizes)}, which do not fit") from None
    return Maps(graph.add(ONNX_NAMES[node.op], *names), size[1:])


def _sigmoid(graph: OnnxGraph, node: Node, maps: Any) -> Maps:
    return Maps(graph.add("Sigmoid", _maps(node, maps).name), maps.size)


def _resize(graph: OnnxGraph, node: Node, maps: Any, size: Any) -> Maps:
    height, width = _whole(node, size, 2)
    maps = _maps(node, maps)
    if not all(0 < side <= LARGEST_SIDE for side in (height, width)):
        raise _can_not(node, f"to {height} x {width}")
    corners, halves = node.attributes.get("align_corners"), node.attributes.get("half_pixel_centers")
    how = "align_corners" if corners else "half_pixel" if halves else "asymmetric"
    sizes = graph.constant([height, width], np.int64)
    there = graph.add(
        "Resize", maps.name, "", "", sizes, axes=[2, 3], mode="linear", coordinate_transformation_mode=how
    )
    return Maps(there, (height, width, maps.size[2]))


def _convolution(graph: OnnxGraph, node: Node, maps: Any, weight: Any, *more: Any) -> Maps:
    """Convolutions, depthwise ones too, with the bias and the activation that may be fused with them."""
    maps = _maps(node, maps)
    fused, layout = node.attributes.get("fused_ops") or [], node.attributes.get("data_format", "NHWC")
    if fused not in FUSED:
        raise _can_not(node, f"with {shown(fused)} fused")
    if layout != "NHWC" or len(more) != len(fused[:1]):
        raise _can_not(node, f"in the layout {shown(layout)} and with {len(more)} inputs behind the weights")
    if not isinstance(weight, np.ndarray) or weight.ndim != 4 or weight.shape[2] != maps.size[2]:
        raise _can_not(node, f"of {maps.size[2]} channels with weights {shown(np.shape(weight))}")
    depthwise = node.op != "_FusedConv2D"
    rows, columns, channels, out = weight.shape
    if depthwise:  # (k, k, C, m) -> (C m, 1, k, k)
        weight, out = weight.reshape(rows, columns, 1, channels * out), channels * out
    if any(np.shape(one) != (out,) for one in more):
        raise _can_not(node, f"with a bias {shown([np.shape(one) for one in more])} of {out} channels")
    steps, spread = (_whole(node, node.attributes.get(key, [1, 1, 1, 1]), 4)[1:3] for key in ("strides", "dilations"))
    if min(*steps, *spread, rows, columns) < 1:
        raise _can_not(node, f"with strides {steps} and dilations {spread}")
    padding = node.attributes.get("padding")
    if padding not in ("SAME", "VALID"):
        raise _can_not(node, f"with padding {shown(padding)}")
    sides = [
        _side(length, 1 + (taps - 1) * apart, step, padding == "SAME")
        for length, taps, apart, step in zip(maps.size[:2], (rows, columns), spread, steps, strict=True)
    ]
    if min(side[0] for side in sides) < 1:
        raise _can_not(node, f"on maps of {maps.size[:2]}, which are smaller than its weights")
    inputs = [maps.name, graph.constant(weight.transpose(3, 2, 0, 1)), *(graph.constant(one) for one in more)]
    name = graph.add(
        "Conv",
        *inputs,
        strides=steps,
        dilations=spread,
        pads=[side[1] for side in sides] + [side[2] for side in sides],
        group=channels if depthwise else 1,
    )
    if "Relu" in fused:
        name = graph.add("Relu", name)
    elif "Relu6" in fused:
        name = graph.add("Clip", name, graph.constant(0), graph.constant(6))
    return Maps(name, (sides[0][0], sides[1][0], out))


def _side(length: int, taps: int, step: int, same: bool) -> tuple[int, int, int]:
    """Return the length of the result, and how much is padded before and behind; TensorFlow pads more behind."""
    if not same:
        return (length - taps) // step + 1, 0, 0
    result = -(-length // step)
    padding = max((result - 1) * step + taps - length, 0)
    return result, padding // 2, padding - padding // 2


FUSED = ([], ["BiasAdd"], ["BiasAdd", "Relu"], ["BiasAdd", "Relu6"])
ONNX_NAMES = {"AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "RealDiv": "Div"}
OPERATIONS: dict[str, Callable[..., Any]] = {
    "Identity": _same,
    "Cast": _cast,
    "Unpack": _take_out,
    "Squeeze": _take_out,
    "ExpandDims": _put_in,
    **dict.fromkeys(ONNX_NAMES, _of_two),
    "Sigmoid": _sigmoid,
    "ResizeBilinear": _resize,
    **dict.fromkeys(("_FusedConv2D", "FusedDepthwiseConv2dNative", "DepthwiseConv2dNative"), _convolution),
}
