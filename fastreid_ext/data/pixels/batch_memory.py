"""Batches whose images are written to their final memory: completing a batch copies no image again."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

Item = dict[str, Any]


class BatchItems(list[Item]):
    """The items of a batch, whose images are the rows of one tensor.

    Args:
        count: how many there will be.

    Attributes:
        images: (count, C, H, W), None before the first item.
    """

    def __init__(self, count: int):
        super().__init__()
        self.count = count
        self.images: Tensor | None = None

    def next_place(self) -> Tensor | None:
        """Return where the next image belongs, if it is of the first one's size and type."""
        return None if self.images is None else self.images[len(self)]

    def add(self, item: Item) -> None:
        """Append an item, and copy its image to where it belongs if it is not there yet.

        Raises:
            ValueError: an image of another size or type than the first.
        """
        image = item["images"]
        if self.images is None:
            self.images = new_memory(self.count, image)
        place = self.next_place()
        if (image.shape, image.dtype) != (place.shape, place.dtype):
            raise ValueError(
                f"the image {item.get('img_paths', len(self))} is {tuple(image.shape)} in {image.dtype}, others of its"
                f" batch are {tuple(place.shape)} in {place.dtype}: the transforms must give all images one size"
            )
        if image.data_ptr() != place.data_ptr():
            place.copy_(image)
        self.append({**item, "images": place})


def new_memory(count: int, image: Tensor) -> Tensor:
    """Return an empty tensor for some images like this one; what a loader worker makes is shared memory."""
    shape = (count, *image.shape)
    if get_worker_info() is None:
        return image.new_empty(shape)
    # As torch's own collate function has it. What is not shared would be copied there.
    storage = torch.UntypedStorage._new_shared(count * image.numel() * image.element_size())
    return image.new_empty(0).set_(storage, 0, shape)


def collate(items: list[Item]) -> dict[str, Any]:
    """Return the batch of some items, as torch does."""
    if not isinstance(items, BatchItems):
        return default_collate(items)
    rest = default_collate([{key: value for key, value in item.items() if key != "images"} for item in items])
    return {"images": items.images, **rest}
