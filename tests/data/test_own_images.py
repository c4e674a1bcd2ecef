"""Someone's own images as a CSV set: folders per person, Market1501's names, and listings."""

import json
import os

import pytest
from PIL import Image

from fastreid_ext.data.datasets.csv_dataset import CSVDataset
from fastreid_ext.data.own_images.entries import Entry
from fastreid_ext.data.own_images.folder import csv_path
from fastreid_ext.data.own_images.layouts import list_entries
from fastreid_ext.data.own_images.making import make_csv_set
from fastreid_ext.data.own_images.splitting import split_entries
from fastreid_ext.errors import ConfigError, FileError


@pytest.fixture
def grow(root):
    """Make images, each of its own bytes, below a folder ``people``; returns it."""

    def make(*names):
        for place, name in enumerate(names):
            path = root / "people" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 8), (place, len(name), 9)).save(path, "PNG")
        return root / "people"

    return make


def listed(listing):
    return {entry.name: (entry.person, entry.camera) for entry in listing.entries}


def entries(**persons):
    """``anna=["1", "2"]``: an entry per camera."""
    return [
        Entry(f"/x/{person}{number}", f"{person}{number}", person, camera)
        for person, cameras in persons.items()
        for number, camera in enumerate(cameras)
    ]


def names(found):
    return [entry.name for entry in found]


# ---- layouts --------------------------------------------------------------------------------------------------------


def test_a_folder_per_person_without_cameras(grow):
    source = grow("anna/1.jpg", "anna/deep/2.PNG", "bo/x.jpeg", "loose.jpg", "bo/.hidden.jpg", "bo/notes.txt")
    os.mkfifo(source / "bo" / "pipe.jpg")
    listing = list_entries(source)
    assert listing.layout == "folders"
    assert listed(listing) == {"anna/1.jpg": ("anna", ""), "anna/deep/2.PNG": ("anna", ""), "bo/x.jpeg": ("bo", "")}
    assert dict(listing.left_out) == {
        "not in the folder of a person": ["loose.jpg"],
        "hidden": ["bo/.hidden.jpg"],
        "not named like an image": ["bo/notes.txt"],
        "no file": ["bo/pipe.jpg: a FIFO"],
    }
    assert any("that person's (--cameras folders" in said for said in listing.said)


def test_a_folder_per_person_whose_names_tell_the_camera(grow):
    source = grow("anna/c1_001.jpg", "anna/x_c12.jpg", "bo/0002_C3s1.jpg")
    assert listed(list_entries(source)) == {
        "anna/c1_001.jpg": ("anna", "1"),
        "anna/x_c12.jpg": ("anna", "12"),
        "bo/0002_C3s1.jpg": ("bo", "3"),
    }
    grow("bo/plain.jpg")
    grow("bo/x_c1a2f.jpg")  # a hash
    listing = list_entries(source)
    assert {camera for _, camera in listed(listing).values()} == {""}
    assert any("3 of 5 file names tell a camera" in said and "bo/plain.jpg" in said for said in listing.said)
    listing = list_entries(source, cameras="names")
    assert dict(listing.left_out) == {"its name tells no camera, such as _c1": ["bo/plain.jpg", "bo/x_c1a2f.jpg"]}


def test_folders_of_cameras(grow):
    source = grow("anna/door/1.jpg", "anna/hall/2.jpg", "bo/3.jpg")
    listing = list_entries(source, cameras="folders")
    assert listed(listing) == {"anna/door/1.jpg": ("anna", "door"), "anna/hall/2.jpg": ("anna", "hall")}
    assert names_of(listing, "not in the folder of a camera below that of a person") == ["bo/3.jpg"]


def names_of(listing, reason):
    return listing.left_out[reason]


@pytest.mark.parametrize("folder", ["", "images/"])
def test_names_of_market1501(folder, grow):
    """A folder with several persons is no person's; 0 is nobody, -1 is junk."""
    source = grow(*(f"{folder}{name}" for name in ("0001_c12s1_7.jpg", "1_c3.jpg", "0000_c1.jpg", "-1_c2.jpg")))
    listing = list_entries(source)
    assert listing.layout == "market"
    assert {name.removeprefix(folder): labels for name, labels in listed(listing).items()} == {
        "0001_c12s1_7.jpg": ("0001", "12"),
        "1_c3.jpg": ("1", "3"),
        "0000_c1.jpg": ("0000", "1"),
    }
    assert [entry.person for entry in listing.entries if entry.distractor] == ["0000"]
    assert names_of(listing, "junk, the person -1") == [f"{folder}-1_c2.jpg"]


