"""The streamed ranking: against FastReID's evaluator and a naive loop, on cases made to trip it."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fastreid.evaluation.rank import evaluate_rank
from fastreid.utils.compute_dist import build_dist

from fastreid_ext.errors import EvaluationError
from fastreid_ext.evaluation import blocks, rank_metrics, ranks
from fastreid_ext.evaluation.blocks import rows_per_block, share_of
from fastreid_ext.evaluation.distances import DistanceRows
from fastreid_ext.evaluation.query_metrics import metrics_of
from fastreid_ext.evaluation.ranks import GroundTruth, find_matches

METRICS = ("cosine", "euclidean")


def labelled(seed=0, queries=37, gallery=90, people=9, cameras=3, width=16):
    """(query, gallery, q_pids, g_pids, q_camids, g_camids); features lean towards their identity."""
    rng = torch.Generator().manual_seed(seed)
    labels = [torch.randint(0, top, (n,), generator=rng) for top in (people, cameras) for n in (queries, gallery)]
    centers = torch.randn(people, width, generator=rng)
    query, gallery = (torch.randn(len(p), width, generator=rng) + 0.7 * centers[p] for p in labels[:2])
    return [query, gallery, *labels]


def host(query, gallery, q_pids, g_pids, q_camids, g_camids, metric="cosine"):
    """What FastReID's evaluator makes of the matrix; its sort is stable in our compat."""
    labels = [part.numpy() for part in (q_pids, g_pids, q_camids, g_camids)]
    cmc, precisions, penalties = evaluate_rank(build_dist(query, gallery, metric), *labels)
    found = {f"Rank-{k}": cmc[k - 1] * 100 for k in (1, 5, 10)}
    found |= {"mAP": np.mean(precisions) * 100, "mINP": np.mean(penalties) * 100}
    return found | {"metric": (found["Rank-1"] + found["mAP"]) / 2}


def same(found, expected):
    return found == {key: pytest.approx(float(value), abs=1e-6, rel=1e-6) for key, value in expected.items()}


def small_integers(case):
    """Exact in any order of summation, and many equal distances; of one length, so that cosines are equal too."""
    rng = torch.Generator().manual_seed(1)
    for side in (0, 1):
        case[side] = torch.randint(0, 2, case[side].shape, generator=rng).float() * 2 - 1  # length 4
    return case


def with_duplicates(case):
    """Every gallery image twice, under other identities and cameras the second time."""
    case[1] = torch.cat([case[1], case[1]])
    case[3], case[5] = torch.cat([case[3], (case[3] + 1) % 9]), torch.cat([case[5], (case[5] + 1) % 3])
    return case


def with_small_gallery(case):
    return [case[0], case[1][:6], case[2], case[3][:6], case[4], case[5][:6]]


def with_junk_alone(case):
    """Nothing of the first identities but the query's own camera."""
    case[4][case[2] < 3], case[5][case[3] < 3] = 0, 0
    return case


def with_strangers(case):
    case[2] = case[2] + 5  # identities that the gallery has not
    return case


def with_one_identity_mostly(case):
    case[3][10:] = 4
    return case


