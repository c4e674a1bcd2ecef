"""What our loaders give is what FastReID's transforms give, bit for bit and draw for draw."""

import copy
import random

import numpy as np
import pytest
import torch
from fastreid.data.data_utils import read_image
from fastreid.data.transforms import RandomPatch, ToTensor, build_transforms
from PIL import Image
from torch.utils.data import SequentialSampler
from torchvision import transforms as T

from fastreid_ext.config import get_cfg
from fastreid_ext.data.batches import EpochBatches
from fastreid_ext.data.images import BOX, ReIDImages
from fastreid_ext.data.loader import build_test_loader, build_train_loader
from fastreid_ext.data.pixels.byte_transforms import ByteTransform, erase_boxes, gives_bytes
from fastreid_ext.data.pixels.joint_transforms import JointTransform
from fastreid_ext.engine.loaders import train_transforms

CPU = torch.device("cpu")
TRAINING = {
    "plain": [],
    "flip": ["FLIP.ENABLED", True],
    "pad": ["PADDING.ENABLED", True],
    "pad and flip": ["PADDING.ENABLED", True, "FLIP.ENABLED", True],
    "reflected": ["PADDING.ENABLED", True, "PADDING.MODE", "reflect"],
    "crop": ["CROP.ENABLED", True, "CROP.SIZE", [60, 30]],
    "colours": ["CJ.ENABLED", True, "CJ.PROB", 0.8, "FLIP.ENABLED", True],
    "grey and blurred": ["GRAYSCALE.ENABLED", True, "GRAYSCALE.PROB", 0.5, "BLUR.ENABLED", True, "FLIP.ENABLED", True],
    "affine": ["AFFINE.ENABLED", True, "PADDING.ENABLED", True],
    "mean erasing": ["REA.ENABLED", True, "PADDING.ENABLED", True, "FLIP.ENABLED", True],
    "whole erasing": ["REA.ENABLED", True, "REA.VALUE", [124.0, 0.0, 255.0], "FLIP.ENABLED", True],
    "patches": ["RPT.ENABLED", True, "RPT.PROB", 0.9, "FLIP.ENABLED", True],
    "erasing and patches": ["REA.ENABLED", True, "RPT.ENABLED", True],
    "autoaugment": ["AUTOAUG.ENABLED", True, "AUTOAUG.PROB", 0.8, "PADDING.ENABLED", True],
    "augmix": ["AUGMIX.ENABLED", True, "AUGMIX.PROB", 0.7],
    "grey, blurred and augmix": ["GRAYSCALE.ENABLED", True, "BLUR.ENABLED", True, "AUGMIX.ENABLED", True],
}
JOINTED = [name for name in TRAINING if name != "autoaugment" and "augmix" not in name]


def transforms(*overrides, is_train=True, size=(128, 64)):
    cfg = get_cfg()
    pairs = ["SIZE_TRAIN", list(size), "SIZE_TEST", list(size), *overrides]
    cfg.merge_from_list([f"INPUT.{x}" if i % 2 == 0 else x for i, x in enumerate(pairs)])
    found = train_transforms(cfg) if is_train else build_transforms(cfg, is_train=False)
    for transform in found.transforms:
        if isinstance(transform, RandomPatch):
            transform.min_sample_size = 2
    return found


