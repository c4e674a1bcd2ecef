"""Trains the runs of a table, one after another or several side by side; one that fails does not stop the others."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from fastreid_ext.engine import repeat
from fastreid_ext.errors import ConfigError, UserError
from fastreid_ext.evaluation.spread import Results
from fastreid_ext.processes import end_commands, start_command

CONSOLE = "console.txt"  # in a run's folder: what it prints, where several would write to one terminal
VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Training:
    """One run of one seed.

    Attributes:
        config: a shipped config.
        seed: of the run.
        folder: that of its seed is in it.
        overrides: KEY VALUE pairs.
        num_gpus: processes of the run.
    """

    config: str
    seed: int
    folder: Path
    overrides: tuple[str, ...]
    num_gpus: int = 1

    @property
    def output(self) -> Path:
        """Its OUTPUT_DIR."""
        return repeat.folder_of(self.folder, self.seed)

    def begin(self) -> list[str]:
        """Return the command line that trains it; see :func:`repeat.beginning`."""
        return repeat.beginning(self.config, self.seed, self.folder, self.overrides, self.num_gpus)


@dataclass(frozen=True)
class Place:
    """Where one run at a time is trained.

    Attributes:
        name: for messages, such as "GPU 1".
        environment: names and values of variables of its processes.
    """

    name: str
    environment: tuple[tuple[str, str], ...] = ()


def places_of(gpus: Sequence[int] = (), jobs: int = 1, num_gpus: int = 1) -> list[Place]:
    """Return the places of runs.

    Args:
        gpus: numbers of the GPUs that are used, among those that this process sees; each run gets ``num_gpus`` of them.
        jobs: without GPUs by number, how many runs are trained side by side on the device that their config names.
        num_gpus: processes of each run.

    Raises:
        ConfigError: GPUs that are not there, that are named twice, or that can't be shared out; or no job or process.
    """
    for option, number in (("--jobs", jobs), ("--num-gpus", num_gpus)):
        if number < 1:
            raise ConfigError(f"{option} is {number} and must be 1 or more")
    if not gpus:
        return [Place(f"job {number}") for number in range(1, jobs + 1)]
    if jobs > 1:
        raise ConfigError("--jobs is for runs on one device, and --gpus has one run on each: leave one of them out")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if unknown := [gpu for gpu in gpus if not 0 <= gpu < there]:
        seen = f"this process sees {there} GPUs" if there else "there is no CUDA device here"
        raise ConfigError(f"--gpus has {unknown[0]}, and {seen}: name others, or use --jobs on a CPU")
    if len(set(gpus)) < len(gpus) or len(gpus) % num_gpus:
        raise ConfigError(
            f"--gpus is {' '.join(map(str, gpus))}: name each GPU once, and a multiple of --num-gpus ({num_gpus})"
        )
    names = os.environ.get(VISIBLE, "").split(",") if os.environ.get(VISIBLE) else [str(gpu) for gpu in range(there)]
    groups = [gpus[first : first + num_gpus] for first in range(0, len(gpus), num_gpus)]
    return [
        Place(
            f"GPU{'s' * (len(group) > 1)} {' and '.join(map(str, group))}",
            ((VISIBLE, ",".join(names[gpu].strip() for gpu in group)),),
        )
        for group in groups
    ]


def train_all(
    trainings: Sequence[Training], places: Sequence[Place], say: Callable[[str], None] = lambda line: None
) -> tuple[dict[Training, Results], dict[Training, str]]:
    """Train what is not done, one run at a time in each place.

    Whatever ends the waiting, Ctrl-C for one, ends all runs; each goes on from its last checkpoint in another call.

    Args:
        trainings: runs; no two with one folder and seed.
        places: of :func:`places_of`. In a single one without variables, runs write to this process's terminal, else
            each to ``console.txt`` in its folder.
        say: takes a line at the start and at the end of each run that does not write to the terminal.

    Returns:
        the results of the runs that are done, and why each of the others has none, in a sentence.
    """
    failed: dict[Training, str] = {}
    if len(places) == 1 and not places[0].environment:
        for one in trainings:
            with _noting(failed, one):
                repeat.train(one.config, one.seed, one.folder, one.overrides, one.num_gpus)
    else:
        _SideBySide(places, say, failed).train(trainings)
    results = {}
    for one in trainings:
        with _noting(failed, one):
            if one not in failed:
                results[one] = repeat.results_of(one.output, one.seed)
    return results, failed


@contextmanager
def _noting(failed: dict[Training, str], training: Training) -> Iterator[None]:
    """Note an error that the user can fix, and go on."""
    try:
        yield
    except UserError as error:
        failed[training] = str(error)


class _SideBySide:
    """Runs in several places; what fails is noted in ``failed``."""

    def __init__(self, places: Sequence[Place], say: Callable[[str], None], failed: dict[Training, str]):
        self.free, self.say, self.failed = list(places), say, failed
        self.running: dict[Place, tuple[Training, subprocess.Popen[bytes], float]] = {}

    def train(self, trainings: Sequence[Training]) -> None:
        waiting = list(trainings)
        try:
            while waiting or self.running:
                while waiting and self.free:
                    self._start(waiting.pop(0))
                ended = [place for place, (_, process, _) in self.running.items() if process.poll() is not None]
                for place in ended:
                    self._end(place)
                if not ended:
                    time.sleep(POLL_SECONDS)
        except BaseException:
            end_commands([process for _, process, _ in self.running.values()])
            raise

    def _start(self, training: Training) -> None:
        with _noting(self.failed, training):
            if arguments := training.begin():
                process = _started(training, arguments, self.free[0])
                self.running[self.free.pop(0)] = training, process, time.monotonic()
                self.say(f"{training.output} is trained on {list(self.running)[-1].name}")

    def _end(self, place: Place) -> None:
        training, process, since = self.running.pop(place)
        self.free.append(place)
        with _noting(self.failed, training):
            repeat.check_ended(training.output, process.returncode, CONSOLE)
            self.say(f"{training.output} is done after {(time.monotonic() - since) / 60:.1f} minutes")
        if training in self.failed:
            self.failed[training] += _last_words(training)
            self.say(self.failed[training])


def _started(training: Training, arguments: Sequence[str], place: Place) -> "subprocess.Popen[bytes]":
    command, *rest = arguments
    meeting = ["--dist-url", "auto"] if training.num_gpus > 1 else []  # several runs can't share a port
    with open(training.output / CONSOLE, "ab") as console:
        return start_command([command, *meeting, *rest], dict(place.environment), console)


def _last_words(training: Training) -> str:
    """Return the last line that a run printed, behind ": "."""
    with suppress(OSError):
        lines = (training.output / CONSOLE).read_text(encoding="utf-8", errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f": {said[-1]}" if said else ""
    return ""
