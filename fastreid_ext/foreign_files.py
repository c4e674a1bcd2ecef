"""Files from elsewhere, read within bounds: JSON, tables, and arrays whose type and size are checked before NumPy."""

import csv
import io
import json
import math
import re
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from fastreid_ext.errors import FileError, first_line
from fastreid_ext.files import read_bytes, read_text
from fastreid_ext.image_files import check_is_file

UNPACKED_FREELY = 256 << 20  # bytes that a packed file may unpack to, however small it is
PACKED_AT_MOST = 50  # what is larger may be so many times as large as the file; labels of images are some 5
LARGEST = (1 << 63) - 1  # an identity or camera is an int64 in tensors
LAST_LETTER = 0x10FFFF
LINE_BREAKS, LAST_ROW = "\r\n", "end of the table"
# Columns that are read by their names, and those of them whose cells have one line.
READ = ("path", "person", "camera", "split", "occlusion")
ONE_LINE = READ[1:]
CONTROL = re.compile(r"[\0-\x1f\x7f]")
SHOWN = 60  # characters of a file's own words in a message


def shown(value: object) -> str:
    """Return a value of a file for a message, cut to one short line."""
    text = repr(value[: 2 * SHOWN] if isinstance(value, str | bytes | list | tuple) else value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def caption(text: str) -> str:
    """Return a file's name, or another text from elsewhere, as one line that a picture can show; ? is what can't."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def one_line(text: str) -> str:
    r"""Return a file's name, or another text from elsewhere, for a terminal: what it can't show is written as \\n."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def is_number(value: Any) -> bool:
    """Whether a value of a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def read_json(path: Path, once: bool = False) -> Any:
    """Return what a JSON file holds.

    Args:
        path: the file.
        once: refuse an object that has a key twice; else the last one counts.

    Raises:
        FileError: it can't be read, or it is not JSON.
    """
    try:
        return json.loads(read_bytes(path), object_pairs_hook=_dict_of if once else None)
    except RecursionError as error:
        raise FileError(f"{path} is not a JSON file that can be read (it is nested too deeply)") from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are of this kind
        raise FileError(f"{path} is not a JSON file ({first_line(error)})") from error


def _dict_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it has {shown(next(key for key in keys if keys.count(key) > 1))} twice in one object")
    return found


def csv_rows(text: str, path: Path, delimiter: str = ",", spaces: bool = True) -> list[tuple[int, list[str]]]:
    """Return (number of its last line, cells) of every row of a table that is not empty.

    Args:
        text: of the file.
        path: of the file, for messages.
        delimiter: between cells.
        spaces: leave out the spaces behind a delimiter.

    Raises:
        FileError: a cell is longer than 128 KB, or a quotation never ends.
    """
    # A quotation that never ends takes all that follows for one cell, the last line too.
    ended = io.StringIO(f"{text.rstrip(LINE_BREAKS)}\n{LAST_ROW}", newline="")
    reader = csv.reader(ended, delimiter=delimiter, skipinitialspace=spaces)
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise FileError(f"line {reader.line_num} of {path} can't be read ({error})") from error
    if rows.pop()[1] != [LAST_ROW]:
        begun = rows[-1][0] + 1 if rows else 1
        raise FileError(f"line {begun} of {path} begins a quotation that never ends: add or remove a quotation mark")
    return [(line, row) for line, row in rows if row]


def read_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the column names, in lower case, and (line number, cell by column) of a CSV file with a first line.

    Commas, semicolons or tabs stand between the cells: what separates the most columns of the first line that are read,
    or else is the most frequent there. Cells are stripped, and those that a row lacks are empty. A first line that
    names no column that is read has no rows, since they can't be told.

    Raises:
        FileError: it can't be read, names a column twice, or has a row with further cells or a label with a line break
            or another control character.
    """
    text = read_text(path)
    first = text.lstrip("\n").partition("\n")[0]
    rows = csv_rows(text, path, max(",;\t", key=lambda sign: (_columns_read(first, sign), first.count(sign))))
    if not rows:
        return [], []
    names = [name.strip().lower() for name in rows[0][1]]
    if twice := next((name for name in READ if names.count(name) > 1), ""):
        raise FileError(f"the first line of {path} names the column {twice} twice: rename or remove one of them")
    if not set(READ) & set(names):
        return names, []
    blank = dict.fromkeys(names, "")
    table = []
    for line, row in rows[1:]:
        cells = [cell.strip() for cell in row]
        if any(cells[len(names) :]):
            raise FileError(
                f"line {line} of {path} has {len(cells)} cells, and its first line {len(names)}: put a text with a"
                " delimiter in it in quotation marks"
            )
        named = dict(zip(names, cells, strict=False))
        if broken := next((name for name in ONE_LINE if "\n" in named.get(name, "")), ""):
            raise FileError(
                f"line {line} of {path} has a line break in its {broken}, {shown(named[broken])}: is a quotation mark"
                " missing?"
            )
        if odd := next((name for name in ONE_LINE if CONTROL.search(named.get(name, ""))), ""):
            raise FileError(
                f"line {line} of {path} has a control character in its {odd}, {shown(named[odd])}: remove it"
            )
        table.append((line, blank | named))
    return names, table


def _columns_read(first: str, delimiter: str) -> int:
    """Return how many columns that are read a table's first line names between delimiters."""
    return len(set(READ) & {name.strip().strip('"').strip().lower() for name in first.split(delimiter)})


def whole_number(text: str) -> int | None:
    """Return the whole number that a text is, of 64 bits; None for any other text."""
    try:
        value = int(text)
    except ValueError:
        return None
    return value if abs(value) <= LARGEST else None


def is_below(name: str) -> bool:
    """Whether a name from a file is a path below a folder: not absolute, without ``..`` and without a zero byte."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


# ---- arrays ---------------------------------------------------------------------------------------------------------


def array_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order (True: FORTRAN's) and type of an array in NumPy's format; the file stands behind its header.

    Raises:
        ValueError: it is none, or one of objects or structures.
    """
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"version {version} of the format")
        shape, fortran, dtype = read(file)
    except ValueError:
        raise
    except Exception as error:  # NumPy evaluates the header as a literal and raises half a dozen types
        raise ValueError(f"the header is damaged: {first_line(error)}") from error
    if dtype.kind not in "biufU" or dtype.itemsize == 0 or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(f"an array of {shown(dtype)} {shown(shape)}")
    return shape, bool(fortran), dtype


