"""Occluded-Duke in its real naming, and its derivation from the lists."""

import os
import shutil

import pytest

from fastreid_ext.cli import main
from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.datasets import occluded_duke
from fastreid_ext.data.datasets.files import LayoutError
from fastreid_ext.data.datasets.occluded_duke import OccludedDuke, derive_occluded_duke
from fastreid_ext.data.published import PUBLISHED_COUNTS
from fastreid_ext.errors import FileError
from fastreid_ext.files import locked

TEST = ("query", "gallery")
NAMES = {
    "bounding_box_train": ["0002_c1_f0044158.jpg", "0001_c2_f0046182.jpg", "0001_c8_f0046302.jpg"],
    "query": ["0019_c1_f0051230.jpg"],
    "bounding_box_test": [
        "0019_c1_f0051350.jpg",
        "0021_c1_f0051736.jpg",
        "0019_c5_f0060626.jpg",
        "-1_c3_f0000001.jpg",
        "0000_c4_f0000002.jpg",
    ],
}


@pytest.fixture
def tree(plant):
    def make(folder="Occluded_Duke", names=NAMES):
        plant(*(f"{folder}/{part}/{name}" for part, of_part in names.items() for name in of_part))

    return make


@pytest.mark.parametrize("folder", OccludedDuke.folders)
def test_labels(folder, tree, root):
    tree(folder)
    data = load_dataset("OccludedDuke", ("train",))
    assert data.train == [
        (f"{root}/{folder}/bounding_box_train/{name}", f"occludedduke_{person}", f"occludedduke_{camera}")
        for name, person, camera in [
            ("0001_c2_f0046182.jpg", 1, 1),
            ("0001_c8_f0046302.jpg", 1, 7),
            ("0002_c1_f0044158.jpg", 2, 0),
        ]
    ]
    assert [item[1:] for item in data.query] == [(19, 0)]
    # -1 is junk; 0 is a distractor, which stays in the gallery
    assert [item[1:] for item in data.gallery] == [(0, 3), (19, 0), (19, 4), (21, 0)]


def test_the_querys_own_camera_is_left_out(tree, rank1):
    """The nearest image is of the query's person and camera: a rule that keeps it would score 1."""
    tree()
    data = load_dataset("OccludedDuke", TEST)
    order = ("0019_c1_f0051350.jpg", "0021_c1_f0051736.jpg", "0019_c5_f0060626.jpg", "0000_c4_f0000002.jpg")
    assert rank1(data.query, data.gallery, order) == 0
    assert rank1(data.query, data.gallery, order, lambda item: "/query/" in item[0]) == 1


def test_distractors_are_no_queries_and_no_training_identity(tree):
    tree(names={part: [*names, "0000_c1_f0000009.jpg"] for part, names in NAMES.items()})
    data = load_dataset("OccludedDuke", ("train", *TEST))
    assert len(data.train) == 3 and len(data.query) == 1 and len(data.gallery) == 5
    assert len(load_dataset("OccludedDuke", ("train",), combineall=True).train) == 3 + 1 + 3


def test_counts(tree, logged, monkeypatch):
    tree()
    monkeypatch.setitem(PUBLISHED_COUNTS["OccludedDuke"], "query", (1, 1))
    load_dataset("OccludedDuke", TEST)
    assert "has 2 identities and 4 images in its gallery split, published are 1110 and 17661" in logged.text
    assert "query split" not in logged.text and "train split" not in logged.text
    logged.clear()
    load_dataset("OccludedDuke", TEST)
    assert not logged.text  # said once


@pytest.mark.parametrize("name", ["0001.jpg", "0001_c9_f0046182.jpg", "0001_c12_f0046182.jpg", "copy of 0001_c2.jpg"])
def test_unreadable_names(name, tree, plant):
    tree()
    plant(f"Occluded_Duke/query/{name}")
    with pytest.raises(DataSetError, match="names of 1 images can't be read, the first is") as raised:
        load_dataset("OccludedDuke", TEST)
    assert name in str(raised.value) and "0001_c2_f0046182.jpg" in str(raised.value)


