"""Joints land where their pixels land, and the image is the one that FastReID's transforms make, to the bit."""

import random

import numpy as np
import pytest
import torch
from fastreid.data.transforms import ToTensor, build_transforms
from PIL import Image
from torchvision import transforms as T

from fastreid_ext.config import get_cfg
from fastreid_ext.data.images import seeded
from fastreid_ext.data.pixels.joint_transforms import JointTransform, mirrored_order

PAIRS = [[1, 2]]
WIDTH, HEIGHT = 40, 60
INSIDE = [[8, 12], [30, 20], [20, 30], [12, 47]]  # pixels


def config(**overrides):
    cfg = get_cfg()
    pairs = {"INPUT__SIZE_TRAIN": [96, 48], "INPUT__CROP__SIZE": [96, 48], **overrides}
    cfg.merge_from_list([x for key, value in pairs.items() for x in (key.replace("__", "."), value)])
    return cfg


def on(*names):
    probability = {"FLIP", "CJ", "REA", "RPT"}
    switches = {f"INPUT__{name}__ENABLED": True for name in names}
    return switches | {f"INPUT__{name}__PROB": 0.7 for name in names if name in probability}


def shares(pixels, size=(WIDTH, HEIGHT), confidence=0.9):
    """Joints in the centres of pixels."""
    places = (np.array(pixels, dtype=np.float64) + 0.5) / size
    return np.column_stack([places, np.full(len(places), confidence)]).astype(np.float32)


def apply(transforms, joints, image=None, pairs=PAIRS):
    image = image or Image.new("RGB", (WIDTH, HEIGHT))
    joints = np.array(joints, dtype=np.float32)
    return JointTransform(transforms, pairs, len(joints))(image, joints)[1].numpy()


