"""Data loading: no CUDA needed, errors reach the reader, batches go where the model is."""

import functools
import queue
import threading
import types
from typing import Any

import torch
from torch.utils.data import DataLoader, SequentialSampler

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.probing import refuse, swapped

config = HostModule("fastreid.config")
data_utils = HostModule("fastreid.data.data_utils")
host_build = HostModule("fastreid.data.build")

BUILD = "fastreid.data.build"
LOADER = "fastreid.data.data_utils:DataLoaderX"
READER = "fastreid.data.data_utils:BackgroundGenerator"

MAX_TEST_WORKERS = 4  # the host's fixed number


def _loader_init(self, local_rank: int, **kwargs: Any) -> None:
    """The CUDA stream is made when it is first needed: a loader for the CPU needs none."""
    if not torch.cuda.is_available():
        kwargs["pin_memory"] = False
    DataLoader.__init__(self, **kwargs)
    self.local_rank = local_rank
    self.device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
    self.stream = None


def _loader_iter(self):
    batches = DataLoader.__iter__(self)
    if self.device.type != "cuda":
        return batches
    if self.stream is None:
        self.stream = torch.cuda.Stream(self.device)
    self.iter = data_utils.BackgroundGenerator(batches, self.device.index)
    self.preload()
    return self


def _loader_preload(self) -> None:
    self.batch = next(self.iter, None)
    if self.batch is None:
        return
    with torch.cuda.stream(self.stream):
        for key, value in self.batch.items():
            if isinstance(value, torch.Tensor):
                self.batch[key] = value.to(self.device, non_blocking=True)


def _loader_next(self):
    current = torch.cuda.current_stream(self.device)
    current.wait_stream(self.stream)  # the copies of preload
    batch = self.batch
    if batch is None:
        raise StopIteration
    for value in batch.values():
        if isinstance(value, torch.Tensor):
            # Made on the copying stream, read on this one: without this the allocator may hand the memory to
            # the next copy while the step still reads it.
            value.record_stream(current)
    self.preload()
    return batch


def _loader_shutdown(self) -> None:
    if self.stream is not None:
        self._shutdown_background_thread()


def _loader_asks_for_cuda() -> bool:
    """Whether a loader can't be built, or doesn't iterate over plain batches, on a machine without CUDA."""
    generator = torch.Generator()  # or iterating would draw from the global one
    with swapped(torch.cuda, is_available=lambda: False, Stream=refuse, set_device=refuse):
        loader = data_utils.DataLoaderX(0, dataset=[7], batch_size=1, generator=generator)
        return [batch.tolist() for batch in loader] != [[7]]


@patch(
    "loader-without-cuda",
    heals="data/data_utils.py:148",
    needed_by="any version, on a machine without CUDA",
    targets={LOADER: ("5da052714644",)},
    uses=(READER,),
    needed=_loader_asks_for_cuda,
    if_skipped="no loader can be built on a machine without CUDA",
    cause="DataLoaderX makes a CUDA stream in its constructor and copies every batch on it",
    fix="make no stream without CUDA, and return the plain DataLoader's iterator then",
    critical=True,
)
def loader_without_cuda() -> None:
    """DataLoaderX asked for a CUDA stream; without CUDA it is now the plain DataLoader that it extends."""
    for name, method in (
        ("__init__", _loader_init),
        ("__iter__", _loader_iter),
        ("__next__", _loader_next),
        ("preload", _loader_preload),
        ("shutdown", _loader_shutdown),
    ):
        replace(f"{LOADER}.{name}", method)


def _reader_run(self) -> None:
    self.error = None
    try:
        if torch.cuda.is_available():
            torch.cuda.set_device(self.local_rank)
        for item in self.generator:
            if self.exit_event.is_set():
                break
            self.queue.put(item)
    except BaseException as error:  # not swallowed: it is raised in the reading process
        self.error = error
    self.queue.put(None)


def _reader_next(self):
    item = self.queue.get()
    if item is not None:
        return item
    if self.error is not None:
        raise self.error
    raise StopIteration


def _reader_dies_in_silence() -> bool:
    """Whether the reading thread ends on an error without a word to the thread that waits for its batches."""

    def broken():
        raise OSError
        yield

    reader = types.SimpleNamespace(
        queue=queue.Queue(), generator=broken(), local_rank=0, exit_event=threading.Event(), error=None
    )
    with swapped(torch.cuda, is_available=lambda: False, set_device=lambda device: None):
        try:
            data_utils.BackgroundGenerator.run(reader)
        except OSError:
            return reader.queue.empty()
    return False


