"""SynthReID's drawing: deterministic, atomic, with joints and occluders that mean what they say."""

import collections
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import fastreid_ext.data.synthetic as synthetic
from fastreid_ext import files
from fastreid_ext.cli import main
from fastreid_ext.data.body import COCO_JOINTS, COCO_SKELETON
from fastreid_ext.data.synthetic import cameras, render, splits, writer
from fastreid_ext.data.synthetic.backgrounds import BACKGROUNDS, draw_background
from fastreid_ext.data.synthetic.canvas import OCCLUDER, PERSON, Canvas
from fastreid_ext.data.synthetic.figure import draw_person
from fastreid_ext.data.synthetic.occluders import OCCLUDERS, draw_occluder
from fastreid_ext.data.synthetic.person import Person, sample_person
from fastreid_ext.data.synthetic.seeds import pick, random_state
from fastreid_ext.data.synthetic.sizes import SIZES, size_named
from fastreid_ext.data.synthetic.skeleton import Pose, View, sample_pose
from fastreid_ext.errors import FileError

TINY = SIZES["tiny"]
JOINT = {name: index for index, name in enumerate(COCO_JOINTS)}

# Of seven images, with all cameras and occluders, and of the joints of a tiny set. A change of one of them needs a new
# ``writer.RENDERER_VERSION``.
GOLDEN_IMAGES, GOLDEN_KEYPOINTS = "fedc38f6034b50c9", "4393be7e3920819d"


def contents(directory):
    """The SHA-256 of every file below ``directory``."""
    files = (path for path in sorted(Path(directory).rglob("*")) if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run_bare(code):
    """Runs ``code`` in a process where the package has no __init__, which would import PyTorch."""
    paths = [str(Path(synthetic.__file__).resolve().parents[2])]
    bare = "import sys, types\nsys.modules['fastreid_ext'] = package = types.ModuleType('fastreid_ext')\n"
    bare += f"package.__path__ = {paths}\n"
    return subprocess.run([sys.executable, "-c", bare + code], capture_output=True, text=True, timeout=60)


def read_coco(directory, split):
    return json.loads((directory / "keypoints" / f"{split}.json").read_text())


def make(root, **options):
    return synthetic.generate(root, "tiny", **{"workers": 1, "progress": False, **options})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make(tmp_path_factory.mktemp("synthreid"))


# --- the same bytes


def test_same_bytes_for_the_same_seed_and_any_number_of_workers(tiny, tmp_path):
    for workers in (1, 2):
        again = make(tmp_path / str(workers), workers=workers)
        assert contents(again) == contents(tiny)


def test_global_random_state_is_neither_used_nor_changed(tiny, tmp_path):
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    assert contents(make(tmp_path)) == contents(tiny)
    assert np.array_equal(before, np.random.get_state()[1])


def test_another_seed_gives_other_images_of_other_people(tiny, tmp_path):
    other = make(tmp_path, seed=1)
    first, second = contents(tiny), contents(other)
    pictures = {digest for name, digest in first.items() if name.endswith(".jpg")}
    assert not pictures & {digest for name, digest in second.items() if name.endswith(".jpg")}


def test_no_two_images_of_a_set_are_equal(tiny):
    digests = [digest for name, digest in contents(tiny).items() if name.endswith(".jpg")]
    assert len(digests) == len(set(digests))


def test_golden_images():
    digest = hashlib.sha256()
    scenes = zip((1, 2, 3, 4, 5, 6, 1), (None, *OCCLUDERS), strict=True)
    for identity, (camera, occluder) in enumerate(scenes, start=1):
        person = sample_person(random_state(0, "person", identity))
        digest.update(render.render(person, camera, occluder, random_state("golden", identity), TINY).jpeg)
    assert digest.hexdigest()[:16] == GOLDEN_IMAGES


def test_golden_keypoints(tiny):
    digest = hashlib.sha256()
    for file in sorted((tiny / "keypoints").iterdir()):
        digest.update(file.read_bytes())
    assert digest.hexdigest()[:16] == GOLDEN_KEYPOINTS


def test_random_state_depends_on_all_parts_of_the_key():
    draws = {random_state(*key).randint(1 << 30) for key in ((0, "a", 1), (0, "a", 2), (0, "b", 1), (1, "a", 1))}
    assert len(draws) == 4
    assert random_state(0, "a", 1).randint(1 << 30) == random_state(0, "a", 1).randint(1 << 30)


def test_pick_follows_weights():
    rng = random_state("pick")
    counts = collections.Counter(pick(rng, "ab", (3, 1)) for _ in range(2000))
    assert 0.70 < counts["a"] / 2000 < 0.80


# --- on disk, once and whole


@pytest.mark.slow
def test_interrupted_run_leaves_no_set_and_the_next_call_makes_it(tiny, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(writer, "dump", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path)
    assert not (tmp_path / "SynthReID-tiny").exists()
    assert synthetic.find(tmp_path, "tiny") is None
    assert (tmp_path / ".SynthReID-tiny.partial" / "query").is_dir()
    assert contents(make(tmp_path)) == contents(tiny)
    assert not (tmp_path / ".SynthReID-tiny.partial").exists()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_in_the_way_is_named(kind, tmp_path):
    partial = tmp_path / ".SynthReID-tiny.partial"
    partial.write_text("") if kind == "file" else partial.symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileError, match=f"^{partial} is in the way and can't be removed: remove it or choose"):
        make(tmp_path)
    assert partial.is_symlink() or partial.is_file()


@pytest.mark.parametrize("files", [None, [], {}, "train", {"train": None}, {"../x": {}}, {"x" * 300: {}, "a\0": {}}])
def test_a_record_that_counts_no_files_is_no_complete_set(files, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "SynthReID-tiny")
    meta = tmp_path / "SynthReID-tiny" / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "files": files}))
    assert synthetic.find(tmp_path, "tiny") is None