def blob(place, radius=1):
    """A white square on black, its middle at a pixel."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x, y = place
    pixels[y - radius : y + radius + 1, x - radius : x + radius + 1] = 255
    return Image.fromarray(pixels)


def middle(image):
    """Centre of what is bright, in pixels from the upper left corner; None where nothing is."""
    weight = image.numpy().mean(axis=0)
    weight = np.where(weight > 80, weight, 0.0)
    if not weight.any():
        return None
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]] + 0.5
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


# ---- by hand --------------------------------------------------------------------------------------------------------


def test_a_resized_image_keeps_its_shares():
    joints = shares(INSIDE)
    np.testing.assert_allclose(apply([T.Resize((96, 48))], joints), joints, atol=1e-6)
    np.testing.assert_allclose(apply([T.Resize(23)], joints), joints, atol=1e-6)


def test_a_flip_mirrors_and_exchanges_the_pairs():
    joints = [[0.1, 0.2, 0.9], [0.3, 0.4, 0.8], [0.6, 0.5, 0.7]]
    moved = [[0.9, 0.2, 0.9], [0.4, 0.5, 0.7], [0.7, 0.4, 0.8]]  # 1 and 2 changed rows
    np.testing.assert_allclose(apply([T.RandomHorizontalFlip(1.0)], joints), moved, atol=1e-6)
    np.testing.assert_allclose(apply([T.RandomHorizontalFlip(0.0)], joints), joints, atol=1e-6)
    np.testing.assert_allclose(apply([T.RandomHorizontalFlip(1.0)] * 2, joints), joints, atol=1e-6)


@pytest.mark.parametrize(("padding", "left", "top"), [(10, 10, 10), ((4,), 4, 4), ((3, 5), 3, 5), ((1, 2, 3, 4), 1, 2)])
def test_padding(padding, left, top):
    """x of 10 pixels in 40 is 10 + left in 40 + left + right."""
    transform = T.Pad(padding)
    width, height = transform(Image.new("RGB", (WIDTH, HEIGHT))).size
    moved = apply([transform], [[0.25, 0.5, 1], [0, 0, 1], [0, 0, 1]])[0]
    np.testing.assert_allclose(moved, [(10 + left) / width, (30 + top) / height, 1], atol=1e-6)


@pytest.mark.parametrize(("size", "left", "top"), [((20, 10), 15, 20), ((21, 11), 14, 20), ((80, 51), -5, -10)])
def test_a_central_crop(size, left, top):
    """(40 - 11) / 2 = 14.5 and (60 - 21) / 2 = 19.5 are rounded to the even number; 51 - 40 = 5 before and 6 behind."""
    moved = apply([T.CenterCrop(size)], [[0.5, 0.5, 1]], pairs=[])[0]
    np.testing.assert_allclose(moved[:2], [(20 - left) / size[1], (30 - top) / size[0]], atol=1e-6)


def test_a_random_crop_moves_by_what_was_drawn(monkeypatch):
    monkeypatch.setattr(T.RandomCrop, "get_params", staticmethod(lambda image, size: (7, 3, 50, 30)))
    moved = apply([T.RandomCrop((50, 30))], [[0.5, 0.5, 1]], pairs=[])[0]
    np.testing.assert_allclose(moved, [(20 - 3) / 30, (30 - 7) / 50, 1], atol=1e-6)


def test_an_affine_turn():
    """A quarter turn of a square, clockwise: what was on the right is below; its half size lies half as far out."""
    square = Image.new("RGB", (40, 40))
    moved = apply([T.RandomAffine((90, 90))], [[0.75, 0.5, 1]], square, pairs=[])[0]
    np.testing.assert_allclose(moved, [0.5, 0.75, 1], atol=1e-6)
    moved = apply([T.RandomAffine((90, 90), scale=(0.5, 0.5))], [[0.75, 0.5, 1]], square, pairs=[])[0]
    np.testing.assert_allclose(moved, [0.5, 0.625, 1], atol=1e-6)


def test_a_joint_that_leaves_the_image_keeps_its_place_and_loses_its_confidence():
    cut = [T.CenterCrop((60, 20))]  # keeps x from 1/4 to 3/4
    moved = apply(cut, [[0.5, 0.5, 0.9], [0.125, 0.5, 0.9], [1.0, 0.5, 0.9]])
    np.testing.assert_allclose(moved, [[0.5, 0.5, 0.9], [-0.25, 0.5, 0], [1.5, 0.5, 0]], atol=1e-6)


def test_a_joint_that_comes_back_is_still_not_to_be_seen():
    """What a crop cut off is black after a padding; so is what lay outside from the beginning."""
    joints = [[0.125, 0.5, 0.9], [0.5, 0.5, 0.9], [-0.05, 0.5, 0.9]]
    moved = apply([T.CenterCrop((60, 20)), T.Pad((10, 0))], joints, pairs=[])
    np.testing.assert_allclose(moved, [[0.125, 0.5, 0], [0.5, 0.5, 0.9], [-0.05, 0.5, 0]], atol=1e-6)
    np.testing.assert_allclose(apply([T.Pad(10)], joints, pairs=[])[:, 2], [0.9, 0.9, 0], atol=1e-6)


def test_the_given_joints_are_not_written_to():
    joints = shares(INSIDE)
    before = joints.copy()
    moved = JointTransform([T.Pad(10), T.RandomHorizontalFlip(1.0)], PAIRS, 4)(Image.new("RGB", (8, 8)), joints)[1]
    assert np.array_equal(joints, before)
    assert moved.dtype is torch.float32 and moved.shape == (4, 3)


# ---- the joint and its pixel ----------------------------------------------------------------------------------------

MOVES = {
    "resize": {},
    "smaller": {"INPUT__SIZE_TRAIN": [30, 20]},
    "flip": on("FLIP"),
    "pad and crop": on("PADDING"),
    "deep padding": on("PADDING") | {"INPUT__PADDING__SIZE": 30},
    "affine": on("AFFINE"),
    "resized crop": on("CROP") | {"INPUT__CROP__SCALE": [0.5, 1.0]},
    "all": on("PADDING", "FLIP", "CJ", "AFFINE"),
    "strong affine": [
        T.Resize((120, 80)),
        T.RandomAffine(30, translate=(0.1, 0.2), scale=(0.8, 1.3), shear=(-20, 20, -20, 20), center=(30, 70)),
        ToTensor(),
    ],
}


@pytest.mark.parametrize("move", MOVES)
def test_a_joint_lands_on_its_pixel(move):
    made = MOVES[move]
    follow = JointTransform(made if isinstance(made, list) else build_transforms(config(**made)).transforms, [], 1)
    places, errors, hidden = set(), [], 0
    for seed in range(25):
        for place in INSIDE:
            with seeded(seed):
                image, joints = follow(blob(place, radius=3), shares([place]))
            size = np.array([image.shape[2], image.shape[1]])
            joint, found = joints[0, :2].numpy() * size, middle(image)
            if joints[0, 2] == 0:
                hidden += 1
                assert (joint < 0).any() or (joint > size).any()
            elif ((joint > 9) & (joint < size - 9)).all():  # nothing of the square is cut off
                errors.append(joint - found)
            places.add(tuple(joint.round(3)))
    assert len(places) == 4 if move in ("resize", "smaller") else len(places) > 7
    assert len(errors) >= 25 and np.abs(errors).max() < 0.5
    assert np.abs(np.mean(errors, axis=0)).max() < 0.1  # nearest neighbours are off by chance, not to one side
    assert (hidden > 0) == (move in ("deep padding", "resized crop", "all", "strong affine"))


def test_image_and_joints_are_flipped_together():
    """The square stays under the joint of its side: joint 1 is left of it where the image was not mirrored."""
    follow = JointTransform(build_transforms(config(**on("FLIP"))).transforms, PAIRS, 3)
    flipped = 0
    for seed in range(20):
        with seeded(seed):
            image, joints = follow(blob((8, 20)), shares([[20, 5], [8, 20], [31, 20]]))
        at = middle(image) / (image.shape[2], image.shape[1])
        mirrored = at[0] > 0.5
        np.testing.assert_allclose(joints[2 if mirrored else 1, :2], at, atol=0.01)
        flipped += mirrored
    assert 5 < flipped < 20


# ---- the same pixels ------------------------------------------------------------------------------------------------

PIPELINES = {
    "recipe": on("PADDING", "FLIP", "REA"),
    "colours": on("CJ", "FLIP"),
    "affine": on("AFFINE", "FLIP", "PADDING"),
    "crop": on("CROP", "FLIP"),
    "patches": on("RPT", "FLIP"),
    "all, with patches": on("CROP", "PADDING", "FLIP", "CJ", "AFFINE", "REA", "RPT"),
    "one size": {"INPUT__SIZE_TRAIN": [64]},
    "as it is": {"INPUT__SIZE_TRAIN": [0, 0]} | on("FLIP"),
}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_images_are_those_of_the_host(pipeline):
    """RandomPatch pastes only after it has seen 100 images."""
    cfg = config(**PIPELINES[pipeline])
    host, follow = build_transforms(cfg), JointTransform(build_transforms(cfg).transforms, PAIRS, 4)
    noise = Image.fromarray(np.random.RandomState(0).randint(0, 256, (83, 37, 3)).astype(np.uint8))
    for seed in range(120 if "patches" in pipeline else 20):
        with seeded(seed):
            expected, drawn = host(noise), (random.random(), np.random.rand(), torch.rand(1))
        with seeded(seed):
            image, _ = follow(noise, shares(INSIDE))
            assert (random.random(), np.random.rand(), torch.rand(1)) == drawn
        assert image.dtype is expected.dtype and torch.equal(image, expected)


@pytest.mark.parametrize("crop", [False, True])
def test_the_test_images_are_those_of_the_host(crop):
    cfg = config(INPUT__SIZE_TEST=[96, 48], INPUT__CROP__ENABLED=crop, INPUT__CROP__SIZE=[80, 30])
    host = build_transforms(cfg, is_train=False)
    image, joints = JointTransform(host.transforms, PAIRS, 4)(blob((20, 30)), shares([[20, 30]] * 4))
    assert torch.equal(image, host(blob((20, 30))))
    np.testing.assert_allclose(joints[0, :2] * torch.tensor(image.shape[:0:-1]), middle(image), atol=0.5)


# ---- what can't be done ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["AUTOAUG", "AUGMIX"])
def test_transforms_that_joints_cannot_follow(key):
    transforms = build_transforms(config(**on(key))).transforms
    with pytest.raises(ValueError, match="joints can't follow the image transform Aug|AutoAug"):
        JointTransform(transforms, PAIRS, 4)


def test_a_subclass_may_do_anything():
    class Shaken(T.Resize):
        pass

    with pytest.raises(ValueError, match="Shaken"):
        JointTransform([Shaken(4)], PAIRS, 4)


def test_a_crop_that_pads_is_refused():
    with pytest.raises(ValueError, match="RandomCrop"):
        JointTransform([T.RandomCrop(4, padding=2)], PAIRS, 4)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([[1, 2], [2, 3]], r"joint \[2\] more than once"),
        ([[1, 1]], r"joint \[1\] more than once"),
        ([[1, 4]], r"has \[4\], but the labels have joints 0 to 3"),
        ([[-1, 2]], r"has \[-1\]"),
        ([[1.0, 2]], r"has \[1.0\]"),
        ([[1, 2, 3]], "must be pairs"),
        ([1, 2], "must be pairs"),
    ],
)
def test_impossible_pairs(pairs, message):
    with pytest.raises(ValueError, match=message):
        mirrored_order(pairs, 4)
