"""The image data set behind our loaders: repeatable augmentation, and errors that name their file."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from fastreid.data.common import CommDataset
from fastreid.data.transforms import RandomPatch
from PIL import Image
from torchvision.transforms import Compose

from fastreid_ext.data.pixels import decoding, resampling
from fastreid_ext.data.pixels.batch_memory import BatchItems
from fastreid_ext.data.pixels.byte_transforms import ByteTransform
from fastreid_ext.data.pixels.joint_transforms import JointTransform
from fastreid_ext.data.pixels.resized_images import ResizedImages, first_resize
from fastreid_ext.errors import ConfigError, UserError

BOX = "box_to_erase"  # of an item, until its image is float
LARGE = 1 << 18  # bytes of an image that does not wait for its batch to be resized: photographs would take gigabytes


class ImageError(UserError):
    """An image file that can't be read."""


class ReIDImages(CommDataset):
    """FastReID's data set, whose items may be asked for together with a seed.

    ``dataset[index]`` is as in FastReID. ``dataset[index, seed]`` draws every random number of the transforms
    from that seed and leaves the generators of the process as they were, so an image looks the same whatever
    worker loads it and however many there are. :meth:`fetch` is the quick way to many of them.

    Args:
        img_items: (path, identity, camera) of every image.
        transform: PIL image -> tensor.
        relabel: map identities and cameras to 0, 1, ... in sorted order (training).
        joints: (N, J, 3) of every image; the transform is then (PIL image, joints) -> (tensor, joints), and items have
            the joints that it returns, see :class:`fastreid_ext.data.pixels.joint_transforms.JointTransform`.
        kept: where :meth:`fetch` finds and keeps images of the size that the transform resizes to first; None: nowhere.
        fast: False lets PIL decode, and the transforms work on each image as FastReID's own loader has them: the same
            pixels in twice the time.

    Attributes:
        deferred: the erasing that :meth:`fetch` does not do yet, if any.

    Raises:
        ValueError: ``kept`` is of another size, nothing is resized first, or images are not to be fast.
    """

    def __init__(
        self,
        img_items: Sequence[tuple[str, Any, Any]],
        transform: Callable[..., Any],
        relabel: bool,
        joints: np.ndarray | None = None,
        kept: ResizedImages | None = None,
        fast: bool = True,
    ):
        super().__init__(list(img_items), transform, relabel)
        self.joints, self.fast = joints, fast
        self.kept, self.resize = kept, first_resize(transform) if fast else None
        if kept is not None and (self.resize is None or (kept.height, kept.width) != self.resize.size):
            raise ValueError(f"images are kept in {kept.height}x{kept.width}, but the transforms begin otherwise")
        self.byte_transform = _on_bytes(transform) if fast else None
        self.deferred = getattr(self.byte_transform, "deferred", None)
        # Patches are pieces of images that outlive the batch, whose memory they would keep, and that is shared.
        self.remembered = any(type(step) is RandomPatch for step in getattr(transform, "transforms", ()))
        if fast:  # before workers are started; otherwise each of them would repeat the check
            decoding.decoders_agree()
            resampling.pils_order()

    def read(self, source: Any) -> np.ndarray:
        """Return the pixels (H, W, 3) in RGB, uint8, of what an item names first; by default an image file."""
        return read_image(source, self.fast)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        index, seed = key if isinstance(key, tuple) else (key, None)
        pixels = self.read(self.img_items[index][0])
        with nullcontext() if seed is None else seeded(seed):
            return self._item(index, self.transform, Image.fromarray(pixels))

    def fetch(self, keys: Sequence[int | tuple[int, int]]) -> BatchItems:
        """Return the items of many keys, whose images are in bytes where the transforms give whole numbers.

        Where the last of them erases with other numbers, an item says under ``BOX`` what is to be filled once its
        image is float.

        Args:
            keys: as ``dataset[key]`` takes them; all of them with a seed, or none.
        """
        pairs = [key if isinstance(key, tuple) else (key, None) for key in keys]
        with kept_generators() if any(seed is not None for _, seed in pairs) else nullcontext():
            items = BatchItems(len(pairs))
            for (index, seed), pixels in zip(pairs, self._resized(pairs), strict=True):
                pixels = self.read(self.img_items[index][0]) if pixels is None else pixels
                place = None if self.remembered else items.next_place()
                items.add(self._fetched(index, seed, pixels, place))
            return items

    def image_bytes(self) -> int:
        """Return the bytes of an image as :meth:`fetch` gives it; raises ImageError if the first can't be read."""
        return self.fetch([0])[0]["images"].nbytes

    def _resized(self, pairs: Sequence[tuple[int, int | None]]) -> list[np.ndarray | None]:
        """Return the images that are resized first, None for others.

        All are read and then all resized: each step's code and data stay in the caches.
        """
        images: list[np.ndarray | None] = []
        for index, seed in pairs:
            path, pixels = self.img_items[index][0], None
            if self.resize is not None and self.resize.is_first(seed):
                pixels = self.read(path) if self.kept is None else self.kept.get(path, self.read)
                if pixels.nbytes > LARGE:
                    pixels = resampling.resize(pixels, *self.resize.size)
            images.append(pixels)
        return [pixels if pixels is None else resampling.resize(pixels, *self.resize.size) for pixels in images]

    def _fetched(self, index: int, seed: int | None, pixels: np.ndarray, place: torch.Tensor | None) -> dict[str, Any]:
        if seed is not None:
            seed_generators(seed)
        if self.byte_transform is None:
            return self._item(index, self.transform, Image.fromarray(pixels))
        item = self._item(index, partial(self.byte_transform, place=place), pixels)
        if self.deferred is not None:
            item[BOX] = self.deferred.draw_box(item["images"])
        return item

    def _item(self, index: int, transform: Callable[..., Any], image: Image.Image | np.ndarray) -> dict[str, Any]:
        path, pid, camid = self.img_items[index]
        outputs = transform(image) if self.joints is None else transform(image, self.joints[index])
        image, labels = (outputs, {}) if self.joints is None else (outputs[0], {"joints": outputs[1]})
        if self.relabel:
            pid, camid = self.pid_dict[pid], self.cam_dict[camid]
        return {"images": image, "targets": pid, "camids": camid, "img_paths": path, **labels}


