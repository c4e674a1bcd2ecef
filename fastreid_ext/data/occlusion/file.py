"""A file that says how much of the person in each image is hidden: CSV with a first line ``path,occlusion``.

The occlusion is a share from 0 to 1; 0 and 1 alone stand for holistic and occluded. A path starts at the folder of the
file, unless it is absolute. For a registered data set it may also be the end of the image's path, such as
``query/0001_c2_f0046182.jpg``, wherever the file is.
"""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fastreid_ext.errors import FileError
from fastreid_ext.foreign_files import read_table, shown

OCCLUSION_FILE = "occlusion.csv"  # beside train.csv, query.csv and gallery.csv
COLUMNS = ("path", "occlusion")


@dataclass(frozen=True)
class Occlusions:
    """The hidden shares of images.

    Attributes:
        file: that says them.
        by_path: absolute path -> share.
        by_end: what the file says, if it may be the end of a path -> share.
    """

    file: Path
    by_path: Mapping[str, float]
    by_end: Mapping[str, float]

    def of(self, path: str) -> float | None:
        """Return the share of the image at a path; None if the file has no row for it."""
        return self.by_path.get(os.path.abspath(path))

    def of_all(self, paths: Iterable[str]) -> list[float | None]:
        """Return the share of every path: by the path itself, else by the longest end of it that has a row.

        Raises:
            FileError: two images end like the same row.
        """
        shares, used = [], dict[str, str]()
        for path in paths:
            share = self.of(path)
            if share is None and (end := self._end_of(path)) is not None:
                if used.setdefault(end, path) != path:
                    raise FileError(
                        f"{self.file} has the row {shown(end)}, and both {used[end]} and {path} end like that:"
                        " write the folder, too"
                    )
                share = self.by_end[end]
            shares.append(share)
        return shares

    def _end_of(self, path: str) -> str | None:
        parts = PurePosixPath(Path(path).as_posix()).parts
        ends = ("/".join(parts[start:]) for start in range(1, len(parts)))
        return next((end for end in ends if end in self.by_end), None)


def read_occlusions(file: Path) -> Occlusions:
    """Read a file of hidden shares.

    Raises:
        FileError: it can't be read, lacks a column, or has a row without a share from 0 to 1 or a path with two.
    """
    names, rows = read_table(file)
    absent = [column for column in COLUMNS if column not in names]
    if absent:
        raise FileError(
            f"the first line of {file} names no column {' and no '.join(absent)}: it should be {','.join(COLUMNS)}"
        )
    folder = os.path.abspath(file.parent)
    by_path: dict[str, float] = {}
    by_end: dict[str, float] = {}
    for line, row in rows:
        path, share = row["path"], _share(row["occlusion"])
        if not path or share is None:
            wrong = "no path" if not path else f"the occlusion {shown(row['occlusion'])}"
            raise FileError(f"line {line} of {file} has {wrong}: write a path and a share from 0 to 1")
        full = os.path.normpath(os.path.join(folder, path))
        if by_path.setdefault(full, share) != share:
            raise FileError(f"line {line} of {file} gives {shown(path)} another occlusion than an earlier line")
        if not os.path.isabs(path) and ".." not in PurePosixPath(path).parts:
            by_end[PurePosixPath(path).as_posix()] = share
    return Occlusions(file, by_path, by_end)


def _share(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= 1 else None
