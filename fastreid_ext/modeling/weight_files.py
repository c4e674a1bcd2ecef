"""Files of weights, checked before torch reads them.

A ``.pth`` file is a program: pickle's instructions build its values. torch keeps it from calling what is not on a list,
but not from building too much, or a tensor larger than its bytes. So the instructions are followed first, and what a
state dict, an optimiser and a counter do not need is refused: other names, tensors beyond their storages, storages
beyond the file, packed or overlapping members. So are bytes that have changed since they were written.
"""

import io
import math
import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch

from fastreid_ext.foreign_files import shown
from fastreid_ext.modeling.pickle_machine import Machine, Value, check_key, refuse

__all__ = ["check_weights_file"]

PIECE = 1 << 20  # bytes that are read at once
LENGTHS = 26  # where a member of an archive begins with the lengths of its name and of a further field
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # what torch before 1.6 writes first
STORAGE_BYTES = {
    **dict.fromkeys(("Byte", "Char", "Bool"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
STORAGES = {f"torch {name}Storage": size for name, size in STORAGE_BYTES.items()} | {"torch.storage UntypedStorage": 1}
# What torch notes of a module; the second by load_state_dict(assign=True).
METADATA = {"version": int, "assign_to_params_buffers": bool}


def check_weights_file(path: str | Path) -> None:
    """Check a file that torch.save may have written.

    Raises:
        pickle.UnpicklingError: it is none, or holds anything but tensors, plain values and NumPy values that fit it.
        OSError: it can't be read.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) == b"PK\x03\x04":
                _check_archive(file)
            else:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # its read() gives what there is
                    _check_legacy(data)
    except OSError:
        raise
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # zipfile and pickletools raise half a dozen types
        raise pickle.UnpicklingError(f"the file is damaged: {type(error).__name__}, {error}") from error


def _check_archive(file: BinaryIO) -> None:
    size = file.seek(0, 2)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = {member.filename.lower() for member in members}  # torch looks a name up in any case
        if len(names) < len(members) or len({name.partition("/")[0] for name in names}) != 1:
            refuse("an archive with a name twice, or with several folders")
        packed = any(one.compress_type != zipfile.ZIP_STORED or one.file_size != one.compress_size for one in members)
        if packed or sum(one.file_size for one in members) > size or min(one.header_offset for one in members) > 0:
            refuse("an archive that is packed or whose members overlap, which torch does not write")
        top = members[0].filename.partition("/")[0]
        sizes = {member.filename: member.file_size for member in members}

        def check_storage(key: str, size: int) -> None:
            there = sizes[f"{top}/data/{key}"]
            if there != size:
                refuse(f"a storage of {size} bytes in {there}")

        pickled = archive.getinfo(f"{top}/data.pkl")
        with archive.open(pickled) if pickled.CRC else _without_sum(file, pickled) as instructions:
            _machine(_budget(pickled.file_size), check_storage).run(instructions)
        for member in members:
            if member.CRC:
                _check_sum(archive, member)


def _without_sum(file: BinaryIO, member: zipfile.ZipInfo) -> io.BytesIO:
    """Return a member whose sum torch was told not to make: zipfile would take it for damaged."""
    file.seek(member.header_offset + LENGTHS)
    file.seek(sum(struct.unpack("<HH", file.read(4))), io.SEEK_CUR)
    return io.BytesIO(file.read(member.file_size))


def _check_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    try:
        with archive.open(member) as data:
            while data.read(PIECE):
                pass
    except zipfile.BadZipFile as error:
        raise pickle.UnpicklingError(
            f"its bytes are not those that were written, in {shown(member.filename)}: download or copy it again"
        ) from error


def _check_legacy(file: mmap.mmap) -> None:
    size = len(file)
    storages: dict[str, int] = {}

    def check_storage(key: str, size: int) -> None:
        if storages.setdefault(key, size) != size:
            refuse("a storage of two sizes")

    magic = _machine(0, check_storage).run(file)
    if magic.value != LEGACY_MAGIC:
        refuse("neither an archive of torch nor a file of torch before 1.6")
    *_, keys = [_machine(_budget(size), check_storage).run(file) for _ in range(4)]
    if keys.kind != "list" or sorted(str(item.value) for item in keys.items) != sorted(storages):
        refuse("a list of storages that are not those of the tensors")
    if sum(storages.values()) + 8 * len(storages) > size - file.tell():
        refuse("storages that are larger than the file")


def _budget(size: int) -> int:
    """Return the bytes that NumPy values may take: each is copied twice from what stands in the file once."""
    return 2 * size + 4096


def _machine(budget: int, check_storage: Callable[[str, int], None]) -> Machine:
    """Return what follows the instructions of a file of weights.

    Args:
        budget: bytes that NumPy values may hold together.
        check_storage: (key, bytes) of each storage.
    """
    unspent = [budget]

    def spend(value: Value) -> None:
        if isinstance(value.value, bytes):
            unspent[0] -= len(value.value)
        if unspent[0] < 0:
            refuse("values that are larger than the file")

    def build(state: Value, target: Value) -> None:
        if target.kind == "dict" and state.kind == "dict":
            _check_metadata(state)
        elif target.kind == "array" and state.kind == "tuple":
            for item in state.items:
                spend(item)
        elif target.kind != "dtype" or state.kind != "tuple":
            refuse("a state of something that has none")

    def encoded(given: Sequence[Value]) -> Value:
        """How pickle writes bytes: as text in Latin-1."""
        if len(given) != 2 or not isinstance(given[0].value, str) or given[1].value != "latin1":
            refuse("bytes that are made in another way than by pickle")
        made = Value("atom", given[0].value.encode("latin1"))
        spend(made)
        return made

    def number(given: Sequence[Value]) -> Value:
        for item in given:
            spend(item)
        return Value("number")

    modules = ("numpy.core.multiarray", "numpy._core.multiarray")
    calls: dict[str, Callable[[Sequence[Value]], Value]] = {
        "collections OrderedDict": _ordered,
        "collections Counter": _counted,
        "torch Size": lambda given: Value("size", None, given),
        "torch device": lambda given: Value("device", None, given),
        "torch._utils _rebuild_tensor": partial(_tensor, known=4),
        "torch._utils _rebuild_tensor_v2": partial(_tensor, known=6),
        "torch._utils _rebuild_tensor_v3": partial(_tensor, known=7),
        "torch._utils _rebuild_parameter": _parameter,
        "_codecs encode": encoded,
        "numpy dtype": lambda given: Value("dtype", None, given),
        **{f"{module} scalar": number for module in modules},
        **{f"{module} _reconstruct": lambda given: Value("array", None, given) for module in modules},
        **{f"{module} set": _unordered for module in ("builtins", "__builtin__")},
        **{f"{module} bytes": lambda given: Value("atom", b"", given) for module in ("builtins", "__builtin__")},
    }

    def may_name(name: str) -> bool:
        return name in calls or name in STORAGES or name == "numpy ndarray" or _dtype(name) is not None

    return Machine(may_name, calls, build, partial(_storage, check=check_storage))


def _storage(identity: Value, check: Callable[[str, int], None]) -> Value:
    """Return the storage of ("storage", type, key, device, number of elements[, None])."""
    given = identity.items if identity.kind == "tuple" else ()
    if len(given) not in (5, 6) or given[0].value not in ("storage", b"storage"):
        refuse("a reference to something that is no storage")
    kind, key, device, count = (item.value for item in given[1:5])
    known = given[1].kind == "global" and kind in STORAGES and isinstance(key, str) and isinstance(device, str)
    whole = all(item.kind == "atom" and item.value is None for item in given[5:])
    if not (known and whole) or device == "meta" or type(count) is not int or count < 0:
        refuse("a storage of an unknown kind")
    check(key, count * STORAGES[kind])
    return Value("storage", (count, STORAGES[kind]))


def _tensor(given: Sequence[Value], known: int) -> Value:
    """Return a tensor of (storage, offset, size, stride[, requires_grad, hooks[, dtype]][, None])."""
    if len(given) < known or given[0].kind != "storage" or any(item.value is not None for item in given[known:]):
        refuse("a tensor that is made in another way than by pickle")
    offset, size, stride = given[1].value, *([side.value for side in item.items] for item in given[2:4])
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(one) is int and one >= 0 for one in numbers):
        refuse("a tensor whose shape is not made of whole numbers from 0 on")
    if known > 4 and (type(given[4].value) is not bool or given[5].kind != "dict" or given[5].items):
        refuse("a tensor with hooks")
    elements, width = given[0].value
    if known == 7:
        kind = _dtype(str(given[6].value))
        if kind is None:
            refuse("a tensor of an unknown type")
        elements = elements * width // kind.itemsize
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if math.prod(size) > elements or (math.prod(size) and last >= elements):
        refuse(f"a tensor of shape {shown(size)} beyond its storage of {elements} elements")
    return Value("tensor")


def _parameter(given: Sequence[Value]) -> Value:
    if len(given) != 3 or given[0].kind != "tensor" or type(given[1].value) is not bool or given[2].items:
        refuse("a parameter that is made in another way than by pickle")
    return Value("tensor")


def _ordered(given: Sequence[Value]) -> Value:
    pairs = given[0].items if given else ()
    if len(given) > 1 or (given and given[0].kind != "list") or any(len(pair.items) != 2 for pair in pairs):
        refuse("an ordered dict of something else than pairs")
    made = Value("dict", None, [item for pair in pairs for item in pair.items])
    for key in made.items[::2]:
        check_key(key)
    return made


def _counted(given: Sequence[Value]) -> Value:
    """The epochs of a schedule."""
    if len(given) != 1 or given[0].kind != "dict":
        refuse("a counter of something else than numbers by key")
    return Value("dict", None, list(given[0].items))


def _unordered(given: Sequence[Value]) -> Value:
    if len(given) != 1 or given[0].kind != "list":
        refuse("a set of something else than a list")
    for item in given[0].items:
        check_key(item)
    return Value("set", None, tuple(given[0].items))


def _dtype(name: str) -> torch.dtype | None:
    """Return torch's type of a global such as "torch float32"."""
    module, _, attribute = name.partition(" ")
    kind: Any = getattr(torch, attribute, None) if module == "torch" else None
    return kind if isinstance(kind, torch.dtype) else None


def _check_metadata(state: Value) -> None:
    """Check that what is set of a state dict is ``_metadata``: module -> its version and how it was loaded."""
    for name, modules in zip(state.items[::2], state.items[1::2], strict=True):
        if name.value != "_metadata" or modules.kind != "dict":
            refuse("an attribute of a state dict that is not the versions of its modules")
        for about in modules.items[1::2]:
            versions = zip(about.items[::2], about.items[1::2], strict=True)
            if about.kind != "dict" or not all(type(v.value) is METADATA.get(k.value) for k, v in versions):
                refuse("a version of a module that is no number")
