"""MATLAB files of version 7.3, which are HDF5: what they may hold before their arrays are read."""

from pathlib import Path
from typing import Any

from fastreid_ext.errors import FileError

MOST_BYTES = 64 << 20  # of one array; CUHK03's images have some 30 KB


def check_matlab_file(path: Path) -> None:
    """Check that all that a file holds lies in it, and that no array of it is large.

    HDF5 follows links into other files, and makes an array of any size out of a value to fill it with.

    Raises:
        FileError: a link, an array that lies elsewhere, or a large one.
        OSError, RuntimeError: as h5py.
    """
    import h5py  # only for a data set that is hardly ever extracted

    def check_link(name: str, link: Any) -> None:
        if not isinstance(link, h5py.HardLink):
            raise FileError(f"{path} holds a link, {name}, which MATLAB does not write")

    def check_array(name: str, one: Any) -> None:
        if isinstance(one, h5py.Dataset) and (one.external or one.is_virtual or one.nbytes > MOST_BYTES):
            raise FileError(f"{path} holds an array, {name}, that is too large or lies in other files")

    with h5py.File(path, "r") as file:
        file.visititems_links(check_link)
        file.visititems(check_array)