@pytest.fixture
def items(tmp_path):
    """Photographs of several sizes, one twice the other, in several formats; the last lies on its side."""
    rng, found = np.random.default_rng(0), []
    kinds = [
        ("a.jpg", (128, 64)), ("b.jpg", (64, 32)), ("c.jpg", (101, 50)), ("d.png", (128, 64)), ("e.jpg", (64, 64)),
        ("f.bmp", (200, 90)), ("grey.jpg", (64, 32)), ("turned.jpg", (32, 64)),
    ]  # fmt: skip
    for number, (name, size) in enumerate(kinds):
        image = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        options = {"quality": 90} if name.endswith("jpg") else {}
        if name == "turned.jpg":
            options["exif"] = image.getexif()
            options["exif"][0x0112] = 6
        (image.convert("L") if "grey" in name else image).save(tmp_path / name, **options)
        found.append((str(tmp_path / name), number // 2, number % 2))
    return found


def hosts(transform, items, keys):
    """FastReID's own way, from a generator of each kind that the seed sets."""
    found = []
    for index, seed in keys:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        found.append(transform(read_image(items[index][0], format="RGB")))
    return found


def finished(images, item):
    """The image of a fetched item as the loader makes it."""
    image = item["images"].float()
    if BOX in item:
        erase_boxes(image[None], item[BOX][None], images.deferred.fill)
    return image


@pytest.mark.parametrize("size", [(128, 64), (256, 128)])
@pytest.mark.parametrize("name", TRAINING)
def test_training_images(name, size, items):
    transform = transforms(*TRAINING[name], size=size)
    keys = [(index, 1000 * index + seed) for seed in range(3) for index in range(len(items))]
    wanted = hosts(copy.deepcopy(transform), items, keys)  # patches remember the images that they were cut from
    images = ReIDImages(items, copy.deepcopy(transform), relabel=True)
    assert images.byte_transform is not None
    found = images.fetch(keys)
    assert {item["images"].dtype for item in found} == {torch.float32 if name == "erasing and patches" else torch.uint8}
    for item, image in zip(found, wanted, strict=True):
        assert image.dtype is torch.float32 and torch.equal(finished(images, item), image)
    boxes = sum(int(item[BOX].any()) for item in found if BOX in item)
    assert (8 < boxes < 16) if name == "mean erasing" else boxes == 0
    if "patches" not in name:  # and one by one, with the other transforms
        for key, image in list(zip(keys, wanted, strict=True))[:8]:
            assert torch.equal(images[key]["images"], image)


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (384, 128), (50, 101)])
@pytest.mark.parametrize("crop", [[], ["CROP.ENABLED", True, "CROP.SIZE", [100, 40]]])
def test_test_images(size, crop, items):
    transform = transforms(*crop, is_train=False, size=size)
    images = ReIDImages(items, transform, relabel=False)
    keys = range(len(items))
    wanted = torch.stack([transform(read_image(path, format="RGB")) for path, _, _ in items])
    assert {item["images"].dtype for item in images.fetch(keys)} == {torch.uint8}
    for workers in (0, 2) if size == (256, 128) else (0,):
        loader = build_test_loader(images, SequentialSampler(images), 3, workers, CPU)
        found = torch.cat([batch["images"] for batch in loader])
        assert found.dtype is torch.float32 and found.is_contiguous() and torch.equal(found, wanted)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["pad and flip", "mean erasing"])
def test_training_batches(name, workers, items):
    images = ReIDImages(items, transforms(*TRAINING[name]), relabel=True)
    batches = EpochBatches(items, "TrainingSampler", 4, 2, 2, seed=3)
    loader = iter(build_train_loader(images, batches, workers, CPU))
    for keys in [*batches.epoch(0), *batches.epoch(1)]:
        batch = next(loader)
        assert batch["images"].dtype is torch.float32 and BOX not in batch
        assert torch.equal(batch["images"], torch.stack(hosts(images.transform, items, keys)))
        assert torch.equal(batch["images"], torch.stack([images[key]["images"] for key in keys]))
        assert batch["targets"].tolist() == [items[index][1] for index, _ in keys]


@pytest.mark.parametrize("name", JOINTED)
def test_images_with_joints(name, items):
    transform = transforms(*TRAINING[name])
    joints = np.random.default_rng(0).random((len(items), 5, 3))
    keys = [(index, 7 * index + seed) for seed in range(2) for index in range(len(items))]
    wanted = hosts(copy.deepcopy(transform), items, keys)
    images, one_by_one = (
        ReIDImages(items, JointTransform(copy.deepcopy(transform).transforms, [[1, 2]], 5), True, joints)
        for _ in range(2)
    )
    for key, found, image in zip(keys, images.fetch(keys), wanted, strict=True):
        single = one_by_one[key]
        assert torch.equal(finished(images, found), image) and torch.equal(single["images"], image)
        assert torch.equal(found["joints"], single["joints"]) and found["joints"].dtype is torch.float32
        assert (found["images"].dtype is torch.uint8) == (name != "erasing and patches")
        assert (BOX in found) == (name == "mean erasing")


