"""SynthReID as data sets of the host."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from fastreid.data.datasets import DATASET_REGISTRY

import fastreid_ext  # noqa: F401  registers the data sets
from fastreid_ext.data.datasets.synthreid import VARIANTS
from fastreid_ext.data.synthetic import SIZES, generate


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return str(tmp_path_factory.mktemp("datasets"))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_registered_and_pickles(name):
    cls = DATASET_REGISTRY.get(name)
    assert cls.__name__ == name
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert cls.__doc__


def test_first_use_makes_the_data_and_the_variants_share_it(root):
    holistic = DATASET_REGISTRY.get("SynthReIDTiny")(root=root)
    occluded = DATASET_REGISTRY.get("SynthReIDOccludedTiny")(root=root)
    assert (len(holistic.train), len(holistic.query), len(holistic.gallery)) == (72, 16, 88)
    assert holistic.train == occluded.train and holistic.gallery == occluded.gallery
    assert {Path(item[0]).parent.name for item in holistic.query} == {"query"}
    assert {Path(item[0]).parent.name for item in occluded.query} == {"query_occluded"}
    assert (Path(root) / "SynthReID-tiny" / "meta.json").is_file()


def test_labels_follow_the_convention_of_the_host(root):
    data = DATASET_REGISTRY.get("SynthReIDTiny")(root=root)
    for path, person, camera in data.train:
        wanted = re.search(r"([-\d]+)_c(\d)", Path(path).name).groups()
        assert (person, camera) == (f"synthreid-tiny_{int(wanted[0])}", f"synthreid-tiny_{int(wanted[1]) - 1}")
    for items in (data.query, data.gallery):
        assert all(isinstance(person, int) and camera in range(6) for _, person, camera in items)
        assert [item[0] for item in items] == sorted(item[0] for item in items)
    assert [item[0] for item in data.train] == sorted(item[0] for item in data.train)
    assert not {p.rsplit("_", 1)[1] for _, p, _ in data.train} & {str(p) for _, p, _ in data.gallery}


def test_every_query_finds_its_person_in_another_camera(root):
    for name in ("SynthReIDTiny", "SynthReIDOccludedTiny"):
        data = DATASET_REGISTRY.get(name)(root=root)
        seen = {(person, camera) for _, person, camera in data.gallery}
        for _, person, camera in data.query:
            assert any((person, other) in seen for other in range(6) if other != camera)


def test_modes_and_combineall_of_the_host(root):
    cls = DATASET_REGISTRY.get("SynthReIDTiny")
    assert len(cls(root=root, mode="gallery").data) == 88
    combined = cls(root=root, combineall=True).train
    assert len(combined) == 72 + 16 + 88
    assert len({person for _, person, _ in combined}) == 12 + 8


def test_what_the_command_made_is_used_whatever_its_seed(tmp_path):
    directory = generate(tmp_path, "tiny", seed=3, long_tail=False, workers=1, progress=False)
    before = (directory / "meta.json").stat().st_mtime_ns
    data = DATASET_REGISTRY.get("SynthReIDTiny")(root=str(tmp_path))
    assert data.data_dir == directory
    assert (directory / "meta.json").stat().st_mtime_ns == before


def test_variants_name_each_size_with_both_queries():
    assert {choice.size for choice in VARIANTS.values()} == set(SIZES)
    for size in SIZES:
        assert {choice.query_name for choice in VARIANTS.values() if choice.size == size} == {"query", "query_occluded"}
    assert [name for name, c in VARIANTS.items() if "_b" in c.suffixes] == [
        "SynthReIDBenchB",
        "SynthReIDOccludedBenchB",
    ]


def test_how_much_is_hidden(root, tmp_path):
    data = DATASET_REGISTRY.get("SynthReIDOccludedTiny")(root=root)
    written = json.loads((data.data_dir / "keypoints" / "query_occluded.json").read_text())["images"]
    expected = {image["file_name"]: image["occlusion"] for image in written}
    assert {Path(item[0]).name: data.occlusion_of(item[0]) for item in data.query} == expected
    assert all(0.1 < share < 0.5 for share in expected.values())
    assert {data.occlusion_of(item[0]) for item in DATASET_REGISTRY.get("SynthReIDTiny")(root=root).query} == {0.0}
    assert sum(data.occlusion_of(item[0]) > 0 for item in data.train) == 8


def test_what_is_not_known_of_an_image(root, tmp_path):
    data = DATASET_REGISTRY.get("SynthReIDTiny")(root=root)
    name = Path(data.query[0][0]).name
    assert data.occlusion_of(str(data.query_dirs[0] / "other.jpg")) is None
    assert data.occlusion_of(str(tmp_path / "query" / name)) is None  # a like name in another data set
    assert data.occlusion_of(str(data.data_dir / "elsewhere" / name)) is None


def test_joints_of_every_image(root):
    """COCO's visibility is 0, 1 or 2; hidden joints count half, and joints outside of the image not at all."""
    data = DATASET_REGISTRY.get("SynthReIDOccludedTiny")(root=root)
    poses = data.poses()
    for path, *_ in [*data.train, *data.query, *data.gallery]:
        assert Path(path).relative_to(data.data_dir).as_posix() in poses
    for folder in ("bounding_box_train", "query_occluded"):
        known = json.loads((data.data_dir / "keypoints" / f"{folder}.json").read_text())
        confidences = set()
        for image, annotation in zip(known["images"], known["annotations"], strict=True):
            joints, size = poses.of(f"{folder}/{image['file_name']}")
            assert size == (image["width"], image["height"])
            expected = np.array(annotation["keypoints"], np.float32).reshape(17, 3)
            assert np.array_equal(joints[:, :2], expected[:, :2])
            assert np.array_equal(joints[:, 2], expected[:, 2] / 2)
            confidences |= set(joints[:, 2].tolist())
        assert {0.5, 1.0} <= confidences if folder == "query_occluded" else 1.0 in confidences
