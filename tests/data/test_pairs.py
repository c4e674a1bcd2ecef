"""Pairs: what an anchor's partner is, how many are positive, and who draws them."""

import itertools
from collections import Counter

import numpy as np
import pytest
from fastreid.utils import comm

from fastreid_ext.data.batches import EpochBatches
from fastreid_ext.data.pairs import PairSampler, check_pairable, positive_share_of


def items_of(*identities):
    """("cc", "ab", "a"): an identity with two images of camera c, one with an image of a and one of b, one with one."""
    return [(f"{pid}_{n}.jpg", f"p{pid}", c) for pid, cams in enumerate(identities) for n, c in enumerate(cams)]


def pairs_of(items, count, share=0.5, **settings):
    sampler = PairSampler(items, batch_size=settings.pop("batch_size", 8), seed=0, positive_share=share, **settings)
    drawn = itertools.islice(iter(sampler), 2 * count)
    return [(items[a], items[b]) for a, b in zip(drawn, drawn, strict=True)]


def positive(pair):
    return pair[0][1] == pair[1][1]


@pytest.mark.parametrize("share", [0.5, 0.2, 0.29, 1 / 3, 0.0, 1.0])
@pytest.mark.parametrize("identities", [("aabb", "abc", "cc", "bca"), ("aab", "a", "b", "c", "ab", "c")])
def test_every_stretch_has_its_share(share, identities):
    """To within one pair, wherever it begins: a batch of any process too. Single images, half of them, change nothing.

    All positive pairs need anchors with a partner, and there are such in both sets.
    """
    kinds = np.array([positive(pair) for pair in pairs_of(items_of(*identities), 600, share)])
    sums = np.concatenate([[0], np.cumsum(kinds)])
    for length in (1, 7, 16, 100, 600):
        assert np.abs(sums[length:] - sums[:-length] - share * length).max() < 1 + 1e-6
    assert abs(kinds.sum() - share * 600) < 1


@pytest.mark.parametrize("share", [0.29, 0.57, 0.58])
def test_a_share_of_a_hundred_pairs_is_a_whole_number(share):
    """Also where the product of floats is just below it, as 0.29 * 100 is."""
    kinds = [positive(pair) for pair in pairs_of(items_of("aab", "ab", "c"), 100, share)]
    assert share * 100 < round(share * 100) == sum(kinds)


def test_pairs_follow_from_the_seed():
    def drawn(seed, rank=0):
        sampler = PairSampler(items_of(*["aab"] * 9), 8, seed, rank=rank, world_size=2)
        return list(itertools.islice(iter(sampler), 64))

    assert drawn(3) == drawn(3) != drawn(4)
    together = list(itertools.islice(iter(PairSampler(items_of(*["aab"] * 9), 16, 3)), 128))
    halves = [together[start : start + 8] for start in range(0, 128, 8)]
    assert [sum(halves[rank::2], []) for rank in (0, 1)] == [drawn(3), drawn(3, rank=1)]


def test_partners_of_positive_pairs():
    """Another camera where there is one, each of its images as often; else another image; never the image itself."""
    found = {}
    for anchor, partner in pairs_of(items_of("aaabb", "cc", "d"), 6000):
        if positive((anchor, partner)):
            found.setdefault(anchor[0], Counter())[partner[0]] += 1
    assert {anchor: set(partners) for anchor, partners in found.items()} == {
        "0_0.jpg": {"0_3.jpg", "0_4.jpg"},
        "0_1.jpg": {"0_3.jpg", "0_4.jpg"},
        "0_2.jpg": {"0_3.jpg", "0_4.jpg"},
        "0_3.jpg": {"0_0.jpg", "0_1.jpg", "0_2.jpg"},
        "0_4.jpg": {"0_0.jpg", "0_1.jpg", "0_2.jpg"},
        "1_0.jpg": {"1_1.jpg"},
        "1_1.jpg": {"1_0.jpg"},
    }
    for partners in found.values():
        share = max(partners.values()) / sum(partners.values())
        assert share - 1 / len(partners) < 0.1  # 400 draws: four standard errors


def test_partners_of_negative_pairs_are_uniform_over_images():
    items = items_of("aaaaaaab", "cc", "d", "ab")
    drawn = pairs_of(items, 20000, 0.0)
    assert not any(positive(pair) for pair in drawn)
    for pid in ("p0", "p1", "p2", "p3"):
        others = [item for item in items if item[1] != pid]
        counts = Counter(partner for anchor, partner in drawn if anchor[1] == pid)
        assert set(counts) == set(others)
        expected = sum(counts.values()) / len(others)
        assert max(abs(n - expected) for n in counts.values()) < 4.5 * expected**0.5  # Poisson


