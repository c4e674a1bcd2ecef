"""Loaders without CUDA, errors that reach the reader, and batches that follow MODEL.DEVICE."""

import threading

import pytest
import torch
from fastreid.data import build_reid_test_loader, build_reid_train_loader
from fastreid.data.build import fast_batch_collator
from fastreid.data.data_utils import BackgroundGenerator, DataLoaderX


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            raise OSError("cannot identify image file 5")
        return {"images": torch.full((1,), float(index)), "img_paths": str(index)}


def test_batches_on_the_cpu(market, host_cfg):
    loader = build_reid_train_loader(host_cfg(), combineall=False)
    assert not loader.pin_memory and loader.stream is None
    batch = next(iter(loader))
    assert batch["images"].shape == (8, 3, 64, 32) and batch["images"].device.type == "cpu"
    assert batch["targets"].shape == batch["camids"].shape == (8,) and len(batch["img_paths"]) == 8
    loader.shutdown()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unreadable_image_is_an_error(num_workers):
    loader = DataLoaderX(0, dataset=Broken(), batch_size=2, num_workers=num_workers, collate_fn=fast_batch_collator)
    loader.device = torch.device("cpu")
    batches = iter(loader)
    assert next(batches)["images"].tolist() == [[0.0], [1.0]]
    next(batches)
    with pytest.raises(OSError, match="image file 5"):
        next(batches)
    if num_workers:
        batches._shutdown_workers()  # left to the garbage collector it takes 10 s, in some later test


def test_the_reading_thread_passes_errors_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def generate():
        yield 1
        raise OSError("truncated")

    reader = BackgroundGenerator(generate(), 0)
    got = []

    def read():
        try:
            got.extend(reader)
        except OSError as error:
            got.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(timeout=10)
    assert got == [1, "truncated"]


def test_the_reading_thread_ends_in_order(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(BackgroundGenerator(iter([1, 2, 3]), 0)) == [1, 2, 3]


@pytest.mark.parametrize(("asked", "expected"), [(0, 0), (2, 2), (8, 4)])
def test_workers_of_the_test_loader(asked, expected, market, host_cfg, recwarn):
    cfg = host_cfg(overrides={"DATALOADER.NUM_WORKERS": asked})
    loader, num_query = build_reid_test_loader(cfg, dataset_name="Market1501")
    assert loader.num_workers == expected and num_query == 4
    loader, _ = build_reid_test_loader(cfg, test_set=loader.dataset, num_query=4)
    assert loader.num_workers == expected


def test_arguments_without_a_cfg(market, host_cfg):
    loader, _ = build_reid_test_loader(host_cfg(), dataset_name="Market1501")
    loader, num_query = build_reid_test_loader(loader.dataset, test_batch_size=4, num_query=4, num_workers=0)
    assert num_query == 4 and len(loader) == 3


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_batches_follow_the_cfg_on_a_cuda_machine(device, market, host_cfg, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    cfg = host_cfg(overrides={"MODEL.DEVICE": device})
    train = build_reid_train_loader(cfg, combineall=False)
    test, _ = build_reid_test_loader(cfg, dataset_name="Market1501")
    expected = {"cpu": "cpu", "cuda": "cuda:0", "cuda:1": "cuda:1"}[device]
    assert str(train.device) == str(test.device) == expected
    assert train.pin_memory == test.pin_memory == (device != "cpu")
    if device == "cpu":
        assert next(iter(test))["images"].device.type == "cpu"
