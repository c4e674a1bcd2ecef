"""CUHK03, 767/700 split, with hand-labelled or detected boxes: FastReID's class can't be switched from a yaml."""

from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.cuhk03 import CUHK03


@DATASET_REGISTRY.register()
class CUHK03Labeled(CUHK03):
    """CUHK03 with hand-labelled boxes: train 767 identities / 7368 images, query 1400, gallery 5328."""

    def __init__(self, root: str = "datasets", **kwargs: Any):
        super().__init__(root, cuhk03_labeled=True, cuhk03_classic_split=False, **kwargs)


@DATASET_REGISTRY.register()
class CUHK03Detected(CUHK03):
    """CUHK03 with detected boxes: train 767 identities / 7365 images, query 1400, gallery 5332."""

    def __init__(self, root: str = "datasets", **kwargs: Any):
        super().__init__(root, cuhk03_labeled=False, cuhk03_classic_split=False, **kwargs)