def test_what_is_no_image_is_left_alone(tree, root):
    tree()
    for name in ("Thumbs.db", "._0019_c1_f0051230.jpg", "readme.txt"):
        (root / "Occluded_Duke" / "query" / name).write_bytes(b"x")
    assert len(load_dataset("OccludedDuke", TEST).query) == 1


def test_wrong_folder(tree):
    tree("occluded-duke-main")
    with pytest.raises(DataSetError) as raised:
        load_dataset("OccludedDuke", TEST)
    text = str(raised.value)
    assert "no folder Occluded_Duke or OccludedDuke or Occluded-DukeMTMC-reID" in text
    assert "Found there: occluded-duke-main" in text
    assert "Occluded_Duke/bounding_box_train/0001_c2_f0046182.jpg" in text
    assert "github.com/lightas/Occluded-DukeMTMC-Dataset" in text


def test_half_unpacked(tree, root):
    tree()
    shutil.rmtree(root / "Occluded_Duke" / "query")
    with pytest.raises(DataSetError, match="Occluded_Duke has no query"):
        load_dataset("OccludedDuke", TEST)
    (root / "Occluded_Duke" / "query").mkdir()
    with pytest.raises(DataSetError, match="has no images for query"):
        load_dataset("OccludedDuke", TEST)


def test_a_whole_folder_goes_before_a_half_one(tree, logged, root):
    (root / "Occluded_Duke").mkdir()
    tree("OccludedDuke")
    assert load_dataset("OccludedDuke", TEST).data_dir.name == "OccludedDuke"
    tree("Occluded_Duke")
    assert load_dataset("OccludedDuke", TEST).data_dir.name == "Occluded_Duke"
    assert "Occluded_Duke is used, not" in logged.text


# ---- derivation -----------------------------------------------------------------------------------------------------

DUKE = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0001_c8_f0046302.jpg", "0002_c1_f0044158.jpg"],
    "query": ["0021_c2_f0051736.jpg"],
    "bounding_box_test": ["0019_c1_f0051230.jpg", "0019_c5_f0060626.jpg", "0021_c1_f0051736.jpg"],
}
LISTS = {
    "train": "0001_c2_f0046182.jpg\n0001_c8_f0046302.jpg\n",
    "query": "0019_c1_f0051230.jpg\r\n",  # from the gallery of DukeMTMC-reID
    "gallery": "0019_c5_f0060626.jpg\n\n0021_c2_f0051736.jpg\n0021_c1_f0051736.jpg",  # no line feed at the end
}


@pytest.fixture
def lists(tree, root):
    tree("DukeMTMC-reID", DUKE)
    folder = root / "lists"
    folder.mkdir()
    for part, text in LISTS.items():
        (folder / f"{part}.list").write_bytes(text.encode())
    return folder


def derive(root, lists, **kwargs):
    return derive_occluded_duke(root / "DukeMTMC-reID", lists, root / "Occluded_Duke", **kwargs)


@pytest.mark.parametrize("copy", [False, True])
def test_derivation(copy, lists, root):
    assert derive(root, lists, copy=copy) == {"train": 2, "query": 1, "gallery": 3}
    data = load_dataset("OccludedDuke", ("train", *TEST))
    assert [item[0].rsplit("/")[-1] for item in data.query] == ["0019_c1_f0051230.jpg"]
    assert len(data.train) == 2 and len(data.gallery) == 3
    source = root / "DukeMTMC-reID" / "bounding_box_test" / "0019_c1_f0051230.jpg"
    assert os.path.samefile(source, data.query[0][0]) != copy
    assert source.read_bytes() == (root / "Occluded_Duke" / "query" / source.name).read_bytes()
    with pytest.raises(LayoutError, match="already exists"):
        derive(root, lists)


