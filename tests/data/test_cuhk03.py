"""CUHK03's two registered forms, from a miniature of its MATLAB files."""

import errno
import importlib.util
import os
import shutil
import signal
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from cuhk03_files import SHOTS, write_release, write_splits
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.cuhk03 import CUHK03 as HostCUHK03
from PIL import Image

from fastreid_ext.data.catalog import DataSetError, load_dataset, training_labels
from fastreid_ext.data.datasets.cuhk03_extraction import imageio_lent
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.errors import FileError

TEST = ("query", "gallery")
FILES = ["1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png", "1_002_1_02.png", "1_002_2_06.png", "1_003_1_01.png"]
LABELS = [1, 1, 2, 2, 2, 3]


SHOT = {1: (0, 5), 2: (0, 1, 5), 3: (0,)}  # of each person: two cameras with five shots each


@pytest.fixture
def cuhk03(root):
    """Person 1 has one image a view, 2 has three, 3 has one."""
    folder = root / "cuhk03"
    persons = {}
    for boxes, brightness in (("detected", 50), ("labeled", 200)):
        images = {person: np.full((3, 4, 8), brightness + person, np.uint8) for person in SHOT}
        persons[boxes] = [
            [image if n in SHOT[person] else None for n in range(SHOTS)] for person, image in images.items()
        ]
    write_release(folder, persons, [[1], [3]])
    for boxes, gallery in (("detected", [5, 6]), ("labeled", [4, 5, 6])):
        write_splits(folder, boxes, FILES, LABELS, train=[1, 2], query=[3], gallery=gallery)
    return folder


@pytest.mark.parametrize("installed", [False, True])
def test_imageio_is_lent_where_it_is_missing(installed, monkeypatch, tmp_path):
    there = types.ModuleType("imageio")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there if installed else None)
    monkeypatch.delitem(sys.modules, "imageio", raising=False)
    if installed:
        monkeypatch.setitem(sys.modules, "imageio", there)
    with imageio_lent():
        assert (sys.modules["imageio"] is there) == installed
        if not installed:
            sys.modules["imageio"].imwrite(str(tmp_path / "a.png"), np.zeros((2, 2, 3), np.uint8))
            assert (tmp_path / "a.png").is_file()
    assert ("imageio" in sys.modules) == installed


@pytest.mark.parametrize(("name", "brightness"), [("CUHK03Labeled", 200), ("CUHK03Detected", 50)])
def test_boxes(name, brightness, cuhk03, logged):
    data = load_dataset(name, ("train", *TEST))
    assert [item[1:] for item in data.train] == [("cuhk03_0", "cuhk03_0"), ("cuhk03_0", "cuhk03_1")]
    assert [item[1:] for item in data.query] == [(2, 0)]
    assert training_labels(data) == {}  # the training persons have numbers of their own
    labels = [(2, 0), (2, 1), (3, 0)]
    assert [item[1:] for item in data.gallery] == (labels if name == "CUHK03Labeled" else labels[1:])
    pixels = ReIDImages(data.query, lambda image: torch.from_numpy(np.array(image)), relabel=False)[0]["images"]
    assert pixels.shape == (8, 4, 3) and (pixels == brightness + 2).all()
    assert f"{name} has 1 identities and 1 images in its query split, published are 700 and 1400" in logged.text


def test_the_querys_own_camera_is_left_out(cuhk03, rank1):
    """The nearest is of the query's view; taking the image's number for the camera would keep it, and score 1."""
    data = load_dataset("CUHK03Labeled", TEST)
    order = ("1_002_1_02.png", "1_003_1_01.png", "1_002_2_06.png")
    assert rank1(data.query, data.gallery, order) == 0
    assert rank1(data.query, data.gallery, order, lambda item: int(item[0][-6:-4])) == 1


def test_a_moved_set_is_read_where_it_is_now(cuhk03, root, monkeypatch):
    load_dataset("CUHK03Labeled", TEST)
    (root / "moved").mkdir()
    cuhk03.rename(root / "moved" / "cuhk03")
    monkeypatch.setenv("FASTREID_DATASETS", str(root / "moved"))
    data = load_dataset("CUHK03Labeled", TEST)
    assert data.query[0][0] == f"{root}/moved/cuhk03/images_labeled/1_002_1_01.png"
    assert data.data == data.train and data.train[0][0].startswith(f"{root}/moved")


def test_half_unpacked(cuhk03):
    (cuhk03 / "cuhk03_new_protocol_config_detected.mat").unlink()
    with pytest.raises(DataSetError, match='cuhk03_new_protocol_config_detected.mat" is not found'):
        load_dataset("CUHK03Labeled", ("train",))


def test_the_matlab_files_go_before_folders(cuhk03, plant):
    plant(
        *(
            f"cuhk03-np/labeled/{folder}/0001_c1_1.png"
            for folder in ("bounding_box_train", "query", "bounding_box_test")
        )
    )
    assert load_dataset("CUHK03Labeled", ("train", *TEST)).query[0][0].startswith(str(cuhk03 / "images_labeled"))


