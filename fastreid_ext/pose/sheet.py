"""A sheet of skeletons drawn on images, to check pose labels at a glance."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.body import LEFT_LIMBS, MIDDLE_LIMBS, RIGHT_LIMBS
from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.foreign_files import caption

HEIGHT, GAP, CAPTION, COLUMNS = 256, 8, 16, 8
WIDEST = 2  # times the height; a wider image is drawn that wide
UNSURE = 0.5  # up to this confidence a joint is a ring
LEFT, RIGHT, MIDDLE, PAPER, INK = (255, 120, 0), (0, 150, 255), (250, 250, 250), (255, 255, 255), (40, 40, 40)  # RGB
LEGEND = (
    (LEFT, "the person's own LEFT: on the image's right if the person faces you, on its left if seen from behind"),
    (RIGHT, "the person's own RIGHT"),
    (PAPER, f"dot: a seen joint; ring: its confidence is {UNSURE:g} or less; other joints are not drawn"),
)
EYES = (1, 2)  # COCO's line between them is not drawn: at this size it would cover the nose
LIMBS = ((MIDDLE, tuple(limb for limb in MIDDLE_LIMBS if limb != EYES)), (LEFT, LEFT_LIMBS), (RIGHT, RIGHT_LIMBS))


def pose_sheet(poses: Poses, root: Path, count: int, threshold: float) -> Image.Image:
    """Draw the skeletons of images that are spread evenly over the pose file, under a legend.

    Args:
        poses: the labels.
        root: folder of the images.
        count: how many to draw.
        threshold: joints of a confidence up to this are left out.

    Raises:
        PoseError: no row to draw, or an image that can't be read.
    """
    if not len(poses):
        raise PoseError("there is no pose to draw")
    rows = np.unique(np.linspace(0, len(poses) - 1, num=min(count, len(poses))).round().astype(int))
    names = [poses.names[row] for row in rows]
    cells = [draw_pose(_read(root / name), *poses.of(name), threshold) for name in names]
    return _grid(cells, [PurePosixPath(name).name for name in names])


def draw_pose(image: np.ndarray, joints: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    """Return an image (H, W, 3) uint8, RGB, ``HEIGHT`` pixels high, with its skeleton.

    Args:
        image: the picture.
        joints: (17, 3) x, y, confidence.
        size: width and height of the image that x and y are pixels of.
        threshold: joints of a confidence up to this are left out.
    """
    width = max(1, min(round(HEIGHT * image.shape[1] / image.shape[0]), WIDEST * HEIGHT))
    canvas = np.ascontiguousarray(cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_LINEAR))
    seen = joints[:, 2] > threshold
    points = (joints[:, :2] + 0.5) * np.array([width, HEIGHT]) / np.array(size)
    # far outside there is nothing to see, and OpenCV wants small whole numbers
    points = np.rint(points.clip(-4 * HEIGHT, 5 * HEIGHT)).astype(int)
    for shade, thickness in ((INK, 5), (None, 2)):  # a dark rim, so that it shows on any clothes
        for colour, limbs in LIMBS:
            for start, end in limbs:
                if seen[start] and seen[end]:
                    ends = tuple(map(int, points[start])), tuple(map(int, points[end]))
                    cv2.line(canvas, *ends, shade or colour, thickness, cv2.LINE_AA)
    for joint in np.flatnonzero(seen):
        colour = MIDDLE if joint == 0 else LEFT if joint % 2 else RIGHT
        sure = joints[joint, 2] > UNSURE
        cv2.circle(canvas, tuple(map(int, points[joint])), 4, INK, -1, cv2.LINE_AA)
        cv2.circle(canvas, tuple(map(int, points[joint])), 3, colour, -1 if sure else 1, cv2.LINE_AA)
    return canvas


def _read(path: Path) -> np.ndarray:
    try:
        return read_rgb(str(path))
    except (OSError, ValueError) as error:
        raise PoseError(
            f"{path} can't be read as an image ({error}): the sheet needs the images that the poses are of"
        ) from error


def _grid(cells: Sequence[np.ndarray], names: Sequence[str]) -> Image.Image:
    names = [_short(name) for name in names]
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    step = GAP + max([cell.shape[1] for cell in cells] + [int(pen.textlength(name)) for name in names])
    columns = min(COLUMNS, len(cells))
    top, line = GAP + CAPTION * (len(LEGEND) + 1), HEIGHT + CAPTION + GAP
    width = max(columns * step, *(3 * GAP + int(pen.textlength(text)) for _, text in LEGEND))
    canvas = Image.new("RGB", (GAP + width, top + line * -(-len(cells) // columns)), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, (colour, text) in enumerate(LEGEND):
        y = GAP + CAPTION * number
        pen.rectangle((GAP, y, 3 * GAP, y + 10), fill=colour, outline=INK if colour != PAPER else PAPER)
        pen.text((4 * GAP, y), text, fill=INK)
    for place, (cell, name) in enumerate(zip(cells, names, strict=True)):
        corner = GAP + place % columns * step, top + place // columns * line
        canvas.paste(Image.fromarray(cell), corner)
        pen.text((corner[0], corner[1] + HEIGHT + 2), name, fill=INK)
    return canvas


def _short(name: str, most: int = 24) -> str:
    return caption(name if len(name) <= most else "..." + name[-most + 3 :])
