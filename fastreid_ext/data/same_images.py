"""Images that stand in two lists, or twice in one: found by path, by hard and symbolic links, and by their bytes."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

THREADS = 16  # a file system that is far away answers many at a time
AT_ONCE = 256  # files of a thread's task


@dataclass(frozen=True)
class SamePairs:
    """Pairs of one image, by first and then by second index.

    Attributes:
        first, second: (P,) int64, indices in the two lists.
        by_content: (P,) bool: the two are different files with the same bytes.
    """

    first: np.ndarray
    second: np.ndarray
    by_content: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def where(self, kept: np.ndarray) -> "SamePairs":
        """Return the pairs for which a mask (P,) is True."""
        return SamePairs(self.first[kept], self.second[kept], self.by_content[kept])


@dataclass(frozen=True)
class _File:
    """A file, however it is named: its identity, and its size in bytes; -1 for one that is not there."""

    identity: Hashable
    size: int


def same_images(first: Sequence[str], second: Sequence[str], contents: bool = True) -> SamePairs:
    """Return the pairs of one image of the first list and one of the second.

    Every file is asked for once what it is. Only files whose size occurs in both lists are read.

    Args:
        first, second: paths of images.
        contents: compare bytes too.
    """
    paths = list(dict.fromkeys((*first, *second)))
    files = dict(zip(paths, _in_threads(_file, paths), strict=True))
    key = {path: files[path].identity for path in paths}
    if contents:
        key |= _digests(first, second, files)
    places: dict[Hashable, list[int]] = defaultdict(list)
    for index, path in enumerate(second):
        places[key[path]].append(index)
    found = [(i, j) for i, path in enumerate(first) for j in places.get(key[path], ())]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    other = [files[first[i]].identity != files[second[j]].identity for i, j in found]
    return SamePairs(pairs[:, 0], pairs[:, 1], np.array(other, dtype=bool))


def listed_again(paths: Sequence[str], contents: bool = False) -> list[list[int]]:
    """Return the groups of positions whose paths are one image.

    Args:
        paths: of images.
        contents: compare bytes too.
    """
    files = dict(zip(paths, _in_threads(_file, paths), strict=True))
    key = {path: file.identity for path, file in files.items()}
    if contents:
        key |= _digests(paths, paths, files)
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for index, path in enumerate(paths):
        groups[key[path]].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _digests(first: Sequence[str], second: Sequence[str], files: dict[str, _File]) -> dict[str, bytes]:
    """Return the hashes of the files that may have the bytes of one in the other list."""
    sizes: list[dict[int, set[Hashable]]] = []
    for paths in (first, second):
        sizes.append(defaultdict(set))
        for path in paths:
            sizes[-1][files[path].size].add(files[path].identity)
    wanted = {size for size in sizes[0] if size > 0 and size in sizes[1] and len(sizes[0][size] | sizes[1][size]) > 1}
    paths = [path for path in files if files[path].size in wanted]
    one_of = {files[path].identity: path for path in paths}
    read = dict(zip(one_of.values(), _in_threads(_digest, one_of.values()), strict=True))
    return {path: digest for path in paths if (digest := read[one_of[files[path].identity]])}


def _in_threads(ask, paths: Iterable[str]) -> list:
    paths = list(paths)
    chunks = [paths[start : start + AT_ONCE] for start in range(0, len(paths), AT_ONCE)]
    with ThreadPoolExecutor(THREADS) as pool:
        return [
            answer for answers in pool.map(lambda chunk: [ask(path) for path in chunk], chunks) for answer in answers
        ]


def _file(path: str) -> _File:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # whoever opens it says why
        return _File(os.path.abspath(path), -1)
    return _File((status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path), status.st_size)


def _digest(path: str) -> bytes:
    """Return the hash of a file's bytes; nothing if it can't be read, or gives none in spite of its size."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.blake2b()
            while block := file.read(1 << 20):
                digest.update(block)
            return digest.digest() if file.tell() else b""
    except OSError:
        return b""