@patch(
    "loader-error",
    heals="data/data_utils.py:126",
    needed_by="any version, with CUDA",
    targets={f"{READER}.run": ("1de54769bdfa",), f"{READER}.next": ("117b6b2b41ef",)},
    needed=_reader_dies_in_silence,
    if_skipped="an unreadable image stops training for ever on a machine with CUDA",
    cause="the thread that reads ahead ends on an error and never puts the end mark into its queue",
    fix="catch what the thread raises, put the end mark, and raise it in next()",
)
def loader_error() -> None:
    """An unreadable image killed the reading thread and training waited for ever; now the error is raised."""
    replace(f"{READER}.run", _reader_run)
    replace(f"{READER}.next", _reader_next)


def _cfg_of(args: tuple, kwargs: dict) -> Any | None:
    first = args[0] if args else kwargs.get("cfg")
    return first if isinstance(first, config.CfgNode) else None


def _on_the_cpu() -> Any:
    """Return the host's default config for a CPU, without worker processes."""
    cfg = config.get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


def _test_loader_has_workers() -> bool:
    """Whether the test loader of a config without workers has some."""
    with swapped(torch.cuda, is_available=lambda: False, Stream=lambda *args: None):
        loader, _ = host_build.build_reid_test_loader(_on_the_cpu(), test_set=[0], num_query=0, transforms=())
    return loader.num_workers > 0


@patch(
    "test-workers",
    heals="data/build.py:124",
    needed_by="any version",
    targets={
        f"{BUILD}:build_reid_test_loader": ("424dcd1d0a47",),
        f"{BUILD}:_test_loader_from_config": ("ec716f3bd253",),
    },
    needed=_test_loader_has_workers,
    if_skipped="the test loader starts four processes whatever DATALOADER.NUM_WORKERS says",
    cause="num_workers is a default of build_reid_test_loader, which the config's function does not return",
    fix="return num_workers from the config too, at most 4",
)
def test_workers() -> None:
    """The test loader always starts 4 workers; DATALOADER.NUM_WORKERS now sets fewer, down to none."""
    original = host_build.build_reid_test_loader

    @functools.wraps(original)
    def build_reid_test_loader(*args, **kwargs):
        cfg = _cfg_of(args, kwargs)
        if cfg is None:
            return original(*args, **kwargs)
        # Not an argument of the host's call: with a cfg it hands every keyword to the data set.
        num_workers = min(MAX_TEST_WORKERS, cfg.DATALOADER.NUM_WORKERS)
        arguments = host_build._test_loader_from_config(*args, **kwargs)
        return original(**{"num_workers": num_workers, **arguments})

    replace(f"{BUILD}:build_reid_test_loader", build_reid_test_loader)


test_workers.__test__ = False  # a patch, whatever its name suggests to pytest


def _follow_cfg(loader: DataLoader, cfg: Any) -> None:
    device = torch.device(cfg.MODEL.DEVICE)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", loader.local_rank)
    loader.device = device
    if device.type != "cuda":
        loader.pin_memory = False


def _loader_ignores_device() -> bool:
    """Whether the loader of a config for the CPU doesn't know, on a machine with CUDA, where its batches go."""
    with swapped(torch.cuda, is_available=lambda: True, Stream=lambda *args: None):
        loader = host_build.build_reid_train_loader(
            _on_the_cpu(), train_set=[0], transforms=(), sampler=SequentialSampler([0])
        )
    return str(getattr(loader, "device", "")) != "cpu"


@patch(
    "loader-device",
    heals="data/data_utils.py:185",
    needed_by="any version, on a CUDA machine with MODEL.DEVICE cpu or cuda:1",
    targets={f"{BUILD}:build_reid_train_loader": ("07a75372f79a",)},
    uses=(f"{BUILD}:build_reid_test_loader",),
    needed=_loader_ignores_device,
    if_skipped="batches go to the GPU of the process whatever MODEL.DEVICE says",
    cause="DataLoaderX copies to the GPU of its process, whatever the model's device is",
    fix="give the loader the device of MODEL.DEVICE",
)
def loader_device() -> None:
    """Batches went to the GPU of the process whatever MODEL.DEVICE says; now they follow the cfg.

    A loader that is built without a cfg keeps the host's rule, the GPU where there is one; its ``device`` can
    be set.
    """
    if data_utils.DataLoaderX.__init__ is not _loader_init:
        loader_without_cuda()  # only ours follows its ``device``
    build_train = host_build.build_reid_train_loader
    build_test = host_build.build_reid_test_loader

    @functools.wraps(build_train)
    def build_reid_train_loader(*args, **kwargs):
        loader = build_train(*args, **kwargs)
        if (cfg := _cfg_of(args, kwargs)) is not None:
            _follow_cfg(loader, cfg)
        return loader

    @functools.wraps(build_test)
    def build_reid_test_loader(*args, **kwargs):
        loader, num_query = build_test(*args, **kwargs)
        if (cfg := _cfg_of(args, kwargs)) is not None:
            _follow_cfg(loader, cfg)
        return loader, num_query

    replace(f"{BUILD}:build_reid_train_loader", build_reid_train_loader)
    replace(f"{BUILD}:build_reid_test_loader", build_reid_test_loader)