def test_a_folder_that_the_record_leaves_out_is_missed(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "SynthReID-tiny")
    meta = json.loads((copy / "meta.json").read_text())
    del meta["files"]["query_occluded"]
    shutil.rmtree(copy / "query_occluded")
    (copy / "meta.json").write_text(json.dumps(meta))
    assert synthetic.find(tmp_path, "tiny") is None


@pytest.mark.slow
def test_killed_run_frees_its_lock(tiny, tmp_path):
    done = run_bare(
        "import os, signal\n"
        "from fastreid_ext.data.synthetic import generate, writer\n"
        "writer.dump = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"generate({str(tmp_path)!r}, 'tiny', workers=1, progress=False)\n"
    )
    assert done.returncode == -9, done.stderr
    assert synthetic.find(tmp_path, "tiny") is None
    assert contents(make(tmp_path)) == contents(tiny)


@pytest.mark.linux("what is left of a session is read in /proc")
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_while_workers_draw_leaves_no_process_and_no_lock(sign, tmp_path):
    code = f"from fastreid_ext.data.synthetic import generate; generate({str(tmp_path)!r}, 'demo', workers=2)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, start_new_session=True)
    assert wait_until(lambda: len(list(tmp_path.rglob("*.jpg"))) > 10)
    process.send_signal(sign)  # the parent alone
    process.wait()
    assert wait_until(lambda: not members_of(process.pid), 5)
    with files.locked(tmp_path / ".SynthReID-demo.lock", busy="held"):
        pass


