"""A batch's images are in one tensor from the start, and its values are those of torch's own collate function."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import SequentialSampler, default_collate
from torchvision import transforms as T

from fastreid_ext.config import get_cfg
from fastreid_ext.data import images as data_images
from fastreid_ext.data.batch_memory import Items, collate
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.data.joint_transforms import JointTransform
from fastreid_ext.data.loader import FetchedImages, build_test_loader

# isort: split
from fastreid.data.transforms import RandomPatch, ToTensor, build_transforms

CPU = torch.device("cpu")
KEYS = [(0, 3), (2, 4), (1, 5), (2, 6), (0, 3)]


@pytest.fixture
def items(tmp_path):
    found = []
    for number, size in enumerate([(64, 32), (50, 21), (128, 64)]):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        found.append((str(tmp_path / f"{number}.png"), number, number % 2))
    return found


def transforms(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.SIZE_TRAIN", [64, 32], "INPUT.FLIP.ENABLED", True, *overrides])
    return build_transforms(cfg, is_train=True)


def erasing_then_patches():
    found = transforms("INPUT.RPT.ENABLED", True, "INPUT.REA.ENABLED", True)
    for transform in found.transforms:
        if type(transform) is RandomPatch:
            transform.min_sample_size = 2
    return found


def joint_images(items):
    joints = np.random.default_rng(0).random((3, 4, 3))
    return ReIDImages(items, JointTransform(transforms().transforms, [[0, 1]], 4), True, joints)


MADE = {
    "bytes": lambda items: ReIDImages(items, transforms("INPUT.PADDING.ENABLED", True), True),
    "box to erase": lambda items: ReIDImages(items, transforms("INPUT.REA.ENABLED", True), True),
    "float32": lambda items: ReIDImages(items, erasing_then_patches(), True),
    "joints": joint_images,
    "unknown transform": lambda items: ReIDImages(
        items, T.Compose([T.Resize((64, 32)), T.Grayscale(3), ToTensor()]), True
    ),
}


@pytest.mark.parametrize("kind", MADE)
def test_a_batch_is_one_tensor_and_torchs_batch(kind, items):
    images = MADE[kind](items)
    found = images.fetch(KEYS)
    assert len(found) == len(KEYS) and found.images.shape == (len(KEYS), 3, 64, 32)
    for place, item in enumerate(found):
        assert item["images"].data_ptr() == found.images[place].data_ptr()
    batch, wanted = collate(found), default_collate(list(found))
    assert batch["images"] is found.images and list(batch) == list(wanted)
    for key, value in wanted.items():
        assert torch.equal(batch[key], value) if isinstance(value, torch.Tensor) else batch[key] == value
    # A batch of one has what it has among others.
    if kind != "float32":  # with patches of others
        for key, item in zip(KEYS, found, strict=True):
            assert torch.equal(images.fetch([key])[0]["images"], item["images"])


@pytest.mark.parametrize(("kind", "in_place"), [("bytes", True), ("joints", True), ("float32", False)])
def test_images_are_made_where_they_stay(kind, in_place, items):
    """All but the first, whose size is not known before."""
    images, given = MADE[kind](items), []
    known = images.byte_transform

    def watched(*args, place):
        outputs = known(*args, place=place)
        image = outputs[0] if isinstance(outputs, tuple) else outputs
        given.append(place is not None and image.data_ptr() == place.data_ptr())
        return outputs

    images.byte_transform = watched
    images.fetch(KEYS)
    assert given == [False] + [in_place] * (len(KEYS) - 1)


def test_patches_do_not_keep_their_batch(items):
    images = MADE["float32"](items)
    (patches,) = [t for t in images.byte_transform.on_tensors if type(t) is RandomPatch]
    batch = images.fetch(KEYS).images
    assert patches.patchpool
    for patch in patches.patchpool:
        assert patch.untyped_storage().data_ptr() != batch.untyped_storage().data_ptr()


def test_large_images_do_not_wait_for_each_other(items, monkeypatch):
    """No two photographs are held at once; the images are the same."""
    images = ReIDImages(items, transforms(), True)
    wanted = images.fetch(KEYS).images
    held, most = [], []
    monkeypatch.setattr(data_images, "LARGE", 2000)
    read, resize = data_images._read, data_images.resampling.resize
    monkeypatch.setattr(data_images, "_read", lambda path: held.append(path) or most.append(len(held)) or read(path))
    monkeypatch.setattr(data_images.resampling, "resize", lambda *args: held.clear() or resize(*args))
    assert torch.equal(images.fetch(KEYS).images, wanted)
    assert most == [1] * len(KEYS)


def test_an_image_of_another_size_is_named(items):
    images = ReIDImages(items, T.Compose([ToTensor()]), relabel=True)
    with pytest.raises(
        ValueError, match=r"1\.png is \(3, 50, 21\) in torch.uint8, others of its batch are \(3, 64, 32\)"
    ):
        images.fetch([0, 1])
    found = Items(2)
    found.add({"images": torch.zeros(3, 1, 1), "img_paths": "a"})
    with pytest.raises(ValueError, match="b is .* in torch.float64"):
        found.add({"images": torch.zeros(3, 1, 1, dtype=torch.float64), "img_paths": "b"})


class Shared(FetchedImages):
    """Says in a worker whether the batch's memory is shared there."""

    def __getitems__(self, keys):
        items = super().__getitems__(keys)
        assert len(items) == len(keys)
        for item in items:
            item["img_paths"] = str(items.images.is_shared())
        return items


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_put_images_into_shared_memory(workers, items):
    images = MADE["bytes"](items)
    loader = build_test_loader(images, SequentialSampler(images), 2, workers, CPU)
    loader.loader.dataset.__class__ = Shared
    batches = list(loader)
    assert [path for batch in batches for path in batch["img_paths"]] == [str(bool(workers))] * 3
    assert [len(batch["images"]) for batch in batches] == [2, 1]
