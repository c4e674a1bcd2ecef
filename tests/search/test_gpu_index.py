"""Searches on a GPU by faiss-gpu: by stand-ins for its functions, and by itself where there is a GPU (marked)."""

import logging

import faiss
import numpy as np
import pytest
import torch

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation import gpu_index
from fastreid_ext.search.index import build_index, plan_index, set_search
from fastreid_ext.search.nearest import exact_candidates, index_candidates, neighbours

METRICS = ("cosine", "euclidean")


class Card:
    """What faiss-gpu has beyond faiss-cpu, on a machine with one GPU: it counts, and searches on the CPU."""

    def __init__(self, monkeypatch):
        self.resources, self.moved, self.fault = 0, [], None
        monkeypatch.setattr(faiss, "StandardGpuResources", self.make, raising=False)
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
        monkeypatch.setattr(faiss, "index_cpu_to_gpu", self.move, raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)

    def make(self):
        self.resources += 1
        return self

    def move(self, resources, device, index):
        assert (resources, device) == (self, 0)
        if self.fault:
            raise self.fault
        self.moved.append(type(index))
        return faiss.clone_index(index)


@pytest.fixture
def card(monkeypatch):
    gpu_index._resources.cache_clear()
    yield Card(monkeypatch)
    gpu_index._resources.cache_clear()


@pytest.fixture
def data():
    rng = np.random.RandomState(2)
    return rng.randn(200, 16).astype(np.float32), rng.randn(9, 16).astype(np.float32)


def built(store, kind):
    plan = plan_index(kind, *store.features.shape)
    index = build_index(store, plan)
    set_search(index, plan)
    return index


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", [None, "flat", "ivfpq"])
def test_the_results_are_those_of_the_cpu(kind, metric, data, make_store, request):
    gallery, queries = data
    store = make_store(gallery, metric)
    index = built(store, kind) if kind else None
    expected = neighbours(store, queries, 6, index, 24)
    card = request.getfixturevalue("card")
    for _ in range(2):
        found = neighbours(store, queries, 6, index, 24)
        np.testing.assert_array_equal(found.indices, expected.indices)
        np.testing.assert_array_equal(found.distances, expected.distances)
    assert len(card.moved) == 2 and card.resources == 1


def test_a_gallery_in_blocks(data, card, monkeypatch):
    monkeypatch.setattr("fastreid_ext.search.features.BLOCK_BYTES", 4 * 16 * 70)
    found = exact_candidates(*data, "cosine", 11)
    assert len(card.moved) == 3
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    np.testing.assert_array_equal(found, exact_candidates(*data, "cosine", 11))


def test_features_that_are_not_finite(data, card):
    gallery, queries = data
    gallery[3, 0] = np.nan
    with pytest.raises(EvaluationError, match="the feature of gallery row 3 "):
        exact_candidates(gallery, queries, "cosine", 5)


def test_what_a_gpu_does_not_have_stays_on_the_cpu(data, make_store, card, monkeypatch):
    gallery, queries = data
    store = make_store(gallery)
    assert index_candidates(built(store, "hnsw"), queries, "cosine", 5).shape == (9, 5)
    monkeypatch.setattr(gpu_index, "MOST_FOUND", 19)
    assert index_candidates(built(store, "flat"), queries, "cosine", 20).shape == (9, 20)
    assert exact_candidates(gallery, queries, "cosine", 20).shape == (9, 20)
    assert not card.moved and not card.resources


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            "Error: 'err == cudaSuccess' failed: out of memory\nmore of it",
            "Error: 'err == cudaSuccess' failed: out of memory",
        ),
        ("", "RuntimeError"),
    ],
)
def test_a_gpu_that_can_not(fault, said, data, make_store, card, caplog):
    gallery, queries = data
    index = built(make_store(gallery), "flat")
    expected = index_candidates(index, queries, "cosine", 5)
    card.fault = RuntimeError(fault)
    with caplog.at_level(logging.WARNING, "fastreid_ext"):
        np.testing.assert_array_equal(index_candidates(index, queries, "cosine", 5), expected)
        np.testing.assert_array_equal(exact_candidates(gallery, queries, "cosine", 5), expected)
    sentence = f"searched on the CPU, because faiss can't on the GPU: {said}"
    assert [record.message for record in caplog.records] == [sentence] * 2


def test_faiss_gpu_without_a_gpu_is_not_asked(data, make_store, card, monkeypatch):
    """It may end the process where there is no driver."""

    def asked():
        raise AssertionError("faiss was asked for its GPUs")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(faiss, "get_num_gpus", asked)
    gallery, queries = data
    store = make_store(gallery)
    assert gpu_index.gpu_count() == 0
    assert neighbours(store, queries, 3, built(store, "flat")).indices.shape == (9, 3)
    assert exact_candidates(gallery, queries, "cosine", 5).shape == (9, 5)
    assert not card.moved and not card.resources


# Without faiss-gpu the tests above give the index functions that count and search on the CPU.
@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.skipif(not hasattr(faiss, "StandardGpuResources"), reason="needs faiss-gpu")  # which alone has the name
def test_a_real_gpu(metric, data, make_store, monkeypatch):
    gallery, queries = data
    store = make_store(gallery, metric)
    found = neighbours(store, queries, 6, built(store, "flat"))
    monkeypatch.setattr(gpu_index, "gpu_count", lambda: 0)
    monkeypatch.setattr("fastreid_ext.search.nearest.gpu_count", lambda: 0)
    np.testing.assert_array_equal(found.indices, neighbours(store, queries, 6, built(store, "flat")).indices)
