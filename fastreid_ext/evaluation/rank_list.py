"""Pictures of rank lists: a query and its nearest gallery images, right ones framed green, wrong ones red.

A tick or a cross below says the same without colour. The frame is grey, and there is no mark, if the person is not
known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.evaluation.distances import MatrixRows, Rows
from fastreid_ext.files import make_folder, write_atomically
from fastreid_ext.foreign_files import caption

GREEN, RED, GREY, INK, PAPER = (0, 158, 96), (213, 58, 47), (120, 120, 120), (40, 40, 40), (255, 255, 255)
FRAME, GAP, CAPTION = 4, 6, 16
LINE, MARK = 12, 8
UNDER = 2 * LINE + 2  # of each image: its mark and the notes


@dataclass(frozen=True)
class RankedQuery:
    """A query and its gallery images in order.

    Attributes:
        query: its file.
        gallery: files of the images, the nearest first.
        right: whether each shows the same person; None = not known.
        notes: one or two short lines under the query and under each image, such as its similarity and camera; () =
            none.
    """

    query: str
    gallery: Sequence[str]
    right: Sequence[bool | None]
    notes: Sequence[Sequence[str]] = ()


def rank_queries(
    distances: np.ndarray | Rows,
    paths: tuple[Sequence[str], Sequence[str]],
    pids: tuple[np.ndarray, np.ndarray],
    camids: tuple[np.ndarray, np.ndarray],
    topk: int,
    left_out: Callable[[int], np.ndarray] | None = None,
    metric: str = "",
) -> list[RankedQuery]:
    """Order the gallery for every row of distances (Q, G) by the Market protocol, one row at a time.

    Args:
        distances: (Q, G), a matrix or made by rows; ties keep the gallery's order.
        paths, pids, camids: (of the queries, of the gallery).
        topk: images kept per query; those of the query's own identity and camera do not count.
        left_out: query -> further gallery images that do not count.
        metric: of the distances, which images then have with their cameras as notes; "" = no notes.
    """
    ranked = []
    rows = MatrixRows(distances) if isinstance(distances, np.ndarray) else distances
    for query, (path, pid, camid) in enumerate(zip(paths[0], pids[0], camids[0], strict=True)):
        row = rows.rows(query, query + 1)[0].cpu().numpy()
        out = None if left_out is None else left_out(query)
        order = nearest_images(row, pid, camid, pids[1], camids[1], out)[:topk]
        notes = [(f"camera {camid}",), *((number(row[i], metric), f"camera {camids[1][i]}") for i in order)]
        right = [bool(pids[1][i] == pid) for i in order]
        ranked.append(RankedQuery(path, [paths[1][i] for i in order], right, notes if metric else ()))
    return ranked


def nearest_images(
    row: np.ndarray, pid: Any, camid: Any, pids: np.ndarray, camids: np.ndarray, left_out: np.ndarray | None = None
) -> np.ndarray:
    """Return the gallery images that count for a query, the nearest first; ties keep the gallery's order.

    Args:
        row: (G,) its distances.
        pid, camid: its identity and camera, whose images do not count.
        pids, camids: (G,) of the gallery.
        left_out: further images that do not count.
    """
    order = np.argsort(row, kind="stable")
    order = order[(pids[order] != pid) | (camids[order] != camid)]
    return order if left_out is None else order[~np.isin(order, left_out)]


def number(distance: float, metric: str) -> str:
    """Return what is shown of a distance: the cosine similarity, or the squared distance of another metric."""
    return f"{1 - distance:.3f}" if metric == "cosine" else f"{distance:.4g}"


def name_of_number(metric: str) -> str:
    """Return what :func:`number` is, for titles."""
    return "cosine similarity" if metric == "cosine" else "squared distance"


def read_picture(path: str) -> Image.Image:
    """Read an image file as RGB.

    Raises:
        OSError: it can't be read.
    """
    return Image.fromarray(read_rgb(path))


def draw_rank_lists(
    ranked: Sequence[RankedQuery],
    title: str,
    topk: int = 10,
    cell: tuple[int, int] = (64, 128),
    read: Callable[[str], Image.Image] = read_picture,
) -> Image.Image:
    """Draw a row per query: the query, then its nearest images with their rank.

    Args:
        ranked: what :func:`rank_queries` gives.
        title: title of the picture; it should name the ranking.
        topk: columns.
        cell: width and height of an image in pixels.
        read: path -> RGB image.

    Raises:
        ValueError: no query.
    """
    if not ranked:
        raise ValueError("a rank-list picture needs at least one query")
    step_x, step_y = cell[0] + 2 * FRAME + GAP, cell[1] + 2 * FRAME + UNDER + GAP
    top = 2 * CAPTION + GAP
    width, height = GAP + step_x * (topk + 1) + 2 * GAP, top + step_y * len(ranked) + GAP
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    width = max(width, 2 * GAP + int(pen.textlength(title)))  # a title that is cut off may lose the order it names
    canvas = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, 3), title, fill=INK)

    def left_of(column: int) -> int:
        return GAP + column * step_x + (2 * GAP if column else 0)

    for column in range(topk + 1):
        pen.text((left_of(column), CAPTION + 3), str(column) if column else "query", fill=INK)
    for row, entry in enumerate(ranked):
        notes = entry.notes or [()] * (1 + len(entry.gallery))
        cells = zip([entry.query, *entry.gallery], [None, *entry.right], notes, strict=True)
        for column, (path, right, lines) in enumerate(cells):
            x, y = left_of(column), top + row * step_y
            colour = GREY if right is None else GREEN if right else RED
            pen.rectangle((x, y, x + cell[0] + 2 * FRAME - 1, y + cell[1] + 2 * FRAME - 1), fill=colour)
            canvas.paste(read(path).resize(cell, Image.Resampling.BILINEAR), (x + FRAME, y + FRAME))
            below = y + cell[1] + 2 * FRAME + 1
            if right is not None:
                draw_mark(pen, (x, below + 1), right)
            for line, text in enumerate(lines):
                left = x + (MARK + 4 if line == 0 and right is not None else 0)
                room = x + cell[0] + 2 * FRAME - left
                pen.text((left, below + line * LINE), fitting(pen, caption(text), room), fill=INK)
    return canvas


def draw_mark(pen: ImageDraw.ImageDraw, corner: tuple[int, int], right: bool) -> None:
    """Draw a tick or a cross of ``MARK`` pixels: who can't tell green from red sees which it is."""
    x, y = corner
    if right:
        pen.line([(x, y + 5), (x + 3, y + MARK - 1), (x + MARK, y)], fill=GREEN, width=2)
        return
    for start, end in (((x, y), (x + MARK - 1, y + MARK - 1)), ((x, y + MARK - 1), (x + MARK - 1, y))):
        pen.line([start, end], fill=RED, width=2)


def fitting(pen: ImageDraw.ImageDraw, text: str, room: int) -> str:
    """Return as much of a text as there is room for, in pixels."""
    while text and pen.textlength(text) > room:
        text = text[:-1]
    return text


def save_rank_lists(picture: Image.Image, path: Path) -> None:
    """Write the picture as PNG or JPEG, by its name."""
    make_folder(path.parent)
    kind = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(path, lambda file: picture.save(file, format=kind))