def members_of(session):
    """Processes of a session that are not zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has just ended
            continue
        found += [path.parent.name] if int(sid) == session and state != "Z" else []
    return found


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_progress_in_a_pipe_is_a_plain_line(tmp_path):
    done = run_bare(
        f"from fastreid_ext.data.synthetic import generate\ngenerate({str(tmp_path)!r}, 'tiny', workers=1)\n"
    )
    assert re.fullmatch(r"SynthReID-tiny: 192/192 images \(100%\), [\d.]+ images/s, 00:00 left\n", done.stderr)


def test_drawing_imports_neither_torch_nor_fastreid():
    done = run_bare(
        "import fastreid_ext.data.synthetic, fastreid_ext.commands.synth\n"
        "print(sorted({'torch', 'fastreid'} & set(sys.modules)))\n"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_concurrent_callers_share_one_run(tmp_path, monkeypatch):
    real, log = writer.write_all, tmp_path / "runs"

    def logged(*arguments):
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        real(*arguments)

    monkeypatch.setattr(writer, "write_all", logged)
    context = multiprocessing.get_context("fork")  # so that the workers see the patch
    callers = [context.Process(target=make, args=(tmp_path,)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert [caller.exitcode for caller in callers] == [0, 0, 0]
    assert len(log.read_text().split()) == 1
    assert synthetic.find(tmp_path, "tiny") is not None


def test_complete_set_is_left_alone(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    assert make(tiny.parent) == tiny
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


@pytest.mark.parametrize("damage", ["missing", "truncated", "no_meta_version"])
def test_damaged_set_is_made_again(tiny, tmp_path, damage):
    directory = shutil.copytree(tiny, tmp_path / tiny.name)
    assert synthetic.find(tmp_path, "tiny") == directory
    victim = sorted((directory / "query").iterdir())[0]
    if damage == "missing":
        victim.unlink()
    elif damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-1])
    else:
        meta = json.loads((directory / "meta.json").read_text())
        (directory / "meta.json").write_text(json.dumps({**meta, "renderer": 0}))
    assert synthetic.find(tmp_path, "tiny") is None
    assert contents(make(tmp_path)) == contents(tiny)


def test_other_data_is_never_replaced(tiny, tmp_path):
    directory = shutil.copytree(tiny, tmp_path / tiny.name)
    before = contents(directory)
    with pytest.raises(FileError, match="seed 0 and not 3.*remove it or choose another root"):
        make(tmp_path, seed=3)
    assert contents(directory) == before
    foreign = tmp_path / "other" / "SynthReID-tiny"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("precious")
    with pytest.raises(FileError, match="is not a SynthReID"):
        make(tmp_path / "other")
    assert (foreign / "thesis.txt").read_text() == "precious"


def test_wrong_arguments_are_one_clear_sentence(tmp_path):
    with pytest.raises(
        ValueError, match=r"^SynthReID has no size 'huge': choose one of tiny, demo, bench, wide_tiny, wide\.$"
    ):
        synthetic.generate(tmp_path, "huge")
    with pytest.raises(ValueError, match="workers must be 1 or more, not 0"):
        make(tmp_path, workers=0)
    assert synthetic.find(tmp_path, "tiny") is None


# --- which images there are


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
@pytest.mark.parametrize("long_tail", [True, False])
def test_counts_of_each_size(size, long_tail):
    shots = splits.plan(size, 0, long_tail)
    counts = collections.Counter(shot.directory for shot in shots)
    expected = {"tiny": (72, 12, 8), "demo": (1200, 100, 100), "bench": (8000, 400, 300), "wide_tiny": (48, 8, 4),
                "wide": (25600, 3200, 150)}[size.name]  # fmt: skip
    assert counts["bounding_box_train"] == expected[0]
    assert len({s.identity for s in shots if s.directory == "bounding_box_train"}) == expected[1]
    for suffix in size.test_sets:
        assert counts["query" + suffix] == counts["query_occluded" + suffix] == 2 * expected[2]
        assert counts["bounding_box_test" + suffix] == 11 * expected[2]
    assert len({(s.directory, s.file_name) for s in shots}) == len(shots)
    assert set(counts) == set(splits.directories(size))


def test_sets_share_no_identity():
    shots = splits.plan(SIZES["bench"], 0, True)
    groups = [("bounding_box_train",), ("query", "query_occluded", "bounding_box_test"),
              ("query_b", "query_occluded_b", "bounding_box_test_b")]  # fmt: skip
    people = [{s.identity for s in shots if s.directory in group} for group in groups]
    assert [len(group) for group in people] == [400, 300, 300]
    assert not people[0] & people[1] and not people[1] & people[2] and not people[0] & people[2]


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_every_query_has_a_clean_match_in_another_camera(size):
    shots = splits.plan(size, 0, True)
    for suffix in size.test_sets:
        cameras_of = collections.defaultdict(set)
        for shot in shots:
            if shot.directory == "bounding_box_test" + suffix and shot.occluder is None:
                cameras_of[shot.identity].add(shot.camera)
        for shot in shots:
            if shot.directory in ("query" + suffix, "query_occluded" + suffix):
                assert cameras_of[shot.identity] - {shot.camera}


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_occluder_of_a_query_is_only_in_front_of_other_people(size):
    shots = splits.plan(size, 0, True)
    for suffix in size.test_sets:
        owners = collections.defaultdict(set)  # kind -> people behind it in the gallery
        for shot in shots:
            if shot.directory == "bounding_box_test" + suffix and shot.occluder:
                owners[shot.occluder].add(shot.identity)
        for shot in shots:
            if shot.directory == "query_occluded" + suffix:
                assert shot.occluder is not None
                assert shot.identity not in owners[shot.occluder]
                assert owners[shot.occluder]
            if shot.directory == "query" + suffix:
                assert shot.occluder is None


def test_about_15_percent_of_training_images_are_occluded_by_all_kinds():
    train = [s for s in splits.plan(SIZES["bench"], 0, True) if s.directory == "bounding_box_train"]
    occluded = [s.occluder for s in train if s.occluder]
    assert 0.13 < len(occluded) / len(train) < 0.17
    assert set(occluded) == set(OCCLUDERS)


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_long_tail_falls_from_head_to_floor_and_keeps_the_total(size):
    arguments = size.train_identities, size.train_images, size.train_head, size.train_floor
    counts = splits.long_tail_counts(*arguments)
    assert sum(counts) == size.train_identities * size.train_images
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == size.train_head and counts[0] > 5 * counts[-1]
    assert counts[-1] >= size.train_floor
    assert np.median(counts) < size.train_images


def test_long_tail_can_be_turned_off(tiny, tmp_path):
    for directory in (tiny, make(tmp_path, long_tail=False)):
        long_tail = directory == tiny
        names = [path.name[:4] for path in (directory / "bounding_box_train").iterdir()]
        counts = set(collections.Counter(names).values())
        assert (counts == {TINY.train_images}) is not long_tail
        assert json.loads((directory / "meta.json").read_text())["long_tail"] is long_tail


def test_training_identities_are_seen_by_several_cameras():
    seen = collections.defaultdict(set)
    for shot in splits.plan(SIZES["demo"], 0, True):
        seen[shot.identity].add(shot.camera)
    assert min(map(len, seen.values())) >= 4
    assert set().union(*seen.values()) == set(range(1, len(cameras.CAMERAS) + 1))


# --- the JSON


def test_tree_and_coco_schema(tiny):
    for split in ("bounding_box_train", "query", "query_occluded", "bounding_box_test"):
        content = read_coco(tiny, split)
        assert set(content) == {"info", "images", "annotations", "categories"}
        (category,) = content["categories"]
        assert category["keypoints"] == list(COCO_JOINTS) and len(category["keypoints"]) == 17
        assert np.array_equal(np.array(category["skeleton"]) - 1, COCO_SKELETON)
        assert sorted(image["file_name"] for image in content["images"]) == sorted(os.listdir(tiny / split))
        for image, annotation in zip(content["images"], content["annotations"], strict=True):
            assert annotation["image_id"] == image["id"] and annotation["category_id"] == category["id"]
            assert image["file_name"].startswith(f"{image['person_id']:04d}_c{image['camera']}s1_")
            assert (image["occlusion"] > 0) == (image["occluder"] is not None)
            assert image["occluder"] in (None, *OCCLUDERS)
            joints = np.array(annotation["keypoints"]).reshape(17, 3)
            assert set(joints[:, 2]) <= {0, 1, 2}
            assert annotation["num_keypoints"] == np.count_nonzero(joints[:, 2])
            inside = joints[joints[:, 2] > 0]
            assert (inside[:, :2] >= -0.5).all()
            assert (inside[:, 0] < image["width"]).all() and (inside[:, 1] < image["height"]).all()
            left, top, width, height = annotation["bbox"]
            assert left >= 0 and top >= 0 and left + width <= image["width"] and top + height <= image["height"]
        one = cv2.imread(str(tiny / split / content["images"][0]["file_name"]))
        assert one.shape == (TINY.height, TINY.width, 3)


def test_meta_names_what_the_data_depends_on(tiny):
    meta = json.loads((tiny / "meta.json").read_text())
    assert meta["renderer"] == synthetic.RENDERER_VERSION
    assert (meta["size"], meta["seed"], meta["long_tail"]) == ("tiny", 0, True)
    assert (meta["numpy"], meta["opencv"]) == (np.__version__, cv2.__version__)
    assert meta["files"]["bounding_box_test"]["count"] == 88


# --- what is drawn


def shots_of(count, size=TINY, occluder=None):
    """``count`` rendered images of different people."""
    for index in range(count):
        person = sample_person(random_state("people", index))
        yield render.render(person, index % 6 + 1, occluder, random_state("image", index), size)


def test_most_joints_are_inside_and_clean_images_hide_none():
    visibility = np.array([picture.joints[:, 2] for picture in shots_of(120)])
    assert (visibility != 1).all()
    assert 0.9 < (visibility > 0).mean() < 1.0  # cut boxes exist


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_hidden_share_and_hidden_joints_of_each_occluder(kind):
    shares, hidden = [], 0
    for picture in shots_of(25, occluder=kind):
        shares.append(picture.occlusion)
        hidden += np.count_nonzero(picture.joints[:, 2] == 1)
    low, high = render.HIDDEN_SHARE
    assert np.mean([low <= share <= high for share in shares]) > 0.9
    assert 0.15 < np.median(shares) < 0.40
    assert hidden > 25


def staged(seed, occluder):
    """A canvas with a person and, if wanted, an occluder: (canvas, joints (17, 2))."""
    rng = random_state("staged", seed)
    canvas = Canvas(384, 192)
    draw_background(canvas, "plaza", rng)
    pose = sample_pose(rng)
    canvas.label = PERSON
    joints = np.array(draw_person(canvas, View(96, 370, 340, pose.heading, 0.2), sample_person(rng), pose))
    if occluder is not None:
        draw_occluder(canvas, occluder, 96, rng)
    return canvas, joints


@pytest.mark.parametrize("kind", OCCLUDERS)
def test_joints_marked_hidden_are_covered_and_only_those(kind):
    for seed in range(8):
        (bare, joints), (covered, same_joints) = staged(seed, None), staged(seed, kind)
        assert np.array_equal(joints, same_joints)
        assert (render.joint_visibility(bare, joints) != 1).all()
        marked = render.joint_visibility(covered, joints)
        for (x, y), visibility in zip(np.floor(joints + 0.5).astype(int), marked, strict=True):
            if visibility == 0:
                assert not (0 <= x < 192 and 0 <= y < 384)
                continue
            unchanged = np.array_equal(bare.pixels[y, x], covered.pixels[y, x])
            assert unchanged == (visibility == 2)
            assert (covered.labels[y, x] == OCCLUDER) == (visibility == 1)


def test_body_joints_lie_on_the_person():
    body = [JOINT[name] for name in COCO_JOINTS[5:]]
    on_person = []
    for seed in range(30):
        canvas, joints = staged(seed, None)
        for x, y in np.floor(joints[body] + 0.5).astype(int):
            if 0 <= x < canvas.width and 0 <= y < canvas.height:
                on_person.append(canvas.labels[y, x] == PERSON)
    assert np.mean(on_person) > 0.98


def joints_of_heading(heading):
    """The joints (17, 2) of somebody who walks towards ``heading``."""
    pose = Pose(heading, 0.7, 0.4, (0.3, 0.3), 0.1, 0.0)
    view = View(96, 370, 340, heading, 0.2)
    return np.array(draw_person(Canvas(384, 192), view, sample_person(random_state(1)), pose))


@pytest.mark.parametrize(("heading", "sign"), [(0.0, 1), (math.pi, -1)])
def test_left_is_right_in_the_picture_of_who_faces_us(heading, sign):
    joints = joints_of_heading(heading)
    for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert np.sign(joints[JOINT[f"left_{part}"], 0] - joints[JOINT[f"right_{part}"], 0]) == sign


@pytest.mark.parametrize(("heading", "sign"), [(math.pi / 2, 1), (-math.pi / 2, -1)])
def test_nose_is_where_the_person_walks_to(heading, sign):
    joints = joints_of_heading(heading)
    assert np.sign(joints[JOINT["nose"], 0] - joints[JOINT["left_ear"], 0]) == sign


def test_joints_stand_in_the_order_of_a_body():
    for seed in range(20):
        _, joints = staged(seed, None)
        rows = [joints[[JOINT[f"left_{part}"], JOINT[f"right_{part}"]], 1].mean()
                for part in ("eye", "shoulder", "hip", "knee", "ankle")]  # fmt: skip
        assert rows == sorted(rows)


@pytest.mark.parametrize("camera", range(1, 7))
def test_background_does_not_depend_on_the_identity(camera, monkeypatch):
    canvases = []
    monkeypatch.setattr(render, "joint_visibility", lambda canvas, joints: canvases.append(canvas) or np.zeros(17))
    people = [sample_person(random_state("background", index)) for index in range(2)]
    for person in people:
        render.render(person, camera, None, random_state("one image", camera), TINY)
    first, second = canvases
    free = (first.labels == 0) & (second.labels == 0)
    assert free.mean() > 0.5
    assert np.array_equal(first.pixels[free], second.pixels[free])


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_differ_from_image_to_image_and_carry_no_label(name):
    canvases = []
    for index in range(2):
        canvas = Canvas(192, 96)
        draw_background(canvas, name, random_state(name, index))
        canvases.append(canvas)
    assert not np.array_equal(canvases[0].pixels, canvases[1].pixels)
    assert not canvases[0].labels.any()


def test_cameras_differ_visibly():
    person = sample_person(random_state("camera", 0))
    means = []
    for camera in range(1, 7):
        pictures = [render.render(person, camera, None, random_state(camera, i), TINY).jpeg for i in range(6)]
        means.append(np.mean([cv2.imdecode(np.frombuffer(p, np.uint8), 1) for p in pictures]))
    assert max(means) / min(means) > 2.0


def test_strength_zero_leaves_the_colours():
    picture = random_state("flat").randint(0, 256, (1, 1, 3)).astype(np.uint8).repeat(64, 0).repeat(32, 1)
    jpeg = cameras.shoot(cameras.CAMERAS[5], picture, random_state(1), 0.0)
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)
    assert np.abs(decoded.astype(int) - picture).max() <= 4


def test_sensor_noise_is_centred_and_has_its_sigma():
    noise = cameras.sensor_noise(random_state("noise"), (200, 200, 3), 12.0)
    assert abs(noise.mean()) < 0.6 and abs(noise.std() - 12.0) < 0.5


def test_few_colours_are_shared_by_many_people():
    people = [sample_person(random_state("palette", i), 5, 4) for i in range(300)]
    coarse = {tuple(round(c / 26) for c in (*p.upper, *p.lower)) for p in people}
    assert len({(p.upper_type, p.lower_type, p.pattern, p.hair_style) for p in people}) > 150
    assert len(coarse) < 300
    assert all(0 <= c <= 255 for p in people for c in (*p.upper, *p.lower, *p.skin, *p.accent))
    assert {field.name for field in dataclasses.fields(Person)} >= {"build", "skin", "hair_style", "pattern", "bag"}


# --- contact sheet and command


def test_contact_sheet_has_a_person_a_row(tiny):
    sheet = synthetic.contact_sheet(tiny, columns=6, rows=3, scale=2, joints=True)
    assert sheet.shape == (3 * TINY.height * 2, 6 * TINY.width * 2, 3) and sheet.dtype == np.uint8
    assert synthetic.contact_sheet(tiny, columns=4, rows=2, train=True).shape == (128, 128, 3)
    with pytest.raises(ValueError, match="none has the number 99"):
        synthetic.contact_sheet(tiny, first=99)
    with pytest.raises(FileError, match="not a complete SynthReID"):
        synthetic.contact_sheet(tiny / "query")


def command(*words):
    return main(["synth", *words])


def test_command_makes_the_set_and_the_sheet(tmp_path, capsys):
    words = ("--size", "tiny", "--root", str(tmp_path), "--seed", "4", "--no-long-tail", "--quiet")
    assert command(*words, "--sheet", str(tmp_path / "out" / "sheet.png")) == 0
    assert json.loads((tmp_path / "SynthReID-tiny" / "meta.json").read_text())["seed"] == 4
    assert cv2.imread(str(tmp_path / "out" / "sheet.png")) is not None
    assert command("--size", "tiny", "--root", str(tmp_path)) == 1
    captured = capsys.readouterr()
    assert "was made with seed 4 and not 0, long_tail False and not True" in captured.out + captured.err


def test_size_named_knows_every_size():
    assert [size_named(name).name for name in SIZES] == ["tiny", "demo", "bench", "wide_tiny", "wide"]


def draw_for_a_minute(*arguments):
    time.sleep(60)


@pytest.mark.linux("forked workers have the stand-in for drawing")
def test_ctrl_c_does_not_wait_for_what_is_being_drawn(monkeypatch, tmp_path):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "draw_chunk", draw_for_a_minute)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(writer.drawn_chunks([[], []], tmp_path, SIZES["tiny"], 0, 2))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 20 and not multiprocessing.active_children()
