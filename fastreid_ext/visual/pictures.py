"""Heat maps and masks next to and over images."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from fastreid_ext.foreign_files import caption

GAP, CAPTION, PAPER, INK = 6, 18, "white", (40, 40, 40)
WIDEST = 1400  # pixels of a sheet: as many images beside each other as that leaves room for
SHARE = 0.45  # of the heat map's colour over the image


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the image (H, W, 3) uint8, RGB, with heat (H, W) in [0, 1] over it, from blue (0) to red (1)."""
    colours = cv2.applyColorMap(np.uint8(255 * np.clip(heat, 0, 1)), cv2.COLORMAP_JET)[..., ::-1]
    return np.uint8(np.rint((1 - SHARE) * image + SHARE * colours))


def darken(image: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Return the image (H, W, 3) uint8 times keep (H, W) in [0, 1]: what a mask leaves of it."""
    return np.uint8(np.rint(image * np.clip(keep, 0, 1)[..., None]))


def pixels_of(images: Tensor) -> np.ndarray:
    """(B, 3, H, W) on the 0-255 scale -> (B, H, W, 3) uint8."""
    return images.detach().clamp(0, 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def enlarge(picture: np.ndarray, height: int) -> np.ndarray:
    """Return a picture or a map (H, W[, 3]) at least ``height`` pixels high, bilinearly; larger ones are unchanged."""
    if picture.shape[0] >= height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


def sheet(rows: Sequence[Mapping[str, np.ndarray]], title: str, labels: Sequence[str] = ()) -> Image.Image:
    """Put images in a grid, each with its pictures side by side under their names, as many beside each other as fit.

    Args:
        rows: of each image, name -> picture; all pictures have one size, and all rows the same names.
        title: above them.
        labels: what stands under each row, such as the image's name; () = nothing.

    Raises:
        ValueError: no row.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row of pictures")
    names, title = {name: caption(name) for name in rows[0]}, caption(title)
    height, width = next(iter(rows[0].values())).shape[:2]
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    step = GAP + max(width, *(int(pen.textlength(name)) for name in names.values()))
    group, line = step * len(names), CAPTION if labels else 0
    across, down = tiles(len(rows), group + 2 * GAP)
    size = max(GAP + across * (group + 2 * GAP) - 2 * GAP, 2 * GAP + int(pen.textlength(title)))
    each = CAPTION + height + line + GAP
    canvas = Image.new("RGB", (size, CAPTION + each * down + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, 3), title, fill=INK)
    for place, pictures in enumerate(rows):
        left, top = GAP + place % across * (group + 2 * GAP), CAPTION + place // across * each
        for column, (name, shown) in enumerate(names.items()):
            pen.text((left + column * step, top + 3), shown, fill=INK)
            canvas.paste(Image.fromarray(pictures[name]), (left + column * step, top + CAPTION))
        if labels:
            text = shortened(pen, caption(labels[place]), group - GAP)
            pen.text((left, top + CAPTION + height + 3), text, fill=INK)
    return canvas


def tiles(count: int, width: int) -> tuple[int, int]:
    """Return how many of some equal groups stand beside and below each other on a sheet of ``WIDEST`` pixels.

    The last line is as full as the others can make it.

    Args:
        count: of the groups, 1 or more.
        width: of one, in pixels; one that is wider than the sheet has a line to itself.
    """
    down = -(-count // max(1, WIDEST // width))
    return -(-count // down), down


def shortened(pen: ImageDraw.ImageDraw, text: str, room: int) -> str:
    """Return a text, or its end behind dots where there is not room enough for it, in pixels."""
    if pen.textlength(text) <= room:
        return text
    while text and pen.textlength(f"...{text}") > room:
        text = text[1:]
    return f"...{text}"
