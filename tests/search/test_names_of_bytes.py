"""File names that are not in UTF-8, as cameras and old archives have them: from the folder to every output."""

import io
import json
import logging
import os
import sys

import pytest
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.errors import FileError
from fastreid_ext.files import show_any_name
from fastreid_ext.search.features import open_store
from fastreid_ext.search.image_list import images_of_folder, images_of_list

NAME = b"0001_c2_caf\xe9.jpg"
pytestmark = pytest.mark.linux("macOS and Windows have no such names")


@pytest.fixture
def folder(tmp_path):
    folder = os.fsencode(tmp_path) + b"/im\xe9"
    os.mkdir(folder)
    for name in (NAME, b"\xff\xfe.png"):
        Image.effect_noise((32, 64), 90).convert("RGB").save(os.fsdecode(folder + b"/" + name))
    return tmp_path / os.fsdecode(b"im\xe9")


def strict_stdout(monkeypatch):
    """Let stdout be as a terminal in UTF-8 has it, and return what gives its text."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    return lambda: (stream.flush(), stream.buffer.getvalue().decode())[1]


def test_from_the_folder_to_the_results(folder, tmp_path, model_arguments, monkeypatch):
    """The bytes come back from every file that was written, and what is printed shows them."""
    printed = strict_stdout(monkeypatch)
    output = tmp_path / os.fsdecode(b"st\xf6re")
    config, pairs = model_arguments(0)
    assert main(["extract", *config, "--images", str(folder), "--output", str(output), *pairs]) == 0
    store = open_store(output)
    assert [os.fsencode(row[0]) for row in store.images.rows] == [NAME, b"\xff\xfe.png"]
    assert store.images.rows[0][1:] == ("0001", "2")
    assert (output / "images.csv").read_bytes().splitlines()[1] == NAME + b",0001,2"
    assert os.path.isfile(store.images.file(0))
    found = tmp_path / os.fsdecode(b"f\xf6und")
    stores = ["--gallery", str(output), "--query", str(output)]
    assert main(["search", *stores, "--topk", "2", "--output", str(found)]) == 0
    results = json.loads((found / "results.json").read_text())["results"]
    assert os.fsencode(results[0]["matches"][0]["path"]) == NAME
    assert NAME in (found / "results.csv").read_bytes() and (found / "rank_lists.png").is_file()
    assert "st\\udcf6re" in printed() and "f\\udcf6und" in printed()


def test_a_list_as_ls_writes_it(folder):
    (folder / "list.txt").write_bytes(NAME + b"\r\n\xff\xfe.png\n")
    images = images_of_list(folder / "list.txt")
    assert [os.fsencode(row[0]) for row in images.rows] == [NAME, b"\xff\xfe.png"]
    assert [row[0] for row in images.rows] == [row[0] for row in images_of_folder(folder).rows]


def test_a_list_in_another_encoding_is_refused_by_name(folder):
    (folder / "list.txt").write_bytes("café.jpg\n".encode("latin-1"))
    with pytest.raises(FileError, match=r"list.txt is not in UTF-8, and there is no file 'caf\\udce9.jpg': save it"):
        images_of_list(folder / "list.txt")


def test_a_log_file(tmp_path):
    with open(tmp_path / "log.txt", "w", encoding="utf-8") as stream:
        handler = logging.StreamHandler(stream)
        show_any_name(stream)
        handler.emit(logging.makeLogRecord({"msg": "%s", "args": (os.fsdecode(NAME),)}))
    assert (tmp_path / "log.txt").read_text() == "0001_c2_caf\\udce9.jpg\n"
