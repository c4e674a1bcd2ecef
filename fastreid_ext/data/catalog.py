"""Registered data sets, found or explained."""

import os
from collections.abc import Sequence
from pathlib import Path

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

MARKET_TREE = ("bounding_box_train", "query", "bounding_box_test")
# Registered name -> what has to lie below the root, for the sets that configs of ours name.
EXPECTED_TREES: dict[str, Sequence[str]] = {
    "Market1501": [f"Market-1501-v15.09.15/{part}" for part in MARKET_TREE],
    "DukeMTMC": [f"DukeMTMC-reID/{part}" for part in MARKET_TREE],
    "MSMT17": [
        f"MSMT17_V1/{part}"  # or MSMT17_V2 with mask_train_v2 and mask_test_v2
        for part in ("train", "test", *(f"list_{split}.txt" for split in ("train", "val", "query", "gallery")))
    ],
    **{
        name: [
            f"cuhk03/{part}"
            for part in (
                "cuhk03_release/cuhk-03.mat",
                "cuhk03_new_protocol_config_labeled.mat",
                "cuhk03_new_protocol_config_detected.mat",
            )
        ]
        for name in ("CUHK03", "CUHK03Labeled", "CUHK03Detected")
    },
}


class DataSetError(RuntimeError):
    """A data set that is missing, half-unpacked or not registered."""


def dataset_root() -> Path:
    """Return the folder of all data sets: the environment's FASTREID_DATASETS, else ``datasets``."""
    return Path(os.environ.get("FASTREID_DATASETS", "datasets"))


def load_dataset(name: str, parts: Sequence[str], combineall: bool = False) -> ImageDataset:
    """Build a registered data set and make sure that the named parts hold images.

    Args:
        name: registered name.
        parts: out of "train", "query", "gallery".
        combineall: train on the test identities too, as DATASETS.COMBINEALL says.

    Raises:
        DataSetError: one sentence with the expected tree, whatever the data set itself raised.
    """
    root = dataset_root()
    try:
        kind = DATASET_REGISTRY.get(name)
    except KeyError as error:
        known = ", ".join(sorted(DATASET_REGISTRY._obj_map))
        raise DataSetError(f"no data set is registered as {name!r}; there are {known}") from error
    try:
        dataset = kind(root=str(root), combineall=combineall)
        empty = [part for part in parts if not getattr(dataset, part)]
    except (AssertionError, AttributeError, KeyError, OSError, RuntimeError, ValueError) as error:
        raise DataSetError(_explain(name, root, f"it said: {error}")) from error
    if empty:
        raise DataSetError(_explain(name, root, f"it is there but has no images for {', '.join(empty)}"))
    return dataset


def _explain(name: str, root: Path, reason: str) -> str:
    expected = "".join(f"\n  {root}/{part}" for part in EXPECTED_TREES.get(name, ()))
    entries = (
        sorted(p.name for p in root.iterdir() if not p.name.startswith(".")) if root.is_dir() else ["no such folder"]
    )
    found = ", ".join(entries)
    return (
        f"data set {name} is missing or only half unpacked below {root.resolve()} ({reason})."
        + (f" Expected:{expected}\n" if expected else " ")
        + f"Found there: {found or 'nothing'}. Set FASTREID_DATASETS to the folder that holds your data sets."
    )
