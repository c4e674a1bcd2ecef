"""SynthReID's worlds: the same bytes, nothing in common but the body, and annotations that mean what they say."""

import collections
import dataclasses
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastreid.data.datasets import DATASET_REGISTRY

import fastreid_ext  # noqa: F401  registers the data sets
from fastreid_ext.config import get_cfg
from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.data.datasets.synthreid import VARIANTS
from fastreid_ext.data.synthetic import contact_sheet, generate, splits, writer
from fastreid_ext.data.synthetic.occluders import OCCLUDERS
from fastreid_ext.data.synthetic.seeds import random_state
from fastreid_ext.data.synthetic.sizes import SIZES
from fastreid_ext.data.synthetic.skeleton import Pose
from fastreid_ext.data.synthetic.worlds import scene
from fastreid_ext.data.synthetic.worlds.catalogue import WORLDS
from fastreid_ext.data.synthetic.worlds.cloth import paint
from fastreid_ext.data.synthetic.worlds.dressed import add_walker
from fastreid_ext.data.synthetic.worlds.floors import FLOORS
from fastreid_ext.data.synthetic.worlds.lens import Lens
from fastreid_ext.data.synthetic.worlds.surface import Section, Strip, Surface
from fastreid_ext.data.synthetic.worlds.walker import sample_walker
from fastreid_ext.data.synthetic.worlds.walls import WALLS
from fastreid_ext.data.synthetic.worlds.wardrobe import CUTS
from fastreid_ext.engine.loaders import eval_loader

TINY, WIDE = SIZES["wide_tiny"], SIZES["wide"]
# Of one image of each world and each occluder. A change needs a new ``sizes.WORLDS_VERSION``.
GOLDEN_IMAGES = "882a4602befe49a0"


def pictures(size=TINY, worlds=tuple(WORLDS), count=6, occluder=None):
    """``count`` pictures of different people in each world: (world, picture)."""
    for world in worlds:
        for index in range(count):
            rng = random_state("worlds", world, index)
            kind = occluder[index % len(occluder)] if occluder else None
            yield world, scene.render_in_world(0, index + 1, world, index % 6 + 1, kind, rng, size)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    generate(folder, "wide_tiny", workers=2, progress=False)
    return folder


# --- the same bytes


def test_golden_images():
    digest = hashlib.sha256()
    for world, picture in pictures(count=3, occluder=("car", "plant", "person")):
        digest.update(world.encode() + picture.jpeg)
    assert digest.hexdigest()[:16] == GOLDEN_IMAGES


def test_other_processes_and_caches_do_not_change_a_picture(root):
    """Two workers wrote the set; here one process takes some of its shots in another order, with empty caches."""
    scene.dressed.cache_clear()
    scene.stranger.cache_clear()
    shots = splits.plan(TINY, 0, True)[::-41]
    assert len({shot.world for shot in shots}) == len(WORLDS)
    for shot in shots:
        written = root / "SynthReID-wide_tiny" / shot.directory / shot.file_name
        assert written.read_bytes() == writer.take(shot, TINY, 0).jpeg


def test_global_random_state_is_neither_used_nor_changed():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    shot = splits.plan(TINY, 0, True)[0]
    first = writer.take(shot, TINY, 0).jpeg
    np.random.seed(6)
    assert writer.take(shot, TINY, 0).jpeg == first
    np.random.seed(5)
    assert np.array_equal(before, np.random.get_state()[1])


# --- nothing in common


def sets_of(world):
    """What a world must not share, by kind."""
    palette = world.palette
    return {
        "colours of clothes": {colour for group in palette.groups for colour in group},
        "walls": {part.wall for part in world.scenes.values()},
        "floors": {part.floor for part in world.scenes.values()},
        "colours of scenes": {c for part in world.scenes.values() for c in (*part.wall_colours, *part.floor_colours)},
        "cameras": {dataclasses.astuple(camera)[1:] for camera in world.cameras},
        "light": {world.light},
        "noise": {world.optics},
        "tints": {world.tints},
    }


@pytest.mark.parametrize("kind", sets_of(next(iter(WORLDS.values()))))
def test_no_two_worlds_share_anything(kind):
    counts = collections.Counter(item for world in WORLDS.values() for item in sets_of(world)[kind])
    assert len(counts) >= len(WORLDS)
    assert [item for item, count in counts.items() if count > 1] == []


