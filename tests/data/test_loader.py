"""Loaders: batches on the model's device, from any epoch, and errors of workers in one sentence."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import SequentialSampler

from fastreid_ext.data.batches import TARGETS_ON_CPU, EpochBatches
from fastreid_ext.data.images import ImageError, ReIDImages
from fastreid_ext.data.loader import build_test_loader, build_train_loader, start_worker

CPU = torch.device("cpu")


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() + torch.rand(1)


@pytest.fixture
def items(tmp_path):
    """Eight images; image i is of brightness 10 i, of identity i // 4."""
    found = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (4, 8), (10 * number,) * 3).save(path)
        found.append((str(path), number // 4, number % 2))
    return found


def batches(items):
    return EpochBatches(items, "NaiveIdentitySampler", batch_size=4, num_instances=2, iters_per_epoch=2, seed=1)


def train_loader(items, workers, device=CPU):
    return build_train_loader(ReIDImages(items, to_tensor, relabel=True), batches(items), workers, device)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_batches(workers, items):
    expected = batches(items).epoch(0) + batches(items).epoch(1)
    loader = iter(train_loader(items, workers))
    for indices in expected:
        batch = next(loader)
        assert batch["images"].shape == (4, 3, 8, 4)
        assert batch["img_paths"] == [items[i][0] for i, _ in indices]
        assert batch["targets"].tolist() == [items[i][1] for i, _ in indices]
        seeds = torch.tensor([torch.rand(1, generator=torch.Generator().manual_seed(s)).item() for _, s in indices])
        brightness = torch.tensor([10.0 * i for i, _ in indices])
        assert torch.allclose(batch["images"][:, 0, 0, 0], brightness + seeds)


def test_targets_stay_readable_on_another_device(items):
    assert TARGETS_ON_CPU not in next(iter(train_loader(items, 0)))
    batch = next(iter(train_loader(items, 0, torch.device("meta"))))
    assert batch["targets"].is_meta and batch["images"].is_meta
    assert batch[TARGETS_ON_CPU] == tuple(items[i][1] for i, _ in batches(items).epoch(0)[0])


def test_it_starts_at_any_epoch(items):
    loader = train_loader(items, 0)
    loader.start_at(3)
    first = next(iter(loader))["img_paths"]
    assert first == [items[i][0] for i, _ in batches(items).epoch(3)[0]]


@pytest.mark.parametrize("workers", [0, 2])
def test_test_batches_are_all_images_in_order(workers, items):
    data = ReIDImages(items, to_tensor, relabel=False)
    loader = build_test_loader(data, SequentialSampler(data), 3, workers, CPU)
    assert len(loader) == 3
    for _ in range(2):
        assert [path for batch in loader for path in batch["img_paths"]] == [path for path, _, _ in items]


def test_persistent_workers_load_the_next_evaluation_too(items):
    """Also after one that was given up half-way."""
    data, seen = ReIDImages(items, to_tensor, relabel=False), []
    loader = build_test_loader(data, SequentialSampler(data), 2, 2, CPU)
    loader.keep_workers()
    next(iter(loader))
    for _ in range(2):
        assert [path for batch in loader for path in batch["img_paths"]] == [path for path, _, _ in items]
        seen.append([worker.pid for worker in loader.loader._iterator._workers])
    assert seen[0] == seen[1]
    loader.end_workers()
    assert loader.loader._iterator is None


def test_no_workers_need_not_be_kept(items):
    data = ReIDImages(items, to_tensor, relabel=False)
    loader = build_test_loader(data, SequentialSampler(data), 2, 0, CPU)
    loader.keep_workers()
    assert len(list(loader)) == 4 and loader.loader.num_workers == 0


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_workers_error_is_one_sentence(workers, kept, items):
    with open(items[5][0], "wb") as file:
        file.write(b"no picture")
    data = ReIDImages(items, to_tensor, relabel=False)
    loader = build_test_loader(data, SequentialSampler(items), 2, workers, CPU)
    if kept:
        loader.keep_workers()
    with pytest.raises(ImageError) as raised:
        list(loader)
    assert loader.loader._iterator is None  # no worker is left
    sentence = str(raised.value)
    assert sentence.startswith(f"the image {items[5][0]} can't be read (") and sentence.endswith("or remove it")
    assert "\n" not in sentence and raised.value.__context__ is None


def test_batches_move_to_the_device(items):
    batch = next(iter(train_loader(items, 0, torch.device("meta"))))
    assert {batch[key].device.type for key in ("images", "targets", "camids")} == {"meta"}
    assert isinstance(batch["img_paths"][0], str)


def test_workers_compute_in_one_thread():
    before = torch.get_num_threads()
    try:
        start_worker(0)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
