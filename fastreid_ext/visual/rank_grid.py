"""Rank lists of several models one above the other, for print: the same queries, right images ticked, wrong ones
crossed out."""

from collections.abc import Callable, Mapping, Sequence

from PIL import Image, ImageDraw

from fastreid_ext.evaluation.rank_list import GREEN, RED, RankedQuery, read_picture
from fastreid_ext.foreign_files import caption
from fastreid_ext.visual.labelled_grid import INK, MARGIN, NARROWEST, NOTE, PALE, PAPER, TITLE, head_of, write
from fastreid_ext.visual.lettering import broken, font, length

CELL = (80, 160)  # width and height of an image
FRAME, GAP, BLOCK = 5, 8, 26  # pixels of a frame, between two images, between two queries
NAME, MARK = 15, 20  # sizes of letters and of ticks
TICK, CROSS = "\u2713", "\u2717"  # said again without colour


def rank_grid(
    queries: Sequence[Mapping[str, RankedQuery]],
    title: str,
    notes: Sequence[str] = (),
    read: Callable[[str], Image.Image] = read_picture,
) -> Image.Image:
    """Draw for each query its image, and a row of its nearest gallery images for each model, under the model's name.

    Args:
        queries: of each, model -> its ranking; all rankings have the same query.
        title: above them.
        notes: sentences below them.
        read: path -> RGB image.

    Raises:
        ValueError: no query, or rankings of different queries in one.
    """
    if not queries or any(len({ranked.query for ranked in models.values()}) != 1 for models in queries):
        raise ValueError("a figure of rank lists needs a query at least, and one query for all models of a block")
    names = list(queries[0])
    names_room = max(length(line, font(NAME, bold=True)) for name in names for line in _name(name))
    ranks = max(len(ranked.gallery) for models in queries for ranked in models.values())
    step = CELL[0] + 2 * FRAME + GAP, CELL[1] + 2 * FRAME + MARK + 4
    left_of_names = MARGIN + step[0] + GAP
    left = left_of_names + names_room + 2 * GAP
    room = max(NARROWEST, left + ranks * step[0] - GAP - MARGIN)
    above, below = head_of(title, room), [line for note in notes for line in broken(caption(note), font(NOTE), room)]
    top = MARGIN + len(above) * (TITLE + 6) + GAP
    block = len(names) * step[1] + BLOCK
    end = top + NAME + GAP + block * len(queries)
    canvas = Image.new("RGB", (room + 2 * MARGIN, end + len(below) * (NOTE + 5) + MARGIN), PAPER)
    pen = ImageDraw.Draw(canvas)
    write(pen, (MARGIN, MARGIN), above, TITLE, INK, bold=True)
    pen.text((MARGIN, top), "query", fill=INK, font=font(NAME))
    for rank in range(ranks):
        pen.text((left + rank * step[0] + FRAME, top), f"rank {rank + 1}", fill=INK, font=font(NAME))
    for number, models in enumerate(queries):
        y = top + NAME + GAP + number * block
        if number:
            pen.line([(MARGIN, y - BLOCK // 2), (room + MARGIN, y - BLOCK // 2)], fill=(200, 200, 200))
        query = next(iter(models.values())).query
        middle = y + (len(names) * step[1] - step[1]) // 2
        canvas.paste(_fitted(read(query)), (MARGIN, middle + FRAME))
        for row, name in enumerate(names):
            ranked, line = models[name], y + row * step[1]
            lines = _name(name)
            heights = (NAME + 6) * len(lines)
            write(pen, (left_of_names, line + (CELL[1] - heights) // 2), lines, NAME, INK, bold=True)
            right = sum(map(bool, ranked.right))
            said = f"{right} of {len(ranked.right)} right"
            pen.text((left_of_names, line + (CELL[1] + heights) // 2), said, fill=PALE, font=font(NOTE))
            for rank, (path, is_right) in enumerate(zip(ranked.gallery, ranked.right, strict=True)):
                x, colour = left + rank * step[0], GREEN if is_right else RED
                pen.rectangle((x, line, x + CELL[0] + 2 * FRAME - 1, line + CELL[1] + 2 * FRAME - 1), fill=colour)
                canvas.paste(_fitted(read(path)), (x + FRAME, line + FRAME))
                mark = (x + FRAME + CELL[0] // 2, line + CELL[1] + 2 * FRAME - 2)
                pen.text(mark, TICK if is_right else CROSS, fill=colour, font=font(MARK, bold=True), anchor="ma")
    write(pen, (MARGIN, end), below, NOTE, PALE)
    return canvas


def _fitted(image: Image.Image) -> Image.Image:
    return image.resize(CELL, Image.Resampling.BILINEAR)


def _name(name: str) -> list[str]:
    """Break a model's name into lines that leave the images most of the room."""
    return broken(caption(name), font(NAME, bold=True), 110)
