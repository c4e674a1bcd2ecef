"""One training step: mixed precision, a finite loss or a clear stop, metrics from all ranks."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from fastreid.config import CfgNode
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage
from torch import nn

from fastreid_ext.engine.accumulation import parts_of, share_steps
from fastreid_ext.engine.devices import device_of
from fastreid_ext.engine.distillation import Distillation, distillation_of
from fastreid_ext.engine.finite_images import check_finite_images
from fastreid_ext.engine.precision import autocast_dtype
from fastreid_ext.errors import ConfigError, DivergedError
from fastreid_ext.modeling.scalars import Scalars, collected_scalars, put_scalars


class TrainingStep(SimpleTrainer):
    """FastReID's SimpleTrainer with torch.amp on any device.

    Args:
        model, data_loader, optimizer: as the host's; the loader is endless.
        autocast: dtype to autocast to, None for float32.
        clip: called with the parameters before the optimiser's step (gradients are unscaled by then).
        frozen: parameters whose gradients are dropped during the first ``freeze_iters`` iterations.
        distillation: from a teacher, None where there is none.
        parts: of a batch, whose gradients are added before the optimiser's step. Losses, batch norms and batch
            augmentation see one part at a time.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[dict],
        optimizer: torch.optim.Optimizer,
        autocast: torch.dtype | None = None,
        clip: Callable[[list[nn.Parameter]], None] | None = None,
        frozen: list[nn.Parameter] | None = None,
        freeze_iters: int = 0,
        distillation: Distillation | None = None,
        parts: int = 1,
    ):
        super().__init__(model, data_loader, optimizer, param_wrapper=None)
        self.device_type = next(model.parameters()).device.type
        self.autocast = autocast
        self.clip = clip
        self.frozen = frozen or []
        self.freeze_iters = freeze_iters
        self.distillation = distillation
        self.parts = parts
        self.scalars: Scalars = []  # of the model, for the log
        share_steps(model, parts)
        # bfloat16 has float32's range: only float16 needs its gradients scaled.
        self.grad_scaler = torch.amp.GradScaler(self.device_type, enabled=autocast is torch.float16)

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Start loading batches, and end the workers on exit: the garbage collector waits five seconds for each."""
        self._data_loader_iter = iter(self.data_loader)
        try:
            yield
        finally:
            self._data_loader_iter = None

    def run_step(self) -> None:
        """Run one iteration.

        Raises:
            FloatingPointError: a loss that is not finite on some rank; raised on every rank, before the weights move.
            ImageError, ConfigError: instead of it where the images of this rank are the reason.
        """
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start

        self.optimizer.zero_grad(set_to_none=True)
        with collected_scalars() as self.scalars:
            losses = self._accumulated(data)
        try:
            self._write(losses, data_time)
        except DivergedError:
            check_finite_images(data, self.model)
            raise
        self._update()

    def _accumulated(self, data: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Return the mean losses of the parts of a batch; the gradients of their sum are added to the parameters'."""
        means: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts_of(data, self.parts) if self.parts > 1 else [data], start=1):
            # Several processes exchange gradients once, in the last backward pass.
            alone = getattr(self.model, "no_sync", None) if number < self.parts else None
            with alone() if alone else nullcontext():
                with torch.autocast(self.device_type, dtype=self.autocast, enabled=self.autocast is not None):
                    losses = self.distillation.losses(self.model, part) if self.distillation else self.model(part)
                self.grad_scaler.scale(sum(losses.values()) / self.parts).backward()
            for name, loss in losses.items():
                means[name] = means.get(name, 0.0) + loss.detach().float() / self.parts
        return means

    def _update(self) -> None:
        if self.iter < self.freeze_iters:
            for parameter in self.frozen:
                parameter.grad = None
        if self.clip is not None:
            self.grad_scaler.unscale_(self.optimizer)
            self.clip([p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None])
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _write(self, losses: dict[str, torch.Tensor], data_time: float) -> None:
        names = list(losses)
        device = losses[names[0]].device
        waited = torch.full((), data_time, device=device)  # made there: the processor waits for one that is sent
        values = torch.stack([*losses.values(), waited])
        world = comm.get_world_size()
        if world > 1:
            dist.all_reduce(values)  # the same numbers everywhere: all ranks stop together
        own = [scalars.to(device, torch.float32) for _, scalars in self.scalars]
        read = torch.cat([values, *own]).tolist()  # the one time in a step that the processor waits for the device
        numbers = [value / world for value in read[: len(values)]]
        put_scalars([name for named, _ in self.scalars for name in named], read[len(values) :])
        metrics = dict(zip([*names, "data_time"], numbers, strict=True))
        bad = {name: metrics[name] for name in names if not math.isfinite(metrics[name])}
        if bad:
            raise DivergedError(
                f"iteration {self.iter}: {', '.join(f'{name} is {value}' for name, value in bad.items())};"
                " the weights were not touched, and the last checkpoint, if there is one, is good."
                " Lower SOLVER.BASE_LR, lengthen the warm-up, or set SOLVER.AMP.ENABLED False to see whether it is the"
                " precision"
            )
        storage = get_event_storage()
        total = sum(metrics[name] for name in names)
        storage.put_scalars(total_loss=total, **metrics)


def step_settings(cfg: CfgNode, model: nn.Module) -> dict[str, Any]:
    """Read the settings of :class:`TrainingStep` beyond model, data and optimiser.

    Raises:
        ConfigError: SOLVER.AMP.DTYPE or SOLVER.CLIP_GRADIENTS.CLIP_TYPE is none that we know, or a name in
            MODEL.FREEZE_LAYERS matches no parameter, or KD.TEACHER can't teach the model.
    """
    settings: dict[str, Any] = {
        "autocast": autocast_dtype(device_of(cfg), cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE),
        "distillation": distillation_of(cfg, model),
        "parts": cfg.SOLVER.ACCUMULATION,
    }
    if cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        clip = cfg.SOLVER.CLIP_GRADIENTS
        settings["clip"] = gradient_clipper(clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE)
    if cfg.MODEL.FREEZE_LAYERS and cfg.SOLVER.FREEZE_ITERS > 0:
        layers = tuple(f"{layer}." for layer in cfg.MODEL.FREEZE_LAYERS)
        names = [name for name, _ in model.named_parameters()]
        idle = [layer for layer in cfg.MODEL.FREEZE_LAYERS if not any(f"{n}.".startswith(f"{layer}.") for n in names)]
        if idle:
            tops = sorted({name.partition(".")[0] for name in names})
            raise ConfigError(
                f"MODEL.FREEZE_LAYERS names {idle}, but no parameter has such a name; the model has {tops}"
            )
        settings["frozen"] = [p for name, p in model.named_parameters() if f"{name}.".startswith(layers)]
        settings["freeze_iters"] = cfg.SOLVER.FREEZE_ITERS
    return settings


def gradient_clipper(kind: str, value: float, norm_type: float) -> Callable[[list[nn.Parameter]], None]:
    """Clip each parameter's gradient by norm or by value, as FastReID does (SOLVER.CLIP_GRADIENTS).

    Raises:
        ConfigError: a kind other than "norm" and "value".
    """
    if kind not in ("norm", "value"):
        raise ConfigError(f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be 'norm' or 'value', got {kind!r}")

    def clip(parameters: list[nn.Parameter]) -> None:
        if kind == "value":
            nn.utils.clip_grad_value_(parameters, value)
            return
        for parameter in parameters:
            nn.utils.clip_grad_norm_(parameter, value, norm_type)

    return clip
