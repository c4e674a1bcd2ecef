"""CUHK03, 767/700 split, with hand-labelled or detected boxes: FastReID's class can't be switched from a yaml."""

from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.cuhk03 import CUHK03

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.cuhk03_extraction import extract_cuhk03


class CUHK03NewSplit(CUHK03):
    """CUHK03 as Zhong et al. split it (Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017).

    Tree: ``cuhk03`` with ``cuhk03_release/cuhk-03.mat`` and ``cuhk03_new_protocol_config_{labeled,detected}.mat``. The
    first use writes images and splits beside them (:mod:`fastreid_ext.data.datasets.cuhk03_extraction`).
    Rule: what the query's own camera saw of the person is left out.
    """

    labeled: bool

    def __init__(self, root: str = "datasets", **kwargs: Any):
        extract_cuhk03(Path(root))
        super().__init__(root, cuhk03_labeled=self.labeled, cuhk03_classic_split=False, **kwargs)
        # The splits name the images by where they were when they were written, often below another working directory.
        folder = Path(self.imgs_labeled_dir if self.labeled else self.imgs_detected_dir)
        self._train, self._query, self._gallery = (
            sorted((str(folder / Path(path).name), person, camera) for path, person, camera in items)
            for items in (self.train, self.query, self.gallery)
        )
        self.data = getattr(self, self.mode)


@register(DATASET_REGISTRY)
class CUHK03Labeled(CUHK03NewSplit):
    """CUHK03 with hand-labelled boxes: train 767 identities / 7368 images, query 1400, gallery 5328."""

    labeled = True


@register(DATASET_REGISTRY)
class CUHK03Detected(CUHK03NewSplit):
    """CUHK03 with detected boxes: train 767 identities / 7365 images, query 1400, gallery 5332."""

    labeled = False
