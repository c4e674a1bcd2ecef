"""A stress test: the images of a test set, some with a rectangle erased, always the same rectangle.

The test of Table 6 of MGRe, which erases the test images with a probability of 0.5.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from fastreid_ext.data.batch_erasing import rectangle_masks
from fastreid_ext.data.erased_pixels import Fill
from fastreid_ext.data.loader import DeviceLoader


class ImageEraser:
    """Fills a rectangle of some images of a test set.

    What an image loses follows from (seed, its index in the list) alone, whatever batch, worker or rank it is in. An
    image that is listed twice, as query and in the gallery, is erased the same way both times, by its first index.

    Args:
        paths: every image of the test set, in the set's order.
        fill: what erased pixels become, on the scale of the images.
        probability, area, ratio: see :func:`fastreid_ext.data.batch_erasing.erase_rectangles`.
        seed: 0 or more.
    """

    def __init__(
        self,
        paths: Sequence[str],
        fill: Fill,
        probability: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        ratio: float = 0.3,
        seed: int = 0,
    ):
        self.indices: dict[str, int] = {}
        for index, path in enumerate(paths):
            self.indices.setdefault(path, index)
        self.fill = fill
        self.probability, self.area, self.ratio, self.seed = probability, area, ratio, seed

    def __call__(self, images: torch.Tensor, paths: Sequence[str]) -> torch.Tensor:
        """Return the images (B, C, H, W) of these paths with their rectangles filled; the input is not written to.

        Raises:
            KeyError: a path that is not in the test set.
        """
        drawn = [self._draw(self.indices[path], images.shape[1:]) for path in paths]
        inside, pixels = (torch.cat(parts).to(images.device) for parts in zip(*drawn, strict=True))
        return torch.where(inside, pixels.to(images.dtype), images)

    def _draw(self, index: int, shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what is erased (1, 1, H, W), and what it becomes (1, C, H, W)."""
        # Drawn on the CPU, so that every device erases the same pixels.
        seed = int(np.random.SeedSequence([self.seed, index]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(seed)
        inside = rectangle_masks(1, (shape[1], shape[2]), self.probability, self.area, self.ratio, generator)
        return inside[:, None], self.fill.pixels((1, *shape), generator)


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
