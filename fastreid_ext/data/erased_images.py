"""A stress test: the images of a test set, some with a rectangle erased, always the same rectangle.

The test of Table 6 of MGRe, which erases the test images with a probability of 0.5.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from fastreid_ext.data.batch_erasing import rectangle_masks
from fastreid_ext.data.loader import DeviceLoader


class ImageEraser:
    """Fills a rectangle of some images of a test set.

    What an image loses follows from (seed, its index in the list) alone, whatever batch, worker or rank it is in. An
    image that is listed twice, as query and in the gallery, is erased the same way both times, by its first index.

    Args:
        paths: every image of the test set, in the set's order.
        fill: value of each channel of an erased pixel, on the scale of the images: the mean pixel.
        probability, area, ratio: see :func:`fastreid_ext.data.batch_erasing.erase_rectangles`.
        seed: 0 or more.
    """

    def __init__(
        self,
        paths: Sequence[str],
        fill: Sequence[float],
        probability: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: float = 0.3,
        seed: int = 0,
    ):
        self.indices: dict[str, int] = {}
        for index, path in enumerate(paths):
            self.indices.setdefault(path, index)
        self.fill = tuple(fill)
        self.probability, self.area, self.ratio, self.seed = probability, area, ratio, seed

    def __call__(self, images: torch.Tensor, paths: Sequence[str]) -> torch.Tensor:
        """Return the images (B, C, H, W) of these paths with their rectangles filled; the input is not written to.

        Raises:
            KeyError: a path that is not in the test set.
        """
        size = (images.shape[2], images.shape[3])
        inside = torch.cat([self._mask(self.indices[path], size) for path in paths])  # (B, H, W)
        fill = torch.tensor(self.fill, dtype=images.dtype, device=images.device)[:, None, None]
        return torch.where(inside.to(images.device)[:, None], fill, images)

    def _mask(self, index: int, size: tuple[int, int]) -> torch.Tensor:
        # Drawn on the CPU, so that every device erases the same pixels.
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        return rectangle_masks(1, size, self.probability, self.area, self.ratio, generator)


class WithErased:
    """A test loader that gives every batch twice: as it is, and then with its rectangles erased.

    Loading images takes most of an evaluation and is done only once. ``erased`` says which of the two a batch is.

    Args:
        loader: yields batches with ``images`` (B, C, H, W) and ``img_paths``.
        erase: (images, paths) -> images.
    """

    def __init__(self, loader: DeviceLoader, erase: ImageEraser):
        self.loader = loader
        self.dataset = loader.dataset
        self.erase = erase

    def __len__(self) -> int:
        return 2 * len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.loader:
            erased = self.erase(batch["images"], batch["img_paths"])  # before a model of FastReID's writes into them
            yield {**batch, "erased": False}
            yield {**batch, "images": erased, "erased": True}