def map_array(path: Path, shape: tuple[int, ...], dtype: np.dtype, mode: str = "r") -> np.ndarray:
    """Map an array in NumPy's format from the disk, if it has this shape and type and its file all of its bytes.

    Args:
        path: the .npy file.
        shape, dtype: what is expected.
        mode: "r", or "r+" for writing.

    Raises:
        ValueError: it is another array, or none.
        OSError: it can't be read.
    """
    check_is_file(path)
    with open(path, "rb") as file:
        found = array_header(file)
        start = file.tell()
        size = file.seek(0, io.SEEK_END) - start
    if found != (shape, False, dtype):
        order = " in Fortran's order" if found[1] else ""
        raise ValueError(f"it holds {shown(found[0])} {found[2]}{order}, and not {shape} {dtype}")
    if math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"an array of {shape} {dtype} in {size} bytes")
    return np.memmap(path, dtype, mode, start, shape)


def read_arrays(path: Path, kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Read some arrays of an .npz file.

    Args:
        path: the file.
        kinds: name -> NumPy's letters of the kinds that it may be of, such as "f" or "iu"; others are not read.

    Raises:
        FileError: it can't be read, it lacks one, one is of another kind, or it would unpack to far more than it is.
    """
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.getinfo(f"{name}.npy") for name in kinds}
            unpacked = sum(member.file_size for member in members.values())
            if unpacked > max(UNPACKED_FREELY, PACKED_AT_MOST * size):
                raise ValueError(f"{size} bytes would unpack to {unpacked}")
            return {name: _array(archive.read(member), name, kinds[name]) for name, member in members.items()}
    except Exception as error:  # zipfile and zlib raise half a dozen types
        said = str(error.args[0]) if isinstance(error, KeyError) else first_line(error)
        raise FileError(f"{path} can't be read ({said})") from error


def _array(data: bytes, name: str, kinds: str) -> np.ndarray:
    file = io.BytesIO(data)
    shape, fortran, dtype = array_header(file)
    start = file.tell()
    if dtype.kind not in kinds:
        raise ValueError(f"{name} is of {dtype}")
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise ValueError(f"{name} is of shape {shown(shape)} in {len(data) - start} bytes")
    array = np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "U" and array.size:
        letters = np.frombuffer(data, np.dtype(np.uint32).newbyteorder(dtype.byteorder), offset=start)
        if letters.max() > LAST_LETTER:  # NumPy would make texts of it that crash what reads them
            raise ValueError(f"{name} holds letters that Unicode does not have")
    return array


def write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as :func:`read_arrays` reads them, not packed."""
    np.savez(file, **arrays)


def are_whole_numbers(values: Iterable[Any], least: int = 0) -> bool:
    """Whether all values, as JSON gave them, are ints of 64 bits and of at least ``least``."""
    return all(type(value) is int and least <= value <= LARGEST for value in values)
