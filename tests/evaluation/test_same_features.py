"""A query that is in its gallery saved anew: no path, link or byte tells, but its features do."""

import numpy as np
import pytest
import torch

from fastreid_ext.evaluation import same_features as module
from fastreid_ext.evaluation.ranks import GroundTruth
from fastreid_ext.evaluation.same_features import same_features

PIDS = np.array([1, 2, 3, 1]), np.array([1, 2, 3, 1, 2])
CAMIDS = np.array([0, 0, 0, 1]), np.array([1, 1, 1, 2, 0])


def features():
    torch.manual_seed(5)
    return torch.randn(4, 16) + 3, torch.randn(5, 16) + 3


def found(query, gallery, left_out=None):
    people = GroundTruth(PIDS, CAMIDS, *([left_out] if left_out else []))
    return same_features((query, gallery), people)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_matches_of_the_same_features(dtype, at_once, monkeypatch):
    """Also up to the rounding of another batch; of another person, of junk and of what is left out nothing is said."""
    monkeypatch.setattr(module, "QUERIES", at_once)
    monkeypatch.setattr(module, "PAIRS", at_once)
    query, gallery = (rows.to(dtype) for rows in features())
    assert found(query, gallery) == []
    gallery[0] = query[0] * (1 + 1e-7)
    gallery[2] = query[1]  # another person
    gallery[4] = query[1]  # the same camera
    gallery[3] = query[3]
    assert found(query, gallery) == [(0, 0), (3, 3)]
    assert found(query, gallery, (np.array([0]), np.array([0]))) == [(3, 3)]


def test_what_is_nearly_the_same_is_another_image():
    query, gallery = features()
    gallery[0] = query[0] + 1e-3 * torch.randn(16)
    assert found(query, gallery) == []


def test_a_model_that_tells_nobody_from_anybody():
    query, gallery = (torch.ones(rows, 16) for rows in (4, 5))
    assert found(query, gallery) == []
    assert found(query + 1e-5 * torch.randn(4, 16), gallery) == []
