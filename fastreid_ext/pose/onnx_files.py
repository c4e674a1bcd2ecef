"""Which other files an ONNX file names: onnxruntime would read any file that the user may read into the model.

A model of more than 2 GB keeps its weights in files beside it. The names stand in its tensors, anywhere in the graph,
so the whole file is walked, by the rules of Protocol Buffers, without building anything.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from fastreid_ext.foreign_files import shown

# Message -> field number -> the message in it, of those that lead to a tensor (onnx.proto3).
MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {13: "entry"},
    "entry": {},
}
KEY, VALUE = 1, 2  # of an entry
DEEPEST = 100  # as Protocol Buffers


class OnnxFileError(ValueError):
    """A file that is not of Protocol Buffers, or that names files elsewhere."""


def check_onnx_file(path: Path) -> None:
    """Check that an ONNX file is well-formed, and that the files it names are regular ones in its own folder.

    Raises:
        OnnxFileError: it is not.
        OSError: it can't be read.
    """
    with open(path, "rb") as file:
        if not file.read(1) or path.suffix == ".ort":  # another format, which has no bounds to check
            raise OnnxFileError("it is empty, or in another format than ONNX")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            names = {name for name in _locations(data)}
    for name in sorted(names):
        there = path.parent / name
        if Path(name).name != name or "\0" in name or there.is_symlink() or not there.is_file():
            raise OnnxFileError(f"it keeps weights in {shown(name)}, which is not a file beside it")


def _locations(data: mmap.mmap) -> Iterator[str]:
    """Yield the names of files of all tensors."""
    pending = [("model", 0, len(data), 0)]
    while pending:
        message, start, end, depth = pending.pop()
        if depth > DEEPEST:
            raise OnnxFileError("it is nested too deeply")
        words: dict[int, bytes] = {}
        for field, first, last in _fields(data, start, end):
            if field in MESSAGES[message]:
                pending.append((MESSAGES[message][field], first, last, depth + 1))
            elif message == "entry" and field in (KEY, VALUE):
                words[field] = data[first:last]
        if words.get(KEY) == b"location":
            yield words.get(VALUE, b"").decode("utf-8", errors="surrogateescape")


def _fields(data: mmap.mmap, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, start, end) of the fields of a message that have a length, such as messages and texts."""
    while place < end:
        tag, place = _number(data, place, end)
        kind = tag & 7
        if kind == 2:
            length, place = _number(data, place, end)
            if length > end - place:
                raise OnnxFileError("it is damaged: a field is longer than the file")
            yield tag >> 3, place, place + length
            place += length
        elif kind == 0:
            _, place = _number(data, place, end)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise OnnxFileError("it is damaged, or not an ONNX file")
    if place > end:
        raise OnnxFileError("it is damaged: a field is longer than the file")


def _number(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """Return a number of up to ten bytes, seven bits each, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= end:
            break
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise OnnxFileError("it is damaged: a number does not end")
