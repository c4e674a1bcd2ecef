"""Random erasing on a whole batch, on the device that holds it.

Zhong et al., Random Erasing Data Augmentation, 2017.
"""

import torch

from fastreid_ext.data.erased_pixels import MEAN_PIXEL, Fill
from fastreid_ext.errors import ConfigError

TRIES = 100  # as many as the authors' code has


def erase_rectangles(
    images: torch.Tensor,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: float = 0.3,
    generator: torch.Generator | None = None,
    fill: Fill = MEAN_PIXEL,
) -> torch.Tensor:
    """Erase a rectangle of some images.

    Args:
        images: (B, C, H, W); not written to.
        probability: share of the images that lose a rectangle, in [0, 1].
        area: smallest and largest area as a share of the image, 0 < low <= high <= 1.
        ratio: height / width is drawn uniformly from [ratio, 1 / ratio], 0 < ratio <= 1.
        generator: of the images' device; None is torch's own.
        fill: what erased pixels become; the mean pixel of normalised images if none is given.

    Returns:
        (B, C, H, W).

    Raises:
        ConfigError: a setting outside its range.
    """
    batch, _, height, width = images.shape
    inside = rectangle_masks(batch, (height, width), probability, area, ratio, generator, images.device)
    return fill(images, inside[:, None], generator)


def rectangle_masks(
    batch: int,
    size: tuple[int, int],
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: float = 0.3,
    generator: torch.Generator | None = None,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Draw the rectangles of :func:`erase_rectangles`.

    Area and ratio are drawn until the rectangle fits into the image, and then its place, as in the authors' code. The
    paper's Algorithm 1 draws all anew where the place does not fit either, which makes large rectangles rare. Where
    none of 100 fits, the code leaves the image whole; here the first one is cut, so that the probability holds.

    Args:
        batch: number of images.
        size: (height, width) of the images.
        probability, area, ratio: see :func:`erase_rectangles`.
        generator: of the device; None is torch's own.
        device: where the masks are made.

    Returns:
        (batch, height, width) bool, True where a pixel is erased; all False for an image that is left whole.

    Raises:
        ConfigError: a setting outside its range.
    """
    if len(area) != 2:
        raise ConfigError(f"random erasing needs the smallest and the largest area, got {tuple(area)}")
    low, high = area
    if not (0 <= probability <= 1 and 0 < low <= high <= 1 and 0 < ratio <= 1):
        raise ConfigError(
            f"random erasing needs probability in [0, 1], 0 < area <= 1 and ratio in (0, 1], got {probability}, {area}"
            f" and {ratio}"
        )
    height, width = size

    def uniform(low: float, high: float, count: int = 1) -> torch.Tensor:
        return low + (high - low) * torch.rand(batch, count, generator=generator, device=device)

    chosen = uniform(0, 1) < probability  # (B, 1)
    pixels, aspect = uniform(low, high, TRIES) * height * width, uniform(ratio, 1 / ratio, TRIES)
    rows = (pixels * aspect).sqrt().round().clamp(min=1)
    columns = (pixels / aspect).sqrt().round().clamp(min=1)
    first = ((rows <= height) & (columns <= width)).byte().argmax(1, keepdim=True)
    rows = rows.gather(1, first).clamp(max=height)
    columns = columns.gather(1, first).clamp(max=width)
    inside = _run(rows, uniform(0, 1), height)[:, :, None] & _run(columns, uniform(0, 1), width)[:, None, :]
    return inside & chosen[:, :, None]


def _run(length: torch.Tensor, place: torch.Tensor, total: int) -> torch.Tensor:
    """Mark ``length`` (B, 1) consecutive rows or columns of ``total``, from any start that fits: (B, total) bool."""
    start = (place * (total - length + 1)).floor()
    index = torch.arange(total, device=length.device)
    return (index >= start) & (index < start + length)