CASES = {
    "random": lambda case: case,
    "ties": small_integers,
    "duplicates": with_duplicates,
    "small gallery": with_small_gallery,
    "junk alone": with_junk_alone,
    "strangers": with_strangers,
    "one identity mostly": with_one_identity_mostly,
    "zeros": lambda case: [case[0], case[1] * (torch.arange(90) % 3 > 0)[:, None], *case[2:]],
    "ties of duplicates": lambda case: with_duplicates(small_integers(case)),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("case", CASES)
def test_the_hosts_numbers(case, metric, device, monkeypatch):
    monkeypatch.setattr(blocks, "MOST_ROWS", 8)  # 37 is no multiple
    case = CASES[case](labelled())
    found = rank_metrics(*(part.to(device) for part in case), metric=metric)
    assert list(found) == ["Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "metric"]
    assert same(found, host(*case, metric))
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_larger_set(seed):
    case = labelled(seed, 200, 1500, 60, 6, 64)
    assert same(rank_metrics(*case), host(*case))


def test_half_types():
    case = labelled()
    half = [part.half() if part.is_floating_point() else part for part in case]
    assert same(rank_metrics(*half), host(half[0].float(), half[1].float(), *half[2:]))


def test_arrays_and_lists():
    case = labelled()
    expected, arrays = rank_metrics(*case), [part.numpy() for part in case]
    assert rank_metrics(*arrays) == expected
    for array in arrays:
        array.flags.writeable = False
    assert rank_metrics(*arrays) == expected
    assert rank_metrics(*arrays[:2], *(part.tolist() for part in arrays[2:])) == expected
    assert rank_metrics(arrays[0][::-1][::-1], *arrays[1:]) == expected


def test_nothing_is_written_to():
    case = labelled()
    before = [part.clone() for part in case]
    for metric in METRICS:
        rank_metrics(*case, metric=metric)
    assert all(torch.equal(*pair) for pair in zip(case, before, strict=True))


def test_ties_keep_the_gallerys_order():
    """Three equal images: the match stands where it stands in the gallery."""
    feature = torch.ones(1, 4)
    for place in range(3):
        pids = [7 if i == place else 8 for i in range(3)]
        found = rank_metrics(feature, feature.expand(3, 4), [7], pids, [0], [1, 1, 1])
        assert found["mAP"] == pytest.approx(100 / (place + 1))


# ---- ranks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, 10**6], ids=["ties", "no ties"])
def test_ranks_on_a_gpu_are_the_same(steps, monkeypatch):
    """The function of the GPU, run on the CPU."""
    monkeypatch.setattr(blocks, "SORT_MB", 4 * 90 * 3 / 2**20)
    rng = np.random.RandomState(0)
    rows = torch.from_numpy(rng.randint(0, steps, (10, 90)).astype(np.float32))
    query, image = np.nonzero(rng.rand(10, 90) < 0.3)
    query, image = query[query != 4], image[query != 4]  # a row of which nothing is asked
    values = ranks.values_at(rows, query, image)
    expected = [
        sum((d, i) < (rows[q, j].item(), j) for i, d in enumerate(rows[q].tolist()))
        for q, j in zip(query, image, strict=True)
    ]
    assert ranks.count_earlier_on_gpu(rows, query, image, values).tolist() == expected
    assert ranks.count_earlier(rows, query, image, values).tolist() == expected
    nothing = np.zeros(0, np.int64)
    assert not len(ranks.count_earlier_on_gpu(rows, nothing, nothing, np.zeros(0, np.float32)))


@pytest.mark.parametrize("at_once", [1, 600, 10**6])
@pytest.mark.parametrize("exponent", [-140, 0, 120])
def test_how_far_the_distances_beyond_a_match_are_does_not_matter(exponent, at_once, monkeypatch):
    """Rows of many ties, of which some have their farthest match near and some have none."""
    rng = np.random.default_rng(3)
    rows = torch.from_numpy(np.ldexp(rng.integers(0, 30, (20, 200)), exponent).astype(np.float32))
    query = np.sort(rng.integers(0, 18, 60))
    image = rng.integers(0, 200, 60)
    values = rows.numpy()[query, image]
    expected = [
        sum((d, j) < (v, i) for j, d in enumerate(rows[q].tolist()))
        for q, i, v in zip(query, image, values.tolist(), strict=True)
    ]
    monkeypatch.setattr(blocks, "SORTED_AT_ONCE", at_once)
    assert ranks.count_earlier(rows, query, image, values).tolist() == expected


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(threads):
    case, before = labelled(), torch.get_num_threads()
    expected = rank_metrics(*case)
    try:
        torch.set_num_threads(threads)
        assert same(rank_metrics(*case), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("queries", [1, 8, 37])
def test_shares_are_whole_blocks(queries, world_size):
    shares = [share_of(queries, 8, rank, world_size) for rank in range(world_size)]
    assert [query for share in shares for query in share] == list(range(queries))
    assert all(share.start % 8 == 0 for share in shares if len(share))
    assert max(map(len, shares)) <= 8 * math.ceil(math.ceil(queries / 8) / world_size)


def test_shares_together_are_the_whole():
    case = labelled()
    people = GroundTruth(*((case[i].numpy(), case[i + 1].numpy()) for i in (2, 4)))
    rows = DistanceRows(*case[:2])
    whole = metrics_of(find_matches(rows, people, range(37), 8))
    parts = [metrics_of(find_matches(rows, people, share_of(37, 8, rank, 3), 8)) for rank in range(3)]
    for name in ("first_rank", "average_precision", "inverse_penalty"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_memory_bounds_the_block(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    rows = SimpleNamespace(shape=(5000, 2**18), device=torch.device("cpu"))  # 1 MB a row
    assert rows_per_block(rows, 14.5) == 10  # and a fourth of them again, and a row of each thread
    assert rows_per_block(rows, 10**5) == blocks.MOST_ROWS
    with pytest.raises(
        EvaluationError, match=r"2\.5 MB are too few for a row of distances to 262144 gallery.* 3\.2 MB"
    ):
        rows_per_block(rows, 2.5)


def test_little_memory_gives_the_same_numbers():
    case = labelled()
    assert same(rank_metrics(*case, memory_mb=0.01), rank_metrics(*case))
    with pytest.raises(EvaluationError, match=r"TEST\.EVAL_MEMORY_MB \(memory_mb of a function\)"):
        rank_metrics(*case, memory_mb=0.0001)


# ---- wrong input ----------------------------------------------------------------------------------------------------


def test_features_that_are_no_numbers():
    case = labelled()
    case[1][12, 3] = torch.nan
    with pytest.raises(EvaluationError, match="gallery row 12 has NaN"):
        rank_metrics(*case)


def test_labels_that_do_not_fit():
    case = labelled()
    with pytest.raises(ValueError, match="90 gallery features have 89 identities"):
        rank_metrics(*case[:3], case[3][1:], *case[4:])
    with pytest.raises(ValueError, match=r"identities \(37,\) and cameras \(36,\) of the queries"):
        rank_metrics(*case[:4], case[4][1:], case[5])


@pytest.mark.parametrize("empty", [0, 1])
def test_nothing_to_rank(empty):
    case = labelled()
    for part in (empty, empty + 2, empty + 4):
        case[part] = case[part][:0]
    with pytest.raises(ValueError, match="nothing can be scored"):
        rank_metrics(*case)