def test_market1501s_own_split_is_kept(grow):
    """Other folders, as of hand-drawn boxes, are left out, and the person 0 is not trained on."""
    source = grow("bounding_box_train/0001_c1.jpg", "query/0002_c1.jpg", "bounding_box_test/0002_c2.jpg")
    grow("gt_bbox/0001_c1.jpg", "bounding_box_train/0000_c1.jpg", "bounding_box_test/odd.jpg")
    listing = list_entries(source)
    assert sorted(listing.left_out.values()) == [
        ["bounding_box_test/odd.jpg"],
        ["bounding_box_train/0000_c1.jpg"],
        ["gt_bbox/0001_c1.jpg"],
    ]
    split = split_entries(listing.entries)
    assert [names(split.of(part)) for part in ("train", "query", "gallery")] == [
        ["bounding_box_train/0001_c1.jpg"],
        ["query/0002_c1.jpg"],
        ["bounding_box_test/0002_c2.jpg"],
    ]
    assert len(split_entries(listing.entries, test_share=1).query) == 1  # asked for, it is drawn anew


def test_listings(root, grow):
    grow("a.jpg", "b.jpg")
    rows = "person;camera;path\n0001;door;people/a.jpg\n1;;people/b.jpg\n-1;x;people/c.jpg\n"
    (root / "list.csv").write_text(rows)
    listing = list_entries(root / "list.csv")
    assert listed(listing) == {"people/a.jpg": ("0001", "door"), "people/b.jpg": ("1", "")}
    assert [entry.path for entry in listing.entries] == [root / "people/a.jpg", root / "people/b.jpg"]
    (root / "list.json").write_text(json.dumps([{"path": "a.jpg", "person": 7, "camera": 12345678901234567890123}]))
    assert listed(list_entries(root / "list.json")) == {"a.jpg": ("7", "12345678901234567890123")}
    (root / "list.json").write_text(json.dumps({"anna": ["a.jpg"], "bo": ["b.jpg"]}))
    assert listed(list_entries(root / "list.json")) == {"a.jpg": ("anna", ""), "b.jpg": ("bo", "")}
    (root / "list.csv").write_text("path,person,split\na.jpg,anna,query\nb.jpg,anna,gallery\n")
    split = split_entries(list_entries(root / "list.csv").entries)
    assert (names(split.query), names(split.gallery)) == (["a.jpg"], ["b.jpg"])


LISTINGS = {
    "no column": ("x.csv", "path,name\na.jpg,anna\n", "names no column person"),
    "no person": ("x.csv", "path,person\na.jpg,\n", "line 2 of .*x.csv has no person"),
    "split": ("x.csv", "path,person,split\na.jpg,anna,test\n", "has the split 'test': it is train, query or gallery"),
    "some splits": ("x.csv", "path,person,split\na.jpg,anna,train\nb.jpg,bo,\n", "has the split ''"),
    "nothing": ("x.csv", "path,person\n", "names no image"),
    "number": ("x.json", '[{"path": "a.jpg", "person": 1.5}]', "has the person 1.5: it should be text"),
    "flag": ("x.json", '[{"path": "a.jpg", "person": true}]', "has the person True"),
    "no list": ("x.json", "7", "has 7 where a list should be"),
    "no object": ("x.json", "[7]", "entry 1 of .*x.json is 7"),
    "no JSON": ("x.json", "[", "is not a JSON file"),
    "line break": ("x.json", '[{"path": "a\\nb.jpg", "person": "a"}]', "has a line break"),
    "blank": ("x.json", '[{"path": "a.jpg", "person": "a "}]', "begins or ends with a blank"),
}


@pytest.mark.parametrize("case", LISTINGS)
def test_listings_that_are_refused(case, root):
    name, text, said = LISTINGS[case]
    (root / name).write_text(text)
    with pytest.raises((ConfigError, FileError), match=said):
        list_entries(root / name)


def test_folders_that_are_refused(grow, root):
    for name, said in {"train/anna/1.jpg": "train, which are no persons", "train/bo/1.jpg": "no persons"}.items():
        with pytest.raises(ConfigError, match=said):
            list_entries(grow(name))
    (root / "empty").mkdir()
    (root / "empty" / "a.txt").touch()
    with pytest.raises(ConfigError, match="holds no image .1 not named like an image"):
        list_entries(root / "empty")
    with pytest.raises(ConfigError, match="there is no folder or listing"):
        list_entries(root / "nowhere")


def test_names_that_are_not_utf8_are_refused_at_the_start(root):
    folder = os.fsencode(root) + b"/people/anna"
    os.makedirs(folder)
    open(folder + b"/\xff.jpg", "wb").close()
    with pytest.raises(ConfigError, match=r"'anna/\\udcff.jpg' is not in UTF-8: rename it"):
        list_entries(root / "people")


def test_folders_linked_in_a_circle(grow):
    source = grow("anna/1.jpg", "bo/2.jpg")
    (source / "anna" / "again").symlink_to(source)
    listing = list_entries(source)
    assert sorted(listed(listing)) == ["anna/1.jpg", "bo/2.jpg"]
    assert list(listing.left_out.values()) == [["anna/again"]]