def test_derivation_copies_where_nothing_can_be_linked(lists, root, monkeypatch):
    def refuse(source, target):
        raise OSError("another device")

    monkeypatch.setattr(occluded_duke.os, "link", refuse)
    derive(root, lists)
    assert len(load_dataset("OccludedDuke", TEST).gallery) == 3


def test_an_interrupted_derivation_leaves_nothing(lists, root, monkeypatch):
    with monkeypatch.context() as patched:

        def stop(source, target, copy):
            raise KeyboardInterrupt

        patched.setattr(occluded_duke, "place", stop)
        with pytest.raises(KeyboardInterrupt):
            derive(root, lists)
    assert sorted(path.name for path in root.iterdir()) == [".Occluded_Duke.lock", "DukeMTMC-reID", "lists"]
    (root / ".Occluded_Duke.partial" / "query").mkdir(parents=True)  # as a killed one would leave it
    derive(root, lists)
    names = {path.name for path in root.iterdir()}
    assert names == {".Occluded_Duke.lock", "DukeMTMC-reID", "Occluded_Duke", "lists"}


def test_two_derivations_of_one_folder(lists, root):
    with (
        locked(root / ".Occluded_Duke.lock"),
        pytest.raises(FileError, match="another process makes .*Occluded_Duke: wait for it"),
    ):
        derive(root, lists)
    assert derive(root, lists)


@pytest.mark.parametrize(
    ("part", "text", "kind", "sentence"),
    [
        ("train", None, LayoutError, "there is no .*train.list"),
        ("query", "\n", LayoutError, "query.list is empty"),
        ("gallery", "../secret.jpg\n", LayoutError, "should name files, without folders"),
        ("gallery", "0099_c1_f0000001.jpg\n", LayoutError, "1 of 1 images .* the first is 0099_c1_f0000001.jpg"),
    ],
)
def test_derivation_from_bad_lists(part, text, kind, sentence, lists, root):
    file = lists / f"{part}.list"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(kind, match=sentence):
        derive(root, lists)
    assert not (root / "Occluded_Duke").exists()


def test_lists_alone_point_to_the_derivation(lists, root):
    lists.rename(root / "Occluded_Duke")
    with pytest.raises(DataSetError, match="make it from them with fastreid-ext derive-occluded-duke"):
        load_dataset("OccludedDuke", TEST)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_command_finds_its_folders_by_fastreid_datasets(lists, root, capsys):
    assert main(["derive-occluded-duke", str(lists)]) == 0
    assert capsys.readouterr().out == f"{root}/Occluded_Duke: 2 train images, 1 query images, 3 gallery images\n"
    data = load_dataset("OccludedDuke", ("train", *TEST))
    assert (len(data.train), len(data.query), len(data.gallery)) == (2, 1, 3)
    source = root / "DukeMTMC-reID" / "bounding_box_test" / "0019_c1_f0051230.jpg"
    assert os.path.samefile(source, data.query[0][0])


def test_command_with_other_folders_and_copies(lists, root, capsys):
    duke, target = root / "elsewhere", root / "made"
    shutil.move(root / "DukeMTMC-reID", duke)
    assert main(["derive-occluded-duke", str(lists), "--duke", str(duke), "--target", str(target), "--copy"]) == 0
    name = "0019_c1_f0051230.jpg"
    assert not os.path.samefile(duke / "bounding_box_test" / name, target / "query" / name)
    assert str(target) in capsys.readouterr().out


def test_command_says_what_is_wrong(lists, root, capsys):
    def error(*arguments):
        assert main(["derive-occluded-duke", *map(str, arguments)]) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
        return printed.err

    assert "there is no" in error(root) and "train.list" in error(root)
    assert "fully unpacked?" in error(lists, "--duke", root / "nowhere")
    (root / "Occluded_Duke").mkdir()
    assert error(lists).startswith("fastreid-ext derive-occluded-duke: ") and "already exists" in error(lists)
