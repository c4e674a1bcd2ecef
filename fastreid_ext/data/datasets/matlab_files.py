"""MATLAB files of version 7.3, which are HDF5: what they may hold before their arrays are read."""

from pathlib import Path
from typing import Any

from fastreid_ext.errors import FileError
from fastreid_ext.foreign_files import shown

MOST_BYTES = 64 << 20  # of one array; CUHK03's images have some 30 KB


def check_matlab_file(path: Path) -> None:
    """Check that all that a file holds lies in it, and that no array of it is large.

    HDF5 follows links into other files, and makes an array of any size out of a value to fill it with.

    Raises:
        FileError: a link, an array that lies elsewhere, or a large one.
        OSError, RuntimeError: as h5py.
    """
    import h5py  # only for a data set that is hardly ever extracted

    def is_foreign_link(name: str, link: Any) -> str | None:
        return None if isinstance(link, h5py.HardLink) else name

    def is_foreign_array(name: str, one: Any) -> str | None:
        foreign = isinstance(one, h5py.Dataset) and (one.external or one.is_virtual or one.nbytes > MOST_BYTES)
        return name if foreign else None

    with h5py.File(path, "r") as file:  # a name ends the visit; an exception would not come through h5py
        link, array = file.visititems_links(is_foreign_link), file.visititems(is_foreign_array)
    if link is not None:
        raise FileError(f"{path} holds a link, {shown(link)}, which MATLAB does not write")
    if array is not None:
        raise FileError(f"{path} holds an array, {shown(array)}, that is too large or lies in other files")
