"""Who walks through a video: tracks, one identity over re-entries, an annotated video and a table.

    python examples/track.py video.mp4 --model logs/demo/deepminer --output tracks
    python examples/track.py video.mp4 --model model.onnx --detector detector.onnx --known people --output tracks

Each frame's boxes get features by fastreid-ext; boxes that overlap and look alike are joined to a track. A track that
is similar enough to somebody who was seen before, or to a person of --known, is that person; another is somebody new.
The threshold is the one that was measured for the model (fastreid-ext verify), or --threshold.

Output: tracks.mp4, and tracks.csv with frame, seconds, track, person, similarity (to whom it was told to be; empty for
somebody new) and the box in pixels.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from detectors import detector_of
from identities import DeepSortTracker, OverlapTracker, People, Track

from fastreid_ext import Extractor
from fastreid_ext.errors import UserError
from fastreid_ext.evaluation.same_person import SamePersonError
from fastreid_ext.inference.same_person_answers import same_person_of

TRACKERS = {"overlap": OverlapTracker, "deep-sort": DeepSortTracker}
COLUMNS = ("frame", "seconds", "track", "person", "similarity", "x1", "y1", "x2", "y2")
LEAST_SIDE = 4.0  # pixels of a box within the frame
MEASURED = "fpr_1e-3"  # the threshold by which one of a thousand pairs of different people is taken for one person
# Okabe and Ito's colours, which colour-blind people can tell apart, in BGR.
COLOURS = ((0, 159, 230), (233, 180, 86), (115, 158, 0), (66, 228, 240), (178, 114, 0), (0, 94, 213), (167, 121, 204))


def threshold_of(extractor: Extractor, given: float | None) -> float:
    """Return the cosine from which on two features are one person's.

    Raises:
        UserError: none is given, and none was measured.
    """
    if given is not None:
        return given
    try:
        measured = same_person_of(extractor.record, extractor.model.weights)
    except SamePersonError as error:
        raise UserError(f"give --threshold, such as 0.6: {error}") from error
    found = measured.thresholds.get(MEASURED) if measured.metric == "cosine" else None
    if found is None:
        raise UserError(f"give --threshold, such as 0.6: no cosine was measured for this model at {MEASURED}")
    return found


def known_people(extractor: Extractor, folder: Path | None) -> dict[str, np.ndarray]:
    """Return name -> features (n, D) of a folder with a folder of images for each person.

    Raises:
        UserError: it has none.
    """
    if folder is None:
        return {}
    people = {path.name: extractor(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    if not people:
        raise UserError(f"--known {folder} has no folders: make one for each person, with images in it")
    return people


def frames_of(path: Path) -> tuple[float, Iterator[np.ndarray]]:
    """Return frames per second and the frames (H, W, 3) of a video, in BGR.

    Raises:
        UserError: OpenCV can't read it.
    """
    video = cv2.VideoCapture(str(path))
    if not path.is_file() or not video.isOpened():
        raise UserError(f"{path} is no video that OpenCV can read")

    def frames() -> Iterator[np.ndarray]:
        while True:
            read, frame = video.read()
            if not read:
                return
            yield frame

    return video.get(cv2.CAP_PROP_FPS) or 25.0, frames()


def inside(boxes: np.ndarray, scores: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes to the frame, and leave out what is left of them no longer shows anybody."""
    height, width = frame.shape[:2]
    boxes = np.clip(boxes, 0, [width, height, width, height])
    kept = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(axis=1)
    return boxes[kept], scores[kept]


def draw(frame: np.ndarray, tracks: list[Track], colours: dict[str, tuple[int, int, int]]) -> np.ndarray:
    """Return the frame with a box and a name for each track, in a colour for each person."""
    frame = frame.copy()
    for track in tracks:
        colour = colours.setdefault(track.person, COLOURS[len(colours) % len(COLOURS)]) if track.person else (200,) * 3
        left, top, right, bottom = (int(round(side)) for side in track.box)
        cv2.rectangle(frame, (left, top), (right, bottom), colour, 2)
        text = track.person or "?"
        if track.similarity is not None:
            text += f" {track.similarity:.2f}"
        for thickness, ink in ((3, (0, 0, 0)), (1, colour)):  # readable on any background
            cv2.putText(frame, text, (left, max(12, top - 5)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, ink, thickness)
    return frame


def track_video(args: argparse.Namespace) -> None:
    extractor = Extractor(args.model, weights=args.weights, device=args.device)
    people = People.known(threshold_of(extractor, args.threshold), known_people(extractor, args.known))
    detector, tracker = (
        detector_of(args.detector, args.least_score, args.person_class),
        TRACKERS[args.tracker](extractor),
    )
    rate, frames = frames_of(args.video)
    args.output.mkdir(parents=True, exist_ok=True)
    written, rows, colours = None, [], {}
    for number, frame in enumerate(frames):
        boxes, scores = inside(*detector(number, frame), frame)
        tracks = tracker.update(number, frame, boxes, scores)
        people.tell(tracks)
        rows += [(number, track, track.box) for track in tracks]
        if written is None:
            size = frame.shape[1], frame.shape[0]
            written = cv2.VideoWriter(str(args.output / "tracks.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        written.write(draw(frame, tracks, colours))
    if written is None:
        raise UserError(f"{args.video} has no frame")
    written.release()
    with open(args.output / "tracks.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for number, track, box in rows:  # written at the end: a track is told who it is after its first boxes
            similarity = "" if track.similarity is None else f"{track.similarity:.4f}"
            place = [f"{side:.1f}" for side in box]
            table.writerow([number, f"{number / rate:.3f}", track.number, track.person, similarity, *place])
    tracks = {track.number: track.person for _, track, _ in rows}
    seen = sorted(set(filter(None, tracks.values())))
    print(f"{number + 1} frames, {len(tracks)} tracks of {len(seen)} people ({', '.join(seen)}) in {args.output}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", required=True, help="a run's folder, an .onnx or .safetensors file, or a config")
    parser.add_argument("--weights", help="of a config")
    parser.add_argument("--device", help="cpu or cuda")
    parser.add_argument(
        "--detector",
        default="motion",
        help="motion (a camera that stands still; default), hog (OpenCV 4), an .onnx file, or a .csv file of boxes",
    )
    parser.add_argument("--least-score", type=float, default=0.5, help="of a detector's boxes (default: 0.5)")
    parser.add_argument("--person-class", type=int, default=0, help="of an ONNX detector (default: 0)")
    parser.add_argument("--tracker", choices=TRACKERS, default="overlap")
    parser.add_argument("--known", type=Path, help="folder with a folder of images for each known person")
    parser.add_argument("--threshold", type=float, help="cosine from which on two features are one person's")
    parser.add_argument("--output", type=Path, required=True, help="folder for tracks.mp4 and tracks.csv")
    try:
        track_video(parser.parse_args(arguments))
    except UserError as error:
        print(f"track.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
