"""Search and verify with files and folders that are not what they should be, or that have odd names."""

import re
import shutil
from pathlib import Path

import pytest

from fastreid_ext import zoo
from fastreid_ext.cli import main
from fastreid_ext.errors import UserError

CPU = ("MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", "0")


@pytest.fixture
def fails(sentence_of):
    return lambda *words: sentence_of(main([str(word) for word in words]))


@pytest.fixture
def place(people, tmp_path, monkeypatch):
    """A current folder with a.png, b.png and a folder of two other images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, source in (("a.png", 0), ("b.png", 1), ("folder/c.png", 2), ("folder/d.png", 3)):
        shutil.copy(people / f"person_0/{source}.png", tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["search", "folder", "--image", "folder"],
        ["search", "folder", "--image", ""],  # the current folder
        ["verify", "a.png", "folder"],
        ["verify", "--pairs", "pairs.csv"],
    ],
)
def test_a_folder_is_no_image(place, fails, words):
    (place / "pairs.csv").write_text("a.png,folder\nb.png,b.png\n")
    assert "it is a directory, not a file" in fails(*words, *CPU)


def test_features_of_files(place, shipped):
    assert shipped.files(["a.png", Path("b.png")]).shape == (2, shipped.dim)
    with pytest.raises(UserError, match="image 1 of the input"):
        shipped.files(["a.png", "\0"])


def test_names_that_a_terminal_would_obey(place, capsys, fails):
    """Such a name could forge lines of the list, or clear the screen."""
    forged = "x.png (similarity 0.9)\n   1. y\x1b[2J\u202e.png"
    (place / "folder/d.png").rename(place / "folder" / forged)
    (place / "folder" / "broken\x1b.png").write_text("no image")
    shutil.copy("a.png", "q\n.png")
    assert main(["search", "folder", "--image", "q\n.png", *CPU]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert "nearest to q\\n.png:" in lines
    assert sum(r"x.png (similarity 0.9)\n   1. y\x1b[2J\u202e.png (similarity " in line for line in lines) == 1
    assert "\x1b" not in printed.out + printed.err and r"broken\x1b.png" in printed.err
    assert r"no\x1b.png" in fails("verify", "a.png", "no\x1b.png", *CPU)


def test_extract_says_such_names_on_one_line(place, capsys):
    (place / "folder" / "x\nskipped: forged\x1b[2J.png").write_text("no image")
    extract = ["extract", "--config-file", "zoo", "--images", "folder", "--output", "store", *CPU]
    assert main([*extract, "--skip-unreadable"]) == 0
    said = capsys.readouterr().err
    assert "\nskipped: forged" not in said and r"x\nskipped: forged\x1b[2J.png can't be read" in said


def test_mistakes_are_found_before_the_folder_is_extracted(place, fails, monkeypatch):
    from fastreid_ext.search import extract

    monkeypatch.setattr(extract, "extract", lambda *args, **settings: pytest.fail("extracted"))
    search = ["search", "folder", "--image", "a.png", *CPU]
    assert "--topk is 3, and the gallery has 2 images" in fails(*search, "--topk", 3)
    assert "b.png can't be made" in fails(*search, "--output", "b.png")
    assert "--output folder is the folder of the images" in fails(*search, "--output", "./folder")
    assert "--drop-same-camera reads person and camera" in fails(*search, "--drop-same-camera")
    assert "there is no none.json" in fails(*search, "--unknown", "--same-person", "none.json")
    flipped = fails(*search, "TEST.FLIP.ENABLED", "True", "--unknown")
    assert re.search(r"the thresholds in \S*\.safetensors are of another config .* than this model: measure", flipped)


def test_thresholds_that_do_not_fit_are_named_once(place, fails, capsys, caplog):
    """With the command that measures others, which writes nothing beside the shipped model."""
    mirrored = ["TEST.FLIP.ENABLED", "True", *CPU]
    sentence = fails("verify", "a.png", "b.png", *mirrored)
    assert (
        f"measure them with fastreid-ext verify --calibrate --config-file {zoo.DEFAULT_NAME} --same-person" in sentence
    )
    assert sentence.endswith("of your own, and name --same-person same_person.json here, too")
    assert main(["search", "folder", "--image", "a.png", *mirrored]) == 0
    assert caplog.text.count("than this model: they are not used") == 1
    assert "probability" not in capsys.readouterr().out


def test_results_in_the_folder_that_is_searched_are_none_of_its_images(place, capsys):
    for _ in range(2):
        assert main(["search", "folder", "--image", "a.png", "--output", "folder/found", *CPU]) == 0
        assert "1 queries in 2 images" in capsys.readouterr().out
    assert (place / "folder/found/rank_lists.png").is_file()
