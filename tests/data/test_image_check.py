"""Every listed image is there and, on request, can be decoded: known at the start, in one sentence."""

import os
import time

import pytest
from PIL import Image

from fastreid_ext.data.image_check import FEW, check_images, missing_files
from fastreid_ext.data.images import ImageError


def write(folder, count, suffix="jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(folder / f"{n:03d}.{suffix}") for n in range(count)]
    for path in paths:
        Image.new("RGB", (4, 8), (9, 90, 200)).save(path)
    return paths


@pytest.mark.parametrize("count", [3, FEW + 1])
def test_what_is_missing_is_counted_and_named(count, tmp_path):
    """In folders that are looked up one by one, and in those that are listed."""
    paths = write(tmp_path / "a", count)
    check_images(paths, "Set")
    os.unlink(paths[1])
    os.unlink(paths[2])
    os.mkdir(paths[2])  # no file either
    elsewhere = str(tmp_path / "no folder" / "x.jpg")
    assert missing_files([elsewhere, *paths]) == [elsewhere, *paths[1:3]]
    sentence = f"3 of {count + 1} images of Set are not there: {elsewhere}, {paths[1]}, {paths[2]}: copy them"
    with pytest.raises(ImageError) as stopped:
        check_images([elsewhere, *paths, paths[1]], "Set")
    assert str(stopped.value).startswith(sentence)


def test_a_link_to_nothing_is_missing_and_one_to_an_image_is_not(tmp_path):
    paths = write(tmp_path, FEW + 1)
    os.replace(paths[0], tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", paths[0])
    assert missing_files(paths) == []
    os.unlink(tmp_path / "elsewhere")
    assert missing_files(paths) == [paths[0]]


def test_relative_paths(tmp_path, monkeypatch):
    write(tmp_path, FEW + 1)
    monkeypatch.chdir(tmp_path)
    assert missing_files([f"{n:03d}.jpg" for n in range(FEW + 2)]) == [f"{FEW + 1:03d}.jpg"]


@pytest.mark.parametrize("threads", [0, 3])
def test_what_can_not_be_decoded_is_counted_and_named(threads, tmp_path, capsys):
    paths = write(tmp_path, 6)
    for path in paths[2:]:
        with open(path, "r+b") as file:
            file.truncate(os.path.getsize(path) // 2)
    check_images(paths, "Set")  # a look at the names finds nothing
    with pytest.raises(ImageError) as stopped:
        check_images(paths, "Set", decode=True, threads=threads)
    first = ", ".join(paths[2:5])
    assert str(stopped.value) == f"4 of 6 images of Set can't be decoded: {first}, ...: replace or remove them"
    assert "checking the images of Set: 6/6 images (100%)" in capsys.readouterr().err


def test_whole_images_are_decoded_and_found_whole(tmp_path):
    check_images([*write(tmp_path, 3), *write(tmp_path, 3, "png")], "Set", decode=True)


def test_a_hundred_thousand_images_take_a_moment(tmp_path, monkeypatch):
    """One listing of a folder, and no look at each file."""
    paths = write(tmp_path, FEW + 1)
    seen = []
    monkeypatch.setattr(os.path, "isfile", lambda path: seen.append(path))
    monkeypatch.setattr(os, "stat", lambda path: seen.append(path))
    started = time.monotonic()
    assert missing_files([*paths, *(str(tmp_path / f"{n}.png") for n in range(100_000))]) and not seen
    assert time.monotonic() - started < 10
