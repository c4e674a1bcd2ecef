"""Random erasing on a whole batch, on the device that holds it.

Zhong et al., Random Erasing Data Augmentation, 2017.
"""

import math

import torch

from fastreid_ext.errors import ConfigError

FILLS = ("mean", "random")


def erase_rectangles(
    images: torch.Tensor,
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    ratio: float = 0.3,
    generator: torch.Generator | None = None,
    fill: str = "mean",
) -> torch.Tensor:
    """Set a rectangle of some images to 0, which is the mean pixel of a normalised batch, or to random pixels.

    The paper draws again until the rectangle fits into the image. Here a side that is too long is cut, which needs no
    loop over a batch.

    Args:
        images: (B, C, H, W), normalised; not written to.
        probability: share of the images that lose a rectangle, in [0, 1].
        area: smallest and largest area as a share of the image, 0 < low <= high <= 1.
        ratio: height / width is drawn log-uniformly from [ratio, 1 / ratio], 0 < ratio <= 1.
        generator: of the images' device; None is torch's own.
        fill: "mean", or "random" for a standard normal number in every channel of every pixel, which has the mean and
            the spread of the pixels of a normalised batch.

    Returns:
        (B, C, H, W).

    Raises:
        ConfigError: a setting outside its range, or an unknown fill.
    """
    if fill not in FILLS:
        raise ConfigError(f"random erasing fills its rectangles with one of {FILLS}, got {fill!r}")
    batch, _, height, width = images.shape
    inside = rectangle_masks(batch, (height, width), probability, area, ratio, generator, images.device)[:, None]
    if fill == "mean":
        return images.masked_fill(inside, 0.0)
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return torch.where(inside, noise, images)


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

    def uniform() -> torch.Tensor:
        return torch.rand(batch, 1, generator=generator, device=device)

    chosen = uniform() < probability  # (B, 1)
    size = (low + (high - low) * uniform()) * height * width
    aspect = torch.exp((2 * uniform() - 1) * math.log(1 / ratio))
    rows = (size * aspect).sqrt().round().clamp(1, height)
    columns = (size / aspect).sqrt().round().clamp(1, width)
    inside = _run(rows, uniform(), height)[:, :, None] & _run(columns, uniform(), width)[:, None, :]
    return inside & chosen[:, :, None]


def _run(length: torch.Tensor, place: torch.Tensor, total: int) -> torch.Tensor:
    """Mark ``length`` (B, 1) consecutive rows or columns of ``total``, from any start that fits: (B, total) bool."""
    start = (place * (total - length + 1)).floor()
    index = torch.arange(total, device=length.device)
    return (index >= start) & (index < start + length)
