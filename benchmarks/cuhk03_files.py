"""CUHK03 in miniature, for tests, fuzz and storm: cells of cells of images, as MATLAB 7.3 stores them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

BOXES = ("detected", "labeled")
SHOTS = 10  # of a person: five by each of two cameras


def write_release(folder: Path, persons: Mapping[str, Sequence[Sequence[Any]]], tested: Any) -> None:
    """Write ``cuhk03_release/cuhk-03.mat`` below a folder.

    Args:
        folder: the data set's.
        persons: boxes -> for each person its shots, images (3, W, H) uint8 in MATLAB's order, or None.
        tested: pairs and persons of the test split, (2, N).
    """
    import h5py
    import numpy as np

    (folder / "cuhk03_release").mkdir(parents=True)
    with h5py.File(folder / "cuhk03_release" / "cuhk-03.mat", "w") as mat:
        kind = h5py.special_dtype(ref=h5py.Reference)

        def cell(name: str, content: object) -> Any:
            data = mat.create_dataset(name, np.shape(content), dtype=kind)
            data[...] = np.array(content, dtype=kind)
            return data.ref

        empty = mat.create_dataset("empty", data=np.zeros((2,), np.uint64)).ref
        for boxes in BOXES:
            references = [
                [
                    empty if pixels is None else mat.create_dataset(f"{boxes}_{person}_{shot}", data=pixels).ref
                    for shot, pixels in enumerate(shots)
                ]
                for person, shots in enumerate(persons[boxes])
            ]
            cell(boxes, [[cell(f"{boxes}_pair", np.array(references, dtype=object).T)]])
        cell("testsets", [[mat.create_dataset("split", data=np.array(tested, dtype=float)).ref]])


def write_splits(
    folder: Path,
    boxes: str,
    names: Sequence[str],
    labels: Sequence[int],
    train: Sequence[int],
    query: Sequence[int],
    gallery: Sequence[int],
) -> None:
    """Write the new protocol's split of one kind of boxes; the images are counted from 1."""
    import numpy as np
    from scipy.io import savemat

    content = {
        "filelist": np.array([[name] for name in names], dtype=object),
        "labels": np.array([labels]).T,
        "train_idx": np.array([train]).T,
        "query_idx": np.array([query]).T,
        "gallery_idx": np.array([gallery]).T,
    }
    savemat(folder / f"cuhk03_new_protocol_config_{boxes}.mat", content, do_compression=False)
