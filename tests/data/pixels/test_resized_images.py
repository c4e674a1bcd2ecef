"""Images that are kept as decoded and resized: the same pixels, whatever was kept before and whoever writes."""

import copy
import errno
import logging
import os
import shutil
from pathlib import Path

import cv2
import fastreid
import numpy as np
import PIL
import pytest
import torch
from fastreid.data.transforms import build_transforms
from PIL import Image
from torch.utils.data import SequentialSampler
from torchvision import transforms as T

from fastreid_ext import files as files_module
from fastreid_ext.config import get_cfg
from fastreid_ext.data import images as images_module
from fastreid_ext.data.batches import EpochBatches
from fastreid_ext.data.images import BOX, ImageError, QueryGalleryImages, ReIDImages
from fastreid_ext.data.loader import build_test_loader, build_train_loader
from fastreid_ext.data.pixels import resized_images
from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.data.pixels.joint_transforms import JointTransform
from fastreid_ext.data.pixels.resized_images import FirstResize, ResizedImages, first_resize

CPU = torch.device("cpu")
HEIGHT, WIDTH = SIZE = (64, 32)


@pytest.fixture
def items(tmp_path):
    """Photographs of several sizes: any, half of and equal to what is asked for, and one that lies on its side."""
    rng, found = np.random.default_rng(0), []
    for number, size in enumerate([(101, 50), (32, 16), SIZE, (70, 90), (128, 64), (16, 200)]):
        path = tmp_path / f"{number}.{'png' if number == 3 else 'jpg'}"
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        found.append((str(path), number // 2, number % 2))
    return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kept" / "below"


def resized(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def never(path):
    raise AssertionError(f"{path} is read again")


def test_what_is_kept_is_what_pil_gives(items, folder):
    kept = ResizedImages(folder, *SIZE)
    for path, *_ in items:
        first = kept.get(path, read_rgb)
        again = ResizedImages(folder, *SIZE).get(path, never)  # another run
        assert again.dtype == np.uint8 and again.flags.writeable
        np.testing.assert_array_equal(first, resized(path))
        np.testing.assert_array_equal(again, first)
    assert [path.stat().st_size for path in files(folder)] == [kept.bytes_per_image] * len(items)
    assert kept.bytes_per_image == 3 * HEIGHT * WIDTH


def test_a_returned_image_is_the_callers_own(items, folder):
    kept, path = ResizedImages(folder, *SIZE), items[0][0]
    kept.get(path, read_rgb)
    kept.get(path, never)[:] = 0
    np.testing.assert_array_equal(kept.get(path, never), resized(path))


@pytest.mark.parametrize("change", ["pixels", "time", "size", "libraries", "path"])
def test_what_has_changed_is_made_anew(change, items, folder, monkeypatch):
    path, size = items[0][0], SIZE
    ResizedImages(folder, *SIZE).get(path, read_rgb)
    status = os.stat(path)
    if change == "pixels":  # of another length, at the same time
        Image.new("RGB", (9, 9)).save(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "time":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
    elif change == "size":
        size = (32, 64)  # as many bytes
    elif change == "libraries":
        monkeypatch.setattr(resized_images, "MADE_BY", "others")
    else:
        path = str(Path(path).rename(Path(path).with_name("moved.jpg")))
    asked = []
    ResizedImages(folder, *size).get(path, lambda name: asked.append(name) or read_rgb(name))
    assert asked == [path] and len(files(folder)) == 2


def test_one_file_by_two_names(items, folder, monkeypatch):
    monkeypatch.chdir(Path(items[0][0]).parent)
    ResizedImages(folder, *SIZE).get("0.jpg", read_rgb)
    monkeypatch.chdir(folder)
    assert ResizedImages(folder, *SIZE).get(items[0][0], never).shape == (*SIZE, 3)


def test_what_makes_the_pixels_is_in_the_name():
    for package in (cv2, fastreid, PIL):
        assert package.__version__ in resized_images.MADE_BY


def test_the_folder_is_where_it_was_when_it_was_named(items, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    here, home = ResizedImages("here", *SIZE), ResizedImages("~/home", *SIZE)
    monkeypatch.chdir(tmp_path / "elsewhere")
    for kept in (here, home):
        kept.get(items[0][0], read_rgb)
    assert len(files(tmp_path / "here")) == len(files(tmp_path / "home")) == 1 and not files(tmp_path / "elsewhere")


def test_a_name_that_is_no_text(items, folder, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg")
    os.rename(items[0][0], path)
    kept = ResizedImages(folder, *SIZE)
    kept.get(path, read_rgb)
    kept.get(path, never)


def test_what_is_kept_but_cannot_be_read_is_made_anew(items, folder):
    kept, path = ResizedImages(folder, *SIZE), items[0][0]
    kept.get(path, read_rgb)
    (file,) = files(folder)
    file.unlink()
    file.mkdir()
    np.testing.assert_array_equal(kept.get(path, read_rgb), resized(path))


class Killed(BaseException):
    """As a signal: it passes every ``except``."""


def test_a_kill_before_the_end_leaves_nothing_that_is_taken_for_an_image(items, folder, monkeypatch):
    def kill(*args):
        raise Killed

    kept, path = ResizedImages(folder, *SIZE), items[0][0]
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", kill)
        with pytest.raises(Killed):
            kept.get(path, read_rgb)
    (left,) = files(folder)
    assert left.name.startswith(".") and left.suffix == ".tmp"
    asked = []
    kept.get(path, lambda name: asked.append(name) or read_rgb(name))
    assert asked == [path]


def test_two_writers_of_one_image_have_files_of_their_own(items, folder, monkeypatch):
    """The second comes between the first one's writing and renaming."""
    path, names, replace = items[0][0], [], os.replace

    def slow(source, target):
        names.append(source)
        if len(names) == 1:
            ResizedImages(folder, *SIZE).get(path, read_rgb)
        replace(source, target)

    monkeypatch.setattr(os, "replace", slow)
    np.testing.assert_array_equal(ResizedImages(folder, *SIZE).get(path, read_rgb), resized(path))
    assert len(set(names)) == 2 and len(files(folder)) == 1


@pytest.mark.parametrize("moment", ["open", "replace"])
def test_the_folder_may_be_deleted_at_any_time(moment, items, folder, monkeypatch, caplog):
    kept, done = ResizedImages(folder, *SIZE), {"open": open, "replace": os.replace}[moment]

    def deleted(*args):
        shutil.rmtree(folder)
        return done(*args)

    with monkeypatch.context() as patched:
        patched.setattr(files_module if moment == "open" else os, moment, deleted, raising=False)
        np.testing.assert_array_equal(kept.get(items[0][0], read_rgb), resized(items[0][0]))
    assert kept.writable and not caplog.records
    kept.get(items[1][0], read_rgb)
    assert len(files(folder)) == 1


@pytest.mark.parametrize("length", [0, 100, 3 * HEIGHT * WIDTH + 1])
def test_a_file_of_another_length_is_written_anew(length, items, folder):
    kept, path = ResizedImages(folder, *SIZE), items[0][0]
    kept.get(path, read_rgb)
    files(folder)[0].write_bytes(bytes(length))
    np.testing.assert_array_equal(kept.get(path, read_rgb), resized(path))
    np.testing.assert_array_equal(kept.get(path, never), resized(path))


def test_a_missing_image_is_the_readers_business(folder):
    with pytest.raises(FileNotFoundError):
        ResizedImages(folder, *SIZE).get("nowhere.jpg", read_rgb)
    assert not folder.exists()


@pytest.mark.parametrize("step", ["open", "replace"])
def test_a_full_disk_is_said_once_and_costs_nothing_but_time(step, items, folder, monkeypatch, caplog):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    kept = ResizedImages(folder, *SIZE)
    kept.get(items[0][0], read_rgb)
    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(files_module if step == "open" else os, step, full, raising=False)
        for path, *_ in items:
            np.testing.assert_array_equal(kept.get(path, read_rgb), resized(path))
    assert len(files(folder)) == 1  # nothing half-written is left
    assert [record.message for record in caplog.records] == [
        "DATALOADER.CACHE_DIR can't be written any more, so images are resized each time: [Errno 28] No"
        " space left on device"
    ]
    kept.get(items[0][0], never)  # what is there is still read


# ---- behind the transforms ------------------------------------------------------------------------------------------

TRAINING = {
    "plain": [],
    "pad and flip": ["PADDING.ENABLED", True, "FLIP.ENABLED", True],
    "crop": ["CROP.ENABLED", True, "CROP.SIZE", [60, 30]],
    "colours and mean erasing": ["CJ.ENABLED", True, "CJ.PROB", 0.8, "REA.ENABLED", True],
    "autoaugment": ["AUTOAUG.ENABLED", True, "AUTOAUG.PROB", 0.5, "FLIP.ENABLED", True],
    "autoaugment, never": ["AUTOAUG.ENABLED", True, "AUTOAUG.PROB", 0.0, "PADDING.ENABLED", True],
    "autoaugment, always": ["AUTOAUG.ENABLED", True, "AUTOAUG.PROB", 1.0],
    "augmix": ["AUGMIX.ENABLED", True, "AUGMIX.PROB", 0.7],
}


def transforms(*overrides, is_train=True):
    cfg = get_cfg()
    pairs = ["SIZE_TRAIN", list(SIZE), "SIZE_TEST", list(SIZE), *overrides]
    cfg.merge_from_list([f"INPUT.{x}" if i % 2 == 0 else x for i, x in enumerate(pairs)])
    return build_transforms(cfg, is_train=is_train)


@pytest.mark.parametrize("name", TRAINING)
def test_training_images(name, items, folder, monkeypatch):
    keys = [(index, 1000 * index + seed) for seed in range(12) for index in range(len(items))]
    plain, kept = (
        ReIDImages(items, copy.deepcopy(transforms(*TRAINING[name])), True, kept=kept)
        for kept in (None, ResizedImages(folder, *SIZE))
    )
    wanted, cold = plain.fetch(keys), kept.fetch(keys)
    read = []
    monkeypatch.setattr(
        images_module.decoding, "read_rgb", lambda path, fast: read.append(path) or read_rgb(path, fast)
    )
    warm = kept.fetch(keys)
    for a, b, c in zip(wanted, cold, warm, strict=True):
        assert a["images"].dtype is b["images"].dtype is c["images"].dtype
        assert torch.equal(a["images"], b["images"]) and torch.equal(a["images"], c["images"])
        assert all(torch.equal(a[BOX], item[BOX]) for item in (b, c) if BOX in a)
    # AutoAugment changes some before they are resized: those, and no others, are decoded each time.
    shares = {"autoaugment": (0.2, 0.8), "autoaugment, always": (1.0, 1.0)}
    low, high = shares.get(name, (0.0, 0.0))
    assert low <= len(read) / len(keys) <= high
    assert len(files(folder)) == (0 if name == "autoaugment, always" else len(items))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches(workers, items, folder):
    """In one process and in two that fill the same folder: test and training, the first time and the next."""
    test, train = transforms(is_train=False), transforms(*TRAINING["pad and flip"])
    plain = ReIDImages(items, test, False)
    wanted = torch.cat([b["images"] for b in build_test_loader(plain, SequentialSampler(items), 2, 0, CPU)])
    for _ in range(2):
        images = QueryGalleryImages(items[:2], items[2:], test, kept=ResizedImages(folder, *SIZE))
        loader = build_test_loader(images, SequentialSampler(images), 2, workers, CPU)
        assert torch.equal(torch.cat([batch["images"] for batch in loader]), wanted)
    batches = EpochBatches(items, "TrainingSampler", 3, 2, 2, seed=3)
    loaders = [
        iter(build_train_loader(ReIDImages(items, train, True, kept=kept), batches, count, CPU))
        for kept, count in ((None, 0), (ResizedImages(folder, *SIZE), workers))
    ]
    for _ in range(4):
        without, within = (next(loader) for loader in loaders)
        assert torch.equal(without["images"], within["images"]) and without["img_paths"] == within["img_paths"]
    assert len(files(folder)) == len(items)


@pytest.mark.parametrize("size", [SIZE, (384, 128)])
def test_joints_stay_where_they_were(size, items, folder, monkeypatch, tmp_path):
    """To the bit, on the edges too: 384 / 187 * 187 is more than 384 in float64."""
    Image.new("RGB", (50, 187)).save(tmp_path / "edge.jpg")
    items = [*items, (str(tmp_path / "edge.jpg"), 0, 0)]
    joints = np.random.default_rng(0).random((len(items), 5, 3))
    joints[:, :2, :2] = 0.0, 1.0
    joints[:, 2, :2] = 1.0
    keys = [(index, 7 * index + seed) for seed in range(6) for index in range(len(items))]
    chosen = transforms("SIZE_TRAIN", list(size), "PADDING.ENABLED", True, "FLIP.ENABLED", True, "REA.ENABLED", True)
    plain, kept = (
        ReIDImages(items, JointTransform(chosen.transforms, [[1, 2]], 5), True, joints, kept)
        for kept in (None, ResizedImages(folder, *size))
    )
    wanted = plain.fetch(keys)
    kept.fetch(keys)
    with monkeypatch.context() as patched:
        patched.setattr(images_module.decoding, "read_rgb", never)
        warm = kept.fetch(keys)
    for a, b in zip(wanted, warm, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in ("images", "joints", BOX))
    still = transforms("SIZE_TRAIN", list(size), "PADDING.ENABLED", False)
    (edge,) = ReIDImages(items[-1:], JointTransform(still.transforms, [[1, 2]], 5), True, joints[-1:]).fetch([(0, 0)])
    np.testing.assert_array_equal(edge["joints"], joints[-1].astype(np.float32))


def test_a_broken_image_is_named(items, folder):
    Path(items[2][0]).write_bytes(b"no image")
    images = ReIDImages(items, transforms(), True, kept=ResizedImages(folder, *SIZE))
    with pytest.raises(ImageError, match=r"the image .*2\.jpg can't be read"):
        images.fetch([(index, 0) for index in range(len(items))])


def test_a_missing_image_is_named(items, folder):
    Path(items[2][0]).unlink()
    images = ReIDImages(items, transforms(), True, kept=ResizedImages(folder, *SIZE))
    with pytest.raises(ImageError, match=r"the image .*2\.jpg can't be read"):
        images.fetch([(2, 0)])


def test_single_items_are_read_from_their_files(items, folder):
    images = ReIDImages(items, transforms(is_train=False), False, kept=ResizedImages(folder, *SIZE))
    np.testing.assert_array_equal(images[0]["images"].permute(1, 2, 0).numpy(), resized(items[0][0]))
    assert not folder.exists()


def test_the_generators_of_the_process_do_not_move(items, folder):
    images = ReIDImages(items, transforms(*TRAINING["autoaugment"]), True, kept=ResizedImages(folder, *SIZE))
    before = torch.get_rng_state()
    images.fetch([(0, 5), (1, 6)])
    assert torch.equal(before, torch.get_rng_state())


def test_which_resize_comes_first():
    to = T.Resize([8, 4], T.InterpolationMode.BICUBIC)
    sometimes = T.RandomApply([T.ColorJitter(0.1)])
    assert first_resize(T.Compose([to, T.Pad(2)])) == FirstResize((8, 4))
    assert first_resize(T.Compose([sometimes, to])) == FirstResize((8, 4), sometimes)
    assert first_resize(JointTransform([to, T.Pad(2)], [[1, 2]], 5)) == FirstResize((8, 4))
    others = [
        [],
        [sometimes],
        [sometimes, sometimes, to],
        [T.Pad(2), to],
        [T.Resize(8, T.InterpolationMode.BICUBIC)],
        [T.Resize([8], T.InterpolationMode.BICUBIC)],
        [T.Resize([8, 4], T.InterpolationMode.BILINEAR)],
    ]
    for steps in others:
        assert first_resize(T.Compose(steps)) is None
    assert first_resize(lambda image: image) is None


def test_without_a_seed_nothing_is_kept_that_chance_may_change(items, folder):
    images = ReIDImages(items, transforms(*TRAINING["autoaugment"]), True, kept=ResizedImages(folder, *SIZE))
    images.fetch(range(len(items)))
    assert not folder.exists()


@pytest.mark.parametrize("transform", [transforms("SIZE_TRAIN", [32, 64]), T.Compose([T.Pad(2)])])
def test_another_size_is_refused(transform, items, folder):
    with pytest.raises(ValueError, match="images are kept in 64x32, but the transforms begin otherwise"):
        ReIDImages(items, transform, True, kept=ResizedImages(folder, *SIZE))
