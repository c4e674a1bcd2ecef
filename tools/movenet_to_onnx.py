"""Writes MoveNet (one person, TensorFlow.js's layout) as an ONNX file for ``fastreid-ext pose run``.

    python tools/movenet_to_onnx.py movenet-lightning.json movenet.onnx

No TensorFlow is needed. The graph is cut at its four heads, and what MoveNet does behind them for one image is done
for any number: the person nearest the middle is found, and the cells near that person's joints count more. The file
has three outputs, and a note on the images that it takes:

- ``heat_maps`` (B, J, h, w): confidence that joint j lies in a cell;
- ``offsets`` (B, J, 2, h, w): x and y from a cell's own pixel to the joint, in cells;
- ``weights`` (B, J, h, w): the cell where map times weight is highest is the joint's.

The weights of the network come from elsewhere and keep their own licence (docs/pose.md).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from tensorflow_js import GraphModel, GraphModelError, read_graph_model

from fastreid_ext.errors import UserError
from fastreid_ext.files import write_atomically
from fastreid_ext.foreign_files import shown
from fastreid_ext.pose.options import NOTE

try:
    from graph_to_onnx import BATCH, Maps, OnnxGraph, convert
except ImportError as error:
    raise SystemExit(f"movenet_to_onnx: {error}: pip install fastreid-ext[export]") from error

HEADS = {"heat_maps": "kpt_heatmap_0", "offsets": "kpt_offset_0", "regression": "kpt_regress_0", "centers": "center_0"}
# MoveNet scales pixels of 0 to 255 itself.
TAKES = {"mean": [0, 0, 0], "std": [1, 1, 1], "color": "rgb"}


def movenet_to_onnx(path: Path) -> bytes:
    """Return an ONNX file of a MoveNet in TensorFlow.js's layout.

    Args:
        path: its model.json; the weights lie beside it.

    Raises:
        UserError: the files can't be read, or are not a MoveNet for one person.
    """
    model = read_graph_model(path)
    names, least = _heads(model, path)
    graph = OnnxGraph()
    maps, size = convert(model, list(names.values()), graph)
    heat, offsets, regression, centers = (maps[names[head]] for head in HEADS)
    height, width, joints = heat.size
    wanted = (height, width, 2 * joints)
    if (offsets.size, regression.size, centers.size) != (wanted, wanted, (height, width, 1)):
        raise GraphModelError(f"the heads of {path} do not fit: {heat.size}, {offsets.size}, {regression.size}")
    shape = [BATCH, joints, height, width]
    outputs = {
        "heat_maps": (heat.name, shape),
        "offsets": (_offsets(graph, offsets, joints), [BATCH, joints, 2, height, width]),
        "weights": (_nearness(graph, regression, centers, joints, least), shape),
    }
    written = graph.model(size, outputs)
    written.metadata_props.add(key=NOTE, value=json.dumps(TAKES))
    return written.SerializeToString()


def _heads(model: GraphModel, path: Path) -> tuple[dict[str, str], float]:
    """Return the node of each head, and what MoveNet adds to the distances before it divides by them."""
    names = {}
    for head, scope in HEADS.items():
        inside = {name for name in model.nodes if scope in name.split("/")}
        last = [name for name in inside if any(user.name not in inside for user in model.users[name])]
        if len(last) != 1:
            raise GraphModelError(f"{path} has no head {scope}: it is not a MoveNet for one person")
        names[head] = last[0]
    for head, op in (("heat_maps", "Sigmoid"), ("centers", "Sigmoid"), ("centers", "Mul")):
        names[head] = _user(model, path, names[head], op)
    weighted = model.nodes[_user(model, path, names["heat_maps"], "RealDiv")]
    distance = model.nodes.get(weighted.inputs[1]) if len(weighted.inputs) == 2 else None
    least = [model.weights[one] for one in (distance.inputs if distance else ()) if one in model.weights]
    if len(least) != 1 or least[0].shape != () or not least[0] > 0:
        raise GraphModelError(f"{path} does not weight its heat maps by a distance: it is not a MoveNet for one person")
    return names, float(least[0])


def _user(model: GraphModel, path: Path, name: str, op: str) -> str:
    users = [node.name for node in model.users[name] if node.op == op]
    if len(users) != 1:
        raise GraphModelError(f"{path} has no {op} behind {shown(name)}: it is not a MoveNet for one person")
    return users[0]


def _offsets(graph: OnnxGraph, maps: Maps, joints: int) -> str:
    """Add what turns MoveNet's offsets (B, 2 J, h, w), y before x, to (B, J, 2, h, w), x before y."""
    height, width, _ = maps.size
    parts = graph.add("Reshape", maps.name, graph.constant([-1, joints, 2, height, width], np.int64))
    return graph.add("Gather", parts, graph.constant([1, 0], np.int64), axis=2)


def _nearness(graph: OnnxGraph, regression: Maps, centers: Maps, joints: int, least: float) -> str:
    """Add what makes weights (B, J, h, w): 1 / (distance to where the person's joint should be + least), in cells.

    The person is the one whose center is highest. From there the regression (y, x) leads to each joint, roughly.
    """
    height, width, _ = regression.size

    def numbers(*values: int) -> str:
        return graph.constant(values, np.int64)

    def floats(name: str) -> str:
        return graph.add("Cast", name, to=1)

    flat = graph.add("Reshape", centers.name, numbers(-1, height * width))
    best = graph.add("ArgMax", flat, axis=1, keepdims=1)  # (B, 1)
    row, column = (floats(graph.add(op, best, numbers(width))) for op in ("Div", "Mod"))
    center = graph.add("Reshape", graph.add("Concat", row, column, axis=1), numbers(-1, 1, 2))
    shifts = graph.add("Reshape", regression.name, numbers(-1, 2 * joints, height * width))
    index = graph.add("Unsqueeze", best, numbers(2))  # (B, 1, 1)
    index = graph.add("Expand", index, numbers(1, 2 * joints, 1))
    there = graph.add("GatherElements", shifts, index, axis=2)  # (B, 2 J, 1)
    there = graph.add("Add", graph.add("Reshape", there, numbers(-1, joints, 2)), center)
    there = graph.add("Reshape", there, numbers(-1, joints, 2, 1, 1))
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"))[None, None]  # (1, 1, 2, h, w)
    apart = graph.add("Sub", graph.constant(grid), there)
    distance = graph.add("ReduceL2", apart, numbers(2), keepdims=0)
    return graph.add("Reciprocal", graph.add("Add", distance, graph.constant(least)))


def main(arguments: list[str] | None = None) -> int:
    """Convert a model by the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="movenet_to_onnx", description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, metavar="MODEL.json", help="its weights lie beside it")
    parser.add_argument("output", type=Path, metavar="FILE.onnx", help="file to write")
    args = parser.parse_args(arguments)
    try:
        content = movenet_to_onnx(args.model)
        write_atomically(args.output, lambda file: file.write(content))
    except UserError as error:
        print(f"movenet_to_onnx: {error}", file=sys.stderr)
        return 1
    print(f"written: {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
