"""Whether the images that data sets list are there, and can be decoded, before hours of training."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from fastreid.utils import comm

from fastreid_ext.data.images import ImageError, read_image
from fastreid_ext.progress import ProgressBar

FEW = 50  # images of a folder that are looked up one by one: the folder may hold far more than the list
SHOWN = 3
AT_ONCE = 1024  # images whose results wait for the progress bar


def check_images(paths: Iterable[str], name: str, decode: bool = False, threads: int = 1) -> None:
    """Check that each image is a file and, on request, that it can be decoded, with a progress bar.

    Each process looks for all of them, and decodes its share.

    Args:
        paths: of the images.
        name: what they belong to, for messages.
        decode: DATALOADER.VERIFY_IMAGES.
        threads: that decode at the same time; at least one does.

    Raises:
        ImageError: the number of images that are missing or broken, and the first of them; in every process.
    """
    paths = list(dict.fromkeys(paths))
    lost = missing_files(paths)
    if lost:
        raise ImageError(
            f"{_count(lost, paths)} of {name} are not there: {_first(lost)}: copy them, or unpack it again"
        )
    if not decode:
        return
    broken = [path for found in comm.all_gather(_undecodable(paths, name, threads)) for path in found]
    if broken:
        raise ImageError(
            f"{_count(broken, paths)} of {name} can't be decoded: {_first(broken)}: replace or remove them"
        )


def missing_files(paths: Sequence[str]) -> list[str]:
    """Return the paths at which there is no file, in their order; a folder of many is listed once."""
    folders: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folders[os.path.dirname(path)].append(path)
    missing = set()
    for folder, own in folders.items():
        if len(own) <= FEW:
            missing |= {path for path in own if not os.path.isfile(path)}
            continue
        try:
            with os.scandir(folder or ".") as entries:
                there = {entry.name for entry in entries if entry.is_file()}
        except OSError:
            there = set()
        missing |= {path for path in own if os.path.basename(path) not in there}
    return [path for path in paths if path in missing]


def _undecodable(paths: Sequence[str], name: str, threads: int) -> list[str]:
    own = paths[comm.get_rank() :: comm.get_world_size()]
    broken = []
    with (
        ThreadPoolExecutor(max(threads, 1)) as pool,  # decoding leaves Python's lock
        ProgressBar(f"checking the images of {name}", len(own), shown=comm.is_main_process()) as bar,
    ):
        for start in range(0, len(own), AT_ONCE):
            some = own[start : start + AT_ONCE]
            for path, whole in zip(some, pool.map(_is_decoded, some), strict=True):
                broken += [] if whole else [path]
                bar.advance(1)
    return broken


def _is_decoded(path: str) -> bool:
    try:
        read_image(path)
    except ImageError:
        return False
    return True


def _count(some: Sequence[str], paths: Sequence[str]) -> str:
    return f"{len(some)} of {len(paths)} images"


def _first(paths: Sequence[str]) -> str:
    return ", ".join(paths[:SHOWN]) + (", ..." if len(paths) > SHOWN else "")
