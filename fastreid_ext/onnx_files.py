"""ONNX files from elsewhere: what they name is looked at before onnxruntime opens them.

onnxruntime would read any file that the user may read into the model: one of more than 2 GB keeps its weights in files
beside it, and the names of those stand in its tensors, anywhere in the graph. So the whole file is walked, by the rules
of Protocol Buffers, without building anything.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastreid_ext.errors import MissingExtraError, UserError
from fastreid_ext.foreign_files import shown
from fastreid_ext.image_files import check_is_file
from fastreid_ext.processes import keep_in_forks

# Message -> field number -> the message in it, of those that lead to a tensor or an operator (onnx.proto3).
MESSAGES = {
    "model": {7: "graph", 14: "metadata", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "tensor": {13: "entry"},
    "entry": {},
    "metadata": {},
}
KEY, VALUE = 1, 2  # of an entry
DOMAINS = {"node": 7, "function": 10}  # the field that says whose operator a node is, or a function's own
DEEPEST = 100  # as Protocol Buffers
LONGEST = 1 << 20  # bytes of a key or a value that is kept
KNOWN_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")  # onnxruntime has their operators built in
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}  # of onnxruntime
FATAL = 4  # onnxruntime's log level; errors are raised, so they need no log
LONGEST_REASON = 200


class OnnxFileError(UserError, ValueError):
    """A file that is not of Protocol Buffers, that names files elsewhere, or that onnxruntime can't open."""


@dataclass
class OnnxContents:
    """What an ONNX file names.

    Attributes:
        locations: the files that its tensors are kept in; none = in it.
        domains: whose operators it uses, without those that it defines itself.
        metadata: what its maker wrote into it.
    """

    locations: set[str] = field(default_factory=set)
    domains: set[str] = field(default_factory=set)
    metadata: dict[str, str] = field(default_factory=dict)


def check_onnx_file(path: Path, alone: bool = False) -> OnnxContents:
    """Check that an ONNX file is well-formed, and that the files it names are regular ones in its own folder.

    Args:
        path: the file.
        alone: refuse one that names other files or operators that onnxruntime does not have, too.

    Raises:
        OnnxFileError: it is not.
        OSError: it can't be read.
    """
    check_is_file(path)
    with open(path, "rb") as file:
        if not file.read(1) or path.suffix == ".ort":  # another format, which has no bounds to check
            raise OnnxFileError("it is empty, or in another format than ONNX")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            contents = _contents(data)
    for name in sorted(contents.locations):
        if alone:
            raise OnnxFileError(f"it keeps weights in another file, {shown(name)}: save it with its weights in it")
        there = path.parent / name
        if Path(name).name != name or "\0" in name or there.is_symlink() or not there.is_file():
            raise OnnxFileError(f"it keeps weights in {shown(name)}, which is not a file beside it")
    foreign = sorted(contents.domains - set(KNOWN_DOMAINS))
    if alone and foreign:
        raise OnnxFileError(f"it has operators of {shown(foreign[0])}, which are none of ONNX's or onnxruntime's")
    return contents


def open_session(path: Path, device: str = "cpu", threads: int = 0, extra: str = "export", alone: bool = False) -> Any:
    """Return an onnxruntime session of a file that :func:`check_onnx_file` finds nothing against.

    Args:
        path: the file.
        device: "cpu" or "cuda".
        threads: of the CPU; 0 leaves it to onnxruntime.
        extra: what installs onnxruntime, for messages.
        alone: see :func:`check_onnx_file`.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        OnnxFileError: the file can't be opened, or onnxruntime does not have the device.
    """
    try:
        import onnxruntime  # an extra: most users have no such file
    except ImportError as error:
        raise MissingExtraError(
            f"onnxruntime can't be imported ({error}): pip install fastreid-ext[{extra}]"
        ) from error
    provider, there = PROVIDERS[device], onnxruntime.get_available_providers()
    wrong_device = f"onnxruntime can't use {device}: use --device cpu, or install a build that has {provider}"
    if provider not in there:
        raise OnnxFileError(f"{wrong_device} (here are {', '.join(there)})")
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = FATAL, threads
    try:
        check_onnx_file(path, alone)
        session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=[provider])
    except Exception as error:  # onnxruntime has a type of its own for each status, without a common one
        raise OnnxFileError(f"{path} can't be used as an ONNX model: {reason_of(error)}") from error
    keep_in_forks(session)
    if provider not in session.get_providers():  # where its libraries are not found, it falls back without an error
        raise OnnxFileError(f"{wrong_device} and the libraries that it needs")
    return session


def reason_of(error: Exception) -> str:
    """Return what an error of onnxruntime says, in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + "..."


def _contents(data: mmap.mmap) -> OnnxContents:
    found, used, defined = OnnxContents(), set[bytes](), set[bytes]()
    pending = [("model", 0, len(data), 0)]
    while pending:
        message, start, end, depth = pending.pop()
        if depth > DEEPEST:
            raise OnnxFileError("it is nested too deeply")
        words: dict[int, bytes] = {}
        for number, first, last in _fields(data, start, end):
            if number in MESSAGES[message]:
                pending.append((MESSAGES[message][number], first, last, depth + 1))
            elif message in ("entry", "metadata") and number in (KEY, VALUE):
                words[number] = data[first : min(last, first + LONGEST)]
            elif DOMAINS.get(message) == number:
                (used if message == "node" else defined).add(data[first : min(last, first + LONGEST)])
        if message == "metadata":
            found.metadata[_text(words.get(KEY, b""))] = _text(words.get(VALUE, b""))
        elif words.get(KEY) == b"location":
            found.locations.add(_text(words.get(VALUE, b"")))
    found.domains = {_text(name) for name in used - defined}
    return found


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="surrogateescape")


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
