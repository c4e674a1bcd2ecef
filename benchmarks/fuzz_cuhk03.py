"""A miniature of CUHK03's MATLAB files: cells of cells of images, as MATLAB 7.3 stores them."""

from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

FILES = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_2_06.png"]


def write_cuhk03(folder: Path) -> None:
    """Write two persons, each with one image a view."""
    (folder / "cuhk03_release").mkdir(parents=True)
    with h5py.File(folder / "cuhk03_release" / "cuhk-03.mat", "w") as mat:
        kind = h5py.special_dtype(ref=h5py.Reference)

        def cell(name, content):
            data = mat.create_dataset(name, np.shape(content), dtype=kind)
            data[...] = np.array(content, dtype=kind)
            return data.ref

        empty = mat.create_dataset("empty", data=np.zeros((2,), np.uint64)).ref
        for boxes in ("detected", "labeled"):
            persons = []
            for person in (1, 2):
                image = mat.create_dataset(f"{boxes}_{person}", data=np.full((3, 4, 8), 50 + person, np.uint8)).ref
                persons.append([image if shot in (0, 5) else empty for shot in range(10)])
            cell(boxes, [[cell(f"{boxes}_pair", np.array(persons, dtype=object).T)]])
        split = mat.create_dataset("split", data=np.array([[1.0], [2.0]])).ref
        cell("testsets", [[split]])
    for boxes in ("labeled", "detected"):
        content = {
            "filelist": np.array([[name] for name in FILES], dtype=object),
            "labels": np.array([[1, 1, 2, 2]]).T,
            "train_idx": np.array([[1], [2]]),
            "query_idx": np.array([[3]]),
            "gallery_idx": np.array([[4]]),
        }
        savemat(folder / f"cuhk03_new_protocol_config_{boxes}.mat", content, do_compression=False)