def test_single_images_are_anchors_as_often_as_others():
    items = items_of("ab", "ab", "a", "b")
    anchors = Counter(anchor[1] for anchor, _ in pairs_of(items, 600))
    assert set(anchors.values()) == {200, 100}  # by identity: two images, one image
    kinds = {positive(pair) for pair in pairs_of(items, 600) if pair[0][1] in ("p2", "p3")}
    assert kinds == {False}


def test_an_epochs_anchors_are_different_images():
    items = items_of(*["abcd"] * 10)
    anchors = [anchor for anchor, _ in pairs_of(items, 20)]
    assert len(set(anchors)) == 20


def test_one_camera_is_enough():
    items = items_of("aaa", "aa")
    drawn = [pair for pair in pairs_of(items, 40) if positive(pair)]
    assert len(drawn) == 20 and all(a != b for a, b in drawn)


def test_an_image_listed_twice_is_no_partner_of_itself():
    items = items_of("aab", "cc", "a") * 2  # of the second, elsewhere is nowhere
    for anchor, partner in pairs_of(items, 400):
        assert anchor[0] != partner[0]


def test_training_sets_without_pairs():
    with pytest.raises(ValueError, match="all 3 images of the training set show the same one"):
        check_pairable(items_of("aab"))
    with pytest.raises(ValueError, match="each of the 3 identities has one"):
        PairSampler(items_of("a", "b", "c") * 2, 8, 0)
    with pytest.raises(ValueError, match="even number of images, got 7"):
        PairSampler(items_of("ab", "ab"), 7, 0)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 1.5"):
        PairSampler(items_of("ab", "ab"), 8, 0, 1.5)


# ---- epochs and processes -------------------------------------------------------------------------------------------

ITEMS = items_of(*["abc", "aab", "b", "cc"] * 8)


def batches(batch_size=8, rank=0, **settings):
    return EpochBatches(ITEMS, "PairSampler", batch_size, 4, iters_per_epoch=3, seed=1, rank=rank, **settings)


def images(batch):
    return [index for index, _ in batch]


def test_processes_share_whole_pairs(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        parts.append(batches(batch_size=8, rank=rank).epoch(4))
    monkeypatch.undo()
    alone = batches(batch_size=24).epoch(4)
    assert len(alone) == 3 and [len(part) for part in parts] == [3, 3, 3]  # the same length of an epoch
    for together, *split in zip(alone, *parts, strict=True):
        assert images(together) == [index for part in split for index in images(part)]
        for part in split:
            same = [ITEMS[a][1] == ITEMS[b][1] for a, b in zip(images(part)[::2], images(part)[1::2], strict=True)]
            assert sum(same) == 2  # of four pairs


def test_the_share_follows_the_epoch():
    def share(epoch):
        drawn = [
            index for batch in batches(positive_share=lambda e: 1 / (e + 1)).epoch(epoch) for index in images(batch)
        ]
        return np.mean([ITEMS[a][1] == ITEMS[b][1] for a, b in zip(drawn[::2], drawn[1::2], strict=True)])

    assert [share(epoch) for epoch in (0, 1, 2, 3)] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4], abs=1e-9)


def test_annealing():
    """1:1, then 1.01 times as many negative pairs an epoch, until 1:4 in epoch 140 (ln 4 / ln 1.01 = 139.3)."""
    assert positive_share_of(99) == positive_share_of(0, 0.5, 1.01) == 0.5
    assert positive_share_of(1, 0.5, 1.01) == pytest.approx(1 / 2.01, rel=1e-12)
    assert positive_share_of(100, 0.5, 1.01) == pytest.approx(1 / (1 + 1.01**100), rel=1e-12)
    assert positive_share_of(139, 0.5, 1.01) > 0.2
    assert positive_share_of(140, 0.5, 1.01) == positive_share_of(10**9, 0.5, 1.5) == pytest.approx(0.2, rel=1e-12)
    assert positive_share_of(50, 0.1, 1.01) == pytest.approx(0.1, rel=1e-12)  # never fewer negatives than asked for
    assert positive_share_of(0, 0.25, 2.0) == pytest.approx(0.25, rel=1e-12)
    assert positive_share_of(1, 0.25, 1.2) == pytest.approx(1 / 4.6, rel=1e-12)
    for first, growth in ((0.0, 1.0), (1.0, 1.0), (0.5, 0.99), (0.5, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="DATALOADER.PAIRS"):
            positive_share_of(0, first, growth)
