"""Batches of inputs with the pixels of the evaluation, loaded by processes of their own where that is asked for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from fastreid_ext.data.images import ImageError, ReIDImages, read_image
from fastreid_ext.data.loader import as_float32, build_test_loader
from fastreid_ext.data.pixels.batch_memory import BatchItems
from fastreid_ext.data.pixels.joint_transforms import JointTransform
from fastreid_ext.data.pixels.resized_images import first_resize
from fastreid_ext.inference.inputs import Source


def load_inputs(
    sources: Iterable[Source],
    transform: Callable[..., Any],
    batch_size: int,
    workers: int,
    device: torch.device,
    skip: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield batches: images (B, 3, H, W) in float32 on the 0-255 scale, on the device, and why one could not be read.

    The sources are asked for as their batches are loaded; with workers, up to two batches for each of them ahead.

    Args:
        sources: files and pixels.
        transform: of the test, as FastReID's ``build_transforms`` gives it.
        batch_size: images of a batch; 1 where the transform leaves images their size, which may differ.
        workers: processes that read files.
        device: of the images.
        skip: give a black image, with the reason in ``unreadable``, for a file that can't be read.

    Raises:
        ImageError: a file that can't be read.
        LoaderError: too little memory for the workers.
    """
    size = batch_size if has_one_size(transform) else 1
    yield from build_test_loader(InputImages(transform, skip), sources, size, workers, device)


def read_inputs(
    sources: Sequence[Source], transform: Callable[..., Any], device: torch.device, joints: np.ndarray | None = None
) -> tuple[Tensor, Tensor | None]:
    """Return images (N, 3, H, W) as :func:`load_inputs` does, and the joints in them.

    Args:
        sources, transform, device: see there.
        joints: (N, J, 3) as shares of the images and confidence, which follow the transforms; None = not known.

    Raises:
        ImageError: a file that can't be read.
    """
    if joints is not None:
        transform = JointTransform(transform.transforms, [], joints.shape[1])
    items = _Sources([(source, 0, 0) for source in sources], transform, relabel=False, joints=joints)
    found = items.fetch(range(len(sources)))
    followed = None if joints is None else torch.stack([item["joints"] for item in found]).to(device)
    return as_float32(found.images.to(device)), followed


def has_one_size(transform: Callable[..., Any]) -> bool:
    """Whether a test's transforms give all images the same size."""
    crops = any(type(step).__name__ == "CenterCrop" for step in getattr(transform, "transforms", ()))
    return crops or first_resize(transform) is not None


class InputImages(Dataset):
    """The data set of a loader whose keys are the sources themselves.

    Args:
        transform: of the test.
        skip: see :func:`load_inputs`.
    """

    def __init__(self, transform: Callable[..., Any], skip: bool = False):
        self.transform = transform
        self.skip = skip
        self._black: Tensor | None = None
        _Sources([], transform, relabel=False)  # finds out what this machine's libraries do, before workers start

    def fetch(self, sources: Sequence[Source]) -> BatchItems:
        """Return the items of a batch.

        Raises:
            ImageError: a file can't be read, unless it is to be skipped.
        """
        try:
            found = self._items(sources)
        except ImageError:
            if not self.skip:
                raise
            # One after the other: each has shared memory, and with it an open file, until it is copied.
            found = (self._one(source) for source in sources)
        items = BatchItems(len(sources))
        items.images = getattr(found, "images", None)
        for item in found:
            items.add({"images": item["images"], "unreadable": item.get("unreadable", "")})
        return items

    def image_bytes(self) -> int:
        """Return the bytes of an image of a batch, where all have one size."""
        return self._black_image().nbytes

    def _items(self, sources: Sequence[Source]) -> BatchItems:
        images = _Sources([(source, 0, 0) for source in sources], self.transform, relabel=False)
        return images.fetch(range(len(sources)))

    def _one(self, source: Source) -> dict[str, Any]:
        try:
            return self._items([source])[0]
        except ImageError as error:
            return {"images": self._black_image(), "unreadable": str(error)}

    def _black_image(self) -> Tensor:
        if self._black is None:  # of the size and type that the images of its batch have
            black = Image.new("RGB", (64, 128))
            self._black = self._items([np.asarray(black)])[0]["images"]
        return self._black


class _Sources(ReIDImages):
    """Images some of which are there already."""

    def read(self, source: Source) -> np.ndarray:
        return source if isinstance(source, np.ndarray) else read_image(source)