def test_every_world_is_complete():
    for name, world in WORLDS.items():
        assert world.name == name and name.isalpha() and name.islower()
        assert len(world.cameras) == 6
        assert {camera.background for camera in world.cameras} == set(world.scenes)
        assert set(world.cuts) <= set(CUTS)
        assert {part.wall for part in world.scenes.values()} <= set(WALLS)
        assert {part.floor for part in world.scenes.values()} <= set(FLOORS)
        assert WIDE.test_sets[WIDE.worlds.index(name)] == f"_{name}"


def test_identities_are_dealt_out_evenly_and_stay_in_their_world():
    shots = splits.plan(WIDE, 0, True)
    worlds = collections.defaultdict(set)
    for shot in shots:
        worlds[shot.identity].add((shot.world, shot.directory if shot.directory == splits.TRAIN else "test"))
        if shot.directory != splits.TRAIN:
            assert shot.directory.endswith(f"_{WIDE.worlds[shot.world]}")
    assert all(len(found) == 1 for found in worlds.values())
    counts = collections.Counter(next(iter(found)) for found in worlds.values())
    expected = {splits.TRAIN: 800, "test": 150}
    assert counts == {(i, part): count for i in range(len(WORLDS)) for part, count in expected.items()}


# --- who is drawn


def test_most_wear_dark_clothes_that_differ_in_cut():
    people = [sample_walker(random_state("w", i), world) for world in WORLDS.values() for i in range(150)]
    dark = [max(p.upper) < 95 for p in people]
    assert 0.4 < np.mean(dark) < 0.8
    assert len({p.upper for p in people}) > 0.95 * len(people)  # no palette of five
    of_dark = [p for p, is_dark in zip(people, dark, strict=True) if is_dark]
    assert len({(p.cut_name, p.lower_name, p.shoe_name, p.hair_name, p.bag) for p in of_dark}) > 0.9 * len(of_dark)
    assert all(0 <= c <= 255 for p in people for c in (*p.upper, *p.lower, *p.skin, *p.shoe, *p.bag_colour))


def test_skin_tone_and_build_are_independent_of_the_world_and_recorded():
    lightness = {}
    for index in range(60):
        tones = {sample_walker(random_state("s", index), world).skin_tone for world in WORLDS.values()}
        assert len(tones) == 1  # drawn before anything that a world decides
        walker = sample_walker(random_state("s", index), WORLDS["street"])
        lightness[walker.skin_tone] = sum(walker.skin)
    ordered = [lightness[tone] for tone in sorted(lightness)]
    assert all(a >= b - 6 for a, b in zip(ordered, ordered[1:], strict=False))  # rounding moves a level a channel
    _, picture = next(iter(pictures(count=1)))
    walker, _ = scene.dressed(0, 1, "street")
    assert picture.traits == {"world": "street", "skin_tone": walker.skin_tone, "build": round(walker.build, 3)}


def test_clothes_stay_and_bags_come_and_go(monkeypatch):
    seen = []
    real = scene.add_walker
    monkeypatch.setattr(scene, "add_walker", lambda *a: seen.append((a[2], a[3], a[5])) or real(*a))
    monkeypatch.setattr(scene, "add_crowd", lambda *a: None)
    for index in range(12):
        scene.render_in_world(0, 7, "night", 1, None, random_state("bag", index), TINY)
    assert len({walker for walker, _, _ in seen}) == 1 and len({id(texture) for _, texture, _ in seen}) == 1
    assert {with_bag for _, _, with_bag in seen} == {True, False}


# --- annotations


def test_joints_are_where_the_body_is():
    body = [COCO_JOINTS.index(name) for name in COCO_JOINTS[5:]]
    found = []
    for index in range(40):
        world = list(WORLDS.values())[index % len(WORLDS)]
        rng = random_state("joints", index)
        walker, pose = sample_walker(rng, world), scene.world_pose(rng)
        lens = Lens(64, 245, 220, pose.heading, rng.uniform(0.05, 0.55), rng.uniform(2.5, 9))
        surface = Surface(256, 128)
        joints = np.array(add_walker(surface, lens, walker, paint(walker), pose, False, False))
        for x, y in np.floor(joints[body] + 0.5).astype(int):
            if 0 <= x < 128 and 0 <= y < 256:
                found.append(surface.mask[y, x])
        assert joints[COCO_JOINTS.index("nose"), 1] < joints[COCO_JOINTS.index("left_hip"), 1]
    assert np.mean(found) > 0.98


