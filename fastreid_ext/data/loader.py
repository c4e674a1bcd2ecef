"""Train and test loaders: plain torch loaders whose batches arrive on the model's device."""

import traceback
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, SupportsInt

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from fastreid_ext.data.batches import TARGETS_ON_CPU, EpochBatches
from fastreid_ext.data.images import BOX, ImageError, ReIDImages
from fastreid_ext.data.loader_faults import LoaderError, end_without_handing_over, explained, remember
from fastreid_ext.data.pixels.batch_memory import collate
from fastreid_ext.data.pixels.byte_transforms import erase_boxes
from fastreid_ext.processes import as_worker


class DeviceLoader:
    """A loader whose tensors are moved to a device, without blocking where the memory is pinned.

    Images that come in bytes become float32 there: a quarter of the memory crosses processes and the bus. Where the
    device is not the CPU, a batch has its targets as numbers too, ``TARGETS_ON_CPU``. It is lazy: workers start with
    the first batch, so a trainer may still set the epoch to start from.

    Raises:
        ImageError: an image can't be read, in this process or in a worker.
        LoaderError: too little memory for the workers.
    """

    def __init__(self, loader: DataLoader, dataset: ReIDImages, device: torch.device):
        self.loader = loader
        self.dataset = dataset
        self.device = device
        self._begun: Any = lambda: None  # a weak reference to torch's iterator, which holds the workers

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        fill = None
        remember(self)
        try:
            for batch in self._begin():
                boxes = batch.pop(BOX, None)
                moved = {
                    key: value.to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
                    for key, value in batch.items()
                }
                if self.device.type != "cpu":
                    moved[TARGETS_ON_CPU] = tuple(batch["targets"].tolist())  # no tensor: DDP would move it
                # Here and nowhere else: FastReID's models write into the batch and want floats.
                moved["images"] = as_float32(moved["images"])
                if boxes is not None:
                    fill = self.dataset.deferred.fill.to(self.device) if fill is None else fill
                    erase_boxes(moved["images"], boxes, fill)
                yield moved
            return
        except ImageError as error:  # torch puts a worker's traceback before its message
            refusal = ImageError(str(error).rsplit("ImageError: ", 1)[-1].strip())
            traceback.clear_frames(error.__traceback__)
            self.end_workers()
        except (OSError, RuntimeError) as error:
            sentence = explained(error, self)
            if sentence is None:
                raise
            refusal = LoaderError(sentence)
            traceback.clear_frames(error.__traceback__)
            self.end_workers()
        # Raised here, where the first error no longer references the loader's workers: the garbage collector would
        # wait ten seconds for them.
        raise refusal

    def _begin(self) -> Iterator[dict[str, Any]]:
        batches = iter(self.loader)
        self._begun = weakref.ref(batches)
        return batches

    def exits(self) -> set[int | None]:
        """Return how the workers of the latest iteration ended: minus a signal's number, or None if one goes on."""
        return {worker.exitcode for worker in getattr(self._begun(), "_workers", ())}

    def keep_workers(self) -> None:
        """Let the workers of an iteration wait for the next one, until :meth:`end_workers`."""
        batches, workers = self.loader.batch_sampler, self.loader.num_workers
        self.loader = _loader(self.dataset, batches, workers, self.device, persistent=True)

    def end_workers(self) -> None:
        """End the workers that wait for the next iteration."""
        self.loader._iterator = None  # where torch holds them

    def draw_from(self, seed: SupportsInt) -> None:
        """Let each epoch be drawn from what ``int(seed)`` is by then (training loaders)."""
        self.loader.batch_sampler.seed = seed

    def start_at(self, epoch: int) -> None:
        """Let the next iteration begin with the first batch of an epoch (training loaders)."""
        self.loader.batch_sampler.start_epoch = epoch


def as_float32(images: torch.Tensor) -> torch.Tensor:
    """Return images in float32, on their device."""
    if images.dtype is torch.float32 or images.device.type != "cpu":
        return images.float()
    # NumPy asks the system for large pages, without which touching so much new memory takes longer than the conversion.
    return torch.from_numpy(images.numpy().astype(np.float32))


class FetchedImages(Dataset):
    """The items of :class:`ReIDImages` for a loader: a batch at once, in bytes."""

    def __init__(self, images: ReIDImages):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> list[dict[str, Any]]:
        return self.images.fetch(keys)

    def image_bytes(self) -> int:
        return self.images.image_bytes()


def build_train_loader(
    dataset: ReIDImages, batches: EpochBatches, num_workers: int, device: torch.device
) -> DeviceLoader:
    """Return the endless loader of the training batches."""
    return DeviceLoader(_loader(dataset, batches, num_workers, device), dataset, device)


def build_test_loader(
    dataset: ReIDImages,
    indices: Sampler[int],
    batch_size: int,
    num_workers: int,
    device: torch.device,
) -> DeviceLoader:
    """Return the loader of this rank's test images, in order."""
    batches = BatchSampler(indices, batch_size, False)
    return DeviceLoader(_loader(dataset, batches, num_workers, device), dataset, device)


def _loader(
    dataset: ReIDImages, batches: Any, num_workers: int, device: torch.device, persistent: bool = False
) -> DataLoader:
    return DataLoader(
        FetchedImages(dataset),
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=start_worker if num_workers else None,
        persistent_workers=persistent and num_workers > 0,
        # Its own generator: starting workers must not move the generator that the model draws from.
        generator=torch.Generator().manual_seed(0),
    )


def start_worker(worker: int) -> None:
    """Let a loader worker end with its parent, and not start a thread per core for every small tensor operation."""
    as_worker()
    end_without_handing_over()
    torch.set_num_threads(1)
