"""Generated command lines of all commands and projects, run in one process: none may end in a traceback or hang.

    python tests/commands/command_lines.py --all        # every line, about ten minutes on one core
    python tests/commands/command_lines.py --sample 60  # what the suite runs

A line that must be refused has to end in one sentence, or a numbered list of sentences, and a status other than 0.
Training stops where its first epoch would start.
"""

import argparse
import contextlib
import io
import logging
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).parent / "lines"), str(Path(__file__).parents[1])]

from line_world import make_world  # noqa: E402
from other_lines import other_lines  # noqa: E402
from train_lines import right_values, wrong_types, wrong_values  # noqa: E402

SECONDS = 30  # for one line
SEED = 14
GOOD = ("refused", "accepted")


class TookTooLong(BaseException):
    """Not an Exception, so that no handler of ours takes it for one."""


@dataclass(frozen=True)
class Outcome:
    """What became of a line: refused, accepted, or a fault (traceback, hang, nonsense, no sentence, silence)."""

    kind: str
    said: str
    seconds: float


def all_lines() -> list[tuple[list[str], bool]]:
    """Return every line with whether it must be refused, always the same."""
    return [*wrong_types(SEED), *wrong_values(), *right_values(SEED, 120), *other_lines()]


def run_line(args: Sequence[str], must_be_refused: bool) -> Outcome:
    """Run a line through the command's own main and say what became of it."""
    from fastreid_ext.cli import main

    out, err, start = io.StringIO(), io.StringIO(), time.monotonic()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(list(args))
    except SystemExit as stopped:
        status = stopped.code
    except TookTooLong:
        return Outcome("hang", traceback.format_exc(limit=-4), time.monotonic() - start)
    except BaseException:
        return Outcome("traceback", traceback.format_exc(limit=-6), time.monotonic() - start)
    finally:
        signal.alarm(0)
        _forget_logs()
    return Outcome(*_judged(status, out.getvalue(), err.getvalue(), must_be_refused), time.monotonic() - start)


def _judged(status: object, out: str, err: str, must_be_refused: bool) -> tuple[str, str]:
    said = err.strip()
    if "Traceback (most recent call last)" in out + err:
        return "traceback", said
    if not status:
        return ("nonsense", said[-300:]) if must_be_refused else ("accepted", "")
    if not said and not out.strip():
        return "silence", ""
    starts = list(re.finditer(r"^fastreid-ext[a-z -]*: ", err, flags=re.MULTILINE))
    sentence = err[starts[-1].start() :].strip() if starts else said
    listed = re.search(r": \d+ mistakes:\n", sentence)
    missing_data = "is missing or only half unpacked" in sentence
    if status == 1 and starts and "\n" in sentence and not listed and not missing_data:
        return "no sentence", sentence
    if not must_be_refused:
        return "wrongly refused", sentence
    return "refused", sentence


def _too_long(*_: object) -> None:
    raise TookTooLong


def _forget_logs() -> None:
    from fastreid.utils import logger

    for name in ("fastreid", "fastreid_ext"):
        log = logging.getLogger(name)
        for handler in list(log.handlers):
            log.removeHandler(handler)
            handler.close()
        log.propagate = True
    logger.setup_logger.cache_clear()
    logger._cached_log_stream.cache_clear()


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[None]:
    """Make the files that the lines name, stop training before its first epoch, and put everything back."""
    from fastreid_ext.engine.trainer import Trainer

    before, data = os.getcwd(), os.environ.get("FASTREID_DATASETS")
    handler = signal.getsignal(signal.SIGALRM)
    stopped = mock.patch.object(Trainer, "train", lambda self: {})
    repeated = mock.patch("fastreid_ext.engine.repeat.train", side_effect=SystemExit(0))
    with stopped, repeated:
        try:
            make_world(folder, lambda args: 0 if run_line(args, False).kind == "accepted" else 1)
            yield
        finally:
            os.chdir(before)
            signal.signal(signal.SIGALRM, handler)
            os.environ.pop("FASTREID_DATASETS", None)
            os.environ |= {} if data is None else {"FASTREID_DATASETS": data}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="run every line")
    parser.add_argument("--sample", type=int, default=60, metavar="N", help="run N lines, drawn by a fixed seed")
    parser.add_argument("--only", default="", metavar="TEXT", help="run the lines that contain this text")
    parser.add_argument("--without", default="", metavar="COMMAND", help="leave the lines of a command out")
    args = parser.parse_args()
    lines = [line for line in all_lines() if args.only in " ".join(line[0]) and line[0][:1] != [args.without]]
    if not (args.all or args.only):
        lines = random.Random(SEED).sample(lines, args.sample)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, prepared(Path(folder)):
        for number, (line, must_be_refused) in enumerate(lines, start=1):
            outcome = run_line(line, must_be_refused)
            counts[outcome.kind] += 1
            if outcome.kind not in GOOD:
                print(f"\n{outcome.kind} ({outcome.seconds:.1f} s): {' '.join(line)}\n{outcome.said}", flush=True)
            if number % 100 == 0:
                print(f"{number} of {len(lines)}: {dict(counts)}", flush=True)
    print(f"{len(lines)} command lines: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
    return 0 if set(counts) <= set(GOOD) else 1


if __name__ == "__main__":
    import torch

    import fastreid_ext  # noqa: F401  (heals FastReID)

    torch.set_num_threads(1)
    sys.exit(main())
