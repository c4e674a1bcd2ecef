"""Tracks of a video, and who they are: a person who leaves and comes back is the same one, by the features."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from scipy.optimize import linear_sum_assignment

from fastreid_ext import Extractor
from fastreid_ext.errors import UserError
from fastreid_ext.inference.trackers import deep_sort_inputs

NEAR = 0.1  # overlap (IoU) of a track's last box and its next one
KEEP_FRAMES = 15  # for which a track that is not seen goes on
TOLD_AFTER = 3  # boxes of a track after which it is told who it is


@dataclass
class Track:
    """A person from appearing to disappearing.

    Attributes:
        number: of the track, from 1.
        box: (4,), where the person was seen last, in pixels.
        last: frame of that.
        total: (D,), sum of the features, each of length 1.
        seen: how many they are.
        person, similarity: who it is, and how similar that person is; "" and None = not told yet.
    """

    number: int
    box: np.ndarray
    last: int
    total: np.ndarray
    seen: int = 1
    person: str = ""
    similarity: float | None = None

    @property
    def feature(self) -> np.ndarray:
        return self.total / np.linalg.norm(self.total)


class OverlapTracker:
    """Joins the boxes of successive frames by their overlap and the similarity of their features."""

    def __init__(self, extractor: Extractor):
        self.extractor = extractor
        self.tracks: list[Track] = []
        self.count = 0

    def update(self, number: int, frame: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> list[Track]:
        """Return the tracks that are seen in a frame, one for each box."""
        features = self.extractor.crops(frame, boxes, order="BGR")
        self.tracks = [track for track in self.tracks if number - track.last <= KEEP_FRAMES]
        joined: dict[int, Track] = {}
        if self.tracks and len(boxes):
            near = overlaps(np.array([track.box for track in self.tracks]), boxes)
            similar = np.array([track.feature for track in self.tracks]) @ features.T
            costs = np.where(near >= NEAR, 2 - near - similar, 1e3)
            pairs = zip(*linear_sum_assignment(costs), strict=True)
            joined = {box: self.tracks[track] for track, box in pairs if costs[track, box] < 1e3}
        return [self._seen(joined.get(n), number, boxes[n], features[n]) for n in range(len(boxes))]

    def _seen(self, track: Track | None, number: int, box: np.ndarray, feature: np.ndarray) -> Track:
        if track is None:
            self.count += 1
            track = Track(self.count, box, number, feature.copy())
            self.tracks.append(track)
        else:
            track.box, track.last, track.seen = box, number, track.seen + 1
            track.total += feature
        return track


class DeepSortTracker:
    """The tracks of deep-sort-realtime (MIT), which gets our features."""

    def __init__(self, extractor: Extractor):
        try:
            from deep_sort_realtime.deepsort_tracker import DeepSort
        except ImportError as error:
            raise UserError(f"--tracker deep-sort needs pip install --no-deps deep-sort-realtime ({error})") from error
        self.extractor = extractor
        self.tracker = DeepSort(embedder=None, max_age=KEEP_FRAMES, n_init=TOLD_AFTER)
        self.tracks: dict[str, Track] = {}

    def update(self, number: int, frame: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> list[Track]:
        """Return the tracks that are seen in a frame."""
        detections, features = deep_sort_inputs(self.extractor, frame, boxes, scores, order="BGR")
        seen = []
        for found in self.tracker.update_tracks(detections, embeds=features):
            if found.time_since_update or not found.is_confirmed():
                continue
            box, feature = np.array(found.to_ltrb(orig=True)), found.get_feature()
            track = self.tracks.get(found.track_id)
            if track is None:
                track = Track(len(self.tracks) + 1, box, number, feature.copy(), TOLD_AFTER)
                self.tracks[found.track_id] = track
            else:
                track.box, track.last, track.seen = box, number, track.seen + 1
                track.total += feature
            seen.append(track)
        return seen


@dataclass
class People:
    """Who was seen: known people, and those that the video brings.

    Attributes:
        threshold: cosine from which on two features are one person's.
        features: person -> features (D,) of length 1, by the track or image that they are of.
    """

    threshold: float
    features: dict[str, dict[object, np.ndarray]] = field(default_factory=dict)

    @classmethod
    def known(cls, threshold: float, features: Mapping[str, np.ndarray]) -> "People":
        """Return the gallery of known people: name -> features (n, D)."""
        return cls(threshold, {name: dict(enumerate(rows)) for name, rows in features.items()})

    def tell(self, tracks: Iterable[Track]) -> None:
        """Say who the tracks of a frame are, once enough of them was seen; two of one frame are never one person."""
        tracks = list(tracks)
        for track in tracks:
            if not track.person and track.seen >= TOLD_AFTER:
                taken = {other.person for other in tracks}
                best = max(
                    ((self._similarity(name, track), name) for name in self.features if name not in taken), default=None
                )
                if best is not None and best[0] >= self.threshold:
                    track.similarity, track.person = best
                else:
                    track.person = next(name for n in count(1) if (name := f"person {n}") not in self.features)
            if track.person:
                self.features.setdefault(track.person, {})[f"track {track.number}"] = track.feature

    def _similarity(self, name: str, track: Track) -> float:
        return float(max(feature @ track.feature for feature in self.features[name].values()))


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    shared = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    inner = np.prod(np.maximum(shared, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    return inner / (areas[0][:, None] + areas[1][None] - inner)
