"""Ranking against a slow reference that reads like the definition, and against the host's own functions."""

import importlib.util

import numpy as np
import pytest
from fastreid.evaluation import rank

TOLERANCE = 1e-12  # of precisions in float64; the CMC curve is float32: 1e-6


def reference(distmat, q_pids, g_pids, q_camids, g_camids, max_rank):
    """Query by query, image by image."""
    curves, precisions, penalties = [], [], []
    for q in range(len(q_pids)):
        order = sorted(range(len(g_pids)), key=lambda g: (distmat[q, g], g))
        kept = [g for g in order if g_pids[g] != q_pids[q] or g_camids[g] != q_camids[q]]
        places = [place for place, g in enumerate(kept, start=1) if g_pids[g] == q_pids[q]]
        if not places:
            continue
        curves.append([float(places[0] <= r) for r in range(1, max_rank + 1)])
        precisions.append(sum(n / place for n, place in enumerate(places, start=1)) / len(places))
        penalties.append(len(places) / places[-1])
    return np.mean(curves, axis=0), precisions, penalties


def assert_equal_to_reference(*arguments):
    cmc, ap, inp = rank.evaluate_rank(*arguments)
    expected = reference(*arguments)
    assert cmc.dtype == np.float32 and cmc.shape == (arguments[-1],)
    np.testing.assert_allclose(cmc, expected[0], atol=1e-6)
    np.testing.assert_allclose(ap, expected[1], atol=TOLERANCE)
    np.testing.assert_allclose(inp, expected[2], atol=TOLERANCE)


def draw(seed, num_query=12, num_gallery=40, identities=6, cameras=3, levels=None):
    rng = np.random.RandomState(seed)
    distmat = rng.rand(num_query, num_gallery).astype(np.float32)
    if levels:
        distmat = np.floor(distmat * levels).astype(np.float32)  # many ties
    return (
        distmat,
        rng.randint(0, identities, num_query),
        rng.randint(0, identities, num_gallery),
        rng.randint(0, cameras, num_query),
        rng.randint(0, cameras, num_gallery),
    )


@pytest.fixture(scope="module")
def host_rank():
    """The host's file once more, unpatched."""
    spec = importlib.util.spec_from_file_location("unpatched_host_rank", rank.__file__)
    module = importlib.util.module_from_spec(spec)
    with pytest.warns(UserWarning, match="Cython"):
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("levels", [None, 3], ids=["distinct", "ties"])
def test_random(seed, levels):
    assert_equal_to_reference(*draw(seed, levels=levels), 10)


@pytest.mark.parametrize("max_rank", [1, 5, 50])
def test_gallery_smaller_than_max_rank(max_rank):
    assert_equal_to_reference(*draw(0, num_gallery=7, identities=2), max_rank)


def test_queries_that_keep_unequally_many_images():
    """The host's curves were ragged here, and NumPy raised."""
    distmat = np.arange(8, dtype=np.float32).reshape(2, 4)
    pids, camids = np.array([1, 2]), np.array([0, 0])
    assert_equal_to_reference(distmat, pids, np.array([1, 1, 1, 2]), camids, np.array([0, 0, 1, 1]), 4)


def test_junk_and_distractors():
    """Identity -1 never matches a query but takes places; only the query's own camera is left out."""
    distmat = np.array([[0.1, 0.2, 0.3, 0.4, 0.5]], np.float32)
    g_pids, g_camids = np.array([-1, 7, 7, 3, 7]), np.array([1, 0, 1, 0, 2])
    cmc, ap, inp = rank.evaluate_rank(distmat, np.array([7]), g_pids, np.array([0]), g_camids, 3)
    # Kept: -1, 7, 3, 7 -> matches at places 2 and 4.
    np.testing.assert_array_equal(cmc, [0, 1, 1])
    np.testing.assert_allclose(ap, [(1 / 2 + 2 / 4) / 2])
    np.testing.assert_allclose(inp, [2 / 4])


def test_all_distances_equal_means_gallery_order():
    _, q_pids, g_pids, q_camids, g_camids = draw(3)
    distmat = np.zeros((len(q_pids), len(g_pids)), np.float32)
    assert_equal_to_reference(distmat, q_pids, g_pids, q_camids, g_camids, 20)


def test_queries_without_a_match_do_not_count():
    distmat, q_pids, g_pids, q_camids, g_camids = draw(1)
    q_pids[::2] = 99
    assert_equal_to_reference(distmat, q_pids, g_pids, q_camids, g_camids, 10)


@pytest.mark.parametrize("cuhk03", [False, True])
def test_no_match_at_all_is_an_error(cuhk03):
    with pytest.raises(AssertionError, match="do not appear in gallery"):
        rank.evaluate_rank(
            np.zeros((1, 2), np.float32),
            np.array([1]),
            np.array([2, 3]),
            np.array([0]),
            np.array([1, 1]),
            5,
            cuhk03,
        )


@pytest.mark.parametrize("seed", range(3))
def test_the_hosts_numbers(seed, host_rank):
    arguments = draw(seed, num_gallery=60)
    cmc, ap, inp = rank.evaluate_rank(*arguments, 10)
    host_cmc, host_ap, host_inp = host_rank.eval_market1501(*arguments, 10)
    np.testing.assert_allclose(cmc, host_cmc, atol=1e-6)
    np.testing.assert_allclose(ap, host_ap, atol=TOLERANCE)
    np.testing.assert_allclose(inp, host_inp, atol=TOLERANCE)


def test_the_hosts_numbers_of_cuhk03(host_rank, monkeypatch):
    if "bool" not in vars(np):  # gone from 1.24 to 1.26
        monkeypatch.setitem(vars(np), "bool", bool)
    arguments = draw(2, num_gallery=60, identities=12)
    np.random.seed(0)
    cmc, mean_ap = rank.evaluate_rank(*arguments, 5, use_metric_cuhk03=True)
    np.random.seed(0)
    host_cmc, host_ap = host_rank.eval_cuhk03(*arguments, 5)
    np.testing.assert_allclose(cmc, host_cmc, atol=1e-6)
    np.testing.assert_allclose(mean_ap, host_ap, atol=TOLERANCE)


def test_cuhk03_with_fewer_identities_than_ranks():
    """The host's curves were ragged here: a query whose identity is left out has one identity less."""
    distmat, q_pids, g_pids, q_camids, g_camids = draw(4, num_gallery=10, identities=3)
    cmc, mean_ap = rank.evaluate_rank(distmat, q_pids, g_pids, q_camids, g_camids, 50, use_metric_cuhk03=True)
    assert cmc.shape == (50,) and cmc[-1] == 1 and (np.diff(cmc) >= 0).all() and 0 < mean_ap <= 1


def test_a_compiled_extension_is_not_used():
    assert rank.IS_CYTHON_AVAI is False
