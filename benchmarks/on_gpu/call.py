"""What the parts of on_gpu.sh are called with, and the record that each of them writes after every row."""

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from record import write_record

NEEDS_CUDA = {"skipped": "needs CUDA"}
OUT_OF_TIME = {"not_run": "out of time"}


@dataclass
class Call:
    """One part of a run, and what it found so far.

    Attributes:
        name: of the part, and of its file.
        device: "cuda", or "cpu" in a dry run.
        toy: the sizes of a dry run.
        output: folder of the file.
        ends: time.monotonic() at which the part is stopped.
        results: row -> its numbers, or why there are none: {"failed": ...}, {"not_run": ...} or {"skipped": ...}.
    """

    name: str
    device: str
    toy: bool
    output: Path
    ends: float
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"

    def few(self, names: Iterable[str]) -> list[str]:
        """Return all of the names; in a dry run the first two."""
        return list(names)[: 2 if self.toy else None]

    def left(self) -> float:
        """Return how many seconds the part still has."""
        return self.ends - time.monotonic()

    def row(self, name: str, work: Callable[[], Any], seconds: float = 0.0) -> Any:
        """Measure a row and write all rows so far; a row that fails does not lose the others.

        Args:
            name: of the row.
            work: what measures it.
            seconds: that it takes; with fewer left it is not begun.

        Returns:
            What it gave, or why it gave nothing.
        """
        if self.left() < seconds:
            found = OUT_OF_TIME
        else:
            try:
                found = work()
            except Exception as error:  # whatever it is: the day is short, and the log has the traceback
                traceback.print_exc()
                found = {"failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}
        self.results[name] = found
        print(f"[{self.name}] {name}: {found}", flush=True)
        self.write()
        return found

    def write(self) -> None:
        """Write what is there so far."""
        libraries = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version() if self.on_gpu else None}
        write_record(
            self.name, self.results, self.output / f"{self.name}.json", device=self.device, toy=self.toy, **libraries
        )

    def settle(self) -> None:
        """Wait until the device has done what it was given."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Return how long a piece of work takes, all of it done."""
        self.settle()
        start = time.perf_counter()
        work()
        self.settle()
        return time.perf_counter() - start
