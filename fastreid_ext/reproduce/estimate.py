"""What the runs of a table will take: hours and memory, estimated from timed steps of each."""

import heapq
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch
from fastreid.utils.events import EventStorage

from fastreid_ext.errors import UserError, counted
from fastreid_ext.processes import WorkerCall
from fastreid_ext.reproduce.table_runs import Run

START = "spawn"  # CUDA does not survive a fork, and a process of its own has its own peak of memory
WARM_UP, TIMED = 1, 2  # steps; the first one also chooses kernels and waits for the loader's workers
GIB = 2**30
LEFT_OUT = "evaluation, start and any longer waiting for images are left out; a run that goes on counts in full"


@dataclass(frozen=True)
class Cost:
    """What the steps of a run cost.

    Attributes:
        step_seconds: of one step, with what it waited for images.
        iters_per_epoch: of the run.
        max_epoch: of the run.
        memory_bytes: the peak of the GPU's memory that torch reserved or, on a CPU, of the process without workers; 0
            where the system does not tell.
        device: such as "NVIDIA H200" or "cpu".
        on_cuda: whether the memory is that of a GPU.
    """

    step_seconds: float
    iters_per_epoch: int
    max_epoch: int
    memory_bytes: int
    device: str
    on_cuda: bool

    @property
    def hours(self) -> float:
        """Of all steps of one seed's run."""
        return self.step_seconds * self.iters_per_epoch * self.max_epoch / 3600

    def sentence(self) -> str:
        """Return it in words."""
        of_what = "GPU memory" if self.on_cuda else "memory of the process (peak RSS, without the loader's workers)"
        memory = f"; {self.memory_bytes / GIB:.1f} GiB of {of_what}" if self.memory_bytes else ""
        return (
            f"{_time(self.hours)}: {counted(self.max_epoch, 'epoch')} of {counted(self.iters_per_epoch, 'step')} of"
            f" {self.step_seconds:.2f} s on {self.device}{memory}"
        )


def estimates(
    runs: Mapping[Run, int], overrides: Sequence[str], environment: Mapping[str, str], places: int, num_gpus: int = 1
) -> Iterator[str]:
    """Yield a line for each run as soon as its steps are timed, and one for all.

    Args:
        runs: each with the number of its seeds that are not done.
        overrides: KEY VALUE pairs of every run.
        environment: variables of the processes of the first place.
        places: how many runs are trained side by side.
        num_gpus: processes of each run; one of them is timed, with its share of a batch.
    """
    hours: list[float] = []
    unknown = 0
    for run, seeds in runs.items():
        cost = measured(run, overrides, environment, num_gpus)
        if isinstance(cost, Cost):
            hours += [cost.hours] * seeds
            each = f" for each of {seeds} seeds" if seeds > 1 else ""
            yield f"- estimate for {run.folder}{each}: {cost.sentence()}"
        else:
            unknown += 1
            yield f"- no estimate for {run.folder}: {cost}"
    if hours:
        at_once = f" with {places} runs side by side" if places > 1 else ""
        without = (
            f", without {counted(unknown, 'run')} that {'has' if unknown == 1 else 'have'} no estimate"
            if unknown
            else ""
        )
        shares = " and what several processes exchange" if num_gpus > 1 else ""
        shares += " and what runs on one device take from each other" if places > 1 and not environment else ""
        yield f"estimate of all: {_time(side_by_side(hours, places))}{at_once}{without} ({LEFT_OUT}{shares})"


def side_by_side(hours: Sequence[float], places: int) -> float:
    """Return when the last of several runs is done, each started in the place that is free first."""
    free = [0.0] * places
    for each in hours:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def measured(run: Run, overrides: Sequence[str], environment: Mapping[str, str], num_gpus: int = 1) -> "Cost | str":
    """Time the steps of a run in a process of its own; return why there is no estimate where that fails."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # it goes too where the process is killed
        call = WorkerCall(_measure, run.config, (*run.overrides, *overrides), dict(environment), num_gpus, folder)
        return _answer(call)


def _answer(call: WorkerCall) -> "Cost | str":
    context = multiprocessing.get_context(START)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=call, args=(sender,))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        return f"its steps ended with status {process.exitcode}"
    except BaseException:  # Ctrl-C, for one: nobody waits for it
        process.kill()
        raise
    finally:
        process.join()
        receiver.close()


def _measure(
    config: str,
    overrides: Sequence[str],
    environment: Mapping[str, str],
    num_gpus: int,
    folder: str,
    sender: Connection,
) -> None:
    os.environ.update(environment)  # before CUDA starts
    try:
        answer = _cost(config, overrides, num_gpus, folder)
    except UserError as error:
        answer = str(error)
    except torch.OutOfMemoryError:
        answer = "its first steps need more memory than the GPU has: lower SOLVER.IMS_PER_BATCH"
    sender.send(answer)


def _cost(config: str, overrides: Sequence[str], num_gpus: int, folder: str) -> Cost:
    """Build the trainer of a run, without weights from elsewhere, and time steps of it."""
    from fastreid_ext.engine.run import checked_config
    from fastreid_ext.engine.trainer import Trainer

    _be_quiet()
    own = ["MODEL.BACKBONE.PRETRAIN", "False", "MODEL.BACKBONE.PRETRAIN_PATH", "", "OUTPUT_DIR", folder]
    cfg = checked_config(config, [*overrides, *own])
    if num_gpus > 1:
        share = ["SOLVER.IMS_PER_BATCH", str(cfg.SOLVER.IMS_PER_BATCH // num_gpus)]
        cfg = checked_config(config, [*overrides, *own, *share])
    torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    trainer = Trainer(cfg)
    device = next(trainer.model.parameters()).device
    seconds = _steps(trainer, device)
    on_cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_reserved(device) if on_cuda else _peak_rss()
    name = torch.cuda.get_device_name(device) if on_cuda else device.type
    iters = trainer.iters_per_epoch // num_gpus
    trainer.evaluation_sets.end_workers()
    trainer.folder.release()
    return Cost(seconds, iters, trainer.max_epoch, peak, name, on_cuda)


def _steps(trainer, device: torch.device) -> float:
    """Return the seconds of a step, the mean of those that are timed; no layer is frozen."""
    step = trainer._trainer
    step.iter = step.freeze_iters
    trainer.model.train()
    with EventStorage(step.iter), step.loading():
        for number in range(WARM_UP + TIMED):
            if number == WARM_UP:
                start = time.perf_counter()
            step.run_step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return (time.perf_counter() - start) / TIMED


def _peak_rss() -> int:
    try:
        import resource  # POSIX only
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _be_quiet() -> None:
    """Keep the log of a run that is only timed from the terminal."""
    warnings.simplefilter("ignore")
    for name in ("fastreid", "fastreid_ext"):
        log = logging.getLogger(name)
        log.setLevel(logging.INFO)  # else the trainer sets up a log of its own
        log.handlers, log.propagate = [logging.NullHandler()], False


def _time(hours: float) -> str:
    minutes = hours * 60
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes:.0f} minutes" if minutes < 90 else f"about {hours:.1f} hours"
