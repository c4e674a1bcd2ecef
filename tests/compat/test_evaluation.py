"""Evaluation on a CPU: nothing is compiled, distances and re-ranking need no GPU."""

import subprocess
import warnings

import numpy as np
import pytest
import torch
from fastreid.evaluation import ReidEvaluator
from fastreid.utils.compute_dist import build_dist


def feed(evaluator, feats, pids, camids):
    evaluator.reset()
    evaluator.process({"targets": torch.tensor(pids), "camids": torch.tensor(camids)}, feats)
    return evaluator.evaluate()


@pytest.fixture
def crowd():
    """Two queries and four gallery images in two tight clusters, identities 1 and 2."""
    torch.manual_seed(0)
    pids = [1, 2, 1, 1, 2, 2]
    centers = torch.eye(8)[:3] * 10
    feats = torch.stack([centers[pid] for pid in pids]) + 0.1 * torch.randn(6, 8)
    return feats, pids, [0, 0, 1, 2, 1, 2]


def test_nothing_is_compiled_and_a_tiny_gallery_has_rank_10(crowd, host_cfg, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("compiles"))
    results = feed(ReidEvaluator(host_cfg(), num_query=2), *crowd)
    assert results["Rank-1"] == results["Rank-10"] == results["mAP"] == results["mINP"] == 100


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_reranking_of_fewer_images_than_k1(crowd, host_cfg, metric):
    cfg = host_cfg(overrides={"TEST.RERANK.ENABLED": True, "TEST.METRIC": metric})
    assert feed(ReidEvaluator(cfg, num_query=2), *crowd)["mAP"] == 100


def test_aqe_and_roc(crowd, host_cfg):
    cfg = host_cfg(overrides={"TEST.AQE.ENABLED": True, "TEST.AQE.QE_K": 3, "TEST.ROC.ENABLED": True})
    results = feed(ReidEvaluator(cfg, num_query=2), *crowd)
    assert results["mAP"] == 100 and 0 <= results["TPR@FPR=1e-02"] <= 1


def test_euclidean_is_the_squared_distance():
    torch.manual_seed(0)
    a, b = torch.randn(5, 16), torch.randn(7, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # addmm_ with positional scalars is deprecated
        distances = build_dist(a, b)
    np.testing.assert_allclose(distances, torch.cdist(a, b).pow(2).numpy(), rtol=1e-4)


def test_euclidean_uses_nothing_deprecated(recwarn):
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # torch warns once a process otherwise
    try:
        build_dist(torch.ones(2, 3), torch.zeros(2, 3), "euclidean")
    finally:
        torch.set_warn_always(always)
    assert not [str(w.message) for w in recwarn if "deprecated" in str(w.message)]


def test_jaccard_brings_neighbours_together():
    torch.manual_seed(0)
    pids = torch.arange(4).repeat_interleave(10)
    feats = torch.nn.functional.normalize(torch.eye(16)[pids] + 0.15 * torch.randn(40, 16))
    dist = build_dist(feats[::10], feats, "jaccard", k1=8, k2=3)
    assert dist.shape == (4, 40) and dist.min() >= 0 and dist.max() <= 1
    same = pids[::10, None].numpy() == pids[None].numpy()
    assert dist[same].max() < dist[~same].min()
