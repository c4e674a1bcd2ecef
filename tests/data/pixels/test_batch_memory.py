"""A batch's images are in one tensor from the start, and its values are those of torch's own collate function."""

import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import SequentialSampler, default_collate
from torchvision import transforms as T

from fastreid_ext.config import get_cfg
from fastreid_ext.data import images as data_images
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.data.loader import FetchedImages, build_test_loader
from fastreid_ext.data.pixels.batch_memory import BatchItems, collate
from fastreid_ext.data.pixels.joint_transforms import JointTransform

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


def patches(*overrides):
    found = transforms("INPUT.RPT.ENABLED", True, *overrides)
    for transform in found.transforms:
        if type(transform) is RandomPatch:
            transform.min_sample_size = 2
    return found


def with_joints(items, transforms):
    joints = np.random.default_rng(0).random((3, 4, 3))
    return ReIDImages(items, JointTransform(transforms.transforms, [[0, 1]], 4), True, joints)


MADE = {
    "bytes": lambda items: ReIDImages(items, transforms("INPUT.PADDING.ENABLED", True), True),
    "box to erase": lambda items: ReIDImages(items, transforms("INPUT.REA.ENABLED", True), True),
    "noise, float32": lambda items: ReIDImages(
        items, T.Compose([T.Resize((64, 32), 3), ToTensor(), T.RandomErasing(1.0, value="random")]), True
    ),
    "joints": lambda items: with_joints(items, transforms()),
    "unknown transform": lambda items: ReIDImages(
        items, T.Compose([T.Resize((64, 32)), T.Grayscale(3), ToTensor()]), True
    ),
    "crop first": lambda items: ReIDImages(items, T.Compose([T.RandomResizedCrop((64, 32)), ToTensor()]), True),
    "patches": lambda items: ReIDImages(items, patches(), True),
    "patches, float32": lambda items: ReIDImages(items, patches("INPUT.REA.ENABLED", True), True),
    "patches and joints": lambda items: with_joints(items, patches()),
}
PATCHED = [kind for kind in MADE if "patches" in kind]


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
    if kind in PATCHED:  # of the images before
        return
    for key, item in zip(KEYS, found, strict=True):
        # A batch of one has what it has among others, and both have what the transforms themselves give.
        assert torch.equal(images.fetch([key])[0]["images"], item["images"])
        if "box" not in kind:
            assert torch.equal(images[key]["images"], item["images"].float())


@pytest.mark.parametrize(
    ("kind", "in_place"), [("bytes", True), ("joints", True)] + [(kind, False) for kind in PATCHED]
)
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


@pytest.mark.parametrize("kind", PATCHED)
def test_patches_do_not_keep_their_batch(kind, items):
    images = MADE[kind](items)
    (pool,) = [t.patchpool for t in images.transform.transforms if type(t) is RandomPatch]
    batch = images.fetch(KEYS).images
    assert pool
    for patch in pool:
        assert patch.untyped_storage().data_ptr() != batch.untyped_storage().data_ptr()


@pytest.mark.parametrize("kind", ["bytes", "crop first"])
def test_large_images_do_not_wait_for_each_other(kind, tmp_path, monkeypatch):
    """No two photographs are held at once."""
    Image.fromarray(np.zeros((400, 300, 3), np.uint8)).save(tmp_path / "large.png")
    images, alive = MADE[kind]([(str(tmp_path / "large.png"), 0, 0)]), []
    read, most = data_images.read_image, []

    def watched(path, fast):
        most.append(sum(reference() is not None for reference in alive))
        pixels = read(path).copy()
        alive.append(weakref.ref(pixels))
        return pixels

    monkeypatch.setattr(data_images, "read_image", watched)
    images.fetch([(0, seed) for seed in range(6)])
    assert len(most) == 6 and max(most) <= 1


def test_an_image_of_another_size_is_named(items):
    images = ReIDImages(items, T.Compose([ToTensor()]), relabel=True)
    with pytest.raises(
        ValueError, match=r"1\.png is \(3, 50, 21\) in torch.uint8, others of its batch are \(3, 64, 32\)"
    ):
        images.fetch([0, 1])
    found = BatchItems(2)
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
