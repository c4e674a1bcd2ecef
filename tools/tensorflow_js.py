"""Reads graph models in TensorFlow.js's layout: a model.json and the files with weights beside it.

Both come from elsewhere: sizes are checked before anything is built, files are looked for in the model's folder only,
and nothing in them is run. See https://www.tensorflow.org/js/guide/conversion for the layout.
"""

import base64
import binascii
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.errors import UserError
from fastreid_ext.foreign_files import are_whole_numbers, is_number, read_json, shown
from fastreid_ext.image_files import check_is_file

MOST_NODES, MOST_SIDES = 100_000, 8
LARGEST_JSON, LARGEST_WEIGHTS = 64 << 20, 1 << 30  # bytes
TYPES = {"float32": "<f4", "int32": "<i4"}
QUANTISED = {"float16": "<f2", "uint8": "<u1", "uint16": "<u2"}


class GraphModelError(UserError):
    """A model that can't be read, or that has something which can't be converted."""


@dataclass(frozen=True)
class Node:
    """An operation of the graph.

    Attributes:
        name: of the node, and of its first output.
        op: of TensorFlow.
        inputs: names of nodes; one of another output than the first ends with a colon and its number.
        attributes: plain values; texts are decoded.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class GraphModel:
    """A graph and its weights.

    Attributes:
        nodes: by name.
        weights: arrays by the name of their Const node.
    """

    nodes: Mapping[str, Node]
    weights: Mapping[str, np.ndarray]

    @cached_property
    def users(self) -> dict[str, list[Node]]:
        """Return, by the name of a node, the nodes that take an output of it."""
        found: dict[str, list[Node]] = {name: [] for name in self.nodes}
        for node in self.nodes.values():
            for name in {one.split(":")[0] for one in node.inputs} & found.keys():
                found[name].append(node)
        return found

    def needed_for(self, names: list[str]) -> list[Node]:
        """Return these nodes and all that they depend on, each behind its inputs.

        Raises:
            GraphModelError: a node that is not there, or one that depends on itself.
        """
        ordered: dict[str, Node] = {}
        begun: set[str] = set()
        pending = list(reversed(names))
        while pending:  # no recursion: a file may have any depth
            name = pending[-1]
            if name in ordered:
                pending.pop()
                continue
            if name not in self.nodes:
                raise GraphModelError(f"the graph has no node {shown(name)}, which another one takes as its input")
            node = self.nodes[name]
            missing = [one for one in (one.split(":")[0] for one in node.inputs) if one not in ordered]
            if not missing:
                ordered[name] = node
                pending.pop()
            elif name in begun:
                raise GraphModelError(f"the node {shown(name)} depends on itself")
            else:
                begun.add(name)
                pending += reversed(missing)
        return list(ordered.values())


def read_graph_model(path: Path) -> GraphModel:
    """Read a model.json and the weights that it names.

    Raises:
        GraphModelError: it is no graph model, a file of weights is not beside it, or sizes do not fit.
    """
    try:
        check_is_file(path)
        size = path.stat().st_size
    except OSError as error:
        raise GraphModelError(f"{path} can't be read ({error.strerror or error}): name a model.json") from error
    if size > LARGEST_JSON:
        raise GraphModelError(f"{path} has {size} bytes, more than any model.json: name a model.json")
    content = read_json(path)
    try:
        layout = content["format"], content["modelTopology"]["node"], content["weightsManifest"]
    except (TypeError, KeyError, IndexError):
        layout = None, None, None
    form, nodes, manifest = layout
    if form != "graph-model" or not isinstance(nodes, list) or not isinstance(manifest, list):
        raise GraphModelError(f"{path} is not a graph model of TensorFlow.js: it needs format, modelTopology, weights")
    if len(nodes) > MOST_NODES:
        raise GraphModelError(f"{path} has {len(nodes)} nodes, more than {MOST_NODES}")
    try:
        named = {node.name: node for node in map(_node, nodes)}
    except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
        raise GraphModelError(f"{path} has a node that can't be read ({shown(str(error))})") from error
    return GraphModel(named, dict(_weights(path, manifest)))


def _node(content: Mapping[str, Any]) -> Node:
    name, op, inputs = content["name"], content["op"], content.get("input", [])
    if not all(isinstance(text, str) for text in (name, op, *inputs)):
        raise ValueError("names are not texts")
    attributes = {key: _value(value) for key, value in content.get("attr", {}).items()}
    # what begins with ^ only has to run before
    return Node(name, op, tuple(one for one in inputs if not one.startswith("^")), attributes)


def _value(content: Mapping[str, Any]) -> Any:
    """Return a value of Protocol Buffers' JSON: {"i": "2"} is 2, {"s": base64} a text, {"list": {"i": [..]}} a list."""
    if not content:
        return None
    (kind, value), *_ = content.items()
    if kind == "list":
        return [_plain(key, one) for key, values in value.items() for one in values]
    return _plain(kind, value)


