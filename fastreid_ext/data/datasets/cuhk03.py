"""CUHK03 with hand-labelled or detected boxes, from its MATLAB files or from the folders of its 767/700 split."""

import os
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.cuhk03 import CUHK03 as HostCUHK03

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.cuhk03_extraction import SOURCES, extract_cuhk03
from fastreid_ext.data.datasets.files import LayoutError
from fastreid_ext.data.datasets.folders import accepted_folders
from fastreid_ext.data.datasets.host_classes import as_released
from fastreid_ext.data.datasets.market_tree import MarketTree

MATLAB_FOLDER = "cuhk03"
SPLIT_FOLDERS = ("cuhk03-np", "cuhk03-np/cuhk03-np", "cuhk03/cuhk03-np", MATLAB_FOLDER)  # around labeled and detected


@register(DATASET_REGISTRY, instead_of=as_released(HostCUHK03))
class CUHK03(MarketTree, HostCUHK03):
    """CUHK03 as FastReID's class reads it: hand-labelled boxes and the 767/700 split if nothing else is said.

    References: Li et al., DeepReID, CVPR 2014; the split is that of Zhong et al., Re-ranking Person Re-identification
    with k-reciprocal Encoding, CVPR 2017.
    Tree: ``cuhk03`` with ``cuhk03_release/cuhk-03.mat`` and ``cuhk03_new_protocol_config_{labeled,detected}.mat``. The
    first use writes images and splits beside them (:mod:`fastreid_ext.data.datasets.cuhk03_extraction`). For the
    767/700 split also ``cuhk03-np`` with ``labeled`` and ``detected``, in each the three folders of Market1501.
    Rule: what the query's own camera saw of the person is left out.

    Args:
        root: folder of all data sets.
        split_id: of the 20 classic splits.
        cuhk03_labeled: hand-labelled boxes, not detected ones.
        cuhk03_classic_split: one of the classic splits, not the 767/700 split.
    """

    folders = (MATLAB_FOLDER, "cuhk03-np")  # that the set lies in, in one of its forms
    dataset_name = "cuhk03"
    example = "0001_c1_1.png, with cameras from 1"

    def __init__(
        self,
        root: str = "datasets",
        split_id: int = 0,
        cuhk03_labeled: bool = True,
        cuhk03_classic_split: bool = False,
        **kwargs: Any,
    ):
        boxes = "labeled" if cuhk03_labeled else "detected"
        matlab = accepted_folders(root, [MATLAB_FOLDER])
        whole = [folder for folder in matlab if all((folder / name).is_file() for name in SOURCES)]
        self.folders = tuple(f"{folder}/{boxes}" for folder in SPLIT_FOLDERS)
        if not (whole or cuhk03_classic_split) and accepted_folders(root, self.folders):
            self.find(root)
            self.read_lazily(**kwargs)
            return
        if not matlab:
            raise LayoutError(f"there is no folder {MATLAB_FOLDER} or {self.folders[0]}")
        self.data_dir = (whole or matlab)[0]
        self.same_numbers = False  # FastReID's lists number the training persons anew
        extract_cuhk03(self.data_dir)
        self.dataset_dir = os.path.relpath(self.data_dir, root)
        HostCUHK03.__init__(self, root, split_id, cuhk03_labeled, cuhk03_classic_split, **kwargs)
        # The splits name the images by where they were when they were written, often below another working directory.
        images = Path(self.imgs_labeled_dir if cuhk03_labeled else self.imgs_detected_dir)
        self._train, self._query, self._gallery = (
            sorted((str(images / Path(path).name), person, camera) for path, person, camera in items)
            for items in (self.train, self.query, self.gallery)
        )
        self.data = getattr(self, self.mode)


class CUHK03NewSplit(CUHK03):
    """CUHK03 in the 767/700 split, with one kind of boxes: FastReID's class can't be switched from a yaml."""

    labeled: bool

    def __init__(self, root: str = "datasets", **kwargs: Any):
        super().__init__(root, cuhk03_labeled=self.labeled, cuhk03_classic_split=False, **kwargs)


@register(DATASET_REGISTRY)
class CUHK03Labeled(CUHK03NewSplit):
    """CUHK03 with hand-labelled boxes: train 767 identities / 7368 images, query 1400, gallery 5328."""

    labeled = True


@register(DATASET_REGISTRY)
class CUHK03Detected(CUHK03NewSplit):
    """CUHK03 with detected boxes: train 767 identities / 7365 images, query 1400, gallery 5332."""

    labeled = False
