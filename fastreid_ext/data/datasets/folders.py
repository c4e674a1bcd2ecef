"""Where a data set lies: its accepted folders below the root, named as its makers or other people name them."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastreid_ext.data.datasets.files import LayoutError, log_once


def plain(name: str) -> str:
    """Return a folder's name without case, hyphens, underscores and blanks, which people add and leave out."""
    return name.lower().replace("-", "").replace("_", "").replace(" ", "")


def find_layout(
    root: str | Path, names: Sequence[str], layouts: Sequence[Sequence[str]]
) -> tuple[Path, int, list[Path]]:
    """Return the first of the accepted folders that has all subfolders of a layout.

    Folders are compared by :func:`plain` names, the exact name first. A folder may lie in one of an accepted name, as
    an archive that is unpacked into a folder of its own does.

    Args:
        root: folder of all data sets.
        names: accepted folders below it, in order of preference; "." is the root itself.
        layouts: subfolders that belong together, in order of preference.

    Returns:
        The folder, the index of its layout, and the layout's subfolders.

    Raises:
        LayoutError: there is none, or one that lacks a subfolder.
    """
    there = accepted_folders(root, names)
    named = [folder for folder in there if folder != Path(root)]  # the root is there in any case
    whole = [
        (folder, index, found)
        for folder in there
        for index, layout in enumerate(layouts)
        if None not in (found := [_below(folder, name) for name in layout])
    ]
    if whole:
        others = [folder for folder, _, _ in whole[1:] if folder != whole[0][0]]
        if others:
            log_once(logging.WARNING, f"{whole[0][0]} is used, not {', '.join(str(folder) for folder in others)}")
        return whole[0]
    if not named:
        raise LayoutError(f"there is no folder {' or '.join(name for name in names if name != '.')}")
    lacking = [
        (folder, missing)
        for folder in named
        for layout in layouts
        if (missing := [name for name in layout if _below(folder, name) is None])
    ]
    folder, missing = min(lacking, key=lambda pair: len(pair[1]))
    raise LayoutError(f"{folder} has no {' and no '.join(missing)}")


def find_folder(root: str | Path, names: Sequence[str], subfolders: Sequence[str] = ()) -> Path:
    """Return the first of the accepted folders that has all its subfolders; see :func:`find_layout`.

    Raises:
        LayoutError: there is none, or one that lacks a subfolder.
    """
    return find_layout(root, names, [subfolders])[0]


def accepted_folders(root: str | Path, names: Sequence[str]) -> list[Path]:
    """List the folders of accepted names that are there, in order of preference; see :func:`find_layout`."""
    found: dict[Path, None] = {}
    for name in names:
        found |= dict.fromkeys(_all_below(Path(root), name))
    last = {plain(Path(name).name) for name in names if name != "."}
    for folder in list(found):
        if folder != Path(root):
            found |= dict.fromkeys(child for child in _folders_in(folder) if plain(child.name) in last)
    return list(found)


def _below(folder: Path, name: str) -> Path | None:
    return next(_all_below(folder, name), None)


def _all_below(folder: Path, name: str) -> Iterator[Path]:
    """Yield what ``name``, a path, may mean below a folder, the exact name first."""
    first, *rest = Path(name).parts or (".",)
    if first == ".":
        yield folder
        return
    children = [child for child in _folders_in(folder) if plain(child.name) == plain(first)]
    for child in sorted(children, key=lambda child: (child.name != first, child.name)):
        if rest:
            yield from _all_below(child, str(Path(*rest)))
        else:
            yield child


def _folders_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if not child.name.startswith(".") and child.is_dir())
