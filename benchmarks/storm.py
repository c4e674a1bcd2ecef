"""Kills runs, or fills their disk, at random moments, starts them again, and compares how they end with a run in peace.

A series is one run: it is hit up to four times, started again each time (a training with --resume), and must end as the
reference, an uninterrupted run, bit for bit: every tensor of every checkpoint, results, feature stores, indexes, data
sets. A blow is SIGKILL (70 %), SIGTERM, SIGINT or SIGHUP, at the first process alone or at all of them, at a moment
that is drawn from a phase or from the whole length of the run, or just before or behind the renaming of a file, where
the run is made to wait for it. "Disk full" gives a run a file system of its own in
memory (tmpfs, in mounts that only the storm sees: root, or a system with user namespaces) and takes its free space
away at such a moment: from then on every write of a new page fails in the system itself, whoever writes. The run has to
end by itself; then there is space again.

lost: a start that was not hit fails. work lost: it goes back behind a checkpoint. hung: it does not end in 60 s and 20
times the reference's time, or in 30 s after a signal. orphans: starts that leave a process alive for more than 5 s.
traceback: a start prints one, whatever happened to it.

A start of Python with torch takes seconds, so it is done once: every start is a fork of one process that has imported
everything and has a single thread, in a session of its own. It runs the ``fastreid-ext`` command line and then what
Python does at a program's end. FastReID's ResNets have a quarter of their channels. The seed decides what is drawn; at
which instruction a signal arrives is up to the system.

    python benchmarks/storm.py
    python benchmarks/storm.py --kills 12 --disk-full 6 --keep /tmp/storm
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import storm_plan
from storm_disk import private_mounts
from storm_plan import Scenario, Series
from storm_probe import PATH, Probe, install
from storm_runs import adopt_orphans, end_with_parent
from storm_scenarios import make_inputs, scenarios, warm_up
from storm_series import Reference, Runner

ROUNDS = 12  # a blow that comes too late for its run is drawn again


def in_jobs(jobs: int, work: Path, tasks: Sequence[Any], do: Callable[[Runner, Any], Any]) -> list[Any]:
    """Return ``do(runner, task)`` of each task, in the order of the tasks, done by forked processes.

    Args:
        jobs: how many of them.
        work: the storm's folder.
        tasks: in the order in which they are begun.
        do: its result goes through JSON.

    Raises:
        RuntimeError: one failed, which is a fault of the storm; it has printed its traceback.
    """
    numbers, giver = os.pipe()
    os.write(giver, b"".join(number.to_bytes(2, "big") for number in range(len(tasks))))
    os.close(giver)
    files = [work / f"job{job}.jsonl" for job in range(jobs)]
    children = []
    for job, file in enumerate(files):
        file.write_text("")
        if pid := os.fork():
            children.append(pid)
            continue
        status = 1
        try:
            end_with_parent()
            adopt_orphans()
            runner = Runner(work, Probe(work / f"probe{job}"))
            while number := os.read(numbers, 2):
                result = do(runner, tasks[int.from_bytes(number, "big")])
                with open(file, "a", encoding="utf-8") as opened:
                    opened.write(json.dumps([int.from_bytes(number, "big"), result]) + "\n")
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(numbers)
    if any([os.waitpid(pid, 0)[1] for pid in children]):
        raise RuntimeError("a job of the storm failed")
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [result for _, result in sorted(lines, key=lambda line: line[0])]


def make_references(work: Path, known: Sequence[Scenario], jobs: int) -> dict[str, Reference]:
    """Run every scenario once in peace; what an extraction needs is there before it."""
    references: dict[str, Reference] = {}
    for extraction in (False, True):
        some = [scenario for scenario in known if ("extract" in scenario.phases) == extraction]
        done = in_jobs(jobs, work, some, lambda runner, scenario: vars(runner.reference(scenario)))
        references |= {scenario.name: Reference(**fields) for scenario, fields in zip(some, done, strict=True)}
    return references


def one_series(
    known: Mapping[str, Scenario], references: Mapping[str, Reference], keep: bool, runner: Runner, series: Series
) -> dict[str, Any]:
    """Run a series in a job, and remove its folder if nothing is wrong."""
    record = runner.run_series(series, known[series.scenario], references[series.scenario])
    if not (keep and record["faults"]):
        shutil.rmtree(runner.work / f"series{series.number:04d}")
        (runner.work / f"series{series.number:04d}.txt").unlink()
    return record


def storm(args: argparse.Namespace, work: Path, known: Sequence[Scenario], references: Mapping[str, Reference]) -> dict:
    """Run kills and full disks, and return both summaries."""
    by_name, found, number = {scenario.name: scenario for scenario in known}, {}, 0
    for name, count in (("kills", args.kills), ("disk_full", args.disk_full)):
        began, rng = time.monotonic(), random.Random(f"{args.seed} {name}")
        least = storm_plan.least_per_phase(count, known)
        records: list[dict[str, Any]] = []
        met: Counter = Counter()
        for _ in range(ROUNDS):
            missing = storm_plan.missing(count, least, storm_plan.phases_of(known), met)
            if not missing:
                break
            drawn = storm_plan.plan(known, missing, rng, name == "disk_full", number, met)
            number += len(drawn)
            records += in_jobs(args.jobs, work, drawn, partial(one_series, by_name, references, bool(args.keep)))
            met = Counter(blow["phase"] for record in records for blow in record["met"])
            print(f"{name}: {sum(met.values())} of {count}, {dict(met)}", flush=True)
        found[name] = {"seconds": round(time.monotonic() - began), **storm_plan.summary(records)}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="signals (default: %(default)s)")
    parser.add_argument("--disk-full", type=int, default=60, metavar="N", help="full disks (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time (default: %(default)s)")
    parser.add_argument("--scenarios", default="", metavar="TEXT", help="only those whose name has it")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="new folder that keeps outputs and series with faults"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="instead of results/storm.json")
    args = parser.parse_args()
    if args.disk_full:
        private_mounts()  # before torch starts threads
    warm_up()
    from record import write_record

    if args.keep:
        args.keep.mkdir(parents=True)
    work = args.keep.resolve() if args.keep else Path(tempfile.mkdtemp(prefix="storm-"))
    began = time.monotonic()
    try:
        make_inputs(work, args.seed)
        known = [s for s in scenarios() if args.scenarios in s.name]
        references = make_references(work, known, args.jobs)
        for name, reference in references.items():
            print(f"{name}: {reference.seconds:.1f} s, {len(reference.state)} entries compared", flush=True)
        results = storm(args, work, known, references)
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    results["seconds"] = round(time.monotonic() - began)
    path = write_record("storm", results, args.output, seed=args.seed, jobs=args.jobs)
    for name in ("kills", "disk_full"):
        print(f"{name}:", {key: value for key, value in results[name].items() if key != "faults"})
    print(f"written to {path}")
    wanted = {"kills": args.kills, "disk_full": args.disk_full}
    return int(any(results[name]["faults"] or results[name]["blows"] < count for name, count in wanted.items()))


if __name__ == "__mp_main__" and PATH in os.environ:  # a rank that a run has spawned
    warm_up()
    install(Probe(Path(os.environ[PATH])))
if __name__ == "__main__":
    sys.exit(main())
