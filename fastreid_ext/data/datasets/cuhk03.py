"""CUHK03, 767/700 split, with hand-labelled or detected boxes: FastReID's class can't be switched from a yaml."""

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.cuhk03 import CUHK03
from PIL import Image

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.matlab_files import check_matlab_file
from fastreid_ext.isolation import run_apart


class CUHK03NewSplit(CUHK03):
    """CUHK03 as Zhong et al. split it (Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017).

    Tree: ``cuhk03`` with ``cuhk03_release/cuhk-03.mat`` and ``cuhk03_new_protocol_config_{labeled,detected}.mat``. The
    first use writes images and splits beside them.
    Rule: what the query's own camera saw of the person is left out.
    """

    labeled: bool

    def __init__(self, root: str = "datasets", **kwargs: Any):
        super().__init__(root, cuhk03_labeled=self.labeled, cuhk03_classic_split=False, **kwargs)
        # The splits name the images by where they were when they were written, often below another working directory.
        folder = Path(self.imgs_labeled_dir if self.labeled else self.imgs_detected_dir)
        self._train, self._query, self._gallery = (
            sorted((str(folder / Path(path).name), person, camera) for path, person, camera in items)
            for items in (self.train, self.query, self.gallery)
        )
        self.data = getattr(self, self.mode)

    def preprocess_split(self) -> None:
        """Write images and splits, as FastReID does, with or without imageio.

        In a process of its own: a damaged MATLAB file crashes the libraries that read it.
        """
        paths = (self.imgs_labeled_dir, self.imgs_detected_dir, *self.split_paths())
        if all(Path(path).exists() for path in paths):
            return

        def extract() -> None:
            check_matlab_file(Path(self.raw_mat_path))
            with imageio_lent():
                super(CUHK03NewSplit, self).preprocess_split()

        run_apart(extract, f"the MATLAB files of {self.dataset_dir}")

    def split_paths(self) -> list[str]:
        """Return where the four files of splits lie."""
        return [
            getattr(self, f"split_{split}_{boxes}_json_path")
            for split in ("classic", "new")
            for boxes in ("det", "lab")
        ]


@register(DATASET_REGISTRY)
class CUHK03Labeled(CUHK03NewSplit):
    """CUHK03 with hand-labelled boxes: train 767 identities / 7368 images, query 1400, gallery 5328."""

    labeled = True


@register(DATASET_REGISTRY)
class CUHK03Detected(CUHK03NewSplit):
    """CUHK03 with detected boxes: train 767 identities / 7365 images, query 1400, gallery 5332."""

    labeled = False


@contextlib.contextmanager
def imageio_lent() -> Iterator[None]:
    """Offer ``imageio.imwrite`` by Pillow, where imageio isn't installed: FastReID writes PNGs with it, once."""
    if importlib.util.find_spec("imageio"):
        yield
        return
    lent = types.ModuleType("imageio")
    lent.imwrite = lambda path, pixels: Image.fromarray(pixels).save(path)
    sys.modules["imageio"] = lent
    try:
        yield
    finally:
        del sys.modules["imageio"]
