"""FastReID's sets for training alone, and those that it reads from lists."""

import pickle
import random
from pathlib import Path

import pytest
from data_set_trees import TRAINING_TREES, write
from fastreid.data.datasets import DATASET_REGISTRY

from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.datasets import host_classes
from fastreid_ext.data.datasets.host_sets import NAMINGS, NamedImages
from fastreid_ext.data.datasets.listed_sets import READERS

TEST = ("query", "gallery")
GLOB = "[reid] p1_s1 *"


def host_of(name):
    """FastReID's own class, which ours has taken the name of."""
    return DATASET_REGISTRY.get(name).__mro__[2]


def labels(items, root):
    return sorted((str(path).removeprefix(f"{root}/"), *rest) for path, *rest in items)


def test_all_of_fastreids_sets_are_mended():
    own = {name for name, kind in DATASET_REGISTRY._obj_map.items() if kind.__module__.startswith("fastreid.")}
    assert own == set() and set(TRAINING_TREES) == set(NAMINGS)


@pytest.mark.parametrize("name", TRAINING_TREES)
def test_labels_are_fastreids(name, root):
    rows = TRAINING_TREES[name]
    write(root, [row[0] for row in rows])
    theirs = host_of(name)(root=str(root))
    ours = load_dataset(name, ("train",))
    assert isinstance(ours, NamedImages) and isinstance(ours, host_of(name))
    prefix = ours.dataset_name
    right = sorted((path, f"{prefix}_{person}", f"{prefix}_{camera}") for path, person, camera in rows)
    assert labels(ours.train, root) == labels(theirs.train, root) == right
    assert pickle.loads(pickle.dumps(type(ours))) is type(ours)


@pytest.mark.parametrize("name", TRAINING_TREES)
def test_any_suffix_below_any_root(name, root, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(root / GLOB))
    rows = [(str(Path(path).with_suffix(".JPG")), *rest) for path, *rest in TRAINING_TREES[name]]
    write(root / GLOB, [row[0] for row in rows])
    ours = load_dataset(name, ("train",))
    right = [(path, *(f"{ours.dataset_name}_{label}" for label in rest)) for path, *rest in rows]
    assert labels(ours.train, root / GLOB) == sorted(right)


@pytest.mark.parametrize(
    "name", [name for name in TRAINING_TREES if name not in ("PeS3D", "Thermalworld", "LPW", "SYSU_mm")]
)
def test_an_odd_name_is_refused_by_name(name, root):
    rows = TRAINING_TREES[name]
    odd = str(Path(rows[0][0]).with_name("_.png" if name in ("PRID", "VIPeR", "WildTrackCrop") else "x.png"))
    write(root, [*(row[0] for row in rows), odd])
    with pytest.raises(DataSetError, match="the names of 1 images can't be read, the first is") as raised:
        load_dataset(name, ("train",))
    assert odd in str(raised.value) and NAMINGS[name].example in str(raised.value)


def test_a_missing_scene_is_named(root):
    write(root, [row[0] for row in TRAINING_TREES["LPW"] if "scen2" not in row[0]])
    with pytest.raises(DataSetError, match="there is no folder .*data_slim/scen2"):
        load_dataset("LPW", ("train",))


# ---- lists ----------------------------------------------------------------------------------------------------------


def vehicle_id(root):
    split = "vehicleid/train_test_split"
    tests = "".join(f"{vehicle}{shot:02d} {vehicle}\n" for vehicle in range(1, 7) for shot in range(4))
    write(
        root,
        [
            *(f"vehicleid/image/{n:07d}.jpg" for n in (1, 2)),
            (f"{split}/train_list.txt", "0000001 7\r\n\n0000002 8\n\n"),
            *((f"{split}/test_list_{size}.txt", f"{tests}\n") for size in (800, 1600, 2400, 13164)),
        ],
    )


