"""The image data set behind our loaders: repeatable augmentation, and errors that name their file."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from fastreid.data.common import CommDataset
from fastreid.data.data_utils import read_image
from PIL import Image


class ImageError(RuntimeError):
    """An image file that can't be read."""


class ReIDImages(CommDataset):
    """FastReID's data set, whose items may be asked for together with a seed.

    ``dataset[index]`` is as in FastReID. ``dataset[index, seed]`` draws every random number of the transforms
    from that seed and leaves the generators of the process as they were, so an image looks the same whatever
    worker loads it and however many there are.

    Args:
        img_items: (path, identity, camera) of every image.
        transform: PIL image -> tensor.
        relabel: map identities and cameras to 0, 1, ... in sorted order (training).
    """

    def __init__(
        self,
        img_items: Sequence[tuple[str, Any, Any]],
        transform: Callable[[Image.Image], torch.Tensor],
        relabel: bool,
    ):
        super().__init__(list(img_items), transform, relabel)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index, seed = key if isinstance(key, tuple) else (key, None)
        path, pid, camid = self.img_items[index]
        image = _read(path)
        if seed is None:
            image = self.transform(image)
        else:
            with seeded(seed):
                image = self.transform(image)
        if self.relabel:
            pid, camid = self.pid_dict[pid], self.cam_dict[camid]
        return {"images": image, "targets": pid, "camids": camid, "img_paths": path}


class QueryGalleryImages(ReIDImages):
    """The images of a test set: the queries, then the gallery.

    Args:
        query, gallery: (path, identity, camera) of every image; numbers, which stay as they are.
        transform: PIL image -> tensor.
        groups: of the queries, that a report looks at apart (:mod:`fastreid_ext.evaluation.groups`).
    """

    def __init__(
        self,
        query: Sequence[tuple[str, int, int]],
        gallery: Sequence[tuple[str, int, int]],
        transform: Callable[[Image.Image], torch.Tensor],
        groups: Sequence[Any] = (),
    ):
        super().__init__([*query, *gallery], transform, relabel=False)
        self.groups = tuple(groups)


def _read(path: str) -> Image.Image:
    try:
        return read_image(path, format="RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"the image {path} can't be read ({error}): replace it or remove it") from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch (CPU), and give them their former state back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would move the GPUs' generators too
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
