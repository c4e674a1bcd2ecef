"""What is named like an image but is a FIFO, a socket, a directory or a device: named, left out, and never opened."""

import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data.datasets.files import list_images, log_once
from fastreid_ext.data.images import ImageError, ReIDImages
from fastreid_ext.evaluation.rank_list import read_picture
from fastreid_ext.image_files import kind_of_no_file
from fastreid_ext.pose.crops import read_pose_image
from fastreid_ext.pose.matching import PATTERNS, image_size
from fastreid_ext.search.image_list import images_of_folder
from fastreid_ext.visual.image_sources import ConfigError, files_below

KINDS = {
    "directory.jpg": "a directory",
    "fifo.jpg": "a FIFO",
    "link.jpg": "a FIFO",
    "null.jpg": "a device",
    "socket.jpg": "a socket",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one image, one broken link, and one of each kind of no file."""
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    Image.fromarray(np.zeros((8, 4, 3), np.uint8)).save("image.jpg")
    os.symlink("nowhere", "broken.jpg")
    os.mkdir("directory.jpg")
    os.mkfifo("fifo.jpg")
    os.symlink("fifo.jpg", "link.jpg")
    os.symlink("/dev/null", "null.jpg")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket.jpg")
    return tmp_path


@pytest.fixture
def logged(caplog):
    """All that is logged; what is logged once a process is logged anew."""
    log_once.cache_clear()
    with caplog.at_level("INFO", logger="fastreid_ext"):
        yield caplog
    log_once.cache_clear()


@pytest.fixture
def in_time():
    """Let whoever opened a FIFO go on after some seconds, by writing into it; the test then fails."""
    timers = []

    def within(path):
        timers.append(threading.Timer(5, lambda: os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))))
        timers[-1].start()

    yield within
    for timer in timers:
        assert not timer.finished.is_set(), "it waited for the FIFO"
        timer.cancel()


def test_kinds(folder):
    assert {path.name: kind for path in folder.iterdir() if (kind := kind_of_no_file(path))} == KINDS
    assert kind_of_no_file("x" * 1000) is None and kind_of_no_file("a\0b") is None


READERS = {
    "images": lambda path: ReIDImages([(path, 0, 0)], None, relabel=False)[0],
    "pose images": lambda path: read_pose_image(Path(path)),
    "sizes for poses": lambda path: image_size(Path(path)),
    "rank lists": read_picture,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", KINDS)
def test_what_is_no_file_is_named_and_not_opened(reader, name, folder, in_time):
    in_time(folder / "fifo.jpg")
    with pytest.raises(Exception, match=rf"it is {KINDS[name]}, not a file") as raised:
        READERS[reader](str(folder / name))
    if reader == "images":
        assert raised.type is ImageError and f"the image {folder / name} can't be read" in str(raised.value)


LISTS = {
    "pictures": files_below,
    "features": lambda folder: [folder / path for path, *_ in images_of_folder(folder).rows],
    "data sets and poses": lambda folder: list_images(folder, "*"),
}


@pytest.mark.parametrize("listed", LISTS)
def test_what_is_no_file_is_left_out_and_counted(listed, folder, logged):
    """A broken link stays: who opens it says that it leads nowhere."""
    assert [path.name for path in LISTS[listed](folder)] == ["broken.jpg", "image.jpg"]
    (message,) = logged.messages
    assert f"2 images of {folder}; left out: " in message
    assert "4 no file (fifo.jpg: a FIFO, link.jpg: a FIFO, null.jpg: a device, ...)" in message


def test_a_folder_without_a_file(tmp_path):
    os.mkfifo(tmp_path / "fifo.jpg")
    with pytest.raises(ConfigError, match="holds no image"):
        files_below(tmp_path)


# ---- one lister for all ---------------------------------------------------------------------------------------------


@pytest.fixture
def people(tmp_path):
    """Images of every kind that is read, and what lies beside them."""
    root = tmp_path / "people"
    for name in ("a.jpg", "b.JPG", "c.jpeg", "d.gif", "e.jfif", "f.webp", "g.PNG", "sub/h.bmp", "../far/i.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8)).save(root / name, format="PNG")
    for name in ("._a.jpg", ".thumbs/a.jpg", "notes.txt", "Thumbs.db", "j.heic", "a.png", "k"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    os.symlink("../far", root / "linked")
    os.symlink("..", root / "linked/back")  # to the folder above both: endless
    os.symlink("sub", root / "sub again")
    return root


TAKEN = ["a.png", "b.JPG", "c.jpeg", "d.gif", "e.jfif", "f.webp", "g.PNG", "linked/i.jpg", "sub/h.bmp"]


@pytest.mark.parametrize("listed", ["pictures", "features", "data sets and poses"])
def test_every_command_takes_the_same_and_says_what_it_left_out(listed, people, logged):
    take = LISTS[listed] if listed != "data sets and poses" else lambda root: list_images(root, *PATTERNS)
    assert [str(path.relative_to(people)) for path in take(people)] == TAKEN
    (message,) = [message for message in logged.messages if "left out" in message]
    assert f"9 images of {people}; left out: " in message
    for reason in (
        "2 hidden (.thumbs, ._a.jpg)",
        "3 not named like an image (Thumbs.db, k, notes.txt)",
        "1 in a format that is not read (j.heic)",
        "1 the same picture in another format (a.jpg)",
        "a folder that is listed by another path (sub again",
    ):
        assert reason in message
    assert [record.levelname for record in logged.records if "left out" in record.getMessage()] == ["WARNING"]


def test_a_layout_says_which_folders_it_does_not_look_into(people, logged):
    assert [path.name for path in list_images(people, "*")] == TAKEN[:7]
    assert "3 a folder below those that are looked into (linked, sub, sub again)" in logged.text


def test_nothing_is_said_where_all_is_taken(people, logged):
    assert [path.name for path in files_below(people / "sub")] == ["h.bmp"]
    list_images(people / "sub", "*")
    assert not logged.messages


def test_a_folder_without_an_image_says_what_is_there(people):
    (people / "sub/h.bmp").rename(people / "sub/h.heic")
    with pytest.raises(ConfigError, match=r"holds no image \(0 images of .*: 1 in a format that is not read \(h.heic"):
        files_below(people / "sub")
