"""Which images of the training identities are kept out of training."""

from collections import Counter

import pytest

from fastreid_ext.data.hold_out import as_test_items, hold_out


def person(name, cameras, folder="x"):
    """An image of a person per letter of ``cameras``, numbered in that order."""
    return [(f"{folder}/{name}_{number:02d}.jpg", name, camera) for number, camera in enumerate(cameras)]


def names(items):
    return [item[0] for item in items]


def test_the_first_image_of_the_cameras_that_saw_most():
    split = hold_out(person("p", "acbbcbd"), 2)
    assert names(split.held) == ["x/p_02.jpg", "x/p_01.jpg"]  # b saw three, c two
    assert names(split.train) == [f"x/p_{number:02d}.jpg" for number in (0, 3, 4, 5, 6)] and split.skipped == 0


def test_cameras_that_saw_as_much_go_by_name():
    assert [item[2] for item in hold_out(person("p", "dcbadcba"), 3).held] == ["a", "b", "c"]


def test_identities_with_too_few_images_or_cameras_keep_all():
    few, one_camera, enough = person("few", "aba"), person("one", "aaaaaa"), person("ok", "abab")
    split = hold_out(few + one_camera + enough, 2)
    assert split.skipped == 2 and {item[1] for item in split.held} == {"ok"}
    assert split.train == few + one_camera + enough[2:]


def test_every_identity_has_as_many_matches():
    items = [item for n in range(12) for item in person(f"p{n}", "abcdab" * (1 + n % 3))]
    split = hold_out(items, 3)
    assert set(Counter(item[1] for item in split.held).values()) == {3}
    assert len({(item[1], item[2]) for item in split.held}) == len(split.held)  # a camera each
    assert sorted(split.train + split.held) == sorted(items)


def test_the_order_of_the_items_changes_nothing():
    items = [item for n in range(5) for item in person(f"p{n}", "abcdab")]
    assert hold_out(items[::-1], 2).held == hold_out(items, 2).held
    assert hold_out(items[::-1], 2).train == hold_out(items, 2).train[::-1]


def test_an_image_of_two_data_sets_is_held_out_of_both():
    """SynthReIDTiny and SynthReIDOccludedTiny have the same training images."""
    items = person("p", "abab")
    split = hold_out(items + items, 2)
    assert len(split.held) == 2 and not set(names(split.held)) & set(names(split.train))
    assert len(split.train) == 4
    assert hold_out(person("p", "ab") * 2, 2).skipped == 1  # two images, not four


def test_test_items_are_numbered():
    held = [("0", "q", "y"), ("1", "p", "x"), ("2", "p", "y")]
    assert as_test_items(held) == [("0", 1, 1), ("1", 0, 0), ("2", 0, 1)]


@pytest.mark.parametrize("count", [2, 3])
def test_nothing_fits(count):
    assert hold_out(person("p", "ab"), count).held == []
