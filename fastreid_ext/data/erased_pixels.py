"""What erased pixels become."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from fastreid_ext.errors import ConfigError

FILLS = ("mean", "random", "normal")


@dataclass(frozen=True)
class Fill:
    """Fills erased pixels.

    Attributes:
        kind: "mean" for the mean pixel; "random" for a number of [0, 255] in every channel of every pixel, as Zhong et
            al. have it; "normal" for a normal number with the mean and the spread of the pixels.
        mean, std: of each channel, of pixels from 0 to 255.
        normalised: whether the images hold (pixel - mean) / std, or the pixels themselves.

    Raises:
        ConfigError: an unknown kind.
    """

    kind: str
    mean: Sequence[float]
    std: Sequence[float]
    normalised: bool = True

    def __post_init__(self):
        if self.kind not in FILLS:
            raise ConfigError(f"random erasing fills its rectangles with one of {FILLS}, got {self.kind!r}")

    def __call__(
        self, images: torch.Tensor, inside: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Return the images with other pixels where something is erased.

        Args:
            images: (B, C, H, W); not written to.
            inside: (B, 1, H, W) or what broadcasts to it, bool.
            generator: of the images' device; None is torch's own.
        """
        if self.kind == "mean" and self.normalised:
            return images.masked_fill(inside, 0.0)
        return torch.where(inside, self.pixels(images.shape, generator, images.device).to(images.dtype), images)

    def pixels(
        self, shape: Sequence[int], generator: torch.Generator | None = None, device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        """Draw pixels of a shape (B, C, H, W), float32.

        Args:
            shape: C is the number of means.
            generator: of the device; None is torch's own.
            device: where they are made.
        """
        if self.kind == "mean":
            pixels = torch.zeros(*shape, device=device)
        else:
            draw = torch.rand if self.kind == "random" else torch.randn
            pixels = draw(*shape, generator=generator, device=device)
        for channel, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):  # no transfer to the device
            low, high = (0.0, 255.0) if self.kind == "random" else (mean, mean + std)
            if self.normalised:
                low, high = (low - mean) / std, (high - mean) / std
            pixels[:, channel].mul_(high - low).add_(low)
        return pixels


MEAN_PIXEL = Fill("mean", (), ())  # of normalised images: 0
