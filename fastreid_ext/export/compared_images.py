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

from fastreid_ext.data.catalog import is_there
from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.images import QueryGalleryImages
from fastreid_ext.data.synthetic import generate
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.csv_sets import register_csv_sets
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
    """Choose images of the config's first test set that is here; drawn ones, while this lasts, if none is.

    Args:
        cfg: the model's config.
        count: how many, two or more; as many as there are, if there are fewer.

    Raises:
        DataSetError: a test set that is not registered, or is here but not whole.
        ConfigError, ImageError, PoseError: see :func:`fastreid_ext.engine.loaders.eval_loader`.
    """
    register_csv_sets(cfg)
    there = {name: _is_there(cfg, name) for name in (*cfg.DATASETS.TESTS, *cfg.DATASETS.TESTS_OPTIONAL)}
    found = next((name for name in there if there[name]), "")
    if found:
        loader, queries = eval_loader(cfg, found)
        yield _chosen(loader.dataset, queries, count, f"images of {found}")
        return
    absent = f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} not here"
    why = absent if there else "the config names no test set"
    with tempfile.TemporaryDirectory() as root:
        generate(root, "tiny", workers=1, progress=False)
        drawn = DATASET_REGISTRY.get(DRAWN)(root=root)
        query, gallery = sorted(drawn.query), sorted(drawn.gallery)
        images = QueryGalleryImages(query, gallery, build_transforms(cfg, is_train=False))
        yield _chosen(images, len(query), count, f"drawn images of {DRAWN}, because {why}")


def _is_there(cfg: CfgNode, name: str) -> bool:
    """Whether a test set is here; a subset of the training set is, where all training sets are."""
    subsets = {HELD_OUT: cfg.DATASETS.HOLD_OUT, VALIDATION: cfg.DATASETS.VALIDATION}
    return all([is_there(each) for each in (cfg.DATASETS.NAMES if subsets.get(name) else (name,))])


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
