"""A contact sheet of a data set: a person a row, with the subset and the camera of each image."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.images import read_image
from fastreid_ext.foreign_files import caption
from fastreid_ext.visual.image_sources import spread
from fastreid_ext.visual.lettering import font

HEIGHT, WIDEST, GAP, LINE, COLUMNS, ROWS = 128, 128, 8, 14, 10, 16
FRAMES = {"train": (120, 120, 120), "query": (30, 110, 220), "gallery": (40, 150, 60)}  # RGB
PAPER, INK, FRAME, LETTERS = (255, 255, 255), (40, 40, 40), 3, 22
NAME = 11  # size of the letters of a person's name, in pixels
ORDER = list(FRAMES)


@dataclass(frozen=True)
class Cell:
    """An image on the sheet."""

    path: str
    split: str
    person: str
    camera: str


@dataclass(frozen=True)
class Line:
    """A person's row: how many images there are, and those that are shown."""

    person: str
    kind: str
    count: int
    cells: Sequence[Cell]
    pictures: Sequence[Image.Image]


def person_sheet(cells: Iterable[Cell], title: str, rows: int = ROWS, columns: int = COLUMNS) -> Image.Image:
    """Draw some persons of the training and of the test set, half and half where there are enough, a person a row.

    Args:
        cells: all images.
        title: above them.
        rows: persons at most, spread evenly over all by name.
        columns: images of a person at most: the queries first.

    Raises:
        ImageError: an image can't be read.
    """
    train, test = _by_person(cells)
    of_train = min(len(train), max(rows // 2, rows - len(test)))
    lines = []
    for kind, people, most in (("train", train, of_train), ("test", test, min(len(test), rows - of_train))):
        names = sorted(people)
        for number in spread(len(names), most) if most else []:
            person = names[number]
            chosen = _chosen(people[person], columns)
            lines.append(Line(person, kind, len(people[person]), chosen, [_fitted(read_image(c.path)) for c in chosen]))
    return _draw(lines, f"{title} ({len(lines)} of {len(train.keys() | test.keys())} persons)")


def _by_person(cells: Iterable[Cell]) -> tuple[dict[str, list[Cell]], dict[str, list[Cell]]]:
    train, test = defaultdict(list), defaultdict(list)
    for cell in cells:
        (train if cell.split == "train" else test)[cell.person].append(cell)
    return train, test


def _draw(lines: Sequence[Line], title: str) -> Image.Image:
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    words = [_short(f"camera {cell.camera}", LETTERS) for line in lines for cell in line.cells]
    widths = [picture.width + 2 * FRAME for line in lines for picture in line.pictures]
    step = GAP + max([*widths, *(int(pen.textlength(word)) for word in words)], default=0)
    height, left, top = HEIGHT + 2 * FRAME + LINE + GAP, 11 * LINE, 4 * LINE
    width = left + max((len(line.cells) for line in lines), default=0) * step
    canvas = Image.new("RGB", (max(width, left + 40 * GAP), top + height * len(lines) + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, GAP), _short(title, 80), fill=INK)
    _legend(pen, (GAP, GAP + LINE + 4))
    for row, line in enumerate(lines):
        y = top + row * height
        images = f"{line.count} image{'s' if line.count > 1 else ''}"
        images += f", {len(line.cells)} here" if len(line.cells) < line.count else ""
        pen.text((GAP, y + GAP), _short(line.person, LETTERS), fill=INK, font=font(NAME))
        pen.text((GAP, y + GAP + LINE), f"{line.kind}, {images}", fill=INK)
        for column, (cell, picture) in enumerate(zip(line.cells, line.pictures, strict=True)):
            x = left + column * step
            edge = x + picture.width + 2 * FRAME - 1, y + picture.height + 2 * FRAME - 1
            pen.rectangle((x, y, *edge), fill=FRAMES[cell.split])
            canvas.paste(picture, (x + FRAME, y + FRAME))
            pen.text((x, y + HEIGHT + 2 * FRAME), _short(f"camera {cell.camera}", LETTERS), fill=INK)
    return canvas


def _legend(pen: ImageDraw.ImageDraw, corner: tuple[int, int]) -> None:
    x, y = corner
    for name, colour in FRAMES.items():
        pen.rectangle((x, y + 1, x + 12, y + 11), fill=colour)
        pen.text((x + 18, y), f"{name} image", fill=INK)
        x += 18 + int(pen.textlength(f"{name} image")) + 2 * GAP


def _chosen(cells: Sequence[Cell], columns: int) -> list[Cell]:
    """Queries first, then images of every camera in turn."""
    seen: Mapping[tuple[str, str], list[Cell]] = defaultdict(list)
    ranked = []
    for cell in sorted(cells, key=lambda cell: cell.path):
        of_camera = seen[cell.split, cell.camera]
        of_camera.append(cell)
        ranked.append(((cell.split != "query", len(of_camera), cell.camera, cell.path), cell))
    chosen = [cell for _, cell in sorted(ranked, key=lambda item: item[0])][:columns]
    return sorted(chosen, key=lambda cell: ORDER.index(cell.split))


def _fitted(pixels: np.ndarray) -> Image.Image:
    """Return an image that fits into a cell, its sides in proportion."""
    scale = min(HEIGHT / pixels.shape[0], WIDEST / pixels.shape[1])
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return Image.fromarray(cv2.resize(pixels, size, interpolation=how))


def _short(text: str, most: int) -> str:
    text = caption(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."