@pytest.mark.parametrize(("heading", "sign"), [(0.0, 1), (np.pi, -1)])
def test_left_is_right_in_the_picture_of_who_faces_us(heading, sign):
    walker = sample_walker(random_state("left"), WORLDS["street"])
    lens = Lens(64, 245, 220, heading, 0.3, 5.0)
    pose = Pose(heading, 0.7, 0.4, (0.3, 0.3), 0.1, 0.0)
    joints = np.array(add_walker(Surface(256, 128), lens, walker, paint(walker), pose, False, False))
    for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        left, right = (COCO_JOINTS.index(f"{side}_{part}") for side in ("left", "right"))
        assert np.sign(joints[left, 0] - joints[right, 0]) == sign


def test_boxes_and_joints_fit_and_crops_differ():
    heights, outside = [], 0
    for _, picture in pictures(count=12):
        left, top, width, height = picture.bbox
        assert left >= 0 and top >= 0 and left + width <= TINY.width and top + height <= TINY.height
        x, y, visibility = picture.joints.T
        seen = visibility > 0
        assert seen.sum() >= 8 and (visibility != 1).all()
        outside += np.count_nonzero(~seen)
        # A joint in sight lies in the box; eyes and ears may stand out of the face by a pixel.
        assert (x[seen] >= left - 2).all() and (x[seen] <= left + width + 2).all()
        assert (y[seen] >= top - 2).all() and (y[seen] <= top + height + 2).all()
        heights.append(height / TINY.height)
    assert outside > 10  # some feet and heads are cut off
    assert min(heights) < 0.85 and max(heights) == 1.0


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_hidden_share_and_hidden_joints_of_each_occluder(kind):
    found = [picture for _, picture in pictures(count=3, occluder=(kind,))]
    assert all(0.0 < picture.occlusion < 0.7 for picture in found)
    assert 0.1 < np.median([picture.occlusion for picture in found]) < 0.46
    assert sum(np.count_nonzero(picture.joints[:, 2] == 1) for picture in found) > 8


def test_who_is_labelled_is_the_largest_and_most_central(monkeypatch):
    """Even in boxes that are shifted far to one side."""
    lenses, others, places = [], [], []
    real_aim, real_layer, real_paste = scene.aim, scene.stranger_layer, scene.paste
    monkeypatch.setattr(scene, "aim", lambda *a: lenses.append(real_aim(*a).moved(6, 0)) or lenses[-1])
    monkeypatch.setattr(scene, "stranger_layer", lambda *a: others.append((a[0], real_layer(*a))) or others[-1][1])
    monkeypatch.setattr(scene, "paste", lambda *a: places.append((a[2], a[3])) or real_paste(*a))
    crowded = 0
    for index in range(40):
        del lenses[:], others[:], places[:]
        scene.render_in_world(0, index, "station", index % 6 + 1, None, random_state("crowd", index), TINY)
        *behind, own = places  # the labelled person comes last, over all others
        assert own == (0, 0) and len(behind) == len(others)
        middle = TINY.width / 2
        for (scale, (_, feet_x, _)), (left, _) in zip(others, behind, strict=True):
            crowded += 1
            assert scale < lenses[0].scale
            assert abs(left + feet_x - middle) > abs(lenses[0].x - middle) - 1
            assert abs(left + feet_x - lenses[0].x) > 0.2 * TINY.width
    assert crowded > 10


# --- solid shapes


def test_what_is_nearer_hides_what_is_farther():
    strips = Strip(0, 8), Strip(8, 8)
    for order in ((0, 1), (1, 0)):
        surface = Surface(64, 64)
        for index in order:
            near = 0.2 * index
            surface.limb((32, 8, near, 60), (32, 56, near, 60), (0.1, 0.1), strips[index], (0, 7))
        assert surface.texel[32, 32] >= 8 * 256  # the second strip, whichever came last