@pytest.mark.parametrize(
    ("erasing", "fill", "low", "high"),
    [
        (T.RandomErasing(p=0.5, value=[123.675, 116.28, 103.53]), [123.675, 116.28, 103.53], 0.3, 0.7),
        (T.RandomErasing(p=1.0, value=-0.5), [-0.5], 1, 1),
        (T.RandomErasing(p=1.0, value=0.5, scale=(0.7, 1.0)), [0.5], 0.5, 0.95),  # ten tries may find no box
        (T.RandomErasing(p=0.0, value=0.5), [0.5], 0, 0),
    ],
)
def test_erasing_that_is_deferred(erasing, fill, low, high, items):
    """Of any share of the images, with one number or three; and where no box fits, the draws are the same too."""
    steps = [T.Resize([64, 32], T.InterpolationMode.BICUBIC), ToTensor(), erasing]
    images = ReIDImages(items, T.Compose(steps), relabel=True)
    keys = [(index, seed) for seed in range(20) for index in range(3)]
    found = images.fetch(keys)
    assert {item["images"].dtype for item in found} == {torch.uint8}
    assert images.deferred.fill.tolist() == pytest.approx(fill)
    for item, image in zip(found, hosts(T.Compose(steps), items, keys), strict=True):
        assert torch.equal(finished(images, item), image)
    assert low <= np.mean([item[BOX].any().item() for item in found]) <= high


@pytest.mark.parametrize(
    "last",
    [RandomPatch(), T.RandomErasing(value="random"), T.RandomErasing(value=[0.5, 1.0]), T.RandomErasing(value=0.7)],
)
def test_erasing_that_is_not_deferred(last):
    steps = [ToTensor(), T.RandomErasing(value=0.5), last]
    assert ByteTransform(steps).deferred is None and ByteTransform(steps).dtype is torch.float32
    if isinstance(last, T.RandomErasing) and last.value != 0.7:
        assert ByteTransform([ToTensor(), last]).deferred is None


def test_erased_boxes():
    images = torch.zeros(3, 3, 8, 4, dtype=torch.float64)
    boxes = torch.tensor([[1, 2, 5, 2], [0, 0, 0, 0], [0, 0, 8, 4]])
    erase_boxes(images, boxes, torch.tensor([1.0, 2.0, 3.0]))
    wanted = torch.zeros_like(images)
    for number, (top, left, height, width) in enumerate(boxes.tolist()):
        for channel in range(3):
            for y in range(height):
                for x in range(width):
                    wanted[number, channel, top + y, left + x] = channel + 1.0
    assert torch.equal(images, wanted)


def test_fetching_leaves_the_generators_alone(items):
    images = ReIDImages(items, transforms(*TRAINING["augmix"]), relabel=True)
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    images.fetch([(0, 5), (1, 6)])
    after = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


def test_transforms_of_another_kind_are_left_as_they_are(items):
    """A function, a transform that is not known, one on the wrong side of ToTensor: as before, in their own type."""
    half = T.Compose([ToTensor(), T.Lambda(lambda image: image / 2)])
    for transform in (lambda image: ToTensor()(image) / 2, half):
        images = ReIDImages(items, transform, relabel=False)
        assert images.byte_transform is None
        assert torch.equal(images.fetch([0])[0]["images"], images[0]["images"])
    for parts in ([T.Resize([8, 4])], [ToTensor(), T.Resize([8, 4])], [RandomPatch(), ToTensor()], half.transforms):
        with pytest.raises(ValueError, match="image transforms"):
            ByteTransform(parts)


@pytest.mark.parametrize(
    ("value", "whole"),
    [(0, True), (255.0, True), ([1, 2.0, 3], True), (123.675, False), ([1, 2, 0.5], False), (256, False), (-1, False),
     ("random", False), (float("nan"), False)],
)  # fmt: skip
def test_which_erasing_gives_bytes(value, whole):
    assert gives_bytes([ToTensor(), T.RandomErasing(value=value)]) is whole
