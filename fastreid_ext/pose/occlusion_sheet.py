"""A sheet of images with their key points, the occluded ones above the holistic ones, to check by eye."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.images import read_image
from fastreid_ext.data.occlusion.photos import Photo
from fastreid_ext.data.poses import Poses
from fastreid_ext.foreign_files import caption
from fastreid_ext.pose.sheet import CAPTION, COLUMNS, GAP, HEIGHT, INK, LEFT, PAPER, RIGHT, draw_pose

LETTERS = 26
OCCLUDED, HOLISTIC = (200, 40, 40), (30, 130, 60)  # RGB of the two headings


def occlusion_sheet(photos: Sequence[Photo], poses: Poses, count: int, confidence: float, rule: str) -> Image.Image:
    """Draw images of both kinds, spread evenly over all of each kind by name.

    Args:
        photos: all that were judged.
        poses: their key points.
        count: images of each kind at most, 1 or more.
        confidence: up to which a key point is missing, and not drawn.
        rule: a line below the title.

    Raises:
        ImageError: an image can't be read.
    """
    blocks = []
    for title, colour, kind in (("occluded", OCCLUDED, True), ("holistic", HOLISTIC, False)):
        found = [photo for photo in photos if photo.occluded is kind]
        rows = np.unique(np.linspace(0, len(found) - 1, num=min(count, len(found))).round().astype(int))
        cells = [(found[row], _cell(found[row], poses, confidence)) for row in rows]
        blocks.append((f"{title}: {len(found)} images, {len(cells)} of them here", colour, cells))
    return _drawn(blocks, rule)


def _cell(photo: Photo, poses: Poses, confidence: float) -> np.ndarray:
    joints, size = poses.of(photo.row)
    return draw_pose(read_image(str(photo.entry.path)), joints, size, confidence)


def _drawn(blocks: Sequence[tuple], rule: str) -> Image.Image:
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    texts = {photo: _texts(photo) for _, _, cells in blocks for photo, _ in cells}
    sides = [cell.shape[1] for _, _, cells in blocks for _, cell in cells]
    words = [int(pen.textlength(text)) for lines in texts.values() for text in lines]
    step, line = GAP + max([*sides, *words], default=0), HEIGHT + 2 * CAPTION + GAP
    lines = _wrapped(pen, rule, COLUMNS * step)
    heights = [2 * CAPTION + line * -(-len(cells) // COLUMNS) for _, _, cells in blocks]
    top = GAP + CAPTION * (len(lines) + 2)
    canvas = Image.new("RGB", (GAP + COLUMNS * step, top + sum(heights) + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, text in enumerate(lines):
        pen.text((GAP, GAP + CAPTION * number), text, fill=INK)
    y = GAP + CAPTION * len(lines)
    for colour, text, x in ((LEFT, "the person's own left", GAP), (RIGHT, "the person's own right", 24 * GAP)):
        pen.rectangle((x, y, x + 2 * GAP, y + 10), fill=colour, outline=INK)
        pen.text((x + 3 * GAP, y), text, fill=INK)
    y = top
    for (title, colour, cells), height in zip(blocks, heights, strict=True):
        pen.rectangle((GAP, y, canvas.width - GAP, y + CAPTION + 2), fill=colour)
        pen.text((2 * GAP, y + 3), title, fill=PAPER)
        for place, (photo, cell) in enumerate(cells):
            x, below = GAP + place % COLUMNS * step, y + 2 * CAPTION - GAP + place // COLUMNS * line
            canvas.paste(Image.fromarray(cell), (x, below))
            for number, text in enumerate(texts[photo]):
                pen.text((x, below + HEIGHT + 2 + CAPTION * number), text, fill=INK)
        y += height
    return canvas


def _texts(photo: Photo) -> tuple[str, str]:
    name = PurePosixPath(photo.entry.path.as_posix()).name
    name = name if len(name) <= LETTERS else f"...{name[3 - LETTERS :]}"
    return caption(name), f"{photo.missing} missing, {photo.run} in a row"


def _wrapped(pen: ImageDraw.ImageDraw, text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and pen.textlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
