"""Miniature trees of data sets, and the score that their cameras lead to."""

import logging

import numpy as np
import pytest
from fastreid.evaluation.rank import evaluate_rank
from PIL import Image

from fastreid_ext.data.datasets.files import log_once


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty folder of data sets, named by FASTREID_DATASETS."""
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    return tmp_path


@pytest.fixture
def plant(root):
    """Make small images at the paths that are given, below the root."""

    def make(*names):
        for place, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 8), (place % 256, 90, 200)).save(path)

    return make


@pytest.fixture
def logged(caplog):
    """All that is logged, by whatever logger; what is logged once a process is logged anew."""
    log_once.cache_clear()
    ours = logging.getLogger("fastreid_ext")
    before = ours.propagate, ours.level
    ours.propagate = True
    with caplog.at_level(logging.INFO, logger="fastreid_ext"):
        yield caplog
    ours.propagate = before[0]
    ours.setLevel(before[1])
    log_once.cache_clear()


@pytest.fixture
def rank1():
    """The host's Rank-1 of one query, whose gallery is listed from the nearest image to the farthest by name."""

    def score(query, gallery, order, cameras=None):
        """``cameras`` replaces the cameras of query and gallery: path -> camera, as another rule would have it."""
        (item,) = query
        gallery = sorted(gallery, key=lambda entry: next(i for i, end in enumerate(order) if entry[0].endswith(end)))
        camera = cameras or (lambda entry: entry[2])
        cmc, _, _ = evaluate_rank(
            np.arange(len(gallery), dtype=np.float32)[None],
            np.array([item[1]]),
            np.array([entry[1] for entry in gallery]),
            np.array([camera(item)]),
            np.array([camera(entry) for entry in gallery]),
            max_rank=len(gallery),
            use_cython=False,
        )
        return cmc[0]

    return score
