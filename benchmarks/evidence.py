r"""Asks the papers' claims on SynthReID: trains what is missing, one run at a time, and writes docs/evidence.md.

    nohup python benchmarks/evidence.py --hours 8 &          (in the background; again to carry on)
    python benchmarks/evidence.py --status                   (what is done and what comes next)
    python benchmarks/evidence.py --only occluded --output logs/evidence2     (on another core, beside it)
    python benchmarks/evidence.py --page                     (the page alone, from the record)
    python benchmarks/evidence.py --size Tiny --only elimination --seeds 0 --record tried.json --output logs/tried \
        --overrides SOLVER.MAX_EPOCH 2 SOLVER.WARMUP_EPOCHS 1 SOLVER.IMS_PER_BATCH 16             (tries the script)

The questions stand in evidence_questions.py, the most valuable first. Each finished run is written to the record at
once, with its commit, hardware and a number for every query, from which the page's intervals are made. A run that is
not likely to end within the hours is not begun; one that was interrupted goes on where it was. The page is written
from the record in the results folder; that of another record is printed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evidence_page import page
from evidence_questions import QUESTIONS, Arm, Question
from evidence_runs import RunError, Trial, carry_out, key, plan
from record import RESULTS

from fastreid_ext.engine.run_folder import HeldFolder
from fastreid_ext.errors import UserError
from fastreid_ext.files import locked, write_text

ROOT = Path(__file__).parents[1]
RECORD, PAGE = RESULTS / "evidence.json", ROOT / "docs" / "evidence.md"
FORMAT = "fastreid-ext evidence 1"


def read_record(path: Path) -> dict[str, Any]:
    """Return the runs of a record by name; {} if there is none.

    Raises:
        SystemExit: it is none of this script's.
    """
    if not path.is_file():
        return {}
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("format") != FORMAT:
        sys.exit(f"error: {path} is no record of this script: give another --record")
    return record["runs"]


def write_record(path: Path, runs: Mapping[str, Any]) -> None:
    """Write the record, a line for each run."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(run)}" for name, run in runs.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f'{{"format": "{FORMAT}", "runs": {{\n{lines}\n}}}}\n')


def add_run(path: Path, name: str, run: Mapping[str, Any]) -> None:
    """Add a run to the record as it is by now: another process may have added some meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.lock")):
        write_record(path, {**read_record(path), name: run})


def expected_seconds(arm: Arm, runs: Mapping[str, Any]) -> float:
    """Return how long a run of an arm takes: as the longest one of its config so far; 0 if there is none."""
    alike = [
        run["seconds"]
        for run in runs.values()
        if run["config"] == arm.config and bool(run["tested_with"]) == bool(arm.tested_with)
    ]
    return max(alike, default=0.0)


def is_tested_again(arm: Arm, questions: tuple[Question, ...]) -> bool:
    """Whether another arm tests the weights of this one."""
    arms = [other for question in questions for other in question.arms.values() if other.tested_with]
    return any((other.config, other.overrides, other.trunk) == (arm.config, arm.overrides, arm.trunk) for other in arms)


def run_all(questions: tuple[Question, ...], args: argparse.Namespace, trial: Trial) -> None:
    """Carry out the runs that are missing, for as long as the hours last."""
    ends = time.monotonic() + 3600 * args.hours
    with HeldFolder(args.output):
        for arm, seed in plan(questions):
            name, runs = key(arm, seed, trial), read_record(args.record)
            if name in runs or (args.seeds and seed not in args.seeds):
                continue
            if arm.tested_with and key(replace(arm, tested_with=()), seed, trial) not in runs:
                continue  # its weights are not there
            if time.monotonic() + expected_seconds(arm, runs) > ends:
                print(f"the hours are over before {name}", flush=True)
                return
            print(f"{time.strftime('%H:%M')} {name}: {arm.config} {' '.join(arm.overrides)}", flush=True)
            try:
                done = carry_out(arm, seed, args.output, trial, keep=is_tested_again(arm, questions))
            except (RunError, UserError) as error:  # the others need not wait for it
                print(f"failed: {error}", file=sys.stderr, flush=True)
                continue
            add_run(args.record, name, done)


def status(questions: tuple[Question, ...], runs: Mapping[str, Any], trial: Trial) -> str:
    """Return a line for each question: how many of its runs are done, and the first that is missing."""
    lines = []
    for question in questions:
        planned = [(key(arm, seed, trial), arm) for arm, seed in plan((question,))]
        missing = [f"{name} ({arm.config})" for name, arm in planned if name not in runs]
        then = f"; next: {missing[0]}" if missing else ""
        lines.append(f"{question.name}: {len(planned) - len(missing)} of {len(planned)} runs{then}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8.0, help="budget: no run is begun behind it (8)")
    parser.add_argument("--only", nargs="+", choices=[question.name for question in QUESTIONS], metavar="QUESTION")
    parser.add_argument("--seeds", nargs="+", type=int, help="of the planned seeds these alone")
    parser.add_argument("--status", action="store_true", help="say what is done and train nothing")
    parser.add_argument("--page", action="store_true", help="write the page from the record and train nothing")
    parser.add_argument("--output", type=Path, default=ROOT / "logs" / "evidence", help="folder of the runs")
    parser.add_argument("--record", type=Path, default=RECORD, help="file that the runs are added to")
    parser.add_argument("--size", default="", choices=["", "Tiny"], help="SynthReID's size; empty = demo")
    parser.add_argument("--overrides", nargs="*", default=[], help="KEY VALUE pairs for every run, to try the script")
    args = parser.parse_args()
    if (args.size or args.overrides) and args.record == RECORD:
        parser.error("--size and --overrides are trials: give a --record of their own")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    trial = Trial(args.size, tuple(args.overrides))
    questions = tuple(question for question in QUESTIONS if not args.only or question.name in args.only)
    if not args.status and not args.page:
        run_all(questions, args, trial)
    runs = read_record(args.record)
    if args.record == RECORD and not args.status:
        write_text(PAGE, page(QUESTIONS, runs, trial))
        print("written to", PAGE)
    else:
        print(status(questions, runs, trial) if args.status else page(questions, runs, trial))


if __name__ == "__main__":
    main()
