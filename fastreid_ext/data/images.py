"""The image data set behind our loaders: repeatable augmentation, and errors that name their file."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
        joints: (N, J, 3) of every image; the transform is then (PIL image, joints) -> (tensor, joints), and items have
            the joints that it returns, see :class:`fastreid_ext.data.joint_transforms.JointTransform`.
    """

    def __init__(
        self,
        img_items: Sequence[tuple[str, Any, Any]],
        transform: Callable[..., Any],
        relabel: bool,
        joints: np.ndarray | None = None,
    ):
        super().__init__(list(img_items), transform, relabel)
        self.joints = joints

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index, seed = key if isinstance(key, tuple) else (key, None)
        path, pid, camid = self.img_items[index]
        inputs = (_read(path),) if self.joints is None else (_read(path), self.joints[index])
        with nullcontext() if seed is None else seeded(seed):
            outputs = self.transform(*inputs)
        image, labels = (outputs, {}) if self.joints is None else (outputs[0], {"joints": outputs[1]})
        if self.relabel:
            pid, camid = self.pid_dict[pid], self.cam_dict[camid]
        return {"images": image, "targets": pid, "camids": camid, "img_paths": path, **labels}


class QueryGalleryImages(ReIDImages):
    """The images of a test set: the queries, then the gallery.

    Args:
        query, gallery: (path, identity, camera) of every image; numbers, which stay as they are.
        transform: PIL image -> tensor.
        groups: of the queries, that a report looks at apart (:mod:`fastreid_ext.evaluation.groups`).
        joints: see :class:`ReIDImages`.
    """

    def __init__(
        self,
        query: Sequence[tuple[str, int, int]],
        gallery: Sequence[tuple[str, int, int]],
        transform: Callable[..., Any],
        groups: Sequence[Any] = (),
        joints: np.ndarray | None = None,
    ):
        super().__init__([*query, *gallery], transform, relabel=False, joints=joints)
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
