"""Progress of a long job: a bar on a terminal, a plain line now and then in a log or a pipe."""

import sys
import time
from collections.abc import Callable
from typing import Any


class ProgressBar:
    """Show how many items of a job are done: a bar on a terminal, else a line at most every ``seconds`` and at the end.

    It is a context manager; leaving it draws the last state. Lines have no carriage return.

    Args:
        name: text at the start of the line or bar.
        total: items of the whole job.
        done: items that an earlier run has done.
        unit: what the items are, in the plural.
        seconds: between two lines if the output is not a terminal.
        write: takes each of these lines, without its end; None writes to stderr.
        shown: False shows nothing.

    Attributes:
        name: may change while the job goes on.
        note: what the line or bar ends with; may change too.
    """

    def __init__(
        self,
        name: str,
        total: int,
        done: int = 0,
        unit: str = "images",
        seconds: float = 10.0,
        write: Callable[[str], None] | None = None,
        shown: bool = True,
    ):
        self.name, self.note, self.total, self.done, self.unit = name, "", total, done, unit
        self.seconds, self.write, self.shown = seconds, write or _to_stderr, shown
        self.done_before = self.written = done
        self.started = self.last_line = time.monotonic()
        self.bar: Any = _bar(total, done, unit) if shown and sys.stderr.isatty() else None

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def advance(self, count: int) -> None:
        """Count ``count`` more items as done."""
        self.done += count
        if self.bar is not None:
            self._describe_bar()
            self.bar.update(count)
        elif time.monotonic() - self.last_line >= self.seconds:
            self._write_line()

    def close(self) -> None:
        """Draw the last state; nothing if no item was done since the last line."""
        if self.bar is not None:
            self._describe_bar()
            self.bar.close()
        elif self.done != self.written:
            self._write_line()

    def _describe_bar(self) -> None:
        self.bar.set_description_str(self.name, refresh=False)
        self.bar.set_postfix_str(self.note, refresh=False)

    def _write_line(self) -> None:
        self.last_line, self.written = time.monotonic(), self.done
        if self.shown:
            self.write(self._line())

    def _line(self) -> str:
        seconds = max(time.monotonic() - self.started, 1e-9)
        rate = (self.done - self.done_before) / seconds
        parts = [
            f"{self.done}/{self.total} {self.unit} ({self.done / max(self.total, 1):.0%})",
            f"{rate:.{0 if rate >= 100 else 1}f} {self.unit}/s",
            f"{_clock((self.total - self.done) / rate)} left" if rate else "",
            self.note,
        ]
        return f"{self.name}: {', '.join(part for part in parts if part)}"


def _bar(total: int, done: int, unit: str) -> Any:
    from tqdm import tqdm  # here, since a job that no person watches needs none

    return tqdm(
        total=total, initial=done, unit=f" {unit}", unit_scale=total >= 10_000, dynamic_ncols=True, file=sys.stderr
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
