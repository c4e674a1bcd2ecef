"""Which identities are left out of training for validation, and which of their images ask and answer."""

import hashlib

import numpy as np
import pytest

from fastreid_ext.data.hold_out import as_test_items
from fastreid_ext.data.validation import validation_split
from fastreid_ext.evaluation.query_metrics import query_metrics


def person(name, cameras, folder="x"):
    """An image of a person per letter of ``cameras``, numbered in that order."""
    return [(f"{folder}/{name}_{number:02d}.jpg", name, camera) for number, camera in enumerate(cameras)]


def names(items):
    return [item[0] for item in items]


def split_of_one(cameras):
    """The numbers of the queries and of the gallery, for one person who is left out."""
    split = validation_split([*person("p", cameras), *person("other", "a")], 1)
    return tuple([int(name[-6:-4]) for name in names(part)] for part in (split.query, split.gallery))


@pytest.mark.parametrize(
    ("cameras", "query", "gallery"),
    [
        ("abbaab", [0, 1], [2, 3, 4, 5]),  # the first of each camera
        ("aabbc", [0, 2, 4], [1, 3]),  # c saw once: a and b still answer
        ("caaa", [0], [1, 2, 3]),  # a query of a would find nothing: c's only image asks
        ("bac", [0, 2], [1]),  # all saw once: the first camera by name answers
        ("dbbca", [0, 3, 4], [1, 2]),
    ],
)
def test_queries_and_gallery_of_a_person(cameras, query, gallery):
    assert split_of_one(cameras) == (query, gallery)


@pytest.mark.parametrize("seed", range(3))
def test_every_query_has_a_match_under_another_camera(seed):
    random = np.random.RandomState(seed)
    items = [
        item for n in range(30) for item in person(f"p{n}", "".join(random.choice(list("abc"), random.randint(1, 7))))
    ]
    eligible = {pid for _, pid, _ in items if len({item[2] for item in items if item[1] == pid}) > 1}
    split = validation_split(items, len(eligible))
    assert {item[1] for item in split.query} == {item[1] for item in split.gallery} == eligible
    assert len({item[1:] for item in split.query}) == len(split.query)  # one for each person and camera
    assert sorted([*split.train, *split.query, *split.gallery]) == sorted(items)
    both = as_test_items([*split.query, *split.gallery])
    pids, camids = (np.array([item[place] for item in both]) for place in (1, 2))
    count = len(split.query)
    distances = random.rand(count, len(split.gallery))
    assert query_metrics(distances, (pids[:count], pids[count:]), (camids[:count], camids[count:])).scored.all()


def crowd(count, cameras="aabb"):
    return [item for n in range(count) for item in person(f"set_{n}", cameras)]


def test_identities_are_those_of_the_smallest_sha256():
    """Against the rule written out, and its first two names written down: old runs rely on them."""
    by_digest = sorted((f"set_{n}" for n in range(20)), key=lambda name: hashlib.sha256(name.encode()).digest())
    for count in (1, 7):
        assert {item[1] for item in validation_split(crowd(20), count).query} == set(by_digest[:count])
    assert by_digest[:2] == ["set_4", "set_12"]


def test_identities_of_one_camera_are_not_chosen():
    first = min((f"set_{n}" for n in range(20)), key=lambda name: hashlib.sha256(name.encode()).digest())
    items = [(path, pid, "a" if pid == first else camid) for path, pid, camid in crowd(20)]
    split = validation_split(items, 19)
    assert {item[1] for item in split.train} == {first}


def test_order_does_not_matter_and_a_smaller_number_is_part_of_a_larger():
    few, many = validation_split(crowd(20), 5), validation_split(crowd(20)[::-1], 9)
    assert set(few.query) < set(many.query) and set(few.gallery) < set(many.gallery)
    again = validation_split(crowd(20)[::-1], 5)
    assert (again.query, again.gallery, again.train) == (few.query, few.gallery, few.train[::-1])
    assert names(few.train) == [path for path in names(crowd(20)) if path in names(few.train)]


def test_images_of_two_data_sets_are_left_out_of_both():
    once, twice = validation_split(crowd(6), 2), validation_split(crowd(6) * 2, 2)
    assert (twice.query, twice.gallery) == (once.query, once.gallery) and twice.train == once.train * 2


@pytest.mark.parametrize(
    ("items", "count", "sentence"),
    [
        (crowd(3) + crowd(6, "a")[3:], 4, "only 3 of 6 identities were seen by two cameras"),
        (crowd(3), 4, "only 3 of 3 identities"),
        (crowd(3), 3, "none of the 3 identities would be left to train on"),
    ],
)
def test_too_few_identities(items, count, sentence):
    with pytest.raises(ValueError, match=sentence):
        validation_split(items, count)
