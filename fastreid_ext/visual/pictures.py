"""Heat maps and masks next to and over images."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from fastreid_ext.foreign_files import caption

GAP, CAPTION, PAPER, INK = 6, 18, "white", (40, 40, 40)
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


def sheet(rows: Sequence[Mapping[str, np.ndarray]], title: str) -> Image.Image:
    """Put pictures of one size in a grid: a row per image, a column per name, the names on top.

    Raises:
        ValueError: no row.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row of pictures")
    names, title = {name: caption(name) for name in rows[0]}, caption(title)
    height, width = next(iter(rows[0].values())).shape[:2]
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    step = GAP + max(width, *(int(pen.textlength(name)) for name in names.values()))
    size = max(GAP + step * len(names), 2 * GAP + int(pen.textlength(title)))
    canvas = Image.new("RGB", (size, 2 * CAPTION + (height + GAP) * len(rows) + GAP), PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((GAP, 3), title, fill=INK)
    for column, (name, shown) in enumerate(names.items()):
        pen.text((GAP + column * step, CAPTION + 3), shown, fill=INK)
        for row, pictures in enumerate(rows):
            corner = (GAP + column * step, 2 * CAPTION + row * (height + GAP))
            canvas.paste(Image.fromarray(pictures[name]), corner)
    return canvas
