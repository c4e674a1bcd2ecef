"""Which images a model and its export are compared on."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.transforms import build_transforms

from fastreid_ext.data.catalog import DataSetError
from fastreid_ext.data.images import QueryGalleryImages
from fastreid_ext.data.synthetic import generate
from fastreid_ext.engine.loaders import eval_loader

DRAWN = "SynthReIDTiny"


@dataclass(frozen=True)
class Compared:
    """Test images that a model is compared on.

    Attributes:
        images: of a test set.
        chosen: (N,) which of them, the queries first.
        queries: how many of the chosen are queries.
        source: what they are, for the report.
    """

    images: QueryGalleryImages
    chosen: np.ndarray
    queries: int
    source: str

    def labels(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the identities (place 1) or cameras (place 2) of the queries and of the gallery."""
        values = np.array([int(self.images.img_items[index][place]) for index in self.chosen])
        return values[: self.queries], values[self.queries :]


@contextmanager
def images_to_compare(cfg: CfgNode, count: int) -> Iterator[Compared]:
    """Choose images of the config's first test set; for as long as this lasts, drawn ones where it is missing.

    Args:
        cfg: the model's config.
        count: how many, two or more; as many as there are, if there are fewer.

    Raises:
        DataSetError, ConfigError, PoseError: a test set that is there, but not whole.
    """
    tests = list(cfg.DATASETS.TESTS)
    try:
        loader, queries = eval_loader(cfg, tests[0]) if tests else (None, 0)
    except DataSetError:
        loader = None
    if loader is not None:
        yield _chosen(loader.dataset, queries, count, f"images of {tests[0]}")
        return
    why = f"{tests[0]} is not here" if tests else "the config names no test set"
    with tempfile.TemporaryDirectory() as root:
        generate(root, "tiny", workers=1, progress=False)
        drawn = DATASET_REGISTRY.get(DRAWN)(root=root)
        query, gallery = sorted(drawn.query), sorted(drawn.gallery)
        images = QueryGalleryImages(query, gallery, build_transforms(cfg, is_train=False))
        yield _chosen(images, len(query), count, f"drawn images of {DRAWN}, because {why}")


def spread(count: int, wanted: int) -> np.ndarray:
    """Return up to ``wanted`` indices below ``count``, evenly spread."""
    return np.unique(np.linspace(0, count - 1, num=min(wanted, count)).astype(int))


def _chosen(images: QueryGalleryImages, queries: int, count: int, source: str) -> Compared:
    """Choose a third of queries, for each an image of its person by another camera, and others of the gallery."""
    gallery = range(queries) if images.gallery_again else range(queries, len(images.img_items))
    asked = spread(queries, max(1, count // 3))
    of_person: dict[Any, list[int]] = {}
    for index in gallery:
        of_person.setdefault(images.img_items[index][1], []).append(index)
    answers = []
    for query in asked:
        _, person, camera = images.img_items[query][:3]
        answers += [one for one in of_person.get(person, ()) if images.img_items[one][2] != camera][:1]
    room = max(1, count - len(asked))
    others = [gallery[place] for place in spread(len(gallery), room)]
    found = list(dict.fromkeys([*answers, *others]))[:room]
    return Compared(images, np.array([*asked, *sorted(found)]), len(asked), source)