class QueryGalleryImages(ReIDImages):
    """The images of a test set: the queries, then the gallery, or the queries alone if those are the gallery too.

    Args:
        query: (path, identity, camera) of every image; numbers, which stay as they are.
        gallery: likewise; None if it is the queries again, which are loaded once then.
        transform: PIL image -> tensor.
        groups: of the queries, that a report looks at apart (:mod:`fastreid_ext.evaluation.groups`).
        joints, kept, fast: see :class:`ReIDImages`.

    Attributes:
        gallery_again: whether the gallery is the queries again.
        public: whether others have the same test set.
        labels: identity -> the label that training items of the same person have, where one text names both.
        left_out: (P,) queries and (P,) gallery images: pairs that no ranking has; none until they are set.
    """

    def __init__(
        self,
        query: Sequence[tuple[str, int, int]],
        gallery: Sequence[tuple[str, int, int]] | None,
        transform: Callable[..., Any],
        groups: Sequence[Any] = (),
        joints: np.ndarray | None = None,
        kept: ResizedImages | None = None,
        fast: bool = True,
    ):
        super().__init__([*query, *(gallery or ())], transform, relabel=False, joints=joints, kept=kept, fast=fast)
        self.groups = tuple(groups)
        self.gallery_again = gallery is None
        self.public = False
        self.labels: dict[int, str] = {}
        self.left_out = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._queries = len(query)

    def split(self, values: Any) -> tuple[Any, Any]:
        """Split what the loaded images have (features, labels, in their order) into the queries' and the gallery's."""
        return (values, values) if self.gallery_again else (values[: self._queries], values[self._queries :])


def _on_bytes(transform: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return an equivalent of the transform on bytes, if there is one."""
    try:
        if isinstance(transform, JointTransform):
            return transform.on_bytes()
        return ByteTransform(transform.transforms) if type(transform) is Compose else None
    except ConfigError:  # no equivalent is known
        return None


def read_image(path: str, fast: bool = True) -> np.ndarray:
    """Return an image file's pixels (H, W, 3) in RGB, uint8.

    Args:
        path: of the file.
        fast: whether OpenCV may decode it where it gives PIL's pixels.

    Raises:
        ImageError: it can't be read.
    """
    try:
        return decoding.read_rgb(path, fast)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ImageError(f"the image {path} can't be read ({error}): replace it or remove it") from error


def seed_generators(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch (CPU)."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would move the GPUs' generators too


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of Python, NumPy and torch (CPU), and restore their former state at the end."""
    with kept_generators():
        seed_generators(seed)
        yield


@contextmanager
def kept_generators() -> Iterator[None]:
    """Restore the present state of the generators of Python, NumPy and torch (CPU) at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
