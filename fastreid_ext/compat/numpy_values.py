"""NumPy values of a checkpoint, rebuilt by us.

NumPy's own unpickling trusts the file: an object type and a negative dimension make it free an address that the file
chooses. So while a file is read, stand-ins take the place of NumPy's names. They check type, shape and number of bytes,
and only numbers become arrays.
"""

import math
import pickle
from typing import Any

import numpy as np

__all__ = ["plain", "stand_ins"]

NUMERIC = frozenset(np.dtype(code).str[1:] for code in "?bBhHiIlLqQefd")
BYTE_ORDERS = {"<": "<", ">": ">", "|": "=", "=": "="}
MOST_DIMENSIONS = 32


class _DType:
    """Stands for ``numpy.dtype``: a numeric type with a byte order."""

    def __init__(self, *args: Any):
        if not args or not isinstance(args[0], str) or args[0] not in NUMERIC:
            raise pickle.UnpicklingError("a NumPy value that is not of a numeric type")
        self.code, self.order = args[0], "="

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) >= 2 and state[1] in BYTE_ORDERS):
            raise pickle.UnpicklingError("a NumPy type with an unknown byte order")
        self.order = BYTE_ORDERS[state[1]]

    @property
    def real(self) -> np.dtype:
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for ``numpy.ndarray``; ``value`` is the array once the file has given its content."""

    def __init__(self, *args: Any):
        if args:
            raise pickle.UnpicklingError("a NumPy array that is made in another way than by pickle")
        self.value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise pickle.UnpicklingError("a NumPy array of an unknown form")
        _, shape, dtype, fortran, data = state
        if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
            raise pickle.UnpicklingError("a NumPy array with a shape that is not made of whole numbers from 0 on")
        if len(shape) > MOST_DIMENSIONS or not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError("a NumPy array that does not consist of numbers")
        if math.prod(shape) * dtype.real.itemsize != len(data):
            raise pickle.UnpicklingError(f"a NumPy array of shape {shape} with {len(data)} bytes")
        flat = np.frombuffer(data, dtype.real).astype(dtype.real.newbyteorder("="))  # a copy, which may be written to
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: Any = None, shape: Any = None, code: Any = None) -> _Array:
    """Stand for what makes the empty array that the file then fills."""
    if kind is not _Array:
        raise pickle.UnpicklingError("a NumPy array of another class")
    return _Array()


def _scalar(dtype: Any = None, data: Any = None) -> Any:
    """Stand for what makes a NumPy number."""
    if not (isinstance(dtype, _DType) and isinstance(data, bytes) and len(data) == dtype.real.itemsize):
        raise pickle.UnpicklingError("a NumPy number whose type and bytes do not fit")
    return np.frombuffer(data, dtype.real).astype(dtype.real.newbyteorder("="))[0]


def _empty_bytes(*args: Any) -> bytes:
    """Stand for ``bytes()``, by which pickle writes the content of an array without elements."""
    if args:
        raise pickle.UnpicklingError("bytes that are made in another way than by pickle")
    return b""


def stand_ins() -> list[tuple[Any, str]]:
    """Return (stand-in, name in the file) for ``torch.serialization.safe_globals``."""
    modules = ("numpy.core.multiarray", "numpy._core.multiarray")  # as written by NumPy 1 and NumPy 2
    functions = [
        (function, f"{module}.{name}")
        for function, name in ((_reconstruct, "_reconstruct"), (_scalar, "scalar"))
        for module in modules
    ]
    empty = [(_empty_bytes, f"{module}.bytes") for module in ("builtins", "__builtin__")]
    return [(_Array, "numpy.ndarray"), (_DType, "numpy.dtype"), *functions, *empty]


def plain(value: Any) -> Any:
    """Put the arrays in the place of their stand-ins, in dicts, lists, tuples and sets of any depth.

    Raises:
        pickle.UnpicklingError: a stand-in that is no value, or nesting that is too deep.
    """
    try:
        return _plain(value, {})
    except RecursionError as error:
        raise pickle.UnpicklingError("values that are nested too deeply") from error


STAND_INS = (_Array, _DType, _reconstruct, _scalar, _empty_bytes)


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    if id(value) in seen:  # a file may hold a list in itself
        return seen[id(value)]
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if isinstance(value, _Array | _DType) or any(value is part for part in STAND_INS):
        raise pickle.UnpicklingError("a part of a NumPy value, where a value should be")
    if isinstance(value, dict):
        seen[id(value)] = value
        for key, item in list(value.items()):
            value[key] = _plain(item, seen)
    elif isinstance(value, list):
        seen[id(value)] = value
        value[:] = [_plain(item, seen) for item in value]
    elif type(value) in (tuple, set):
        made = type(value)(_plain(item, seen) for item in value)
        seen[id(value)] = made  # a file may hold one tuple in the next, twice each: 40 of them are 2^40 values
        return made
    return value
