"""Pictures of rank lists: a query and its nearest gallery images, right ones framed green, wrong ones red.

The frame is grey if the person is not known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.pixels.decoding import read_rgb
from fastreid_ext.evaluation.distances import MatrixRows, Rows
from fastreid_ext.files import make_folder, write_atomically

GREEN, RED, GREY, INK, PAPER = (0, 158, 96), (213, 58, 47), (120, 120, 120), (40, 40, 40), (255, 255, 255)
FRAME, GAP, CAPTION = 4, 6, 16


@dataclass(frozen=True)
class RankedQuery:
    """A query, its gallery images in order, and whether each shows the same person; None = not known."""

    query: str
    gallery: Sequence[str]
    right: Sequence[bool | None]


def rank_queries(
    distances: np.ndarray | Rows,
    paths: tuple[Sequence[str], Sequence[str]],
    pids: tuple[np.ndarray, np.ndarray],
    camids: tuple[np.ndarray, np.ndarray],
    topk: int,
    left_out: Callable[[int], np.ndarray] | None = None,
) -> list[RankedQuery]:
    """Order the gallery for every row of distances (Q, G) by the Market protocol, one row at a time.

    Args:
        distances: (Q, G), a matrix or made by rows; ties keep the gallery's order.
        paths, pids, camids: (of the queries, of the gallery).
        topk: images kept per query; those of the query's own identity and camera do not count.
        left_out: query -> further gallery images that do not count.
    """
    ranked = []
    rows = MatrixRows(distances) if isinstance(distances, np.ndarray) else distances
    for query, (path, pid, camid) in enumerate(zip(paths[0], pids[0], camids[0], strict=True)):
        order = np.argsort(rows.rows(query, query + 1)[0].cpu().numpy(), kind="stable")
        order = order[(pids[1][order] != pid) | (camids[1][order] != camid)]
        if left_out is not None:
            order = order[~np.isin(order, left_out(query))]
        order = order[:topk]
        ranked.append(RankedQuery(path, [paths[1][i] for i in order], [bool(pids[1][i] == pid) for i in order]))
    return ranked


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
    step_x, step_y = cell[0] + 2 * FRAME + GAP, cell[1] + 2 * FRAME + GAP
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
        frames = [GREY, *(GREY if right is None else GREEN if right else RED for right in entry.right)]
        for column, (path, colour) in enumerate(zip([entry.query, *entry.gallery], frames, strict=True)):
            x, y = left_of(column), top + row * step_y
            pen.rectangle((x, y, x + cell[0] + 2 * FRAME - 1, y + cell[1] + 2 * FRAME - 1), fill=colour)
            canvas.paste(read(path).resize(cell, Image.Resampling.BILINEAR), (x + FRAME, y + FRAME))
    return canvas


def save_rank_lists(picture: Image.Image, path: Path) -> None:
    """Write the picture as PNG or JPEG, by its name."""
    make_folder(path.parent)
    kind = Image.registered_extensions()[path.suffix.lower()]
    write_atomically(path, lambda file: picture.save(file, format=kind))