# ---- query and gallery ----------------------------------------------------------------------------------------------


def test_queries_by_camera():
    """One query per person and camera, as long as another camera's image of the person stays in the gallery."""
    split = split_entries(entries(a="1122", b="12", c="1123", d="11"), test_share=1)
    assert names(split.query) == ["a0", "a2", "b1", "c2", "c3"]
    assert names(split.gallery) == ["a1", "a3", "b0", "c0", "c1", "d0", "d1"]
    assert not split.train
    for query in split.query:
        assert any(g.person == query.person and g.camera != query.camera for g in split.gallery)
    assert any("1 of 4 test persons are not seen by two cameras" in said for said in split.said)


@pytest.mark.parametrize("cameras", [["", "", ""], ["7", "7", "7"], ["1", "", "2"]])
def test_without_cameras(cameras):
    split = split_entries(entries(a=cameras, b=cameras[:1]), test_share=1)
    assert [(e.name, e.camera) for e in split.query] == [("a0", "0")]
    assert [(e.name, e.camera) for e in split.gallery] == [("a1", "1"), ("a2", "1"), ("b0", "1")]
    assert any("written as 0 for queries and training and 1 for the gallery" in said for said in split.said)


def test_who_is_tested_depends_on_name_and_seed_alone():
    found = entries(**{f"p{number}": "12" for number in range(10)})
    tested = {e.person for e in split_entries(found, 0.3).query}
    assert len(tested) == 3 and tested == {e.person for e in split_entries(found[::-1], 0.3).query}
    assert tested < {e.person for e in split_entries(found, 0.6).query}
    assert tested != {e.person for e in split_entries(found, 0.3, seed=1).query}
    train = split_entries(found, 0.3).train
    assert {e.person for e in train} == {e.person for e in found} - tested and len(train) == 14
    assert {e.person for e in split_entries(found).query} > tested  # half
    assert len({e.person for e in split_entries(found, 0.001).query}) == 1
    assert not split_entries(found, 0).query


def test_distractors_are_in_the_gallery_alone():
    nobody = [Entry(f"/x/n{camera}", f"n{camera}", "0000", camera, distractor=True) for camera in "1122"]
    for seed in range(4):
        split = split_entries([*entries(a="12", b="12"), *nobody], 0.5, seed)
        assert len(split.gallery) == 5 and {e.person for e in split.train + split.query} == {"a", "b"}


def test_a_test_without_a_query_is_refused():
    with pytest.raises(ConfigError, match="none of the 2 test persons is seen by two cameras.*--cameras none"):
        split_entries(entries(a="11", b="22"), 1)
    with pytest.raises(ConfigError, match="1 person can't be split"):
        split_entries(entries(a="12"), 0.5)
    with pytest.raises(ConfigError, match="no image is left"):
        split_entries([])


# ---- the folder -----------------------------------------------------------------------------------------------------


def write(path, colour):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 8), colour).save(path, "PNG")


def test_what_is_written_is_read_back(root, grow):
    source = grow(
        *(
            f"{person}/c{camera}_{n}.jpg"
            for person in ("anna", "bo, jr", "1", "01")
            for camera in (1, 2)
            for n in (0, 1)
        )
    )
    split, report = make_csv_set(source, root / "shop")
    data = type("Shop", (CSVDataset,), {"folder": "shop"})(root=str(root))
    for part in ("train", "query", "gallery"):
        assert [(os.path.realpath(path), *labels) for path, *labels in data.read_words(part)] == sorted(
            (str(e.path), e.person, e.camera) for e in split.of(part)
        )
    assert report["splits"]["query"] == {"images": 4, "persons": 2, "cameras": 2}
    assert [w for w in report["warnings"] if "01, 1" in w]
    assert json.loads((root / "shop" / "report.json").read_text()) == report
    assert "| query | 4 | 2 | 2 |" in (root / "shop" / "report.md").read_text()
    assert sorted(path.name for path in (root / "shop").iterdir()) == [
        *("gallery.csv", "query.csv", "report.json", "report.md", "train.csv")
    ]


