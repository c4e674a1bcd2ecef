"""Picture sheets of region boxes: a colour per region, and a legend that names them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid_ext.foreign_files import caption
from fastreid_ext.visual.pictures import INK, PAPER, enlarge, tiles

Box = Sequence[float]  # x_min, y_min, x_max, y_max as shares of the image
HEIGHT, GAP, LINE, FONT = 320, 8, 20, 14
THICK = 2
# Told apart on any clothes and by most colour-blind people; after them the circle of hues is cut finer.
COLOURS = (
    (230, 25, 75),
    (255, 160, 0),
    (255, 225, 25),
    (60, 200, 75),
    (0, 190, 240),
    (70, 100, 255),
    (220, 80, 255),
    (250, 250, 250),
)


@dataclass(frozen=True)
class BoxPicture:
    """What is drawn of one image.

    Attributes:
        pixels: (H, W, 3) uint8, RGB.
        title: its name.
        columns: name of a column -> region -> its box; None for a column that is not known of this image.
    """

    pixels: np.ndarray
    title: str
    columns: Mapping[str, Mapping[str, Box] | None]


def box_sheet(pictures: Sequence[BoxPicture], title: str, notes: Sequence[str] = ()) -> Image.Image:
    """Put images in a grid, each with its columns beside it, under a title, notes and a legend of the regions.

    Raises:
        ValueError: no picture.
    """
    if not pictures:
        raise ValueError("a sheet needs at least one picture")
    named = [boxes for picture in pictures for boxes in picture.columns.values() if boxes]
    colours = colours_of(list(dict.fromkeys(region for boxes in named for region in boxes)))
    groups = [_group(picture, colours) for picture in pictures]
    width = max(group.width for group in groups)
    across, down = tiles(len(groups), width + 2 * GAP)
    head = _head(title, notes, colours, across * (width + 2 * GAP))
    height = max(group.height for group in groups)
    canvas = Image.new("RGB", (head.width, head.height + down * (height + 2 * GAP)), PAPER)
    canvas.paste(head, (0, 0))
    for place, group in enumerate(groups):
        corner = place % across * (width + 2 * GAP) + GAP, head.height + place // across * (height + 2 * GAP)
        canvas.paste(group, corner)
    return canvas


def colours_of(regions: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return a colour (RGB) for each region."""
    more = max(0, len(regions) - len(COLOURS))
    hues = np.array([[[i * 179 // max(1, more), 160, 200] for i in range(more)]], dtype=np.uint8).reshape(1, -1, 3)
    extra = cv2.cvtColor(hues, cv2.COLOR_HSV2RGB)[0].tolist() if more else []
    return dict(zip(regions, [*COLOURS, *map(tuple, extra)], strict=False))


def draw_boxes(pixels: np.ndarray, boxes: Mapping[str, Box], colours: Mapping[str, tuple[int, int, int]]) -> np.ndarray:
    """Return the image with boxes as frames, cut at its edge; one wholly outside or without area is left out.

    Where boxes reach to the edge or over it, each region's frame keeps a distance of its own from it, or they would
    hide each other there; for the same reason a frame on one that is drawn already is drawn inside it.

    Args:
        pixels: (H, W, 3) uint8, RGB.
        boxes: region -> box; the first is drawn last, on top: tables of regions begin with the finest.
        colours: of every region.
    """
    canvas = pixels.copy()
    height, width = canvas.shape[:2]
    offsets = {region: number for number, region in enumerate(colours)}
    drawn: list[tuple[int, int, int, int]] = []
    for region, box in reversed(boxes.items()):
        inset = offsets[region] * (THICK + 1) + 1
        left, right = _ends(box[0], box[2], width, inset)
        top, bottom = _ends(box[1], box[3], height, inset)
        if left >= right or top >= bottom:
            continue
        while any(abs(np.subtract((left, top, right, bottom), other)).max() <= THICK for other in drawn):
            left, top, right, bottom = left + THICK + 1, top + THICK + 1, right - THICK - 1, bottom - THICK - 1
        drawn.append((left, top, right, bottom))
        cv2.rectangle(canvas, (left, top), (right, bottom), INK, THICK + 2, cv2.LINE_4)
        cv2.rectangle(canvas, (left, top), (right, bottom), colours[region], THICK, cv2.LINE_4)
    return canvas


def _ends(low: float, high: float, pixels: int, inset: int) -> tuple[int, int]:
    """Return the first and the last pixel of a side of a frame; twice the same if nothing of it is to see."""
    if min(high, 1) <= max(low, 0):
        return 0, 0
    inset = min(inset, pixels // 4)
    first = inset if low <= 0 else round(low * pixels)
    last = pixels - 1 - inset if high >= 1 else round(high * pixels) - 1
    return first, max(last, first + 1)


def _group(picture: BoxPicture, colours: Mapping[str, tuple[int, int, int]]) -> Image.Image:
    """Return an image and its columns side by side, under their names and over the image's."""
    pixels = enlarge(picture.pixels, HEIGHT)
    cells: dict[str, np.ndarray | None] = {"image": pixels}
    for name, boxes in picture.columns.items():
        cells[name] = None if boxes is None else draw_boxes(pixels, boxes, colours)
    height, width = pixels.shape[:2]
    title = caption(picture.title)
    step = GAP + max(width, *(_length(name) for name in cells))
    canvas = Image.new("RGB", (max(step * len(cells), _length(title)), height + 2 * LINE), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, (name, cell) in enumerate(cells.items()):
        pen.text((number * step, 0), name, fill=INK, font=_font())
        if cell is None:
            pen.text((number * step, LINE + height // 2), "not known", fill=INK, font=_font())
        else:
            canvas.paste(Image.fromarray(cell), (number * step, LINE))
    pen.text((0, LINE + height + 2), title, fill=INK, font=_font())
    return canvas


def _head(title: str, notes: Sequence[str], colours: Mapping[str, tuple[int, int, int]], width: int) -> Image.Image:
    """Return title, notes and legend; the legend goes on in the next line where the width ends."""
    lines = [caption(text) for text in (title, *notes)]
    width = max(width, 2 * GAP + max(_length(text) for text in lines))
    entries, x, y = [], GAP, GAP + LINE * (1 + len(notes))
    for region, colour in colours.items():
        needed = 3 * GAP + LINE + _length(region)
        if x > GAP and x + needed > width:
            x, y = GAP, y + LINE
        entries.append((x, y, region, colour))
        x += needed
    canvas = Image.new("RGB", (width, y + LINE + 2 * GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    for number, text in enumerate(lines):
        pen.text((GAP, GAP + LINE * number), text, fill=INK, font=_font())
    for x, y, region, colour in entries:
        pen.rectangle((x, y + 2, x + LINE, y + FONT), fill=colour, outline=INK)
        pen.text((x + LINE + GAP, y), region, fill=INK, font=_font())
    return canvas


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(FONT)


def _length(text: str) -> int:
    return int(_font().getlength(text)) + 1