def _plain(kind: str, value: Any) -> Any:
    if kind == "i":
        return int(value)
    if kind == "s":
        try:
            return base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError("a text is not in base64") from error
    return value


def _weights(path: Path, manifest: list[Any]) -> Iterator[tuple[str, np.ndarray]]:
    for group in manifest:
        try:
            names, entries = list(group["paths"]), list(group["weights"])
            layouts = [_layout(entry) for entry in entries]
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            raise GraphModelError(f"{path} has an entry of weights that can't be read ({shown(str(error))})") from error
        needed = sum(math.prod(shape) * np.dtype(stored).itemsize for _, shape, stored, _, _ in layouts)
        data = b"".join(_files(path, names, needed))
        place = 0
        for name, shape, stored, dtype, (scale, least) in layouts:
            count = math.prod(shape)
            values = np.frombuffer(data, stored, count, place).reshape(shape)
            place += count * values.itemsize
            yield name, (values * np.float32(scale) + np.float32(least) if scale else values).astype(dtype)


def _layout(entry: Mapping[str, Any]) -> tuple[str, tuple[int, ...], str, str, tuple[float, float]]:
    """Return name, shape, type in the file, type, and (scale, minimum) of one array of weights; scale 0 = none."""
    name, shape, dtype, packed = entry["name"], entry["shape"], entry["dtype"], entry.get("quantization")
    if (
        len(shape) > MOST_SIDES
        or not isinstance(name, str)
        or not isinstance(shape, list)
        or not are_whole_numbers(shape, 1)
    ):
        raise ValueError(f"{shown(name)} of shape {shown(shape)}")
    stored, scale, least = TYPES.get(dtype), 0.0, 0.0
    if packed is not None:
        stored = QUANTISED.get(packed["dtype"]) if dtype == "float32" else None
        if packed["dtype"] != "float16":
            scale, least = packed["scale"], packed["min"]
            if not is_number(scale) or not is_number(least):
                raise ValueError(f"{shown(name)} has no scale")
    if stored is None:
        raise ValueError(f"{shown(name)} is of type {shown(packed or dtype)}")
    return name, tuple(shape), stored, TYPES[dtype], (scale, least)


def _files(path: Path, names: list[Any], needed: int) -> list[bytes]:
    """Return what the files of a group hold, which must be exactly so many bytes."""
    sizes, files = [], []
    for name in names:
        there = path.parent / name if isinstance(name, str) and "\0" not in name and Path(name).name == name else None
        if there is None or there.is_symlink() or not there.is_file():
            raise GraphModelError(f"{path} keeps weights in {shown(name)}, which is not a file beside it: put it there")
        files.append(there)
        sizes.append(there.stat().st_size)
    if needed > LARGEST_WEIGHTS or sum(sizes) != needed:
        raise GraphModelError(
            f"{path} names {needed} bytes of weights, but {shown(names)} have {sum(sizes)}: download the model again"
        )
    return [file.read_bytes() for file in files]
