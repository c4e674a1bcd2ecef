"""Mixed precision on every device: fp16 with a scaler on CUDA, bf16 on CPUs that compute in it."""

import functools
import logging
import time
import types
import warnings
from pathlib import Path

import torch
from torch.nn.parallel import DataParallel, DistributedDataParallel

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.probing import swapped
from fastreid_ext.compat.trial import trial_trainer

defaults = HostModule("fastreid.engine.defaults")
params_module = HostModule("fastreid.utils.params")
train_loop = HostModule("fastreid.engine.train_loop")

TRAINER = "fastreid.engine.train_loop:AMPTrainer"
DEFAULT_TRAINER = "fastreid.engine.defaults:DefaultTrainer"

BF16_CPU_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is Arm's

logger = logging.getLogger(__name__)


@functools.lru_cache(maxsize=1)
def cpu_has_bf16() -> bool:
    """Whether this CPU has bf16 instructions; elsewhere they are emulated and slower than float32.

    Read from Linux's list of flags; on other systems the answer is no.
    """
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return not BF16_CPU_FLAGS.isdisjoint(words)


def amp_dtype(device_type: str) -> torch.dtype | None:
    """The type that autocast computes in on ``device_type``; None where float32 is the better choice."""
    if device_type == "cuda":
        return torch.float16
    if device_type == "cpu" and cpu_has_bf16():
        return torch.bfloat16
    return None


def _amp_init(self, model, data_loader, optimizer, param_wrapper, grad_scaler=None) -> None:
    unsupported = "AMPTrainer does not support single-process multi-device training!"
    if isinstance(model, DistributedDataParallel):
        assert not (model.device_ids and len(model.device_ids) > 1), unsupported
    assert not isinstance(model, DataParallel), unsupported
    train_loop.SimpleTrainer.__init__(self, model, data_loader, optimizer, param_wrapper)
    self.amp_device = next(model.parameters()).device.type
    self.amp_dtype = amp_dtype(self.amp_device)
    logger.info(f"Mixed precision on {self.amp_device}: {self.amp_dtype or 'none, float32 throughout'}")
    if grad_scaler is None:
        # bf16 has float32's range: no gradient underflows, and a disabled scaler passes everything through.
        grad_scaler = torch.amp.GradScaler(self.amp_device, enabled=self.amp_dtype is torch.float16)
    self.grad_scaler = grad_scaler


def _amp_run_step(self) -> None:
    assert self.model.training, "[AMPTrainer] model was changed to eval mode!"
    start = time.perf_counter()
    data = next(self._data_loader_iter)
    data_time = time.perf_counter() - start

    with torch.amp.autocast(self.amp_device, dtype=self.amp_dtype, enabled=self.amp_dtype is not None):
        loss_dict = self.model(data)
        losses = sum(loss_dict.values())

    self.optimizer.zero_grad()
    self.grad_scaler.scale(losses).backward()
    self._write_metrics(loss_dict, data_time)
    self.grad_scaler.step(self.optimizer)
    self.grad_scaler.update()
    if isinstance(self.param_wrapper, params_module.ContiguousParams):
        self.param_wrapper.assert_buffer_is_valid()


def _amp_asks_for_cuda() -> bool:
    """Whether a step in mixed precision raises or warns on a machine without CUDA."""

    class Trainer(train_loop.AMPTrainer):
        def _write_metrics(self, *args, **kwargs):
            pass  # needs a writer

    model = torch.nn.Conv2d(1, 1, 1, device="meta").to_empty(device="cpu")  # no random numbers
    torch.nn.init.ones_(model.weight)
    model.forward = lambda data: {"loss": (model.weight * data).sum()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with swapped(torch.cuda, is_available=lambda: False), warnings.catch_warnings():
        warnings.simplefilter("error")
        Trainer(model, [1.0], optimizer, None).run_step()
    return model.weight.item() == 1


@patch(
    "amp",
    heals="engine/train_loop.py:325,335",
    needed_by="any version without CUDA; torch >= 2.4 warns of torch.cuda.amp",
    targets={f"{TRAINER}.__init__": ("3b742782d9ea",), f"{TRAINER}.run_step": ("db03e34b1f33",)},
    uses=(
        "fastreid.engine.train_loop:SimpleTrainer.__init__",
        "fastreid.engine.train_loop:SimpleTrainer._write_metrics",
        "fastreid.utils.params:ContiguousParams",
    ),
    needed=_amp_asks_for_cuda,
    if_skipped="SOLVER.AMP.ENABLED, which FastReID's base configs turn on, raises without CUDA",
    cause="AMPTrainer asserts CUDA and takes autocast and GradScaler of torch.cuda.amp",
    fix="torch.autocast and torch.amp.GradScaler of the model's device; bfloat16 without a scaler on a CPU",
)
def amp() -> None:
    """AMPTrainer asserts CUDA, and every base config of the host turns it on."""
    replace(f"{TRAINER}.__init__", _amp_init)
    replace(f"{TRAINER}.run_step", _amp_run_step)


def _scaler_is_forgotten() -> bool:
    """Whether the checkpoints of FastReID's trainer leave the scaler of fp16 gradients out."""
    scaler = types.SimpleNamespace(is_enabled=lambda: True)
    trainer = trial_trainer(world_size=1, grad_scaler=scaler)
    return scaler not in trainer.checkpointer.checkpointables.values()


@patch(
    "scaler-saved",
    heals="engine/defaults.py:223",
    needed_by="any version, with CUDA",
    targets={f"{DEFAULT_TRAINER}.__init__": ("3b8388094998",)},
    needed=_scaler_is_forgotten,
    if_skipped="a resumed fp16 run skips steps until it has found its scale again",
    cause="the checkpointer is not given the gradient scaler",
    fix="give Checkpointer the AMPTrainer's grad_scaler, beside the optimiser",
)
def scaler_saved() -> None:
    """The scale of fp16 gradients was not saved: a resumed run skipped steps until it had found it again."""
    original = defaults.DefaultTrainer.__init__

    @functools.wraps(original)
    def __init__(self, cfg):
        original(self, cfg)
        # A disabled scaler has no state, and an enabled one refuses to load an empty one.
        if self.grad_scaler is not None and self.grad_scaler.is_enabled():
            self.checkpointer.checkpointables["grad_scaler"] = self.grad_scaler

    replace(f"{DEFAULT_TRAINER}.__init__", __init__)
