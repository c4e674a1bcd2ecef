"""Which images are listed, in which order, with which labels."""

import pytest
from PIL import Image

from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.errors import ConfigError, FileError
from fastreid_ext.search.image_list import images_of_dataset, images_of_folder, images_of_list


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.jpg", "b/1.PNG", "a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_with_its_folders(folder):
    images = images_of_folder(folder)
    assert images.rows == [("a.jpg", "", ""), ("b/1.PNG", "", ""), ("b/2.jpg", "", "")]
    assert images.file(1) == str(folder / "b/1.PNG")


def test_a_list_of_paths_keeps_its_order(folder):
    (folder / "list.txt").write_text("b/2.jpg\n\n a.jpg \n/abs/c.jpg\n")
    images = images_of_list(folder / "list.txt")
    assert images.rows == [("b/2.jpg", "", ""), ("a.jpg", "", ""), ("/abs/c.jpg", "", "")]
    assert images.file(2) == "/abs/c.jpg" and images.file(0) == str(folder / "b/2.jpg")


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_csv_brings_labels(folder, sign):
    text = "camera,path,Person,more\n7,a.jpg,anna,x\n,b/2.jpg,,y\n".replace(",", sign)
    (folder / "list.csv").write_text("\ufeff" + text)
    assert images_of_list(folder / "list.csv").rows == [("a.jpg", "anna", "7"), ("b/2.jpg", "", "")]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("l.txt", "\n", "names no image"),
        ("l.txt", "a\nb\na\n", "names a twice"),
        ("l.csv", "file,person\na,b\n", "names no column path"),
        ("l.csv", "path,person\na,b\n,c\n", "line 3 of .* has no path"),
        ("l.csv", "path,person\n\n\na,b\n,c\n", "line 5 of .* has no path"),
        ("l.csv", "path,person\n", "names no image"),
    ],
)
def test_lists_that_are_none(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        images_of_list(tmp_path / name)


def test_a_list_in_another_encoding(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="is not in UTF-8"):
        images_of_list(tmp_path / "l.txt")


@pytest.mark.parametrize("part", ["query", "gallery", "train"])
def test_a_data_set_in_the_order_of_its_evaluation(synth_tiny, part):
    images = images_of_dataset("SynthReIDTiny", part)
    items = sorted(getattr(load_dataset("SynthReIDTiny", (part,)), part))
    assert [images.file(n) for n in range(len(items))] == [path for path, *_ in items]
    assert [row[1:] for row in images.rows] == [(str(person), str(camera)) for _, person, camera in items]
    assert not any(path.startswith("/") for path, *_ in images.rows)


def test_a_fingerprint_knows_order_and_labels(folder):
    first = images_of_folder(folder).fingerprint()
    (folder / "l.csv").write_text("path\na.jpg\nb/1.PNG\nb/2.jpg\n")
    assert images_of_list(folder / "l.csv").fingerprint() == first
    (folder / "l.csv").write_text("path\nb/1.PNG\na.jpg\nb/2.jpg\n")
    assert images_of_list(folder / "l.csv").fingerprint() != first
    (folder / "l.csv").write_text("path,person\na.jpg,x\nb/1.PNG,\nb/2.jpg,\n")
    assert images_of_list(folder / "l.csv").fingerprint() != first


def test_a_csv_data_set_keeps_its_texts(folder, monkeypatch):
    """As a list of the same images gives them, in every split."""
    monkeypatch.setenv("FASTREID_DATASETS", str(folder.parent))
    monkeypatch.setattr("fastreid_ext.data.datasets.csv_dataset.CSVDataset.folder", folder.name)
    for split in ("train", "query", "gallery"):
        (folder / f"{split}.csv").write_text("path,person,camera\nb/2.jpg,0012,1\na.jpg,jörg,c1\n")
    (folder / "query.csv").write_text("path,person,camera\na.jpg,jörg,7\n")
    for split in ("train", "gallery"):
        rows = images_of_dataset("CSVDataset", split).rows
        assert [row[1:] for row in rows] == [("jörg", "c1"), ("0012", "1")]
    listed = images_of_list(folder / "gallery.csv")
    assert sorted(row[1:] for row in listed.rows) == [("0012", "1"), ("jörg", "c1")]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("0001_c2s1_000151_00.jpg", ("0001", "2")),
        ("0001_c2_f0046182.jpg", ("0001", "2")),
        ("17_c12.png", ("17", "12")),
        ("-1_c3s1_000151_00.jpg", ("", "3")),
        (f"{'9' * 25}_c0_1.jpg", ("9" * 25, "0")),
        ("0001_C2S1_1.JPG", ("0001", "2")),
        ("0000_c2 (1).jpg", ("0000", "2")),
        ("0001_c2x.jpg", ("", "")),
        ("0001_c2é.jpg", ("", "")),
        ("0001_c2\u0663.jpg", ("", "")),
        ("0001_c2story.jpg", ("", "")),
        ("-2_c1.jpg", ("", "")),
        ("0001-c2.jpg", ("", "")),
        ("x0001_c2.jpg", ("", "")),
        ("holiday.jpg", ("", "")),
    ],
)
def test_names_like_market1501s_tell_person_and_camera(tmp_path, caplog, name, labels):
    """The folder's name plays no part."""
    folder = tmp_path / "0007_c5"
    folder.mkdir()
    for image in (name, "other.jpg"):
        Image.new("RGB", (4, 8)).save(folder / image)
    rows = {row[0]: row[1:] for row in images_of_folder(folder).rows}
    assert rows == {name: labels, "other.jpg": ("", "")}
    said = "1 of the 2 images of" in caplog.text and "tell person and camera" in caplog.text
    assert said is (labels != ("", ""))


def test_junk_of_a_list_is_nobody(folder):
    (folder / "l.csv").write_text("path,person,camera\na.jpg,-1,2\nb/2.jpg,-01,2\n")
    assert images_of_list(folder / "l.csv").rows == [("a.jpg", "", "2"), ("b/2.jpg", "-01", "2")]