def test_a_trunk_shows_its_front_to_who_faces_it():
    """The middle column of the texture faces the camera at heading 0, and a quarter later at the body's left."""
    sections = [Section(0.8, 0.1, 0.1), Section(0.2, 0.1, 0.1)]
    for heading, column in ((0.0, 128), (-np.pi / 2, 192), (np.pi / 2, 64)):
        surface = Surface(128, 64)
        surface.trunk(Lens(32, 120, 110, heading, 0.0, 50.0), sections, Strip(0, 200), 0.8)
        assert abs((surface.texel[64, 32] & 255) - column) <= 3


# --- on disk


def test_annotations_record_the_world_skin_tone_and_build(root):
    folder = root / "SynthReID-wide_tiny"
    known = json.loads((folder / "keypoints" / "bounding_box_train.json").read_text())["images"]
    of_person = collections.defaultdict(set)
    for image in known:
        sequence = int(image["file_name"].split("s")[1][0])
        assert image["world"] == TINY.worlds[sequence - 1]
        of_person[image["person_id"]].add((image["world"], image["skin_tone"], image["build"]))
    assert len(of_person) == TINY.train_identities and all(len(found) == 1 for found in of_person.values())
    meta = json.loads((folder / "meta.json").read_text())
    assert meta["renderer"] == TINY.renderer


def test_reports_group_queries_by_skin_tone_and_build(root, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(root))
    cfg = get_cfg()
    cfg.merge_from_list(["DATALOADER.NUM_WORKERS", 0, "MODEL.DEVICE", "cpu"])
    data = DATASET_REGISTRY.get("SynthReIDWideTiny")(root=str(root))
    images = eval_loader(cfg, "SynthReIDWideTiny")[0].dataset
    queries = [item[0] for item in images.img_items[: len(data.query)]]
    for trait in ("skin tone", "build"):
        groups = [group for group in images.groups if group.label.startswith(trait)]
        assert len(groups) == 3 and (sum(group.members.astype(int) for group in groups) == 1).all()
        values = [{data.traits_of(queries[place])[trait] for place in np.flatnonzero(g.members)} for g in groups]
        assert max(values[0]) <= min(values[1]) and max(values[1]) <= min(values[2]) and values[0] != values[2]
    assert data.traits_of(str(root / "elsewhere" / "query_night" / Path(queries[0]).name)) == {}
    cfg.TEST.REPORT.ENABLED = False
    assert not eval_loader(cfg, "SynthReIDWideTiny")[0].dataset.groups


@pytest.mark.parametrize("world", WORLDS)
def test_leave_one_world_out(root, world):
    name = world.capitalize()
    every = DATASET_REGISTRY.get("SynthReIDWideTiny")(root=str(root))
    others = DATASET_REGISTRY.get(f"SynthReIDWideTinyNo{name}")(root=str(root))
    alone = DATASET_REGISTRY.get(f"SynthReIDWideTiny{name}")(root=str(root))
    assert not {person for _, person, _ in others.train} & {person for _, person, _ in alone.train}
    assert not {camera for _, _, camera in others.train} & {camera for _, _, camera in alone.train}
    assert sorted(others.train + alone.train) == every.train
    assert others.gallery == alone.gallery and others.query == alone.query and len(alone.query) == 8
    assert {Path(item[0]).parent.name for item in alone.query} == {f"query_{world}"}
    assert set(alone.gallery) < set(every.gallery) and len(every.gallery) == len(WORLDS) * len(alone.gallery)
    number = list(WORLDS).index(world)
    assert {camera // 6 for _, _, camera in alone.gallery} == {number}


def test_occluded_queries_of_a_world(root):
    data = DATASET_REGISTRY.get("SynthReIDOccludedWideTinyNoNight")(root=str(root))
    assert {Path(item[0]).parent.name for item in data.query} == {"query_occluded_night"}
    assert all(data.occlusion_of(item[0]) > 0 for item in data.query)
    assert {f"SynthReIDWide{end}" for end in ("", "Night", "NoNight")} < set(VARIANTS)


def test_a_sheet_shows_each_world_in_turn(root):
    folder = root / "SynthReID-wide_tiny"
    sheet = contact_sheet(folder, columns=3, rows=4)
    assert sheet.shape == (4 * TINY.height, 3 * TINY.width, 3)
    for row, suffix in enumerate(sorted(TINY.test_sets)):
        own = contact_sheet(folder, columns=3, rows=1, test_set=suffix)
        assert np.array_equal(own, sheet[row * TINY.height : (row + 1) * TINY.height])
    assert cv2.imencode(".png", sheet)[0]
