"""Photometric augmentations that FastReID lacks: random grayscale and Gaussian blur.

Both as Chen et al. (SimCLR, ICML 2020) and MoCo v2 augment: they take away colour and fine texture, which a model would
otherwise tell people of one data set apart by.
"""

from collections.abc import Callable, Sequence

import torch
from fastreid.data.transforms import AugMix, ToTensor
from PIL import Image, ImageFilter


class RandomGaussianBlur:
    """Blurs an image with a probability, by PIL's filter, whose integers are the same on every machine.

    Args:
        p: the probability.
        sigma: the smallest and the largest standard deviation in pixels; it is drawn uniformly between them.
    """

    def __init__(self, p: float, sigma: tuple[float, float]):
        self.p, self.sigma = p, sigma

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.rand(1) >= self.p:
            return image
        least, most = self.sigma
        return image.filter(ImageFilter.GaussianBlur(least + (most - least) * torch.rand(1).item()))


def inserted(transforms: Sequence[Callable], added: Sequence[Callable]) -> list[Callable]:
    """Return a list of FastReID's transforms with some more behind its colour jitter and all that moves pixels.

    They stand in front of AugMix, which returns an array, and of ToTensor.
    """
    place = next(index for index, step in enumerate(transforms) if isinstance(step, AugMix | ToTensor))
    return [*transforms[:place], *added, *transforms[place:]]
