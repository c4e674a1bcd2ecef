"""Pose labels of a data set: one file, a row of joints per image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from fastreid_ext.errors import FileError, UserError
from fastreid_ext.files import make_folder, write_atomically
from fastreid_ext.foreign_files import is_below, read_arrays, shown

MAKE_POSES = "make it with fastreid-ext pose run or pose import"


class PoseError(UserError):
    """Pose labels that are missing or can't be used, with how to make them."""


@dataclass(frozen=True)
class Poses:
    """Joints of images, by the image's path below the data set's folder.

    Attributes:
        names: path of each image relative to the set's folder, with forward slashes, each once.
        joints: (N, J, 3) float32: x, y in pixels, (0, 0) the centre of the first one, and confidence (0 = not seen);
            J is 17 in COCO's order.
        sizes: (N, 2) int: width and height of the image that x and y are pixels of.

    Raises:
        PoseError: arrays that do not fit, a name twice, or a joint that is not a number.
    """

    names: Sequence[str]
    joints: np.ndarray
    sizes: np.ndarray
    _rows: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        with np.errstate(over="ignore"):  # float64 beyond float32 is infinite, which is refused below
            joints, sizes = np.asarray(self.joints, dtype=np.float32), np.asarray(self.sizes, dtype=np.int64)
        count = len(self.names)
        if joints.ndim != 3 or joints.shape[::2] != (count, 3) or sizes.shape != (count, 2):
            raise PoseError(
                f"{count} images need joints ({count}, J, 3) and sizes ({count}, 2), got {joints.shape} and"
                f" {sizes.shape}"
            )
        if not np.isfinite(joints).all() or (sizes < 1).any():
            raise PoseError("joints must be finite numbers and image sizes 1 pixel or more")
        names = [PurePath(str(name)).as_posix() for name in self.names]
        rows = {name: row for row, name in enumerate(names)}
        if len(rows) != count:
            raise PoseError("an image has two rows of joints: give each image one")
        for name, value in (("names", names), ("joints", joints), ("sizes", sizes), ("_rows", rows)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def of(self, name: str) -> tuple[np.ndarray, tuple[int, int]]:
        """Return joints (J, 3) and (width, height) of an image.

        Raises:
            PoseError: it has no row.
        """
        row = self._rows.get(name)
        if row is None:
            raise PoseError(f"the pose file has no row for {name}")
        width, height = self.sizes[row]
        return self.joints[row], (int(width), int(height))

    def shares_of(self, paths: Iterable[str]) -> dict[str, np.ndarray]:
        """Return joints (J, 3) of every path that has a row: shares of the image's width and height, and confidence.

        A path's row is the one whose name is the longest suffix of the path, so the folder of the names need not be
        known. An image's left edge is share 0 and its right edge 1, so the centre of its first pixel is half a pixel
        inside; an image that was resized since keeps its shares.
        """
        shares = self.joints.astype(np.float64)
        shares[..., :2] = (shares[..., :2] + 0.5) / self.sizes[:, None]
        shares = shares.astype(np.float32)
        found = {}
        for path in paths:
            parts = PurePath(path).parts
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            row = next((self._rows[end] for end in ends if end in self._rows), None)
            if row is not None:
                found[path] = shares[row]
        return found

    def save(self, path: Path) -> None:
        """Write the labels as .npz, whole or not at all."""
        make_folder(path.parent)
        arrays = {"names": np.array(self.names, dtype=np.str_), "joints": self.joints, "sizes": self.sizes}
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: Path) -> "Poses":
        """Read what :meth:`save` wrote; nothing in the file is run.

        Raises:
            PoseError: no such file, or not a pose file.
        """
        if not path.is_file():
            raise PoseError(f"there is no pose file {path}: {MAKE_POSES}")
        try:
            arrays = read_arrays(path, {"names": "U", "joints": "fiu", "sizes": "iu"})
            names = [str(name) for name in arrays["names"].reshape(-1)]
        except (FileError, ValueError) as error:  # ValueError: a letter that Unicode does not have
            raise PoseError(f"{path} is not a pose file ({error}): {MAKE_POSES}") from error
        above = next((name for name in names if not is_below(name)), None)
        if above is not None:
            raise PoseError(f"{path} names {shown(above)}, which is not a path below the data set's folder")
        try:
            return cls(names, arrays["joints"], arrays["sizes"])
        except PoseError as error:
            raise PoseError(f"{path}: {error}") from error