@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("classic", [True, False])
def test_a_program_gets_fastreids_lists_of_either_split(classic, labeled, cuhk03):
    settings = {"cuhk03_labeled": labeled, "cuhk03_classic_split": classic, "split_id": 0}
    ours = DATASET_REGISTRY.get("CUHK03")(root=str(cuhk03.parent), **settings)
    theirs = HostCUHK03(root=str(cuhk03.parent), **settings)  # from the files that ours extracted
    for split in ("train", *TEST):
        assert getattr(ours, split) == sorted(map(tuple, getattr(theirs, split))) != []


# ---- killed while it is extracted -----------------------------------------------------------------------------------


def listed(name):
    data = load_dataset(name, ("train", *TEST))
    return [getattr(data, split) for split in ("train", *TEST)]


def pixels_of(folder):
    return {str(path): np.array(Image.open(path)) for path in sorted(folder.glob("images_*/*.png"))}


@pytest.fixture
def by_the_host(cuhk03):
    """The folder as FastReID alone extracts it, without our mark."""
    with imageio_lent():
        HostCUHK03(root=str(cuhk03.parent))
    assert not (cuhk03 / ".extraction.done").exists()
    return cuhk03


def test_what_fastreid_extracted_whole_is_kept(by_the_host):
    before = {path: path.stat().st_mtime_ns for path in by_the_host.glob("images_*/*")}
    assert len(before) == 12 and listed("CUHK03Labeled")
    assert {path: path.stat().st_mtime_ns for path in by_the_host.glob("images_*/*")} == before
    assert (by_the_host / ".extraction.done").is_file()


@pytest.mark.parametrize("name", ["CUHK03", "CUHK03Labeled", "CUHK03Detected"])
@pytest.mark.parametrize(
    "half", ["images_labeled/1_002_1_01.png", "images_detected/1_001_1_01.png", "splits_new_labeled.json"]
)
def test_half_a_file_that_fastreid_left_is_made_anew(name, half, by_the_host, logged):
    whole, pixels = {kind: listed(kind) for kind in (name, "CUHK03Labeled")}, pixels_of(by_the_host)
    (by_the_host / ".extraction.done").unlink()
    path = by_the_host / half
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert listed(name) == whole[name] and listed("CUHK03Labeled") == whole["CUHK03Labeled"]
    found = pixels_of(by_the_host)
    assert found.keys() == pixels.keys() and all((found[key] == pixels[key]).all() for key in pixels)
    assert "are missing or cut short: they are extracted again" in logged.text


@pytest.mark.parametrize("text", ["[" * 100_000, "[[5]]", "{"], ids=["deep", "numbers", "half"])
def test_a_split_of_another_form_is_made_anew(text, by_the_host):
    whole = listed("CUHK03Labeled")
    (by_the_host / ".extraction.done").unlink()
    (by_the_host / "splits_new_labeled.json").write_text(text)
    assert listed("CUHK03Labeled") == whole


@pytest.mark.parametrize("lost", ["images_labeled/1_002_1_01.png", "images_labeled", "splits_new_labeled.json"])
def test_what_is_missing_is_made_anew(lost, by_the_host):
    path = by_the_host / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert listed("CUHK03Labeled") and len(pixels_of(by_the_host)) == 12


@pytest.mark.parametrize("moment", [0, 4, 11])
def test_a_kill_at_any_image_leaves_nothing_half(moment, cuhk03, monkeypatch):
    save, count = Image.Image.save, iter(range(12))

    def killed(self, path):
        if next(count) == moment:
            Path(path).write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)  # FastReID extracts in a process of its own
        save(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", killed)
        with pytest.raises(DataSetError, match="their reader ended with status -9"):
            listed("CUHK03Labeled")
    assert not list(cuhk03.glob("images_*")) and not list(cuhk03.glob("splits_*"))
    assert listed("CUHK03Labeled") and len(pixels_of(cuhk03)) == 12
    assert sorted(path.name for path in cuhk03.glob(".*")) == [".extraction.done", ".extraction.lock"]


def test_a_kill_while_files_are_moved(cuhk03, monkeypatch):
    replace, count = Path.replace, iter(range(12))

    def killed(self, target):
        if next(count) == 9:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            listed("CUHK03Labeled")
    assert len(list(cuhk03.glob("images_*/*"))) == 9
    assert listed("CUHK03Detected") and len(pixels_of(cuhk03)) == 12


def test_a_full_disk_is_one_sentence(cuhk03, monkeypatch):
    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    sentence = f"^data set CUHK03Labeled can't be written below {cuhk03.parent}: No space left on device$"
    with pytest.raises(FileError, match=sentence):
        listed("CUHK03Labeled")
