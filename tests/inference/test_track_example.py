"""examples/track.py on clips of SynthReID's people: they walk through the picture, leave it and come back."""

import csv
from types import SimpleNamespace

import cv2
import detectors
import numpy as np
import pytest
import track
from identities import OverlapTracker, People, Track, overlaps

from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.errors import UserError

WIDTH, HEIGHT, PERSON = 240, 140, (32, 64)  # pixels; a person's width and height
RATE = 10.0
WALK = 14  # frames from one side to the other
# Who begins to walk in which frame; the first comes back.
WALKS = ((0, 8), (1, 14), (0, 34))


@pytest.fixture(scope="module")
def images_of_people(synth_root):
    """An image (h, w, 3) in BGR of each person of SynthReID's gallery."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTREID_DATASETS", str(synth_root))
        gallery = load_dataset("SynthReIDTiny", ("gallery",)).gallery
    paths = {person: path for path, person, _ in reversed(gallery) if person >= 0}  # the first of each
    return [cv2.imread(paths[person]) for person in sorted(paths)]


@pytest.fixture(scope="module")
def people(images_of_people):
    """Images (h, w, 3) in BGR of two people."""
    return [cv2.resize(image, PERSON) for image in images_of_people[:2]]


@pytest.fixture(scope="module")
def clip(people, tmp_path_factory):
    """A video before a background of noise, with what is where in each of its frames: (frame, who, x1, y1, x2, y2)."""
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    background = cv2.GaussianBlur(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8), (0, 0), 4)
    video = cv2.VideoWriter(str(folder / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    places = []
    for number in range(WALKS[-1][1] + WALK):
        frame = background.copy()
        for who, begin in WALKS:
            if begin <= number < begin + WALK:
                left, top = 4 + (number - begin) * (WIDTH - PERSON[0] - 8) // (WALK - 1), 20 + 50 * who
                frame[top : top + PERSON[1], left : left + PERSON[0]] = people[who]
                places.append((number, who, left, top, left + PERSON[0], top + PERSON[1]))
        video.write(frame)
    video.release()
    with open(folder / "boxes.csv", "w", newline="") as file:
        csv.writer(file).writerows([("frame", "x1", "y1", "x2", "y2"), *((n, *box) for n, _, *box in places)])
    return folder, places


@pytest.fixture
def run(clip, weights_file, tmp_path):
    """``run("--detector", "motion")``: the rows of tracks.csv."""

    def call(*options):
        arguments = [clip[0] / "clip.avi", "--model", weights_file, "--output", tmp_path / "out", *options]
        assert track.main([str(argument) for argument in arguments]) == 0
        with open(tmp_path / "out" / "tracks.csv", newline="") as file:
            return list(csv.DictReader(file))

    return call


@pytest.fixture(scope="module")
def threshold(extractor, people):
    """Between the similarity of the two people and that of one with itself."""
    first, second = extractor([np.ascontiguousarray(person) for person in people], order="BGR")
    assert first @ second < 0.98  # the weights are random
    return f"{(1 + first @ second) / 2:.4f}"


def walks(rows):
    """Track -> its person, and the frames in which it was seen."""
    found = {}
    for row in rows:
        found.setdefault((row["track"], row["person"]), []).append(int(row["frame"]))
    return found


@pytest.mark.parametrize("tracker", ["overlap", "deep-sort"])
def test_one_identity_over_a_reentry(tracker, run, clip, threshold, tmp_path):
    if tracker == "deep-sort":
        pytest.importorskip("deep_sort_realtime", reason="deep-sort-realtime is not installed: make venv has it")
    rows = run("--detector", clip[0] / "boxes.csv", "--tracker", tracker, "--threshold", threshold)
    late = 0 if tracker == "overlap" else 2  # it does not show a track until it was seen three times
    frames = [list(range(begin + late, begin + WALK)) for _, begin in WALKS]
    names = {("1", "person 1"): frames[0], ("2", "person 2"): frames[1], ("3", "person 1"): frames[2]}
    assert walks(rows) == names
    assert {row["similarity"] for row in rows if row["track"] != "3"} == {""}
    assert all(float(row["similarity"]) > float(threshold) for row in rows if row["track"] == "3")
    assert rows[0]["seconds"] == f"{int(rows[0]['frame']) / RATE:.3f}"
    video = cv2.VideoCapture(str(tmp_path / "out" / "tracks.mp4"))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == WALKS[-1][1] + WALK
    video.set(cv2.CAP_PROP_POS_FRAMES, WALKS[0][1] + 6)
    _, drawn = video.read()
    (_, _, left, top, *_), *_ = [place for place in clip[1] if place[0] == WALKS[0][1] + 6]
    ink = drawn[top + 20 : top + 40, left - 1 : left + 2].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(ink, track.COLOURS[0], atol=40)  # the video is compressed


def test_with_too_high_a_threshold_everybody_is_new(run, clip):
    rows = run("--detector", clip[0] / "boxes.csv", "--threshold", "1.01")
    assert {person for _, person in walks(rows)} == {"person 1", "person 2", "person 3"}


def test_known_people_are_named(run, clip, people, threshold, tmp_path):
    (tmp_path / "known" / "Ada").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "known" / "Ada" / "a.png"), people[1])
    rows = run("--detector", clip[0] / "boxes.csv", "--threshold", threshold, "--known", tmp_path / "known")
    assert [person for _, person in walks(rows)] == ["person 1", "Ada", "person 1"]


def test_what_moves_is_found_without_a_download(clip):
    """The default detector, before a camera that stands still."""
    _, frames = track.frames_of(clip[0] / "clip.avi")
    motion = detectors.Motion()
    found = {number: motion(number, frame)[0] for number, frame in enumerate(frames)}
    near = [overlaps(np.array([place], dtype=float), found[number]).max(initial=0) for number, _, *place in clip[1]]
    assert np.mean(np.array(near) > 0.5) > 0.9
    assert sum(map(len, found.values())) <= 1.1 * len(clip[1])


def test_the_default_detector_follows_people(run, threshold):
    assert {person for _, person in walks(run("--threshold", threshold))} >= {"person 1", "person 2"}


def test_sentences(run, clip, weights_file, tmp_path, capsys):
    def sentence(*options):
        line = [clip[0] / "clip.avi", "--model", weights_file, "--output", tmp_path / "out", *options]
        assert track.main([str(word) for word in line]) == 1
        return capsys.readouterr().err

    assert "give --threshold, such as 0.6: " in sentence()
    assert "can be motion, hog, an .onnx file" in sentence("--threshold", "0.5", "--detector", "magic")
    (tmp_path / "boxes.csv").write_text("frame,x1,y1,x2\n0,1,2,3\n")
    assert "is no list of boxes" in sentence("--threshold", "0.5", "--detector", tmp_path / "boxes.csv")
    (tmp_path / "nobody").mkdir()
    assert "has no folders" in sentence("--threshold", "0.5", "--known", tmp_path / "nobody")
    assert track.main([str(tmp_path / "boxes.csv"), "--model", str(weights_file), "--threshold", "1", "--output", "x"])
    assert "is no video that OpenCV can read" in capsys.readouterr().err


def test_the_threshold_that_was_measured(extractor, monkeypatch):
    measured = SimpleNamespace(metric="cosine", thresholds={"fpr_1e-3": 0.625, "balanced": 0.5})
    monkeypatch.setattr(track, "same_person_of", lambda record, weights: measured)
    assert track.threshold_of(extractor, None) == 0.625 and track.threshold_of(extractor, 0.25) == 0.25
    measured.thresholds["fpr_1e-3"] = None  # too few pairs
    with pytest.raises(UserError, match="give --threshold"):
        track.threshold_of(extractor, None)
    measured.metric, measured.thresholds["fpr_1e-3"] = "euclidean", -1.5
    with pytest.raises(UserError, match="give --threshold"):
        track.threshold_of(extractor, None)


# ---- OpenCV's HOG detector ------------------------------------------------------------------------------------------


def test_opencv_5_has_no_hog_detector(monkeypatch):
    monkeypatch.delattr(cv2, "HOGDescriptor", raising=False)
    with pytest.raises(UserError, match="has no HOG detector, which OpenCV 4 has: use --detector motion"):
        detectors.detector_of("hog", 0.5, 0)


def with_hog(monkeypatch, *answers):
    """Give OpenCV a HOG detector whose answers are these, and return the frames that it was given."""
    given, answers = [], iter(answers)

    class HOGDescriptor:
        winSize = (64, 128)

        def setSVMDetector(self, weights):  # noqa: N802
            assert weights == "weights"

        def detectMultiScale(self, frame, winStride, scale):  # noqa: N802, N803
            given.append(frame)
            return next(answers)

    monkeypatch.setattr(cv2, "HOGDescriptor", HOGDescriptor, raising=False)
    monkeypatch.setattr(cv2, "HOGDescriptor_getDefaultPeopleDetector", lambda: "weights", raising=False)
    return given


@pytest.mark.parametrize("shape", [(3,), (3, 1)])  # of the scores, in versions of OpenCV
def test_boxes_of_hog(monkeypatch, shape):
    places, scores = np.array([[10, 20, 30, 60], [1, 2, 3, 4], [5, 6, 40, 80]]), np.array([0.75, 0.25, 1.5])
    with_hog(monkeypatch, (places, scores.reshape(shape)), ((), ()))
    hog, frame = detectors.detector_of("hog", 0.5, 0), np.zeros((128, 64, 3), np.uint8)
    boxes, found = hog(0, frame)
    np.testing.assert_array_equal(boxes, [[10, 20, 40, 80], [5, 6, 45, 86]])
    np.testing.assert_array_equal(found, [0.75, 1])
    assert [one.shape for one in hog(1, frame)] == [(0, 4), (0,)]


@pytest.mark.parametrize("size", [(127, 300), (300, 63), (10, 10)])
def test_hog_is_not_given_frames_that_are_smaller_than_its_window(monkeypatch, size):
    """OpenCV 4.14 reads beyond them, which ends the process at some sizes."""
    given = with_hog(monkeypatch)
    boxes, scores = detectors.detector_of("hog", 0.5, 0)(0, np.zeros((*size, 3), np.uint8))
    assert boxes.shape == (0, 4) and scores.shape == (0,) and given == []


# What we do with the detector's answers is tested above, on every version; docs/tracking.md says how to run this.
@pytest.mark.skipif(not hasattr(cv2, "HOGDescriptor"), reason="OpenCV 4 alone has it")  # and we pin OpenCV 5
def test_people_by_the_hog_detector_of_opencv_4(images_of_people):
    hog, hits = detectors.detector_of("hog", 0.0, 0), []
    background = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (360, 480, 3), dtype=np.uint8), (0, 0), 4)
    for person in images_of_people:
        frame = background.copy()
        frame[60:260, 150:250] = cv2.resize(person, (100, 200))
        hits.append(overlaps(np.array([[150.0, 60, 250, 260]]), hog(0, frame)[0]).max(initial=0) > 0.5)
    assert np.mean(hits) >= 0.5
    assert not len(hog(0, background)[0]) and not len(hog(0, np.zeros((10, 10, 3), np.uint8))[0])


# ---- ONNX detectors -------------------------------------------------------------------------------------------------

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install fastreid-ext[export]")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install fastreid-ext[export]")


def save_detector(path, **outputs):
    """Write a network of input (1, 3, 128, 128) whose outputs are these arrays, but for the mean of its first row."""
    helper, nodes, made = onnx.helper, [], []
    for name, values in outputs.items():
        tensor = onnx.numpy_helper.from_array(values.astype(np.float32), f"{name}_values")
        nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        made.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, values.shape))
    given = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, 128, 128))
    graph = helper.make_graph(nodes, "detector", [given], made)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_rows_of_an_onnx_detector(tmp_path):
    rows = np.array([[[10, 20, 30, 60, 0.9, 0], [1, 2, 3, 4, 0.2, 0], [5, 5, 9, 9, 0.9, 7]]])
    detector = detectors.detector_of(str(save_detector(tmp_path / "rows.onnx", rows=rows)), 0.5, 0)
    boxes, scores = detector(0, np.zeros((256, 192, 3), np.uint8))  # half the size goes into 128 x 128
    np.testing.assert_allclose(boxes, [[20, 40, 60, 120]])
    np.testing.assert_allclose(scores, [0.9])


def test_boxes_and_logits_of_an_onnx_detector(tmp_path):
    boxes = np.array([[[0.5, 0.5, 0.25, 0.5], [0.1, 0.1, 0.1, 0.1]]])
    logits = np.array([[[-5.0, 2.0, -5.0], [3.0, -3.0, -5.0]]])
    path = save_detector(tmp_path / "detr.onnx", logits=logits, boxes=boxes)
    found, scores = detectors.detector_of(str(path), 0.5, 1)(0, np.zeros((64, 128, 3), np.uint8))
    np.testing.assert_allclose(found, [[48, 32, 80, 96]], atol=1e-4)
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-2.0))], rtol=1e-6)


def test_other_outputs_are_refused(tmp_path):
    path = save_detector(tmp_path / "other.onnx", rows=np.zeros((1, 5, 7)))
    with pytest.raises(UserError, match=r"gives outputs of the shapes \[\(1, 5, 7\)\]"):
        detectors.detector_of(str(path), 0.5, 0)(0, np.zeros((64, 64, 3), np.uint8))


# ---- tracks and people ----------------------------------------------------------------------------------------------


def test_two_of_one_frame_are_never_one_person():
    people = People(0.5)
    one = np.array([1.0, 0.0])
    tracks = [Track(number, np.zeros(4), 0, 3 * one, seen=3) for number in (1, 2)]
    people.tell(tracks)
    assert [each.person for each in tracks] == ["person 1", "person 2"]


def test_a_short_track_is_nobody():
    short = Track(1, np.zeros(4), 0, np.array([1.0, 0.0]), seen=2)
    People(0.5).tell([short])
    assert short.person == ""


def test_people_who_cross_keep_their_tracks():
    """The features change places between two frames, and the boxes, which overlap, do not."""
    features = np.eye(2)
    given = type("Given", (), {"crops": lambda self, *args, **options: features})()
    tracker, boxes = OverlapTracker(given), np.array([[10.0, 10, 42, 74], [20, 20, 52, 84]])
    told = []
    for number in range(2):
        told.append([each.number for each in tracker.update(number, np.zeros(0), boxes, np.ones(2))])
        features = features[::-1]
    assert told == [[1, 2], [2, 1]]


def test_overlaps():
    np.testing.assert_allclose(
        overlaps(np.array([[0.0, 0, 2, 2]]), np.array([[1.0, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6]])), [[1 / 7, 1, 0]]
    )
