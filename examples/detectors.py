"""Boxes of people in the frames of a video: of what moves, an ONNX detector, OpenCV's HOG detector, or a file."""

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fastreid_ext.errors import UserError
from fastreid_ext.onnx_files import open_session

# (number of the frame from 0, frame (H, W, 3) in BGR) -> boxes (N, 4) as x1, y1, x2, y2 in pixels, scores (N,)
Detector = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]

NONE = np.zeros((0, 4)), np.zeros(0)
FILE_COLUMNS = ("frame", "x1", "y1", "x2", "y2")
LEARNING_FRAMES = 5  # until which all that the motion detector sees is background
LEAST_AREA, LEAST_RATIO, MOST_RATIO = 0.002, 1.2, 6.0  # of what moves: share of the frame; height / width
DYNAMIC_SIDE = 640  # of a network that takes any size


def detector_of(name: str, least_score: float, person_class: int) -> Detector:
    """Return a detector by its name: motion, hog, an .onnx file, or a .csv file of boxes.

    Raises:
        UserError: it can't be had.
    """
    if name == "motion":
        return Motion()
    if name == "hog":
        return Hog(least_score)
    path = Path(name)
    if path.suffix == ".onnx":
        return OnnxDetector(path, least_score, person_class)
    if path.suffix == ".csv":
        return BoxesOfFile(path)
    raise UserError(f"--detector is {name}: it can be motion, hog, an .onnx file or a .csv file of boxes")


class Motion:
    """What moves before a camera that stands still, and has about the shape of a person. It needs no download."""

    def __init__(self):
        self.background = cv2.createBackgroundSubtractorMOG2(history=500, varThreshold=25, detectShadows=True)

    def __call__(self, number: int, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask = self.background.apply(frame, learningRate=-1 if number < LEARNING_FRAMES else 0.002)
        if number < LEARNING_FRAMES:
            return NONE
        moving = cv2.medianBlur((mask == 255).astype(np.uint8), 5)  # shadows are 127
        moving = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, np.ones((15, 7), np.uint8))
        _, _, found, _ = cv2.connectedComponentsWithStats(moving)
        left, top, width, height, area = found[1:].T.astype(float)
        kept = (area >= LEAST_AREA * moving.size) & (height >= LEAST_RATIO * width) & (height <= MOST_RATIO * width)
        return np.stack([left, top, left + width, top + height], axis=1)[kept], np.ones(int(kept.sum()))


class Hog:
    """OpenCV's detector of upright people, 128 pixels high or more, by histograms of gradients; OpenCV 5 has none."""

    def __init__(self, least_score: float):
        if not hasattr(cv2, "HOGDescriptor"):
            raise UserError(
                f"OpenCV {cv2.__version__} has no HOG detector, which OpenCV 4 has: use --detector motion, or a file"
            )
        self.hog = cv2.HOGDescriptor()
        self.hog.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
        self.least_score = least_score

    def __call__(self, number: int, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        width, height = self.hog.winSize
        if frame.shape[1] < width or frame.shape[0] < height:  # OpenCV would read beyond the frame, and may crash
            return NONE
        boxes, scores = self.hog.detectMultiScale(frame, winStride=(8, 8), scale=1.05)
        if not len(boxes):
            return NONE
        boxes, scores = np.asarray(boxes, dtype=float), np.ravel(scores)
        boxes[:, 2:] += boxes[:, :2]
        kept = scores >= self.least_score
        return boxes[kept], np.minimum(scores[kept], 1)


class OnnxDetector:
    """A network in an ONNX file. It gets (1, 3, h, w) in RGB from 0 to 1: the frame, scaled, with grey below and right.

    Its outputs are one of
    - rows (1, N, 6): x1, y1, x2, y2 in pixels of its input, score, class (YOLO models exported with NMS),
    - boxes (1, N, 4): x, y of the centre, width, height from 0 to 1, and logits (1, N, classes) (DETR and its like).
    """

    def __init__(self, path: Path, least_score: float, person_class: int):
        self.session = open_session(path)
        self.path, self.least_score, self.person_class = path, least_score, person_class
        given = self.session.get_inputs()[0]
        self.input = given.name
        self.size = tuple(side if isinstance(side, int) else DYNAMIC_SIDE for side in given.shape[2:])

    def __call__(self, number: int, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.size
        scale = min(height / frame.shape[0], width / frame.shape[1])
        inner = cv2.resize(frame, None, fx=scale, fy=scale)[:height, :width]
        image = np.full((height, width, 3), 114, np.uint8)
        image[: inner.shape[0], : inner.shape[1]] = inner
        pixels = image[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
        boxes, scores = self._people(self.session.run(None, {self.input: np.ascontiguousarray(pixels)}))
        kept = scores >= self.least_score
        return boxes[kept] / scale, scores[kept]

    def _people(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        shapes = [output.shape for output in outputs]
        if len(outputs) == 1 and len(shapes[0]) == 3 and shapes[0][2] == 6:
            rows = outputs[0][0]
            rows = rows[rows[:, 5].round() == self.person_class]
            return rows[:, :4].astype(float), rows[:, 4]
        by_width = {output.shape[-1]: output[0] for output in outputs if output.ndim == 3}
        if len(outputs) == 2 and len(by_width) == 2 and 4 in by_width and self.person_class < max(by_width):
            places = by_width.pop(4).astype(float) * np.tile(self.size[::-1], 2)
            (logits,) = by_width.values()
            scores = 1 / (1 + np.exp(-logits[:, self.person_class].astype(float)))
            half = places[:, 2:] / 2
            return np.hstack([places[:, :2] - half, places[:, :2] + half]), scores
        raise UserError(
            f"{self.path} gives outputs of the shapes {shapes}: it must be rows (1, N, 6) of x1, y1, x2, y2, score,"
            " class, or boxes (1, N, 4) and logits (1, N, classes)"
        )


class BoxesOfFile:
    """Boxes that another program found: a CSV file with a first line frame,x1,y1,x2,y2 and perhaps score."""

    def __init__(self, path: Path):
        self.boxes: dict[int, list[list[float]]] = defaultdict(list)
        try:
            with open(path, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    place = [float(row[name]) for name in FILE_COLUMNS[1:]]
                    self.boxes[int(row["frame"])].append([*place, float(row.get("score") or 1)])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} is no list of boxes with {','.join(FILE_COLUMNS)}: {error}") from error

    def __call__(self, number: int, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.array(self.boxes.get(number, [])).reshape(-1, 5)
        return rows[:, :4], rows[:, 4]
