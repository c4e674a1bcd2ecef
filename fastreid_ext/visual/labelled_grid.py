"""Figures for print: pictures in rows and columns that have names, under a title, with a scale of the colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.foreign_files import caption
from fastreid_ext.visual.lettering import broken, font, length
from fastreid_ext.visual.pictures import enlarge, overlay

HEIGHT, GAP, MARGIN = 256, 10, 16  # of a picture; between two; around all
INK, PALE, PAPER = (30, 30, 30), (90, 90, 90), "white"
TITLE, NAME, NOTE = 20, 16, 14  # sizes of letters, in pixels
NARROWEST = 420  # of a figure, so that its title has room
SCALE = (180, 14)  # width and height of the scale of colours


@dataclass(frozen=True)
class Line:
    """A row of pictures.

    Attributes:
        name: at its left; "" = none.
        cells: a picture (H, W, 3) uint8, RGB, for each column; None = empty.
    """

    name: str
    cells: Sequence[np.ndarray | None]


def labelled_grid(
    lines: Sequence[Line],
    columns: Sequence[str],
    title: str,
    notes: Sequence[str] = (),
    scale: tuple[str, str] | None = None,
) -> Image.Image:
    """Put pictures into a grid; smaller ones are enlarged to ``HEIGHT``.

    Args:
        lines: rows of one picture a column, all of one size.
        columns: their names.
        title: above them.
        notes: sentences below them.
        scale: what blue and what red of :func:`fastreid_ext.visual.pictures.overlay` stand for; None = no scale.

    Raises:
        ValueError: no picture, or a row of another length.
    """
    shown = [[None if cell is None else enlarge(cell, HEIGHT) for cell in line.cells] for line in lines]
    sizes = [cell.shape[:2] for cells in shown for cell in cells if cell is not None]
    if not sizes or any(len(cells) != len(columns) for cells in shown):
        raise ValueError(f"a figure of {len(columns)} columns needs rows of as many pictures, and one picture at least")
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    names, heads = [caption(line.name) for line in lines], [caption(name) for name in columns]
    step = GAP + max(width, *(length(name, font(NAME)) for name in heads))
    left = max(length(name, font(NAME)) for name in names) + GAP if any(names) else 0
    room = max(NARROWEST, left + step * len(columns) - GAP)
    above, below = head_of(title, room), [text for note in notes for text in broken(caption(note), font(NOTE), room)]
    top = MARGIN + len(above) * (TITLE + 6) + GAP
    grid = top + NAME + GAP
    bottom = grid + len(lines) * (height + GAP)
    tail = (SCALE[1] + NOTE + GAP if scale else 0) + len(below) * (NOTE + 5)
    canvas = Image.new("RGB", (room + 2 * MARGIN, bottom + tail + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    write(pen, (MARGIN, MARGIN), above, TITLE, INK, bold=True)
    for column, name in enumerate(heads):
        pen.text((MARGIN + left + column * step, top), name, fill=INK, font=font(NAME))
    for row, (name, cells) in enumerate(zip(names, shown, strict=True)):
        y = grid + row * (height + GAP)
        pen.text((MARGIN, y + height // 2 - NAME), name, fill=INK, font=font(NAME))
        for column, cell in enumerate(cells):
            if cell is not None:
                canvas.paste(Image.fromarray(cell), (MARGIN + left + column * step, y))
    if scale:
        draw_scale(canvas, (MARGIN, bottom), scale)
        bottom += SCALE[1] + NOTE + GAP
    write(pen, (MARGIN, bottom), below, NOTE, PALE)
    return canvas


def head_of(title: str, room: int) -> list[str]:
    """Return the lines of a title."""
    return broken(caption(title), font(TITLE, bold=True), room)


def write(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], texts: Sequence[str], size: int, ink: object, bold: bool = False
) -> None:
    """Write lines below each other."""
    for number, text in enumerate(texts):
        spacing = size + (6 if bold else 5)
        pen.text((corner[0], corner[1] + number * spacing), text, fill=ink, font=font(size, bold))


def draw_scale(canvas: Image.Image, corner: tuple[int, int], ends: tuple[str, str]) -> None:
    """Draw the colours of :func:`overlay` over grey, with the names of their ends."""
    heat = np.linspace(0, 1, SCALE[0], dtype=np.float32)[None].repeat(SCALE[1], axis=0)
    bar = overlay(np.full((*heat.shape, 3), 128, np.uint8), heat)
    pen = ImageDraw.Draw(canvas)
    low, high = ends
    x = corner[0] + length(low, font(NOTE)) + GAP
    pen.text((corner[0], corner[1] - 2), low, fill=PALE, font=font(NOTE))
    canvas.paste(Image.fromarray(bar), (x, corner[1]))
    pen.text((x + SCALE[0] + GAP, corner[1] - 2), high, fill=PALE, font=font(NOTE))