def test_copies(root):
    people = root / "people"
    for n, name in enumerate(("anna/c1_a.jpg", "anna/c2_b.jpg", "bo/c1_c.jpg", "bo/c2_d.jpg", "bo/c2_e.jpg")):
        write(people / name, (n, 0, 0))
    write(people / "anna/c3_copy.jpg", (0, 0, 0))  # of anna/c1_a
    write(people / "cid/c1_x.jpg", (4, 0, 0))  # of bo/c2_e
    os.link(people / "bo/c1_c.jpg", people / "bo/c9_link.jpg")
    (people / "bo/c1_torn.jpg").write_bytes(b"\x89PNG")
    (people / "bo/c1_gone.jpg").symlink_to("nowhere.jpg")
    split, report = make_csv_set(people, root / "shop", test_share=1)
    taken = names(split.query + split.gallery)
    assert sorted(taken) == ["anna/c1_a.jpg", "anna/c2_b.jpg", "bo/c1_c.jpg", "bo/c2_d.jpg"]
    assert report["left_out"] == {
        "a copy of another image of the person": ["anna/c3_copy.jpg", "bo/c9_link.jpg"],
        "not there, or no file": ["bo/c1_gone.jpg"],
        "the same image under several persons": ["bo/c2_e.jpg", "cid/c1_x.jpg"],
        "unreadable as an image": ["bo/c1_torn.jpg"],
    }
    (warning,) = report["warnings"]
    assert warning.endswith("bo/c2_e.jpg (person bo), cid/c1_x.jpg (person cid)")


def test_a_copy_of_a_query_is_the_query_alone(root):
    for n, name in enumerate(("bounding_box_test/0001_c2.jpg", "query/0001_c1.jpg", "bounding_box_test/0001_c3.jpg")):
        write(root / "m" / name, (n % 2, 0, 0))
    write(root / "m" / "bounding_box_test/0001_c4.jpg", (1, 0, 0))
    split, _ = make_csv_set(root / "m", root / "out")
    assert names(split.query) == ["query/0001_c1.jpg"] and names(split.gallery) == ["bounding_box_test/0001_c2.jpg"]


def test_only_what_is_told_to_is_replaced(root, grow):
    source = grow("anna/1.jpg", "anna/2.jpg", "bo/3.jpg", "bo/4.jpg")
    make_csv_set(source, root / "shop")
    with pytest.raises(ConfigError, match="already has train.csv, query.csv, gallery.csv: .* by --overwrite"):
        make_csv_set(source, root / "shop", test_share=1)
    make_csv_set(source, root / "shop", test_share=1, overwrite=True)
    assert not (root / "shop" / "train.csv").exists()  # nobody is trained on now
    assert len(load_dataset_at(root / "shop").query) == 2


def load_dataset_at(folder):
    return type("Own", (CSVDataset,), {"folder": str(folder)})(root=".")


@pytest.mark.parametrize("below", ["", "lists"])
def test_the_result_may_lie_among_the_images(below, root, grow):
    source = grow("anna/1.jpg", "anna/2.jpg", "bo/3.jpg", "bo/4.jpg")
    make_csv_set(source, source / below)
    write(source / below / "contact_sheet.png", (9, 9, 9))
    _, report = make_csv_set(source, source / below, overwrite=True)
    assert report["left_out"] == {} and report["splits"]["train"]["images"] == 2


def test_paths_are_relative_where_folders_are_shared(root, tmp_path):
    (root / "a").mkdir()
    assert csv_path(root / "a" / "x.jpg", root / "lists") == "../a/x.jpg"
    assert csv_path(root / "a" / "x.jpg", root / "a") == "x.jpg"
    assert csv_path(root / "a" / "x.jpg", type(root)("/dev/lists")) == str(root / "a" / "x.jpg")
    (root / "link").symlink_to(root / "a")  # the file system follows it before it goes up
    assert csv_path(root / "a" / "x.jpg", root / "link" / "below") == "../x.jpg"


def test_images_in_the_folder_of_the_result_are_named(grow):
    source = grow(*(f"{person}/{number}.png" for person in "abc" for number in (1, 2)))
    split, report = make_csv_set(source, source / "a")
    assert {entry.person for name in ("train", "query", "gallery") for entry in split.of(name)} == {"b", "c"}
    assert {reason: names for reason, names in report["left_out"].items() if "in --output" in reason} == {
        "in --output, which holds the result and no images": ["a/1.png", "a/2.png"]
    }


def test_a_folder_named_like_a_part_of_a_set_is_said(grow):
    assert any("train is taken for a person" in said for said in list_entries(grow("train/1.png", "bo/1.png")).said)


def test_an_odd_name_beside_those_of_market1501(grow):
    source = grow("0001_c1.png", "0001_c2.png", "0003.png")
    said = r"2 of the 3 images of .* have names like 0001_c1_2.jpg, .* such as '0003.png'.* --layout market"
    with pytest.raises(ConfigError, match=said):
        list_entries(source)
    assert len(list_entries(source, "market").entries) == 2


def test_a_person_twice_in_json(root):
    """JSON's own reader keeps the last one and drops the images of the first."""
    (root / "l.json").write_text('{"anna": ["a.png"], "bob": ["b.png"], "anna": ["c.png"]}')
    with pytest.raises(FileError, match="it has 'anna' twice in one object"):
        list_entries(root / "l.json")
