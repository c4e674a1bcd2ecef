"""The adapters, with the real packages: they want opencv-python, so ``make venv`` installs them with no-deps."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.errors import UserError
from fastreid_ext.inference import trackers
from fastreid_ext.inference.trackers import deep_sort_inputs, with_features

WHY = "is not installed: make venv has it, and pip install --no-deps gets it"
FRAME = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
BOXES = np.array([[10, 20, 50, 110], [60.5, 10, 100, 100], [150, -10, 210, 90]])  # the last reaches beyond the frame


@pytest.mark.parametrize("change", [False, True])
def test_deep_sort_realtime_keeps_whom_the_features_tell(change, extractor):
    """Two people, who change places between two frames or do not: places alone tell the same of both."""
    module = pytest.importorskip("deep_sort_realtime.deepsort_tracker", reason=f"deep-sort-realtime {WHY}")
    tracker = module.DeepSort(embedder=None, n_init=1, max_cosine_distance=0.05)
    people = [np.full((100, 14, 3), colour, np.uint8) for colour in ((250, 20, 20), (10, 30, 240))]
    people[0][::4], people[1][:, ::4] = 0, 255
    places = ([20, 40, 34, 140], [34, 40, 48, 140])  # no farther than the tracker thinks that people walk in a frame
    tracks = {}
    for number, swapped in enumerate((False, False, False, change, change)):
        frame = np.full((160, 200, 3), 90, np.uint8)
        for person, (left, top, right, bottom) in zip(people, places[::-1] if swapped else places, strict=True):
            frame[top:bottom, left:right] = person
        detections, features = deep_sort_inputs(extractor, frame, np.array(places), order="RGB")
        found = tracker.update_tracks(detections, embeds=features)
        shown = {t.track_id: t.to_ltrb(orig=True).tolist() for t in found if t.time_since_update == 0}
        tracks[number] = {name: place[0] < 27 for name, place in shown.items()}
    left = {name for name, is_left in tracks[2].items() if is_left}
    right = {name for name, is_left in tracks[2].items() if not is_left}
    assert len(left) == len(right) == 1
    assert tracks[4] == dict.fromkeys(left, not change) | dict.fromkeys(right, change)


def test_inputs_of_deep_sort(extractor):
    detections, features = deep_sort_inputs(extractor, FRAME[..., ::-1], BOXES, [0.5, 0.75, 1], order="BGR")
    assert detections == [
        ([10, 20, 40, 90], 0.5, "person"),
        ([60.5, 10, 39.5, 90], 0.75, "person"),
        ([150, -10, 60, 100], 1.0, "person"),
    ]
    np.testing.assert_array_equal(features, extractor.crops(FRAME, BOXES, order="RGB"))
    assert deep_sort_inputs(extractor, FRAME, np.zeros((0, 4)), order="RGB") == ([], [])
    with pytest.raises(UserError, match="box 0 .* is empty"):
        deep_sort_inputs(extractor, FRAME, [[5, 5, 5, 9]], order="RGB")
    with pytest.raises(ValueError, match="zip"):
        deep_sort_inputs(extractor, FRAME, BOXES, [0.5], order="RGB")


def test_supervision_carries_the_features(extractor):
    sv = pytest.importorskip("supervision", reason=f"supervision {WHY}")
    found = sv.Detections(xyxy=BOXES.astype(np.float32), confidence=np.array([0.9, 0.2, 0.8]))
    features = extractor.crops(FRAME, BOXES, order="BGR")
    assert with_features(extractor, FRAME, found, order="BGR") is found
    sure = found[found.confidence > 0.5]
    np.testing.assert_array_equal(sure.data["feature"], features[[0, 2]])
    both = sv.Detections.merge([sure, found[1:2]])
    np.testing.assert_array_equal(both.data["feature"], features[[0, 2, 1]])
    empty = with_features(extractor, Image.fromarray(FRAME), sv.Detections.empty(), order="RGB")
    assert empty.data["feature"].shape == (0, extractor.dim)


# ---- Roboflow's reid ------------------------------------------------------------------------------------------------


def test_reid_gives_the_features(extractor, files):
    model = reid_module_or_skip().reid_model(extractor)
    np.testing.assert_array_equal(model.extract_embeddings_from_paths(files), extractor(files))


def test_reid_gives_those_of_a_frame(extractor):
    model, boxes = reid_module_or_skip().reid_model(extractor), np.array([[10, 20, 50, 110], [60, 10, 100, 100.0]])
    detections = pytest.importorskip("supervision").Detections(xyxy=boxes)
    found = model.extract_embeddings(detections, np.ascontiguousarray(FRAME[..., ::-1]))
    np.testing.assert_array_equal(found, extractor.crops(FRAME, boxes, order="RGB"))


def test_reid_needs_one_size(extractor, monkeypatch):
    trackers = reid_module_or_skip()
    for changed in ({"size": (64,)}, {"size": ()}, {"crop": (32, 32)}):
        monkeypatch.setattr(extractor, "record", replace(extractor.record, **changed))
        with pytest.raises(UserError, match="reid resizes to one height and width"):
            trackers.reid_model(extractor)
        monkeypatch.undo()


def test_without_reid(extractor, monkeypatch):
    monkeypatch.setitem(sys.modules, "reid.model", None)
    with pytest.raises(UserError, match="Roboflow's reid can't be imported .*: pip install reid"):
        trackers.reid_model(extractor)


def reid_module_or_skip():
    pytest.importorskip("reid.model", reason="Roboflow's reid is not installed")
    return trackers