def veri_wild(root):
    split = "VERI-Wild/train_test_split"
    info = "id/image;Camera ID;Time;Model;Type;Colour\n00001/000001;37;t;m;y;c\n\n00002/000002;4;t\n00002/000003;5;t\n"
    write(
        root,
        [
            *(f"VERI-Wild/images/{name}.jpg" for name in ("00001/000001", "00002/000002", "00002/000003")),
            (f"{split}/vehicle_info.txt", info),
            (f"{split}/train_list.txt", "00001/000001.jpg\n\n"),
            *((f"{split}/test_{size}_query.txt", "00002/000002.jpg\n") for size in (3000, 5000, 10000)),
            *((f"{split}/test_{size}.txt", "00002/000003.jpg\n") for size in (3000, 5000, 10000)),
        ],
    )


def airport(root):
    write(root, ["AirportALERT/camera01/11001/a.jpg", ("AirportALERT/filepath.txt", AIRPORT)])


AIRPORT = "camera01\\11001\\a.jpg\r\ncamera02\\00012\\b.jpg\n\n"
MAKERS = {
    name: maker
    for name in READERS
    for key, maker in {"VehicleID": vehicle_id, "VeRiWild": veri_wild}.items()
    if key in name
}
MAKERS["AirportALERT"] = airport


@pytest.mark.parametrize("name", READERS)
def test_lists_with_blank_lines(name, root):
    MAKERS[name](root)
    data = load_dataset(name, ("train",) if name == "AirportALERT" else ("train", *TEST))
    if name == "AirportALERT":
        assert data.train == [(f"{root}/AirportALERT/camera01/11001/a.jpg", "airport_11001", "airport_camera01")]
    elif "VeRiWild" in name:
        assert data.train == [(f"{root}/VERI-Wild/images/00001/000001.jpg", "veriwild_1", "veriwild_37")]
        assert data.query == [(f"{root}/VERI-Wild/images/00002/000002.jpg", 2, 4)]
        assert data.gallery == [(f"{root}/VERI-Wild/images/00002/000003.jpg", 2, 5)]
    else:
        path = f"{root}/vehicleid/image/{{:07d}}.jpg"
        assert data.train == [
            (path.format(1), "vehicleid_7", "vehicleid_1"),
            (path.format(2), "vehicleid_8", "vehicleid_2"),
        ]
        assert sorted(item[1] for item in data.gallery) == [1, 2, 3, 4, 5, 6] and len(data.query) == 18
        assert not {item[0] for item in data.gallery} & {item[0] for item in data.query}


def test_the_gallery_of_vehicleid_is_the_same_in_every_process(root):
    vehicle_id(root)
    drawn = []
    for seed in (1, 2):
        random.seed(seed)
        drawn.append(load_dataset("VehicleID", TEST).gallery)
    assert drawn[0] == drawn[1] and len({item[0][-6:-4] for item in drawn[0]}) > 1  # not each vehicle's first image


BAD = {
    ("VehicleID", "vehicleid/train_test_split/train_list.txt", "0000001\n"): "line 1 of .*train_list.txt can't be read",
    ("VehicleID", "vehicleid/train_test_split/train_list.txt", "0000001 1\n../x 2\n"): "line 2 of .*'../x 2'",
    ("VeRiWild", "VERI-Wild/train_test_split/train_list.txt", "00009/000009.jpg"): "with a line in vehicle_info.txt",
    ("VeRiWild", "VERI-Wild/train_test_split/vehicle_info.txt", "title\n00001/000001"): "line 2 of .*vehicle_info.txt",
    ("AirportALERT", "AirportALERT/filepath.txt", "camera01\\x.jpg"): "line 1 of .*filepath.txt",
}


@pytest.mark.parametrize(("name", "file", "text"), BAD)
def test_a_bad_line_is_named(name, file, text, root):
    MAKERS[name](root)
    (root / file).write_text(text)
    with pytest.raises(DataSetError, match=BAD[name, file, text]):
        load_dataset(name, ("train",))


# ---- a fork's own ---------------------------------------------------------------------------------------------------


def test_only_released_classes_are_replaced(monkeypatch):
    host = host_of("GRID")
    assert host_classes.as_released(host) is host
    assert host_classes.as_released(DATASET_REGISTRY.get("GRID")) is None  # ours
    monkeypatch.setitem(host_classes.RELEASED, "grid", "another hash")
    assert host_classes.as_released(host) is None and host_classes.mend("GRID", NamedImages) is None
    assert host_classes.mend("NoSuchSet", NamedImages) is None
    assert issubclass(DATASET_REGISTRY.get("GRID"), NamedImages)
