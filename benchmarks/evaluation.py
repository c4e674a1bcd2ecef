"""What an evaluation costs beyond one matrix product: time and peak memory of ours, FastReID's and the product alone.

Features are random clusters of the sizes of real test sets. Every contestant runs in a process of its own, in turn,
round by round; the features are loaded and a small evaluation has warmed it up before its clock starts. Peak memory is
what the process held at most beyond the moment before (VmHWM, reset through /proc/self/clear_refs, minus VmRSS), on a
GPU also what was allocated there. The load of the machine before each run stands beside its numbers.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --sizes msmt17 --contestants product_blocks ours rerank --rounds 1
    pip install --target /somewhere cython setuptools
    python benchmarks/evaluation.py --cython /somewhere   # FastReID's Cython too, built in a temporary folder
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from evaluation_contestants import CONTESTANTS, HOST, build_cython, needed_gb, run
from record import write_record


@dataclass(frozen=True)
class Size:
    """Images, identities and cameras of a test set; ``distractors`` is the gallery's share that nobody asks for."""

    queries: int
    gallery: int
    identities: int
    cameras: int
    distractors: float = 0.0


# Images as in the data sets. Identities and cameras are those of the test sets of Market1501, Occluded-Duke and MSMT17;
# those of OPReID, and the shares of distractors, are chosen by us.
SIZES = {
    "market": Size(3368, 15913, 750, 6, distractors=0.17),
    "occluded_duke": Size(2210, 17661, 519, 8, distractors=0.47),
    "opreid": Size(4200, 41014, 1000, 8),
    "msmt17": Size(11659, 82161, 3060, 15),
}
SPREAD = 4.0  # of a person's images around their centre, which has 1: neither easy nor noise at 2048 dimensions
TURNED_AWAY = -1  # the identity of distractors


def features(size: Size, dim: int, seed: int, folder: Path) -> None:
    """Write the features, identities and cameras of a size as .npy files."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((size.identities, dim), dtype=np.float32)
    for side, count in (("query", size.queries), ("gallery", size.gallery)):
        pids = random.integers(0, size.identities, count)
        values = random.standard_normal((count, dim), dtype=np.float32)
        values *= SPREAD
        alone = np.zeros(count, dtype=bool) if side == "query" else random.random(count) < size.distractors
        for start in range(0, count, 4096):
            part = slice(start, start + 4096)
            values[part] += centres[pids[part]] * ~alone[part, None]
        np.save(folder / f"{side}.npy", values)
        np.save(folder / f"{side}_pids.npy", np.where(alone, TURNED_AWAY, pids))
        np.save(folder / f"{side}_camids.npy", random.integers(0, size.cameras, count))


def contest(name: str, folder: Path, args: argparse.Namespace) -> dict:
    """Run one contestant in a process of its own and return what it measured, or why it did not."""
    before = os.getloadavg()[0]
    command = [sys.executable, __file__, "--child", name, str(folder), "--device", args.device]
    command += ["--threads", str(args.threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.timeout, check=False)
    except subprocess.TimeoutExpired:
        return {"not_measured": f"stopped after {args.timeout} s", "load_before": before}
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return {"not_measured": f"failed: {lines[-1]}", "load_before": before}
    return json.loads(done.stdout.strip().splitlines()[-1]) | {"load_before": before}


def summary(rounds: list[dict], bases: dict[str, list[dict]]) -> dict:
    """Return the medians of a contestant's rounds and the ratios of time to the products of the same rounds."""
    if any("not_measured" in one for one in rounds):
        return next(one for one in rounds if "not_measured" in one)
    numbers = {key: statistics.median(one[key] for one in rounds) for key in rounds[0] if key != "mAP"}
    numbers |= {"rounds_seconds": [one["seconds"] for one in rounds]} | {
        k: rounds[0][k] for k in ("mAP",) if k in rounds[0]
    }
    for base, others in bases.items():
        if all("seconds" in one for one in others):
            ratios = [one["seconds"] / other["seconds"] for one, other in zip(rounds, others, strict=False)]
            numbers[f"times_{base}"] = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    return numbers


def measure(name: str, folder: Path, args: argparse.Namespace) -> dict[str, dict]:
    """Run all contestants at one size."""
    size, refused, rounds = SIZES[name], {}, {}
    features(size, args.dim, args.seed, folder)
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    for contestant in args.contestants:
        need = needed_gb(contestant, size.queries, size.gallery)
        if need > 0.8 * room:
            refused[contestant] = f"does not fit: its matrices take {need:.0f} GB, this machine has {room:.0f}"
        elif contestant in HOST and name not in args.host_sizes:
            refused[contestant] = "not run here (--host-sizes)"
        elif contestant == "host_cython" and args.no_cython:
            refused[contestant] = args.no_cython
        else:
            rounds[contestant] = []
    for turn in range(args.rounds):
        for contestant, found in rounds.items():
            if turn and (contestant in (*HOST, "rerank") or "not_measured" in found[-1]):
                continue  # minutes: once is enough
            found.append(contest(contestant, folder, args))
            print(f"{name:14s} {contestant:15s} {found[-1]}", flush=True)
    bases = {base: rounds[base] for base in ("product", "product_blocks") if base in rounds}
    results = {contestant: summary(found, bases) for contestant, found in rounds.items()}
    return results | {contestant: {"not_measured": why} for contestant, why in refused.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--host-sizes", nargs="*", choices=list(SIZES), default=list(SIZES), help="where FastReID runs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=int, default=1800, help="seconds for one run")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cython", type=Path, help="folder that Cython is installed in")
    parser.add_argument("--name", default="evaluation", help="name of the result file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", nargs=2, metavar=("CONTESTANT", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.child:
        print(json.dumps(run(args.child[0], Path(args.child[1]), torch.device(args.device))))
        return
    results: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        args.no_cython = None
        if "host_cython" in args.contestants:
            args.no_cython = build_cython(Path(folder), args.cython)
        for name in args.sizes:
            results[name] = {"size": vars(SIZES[name]) | {"dim": args.dim}} | measure(name, Path(folder), args)
            # After every size: a long run that is stopped has kept what it measured.
            path = write_record(args.name, results, settings={k: str(v) for k, v in vars(args).items()}, seed=args.seed)
    print("written to", path)


if __name__ == "__main__":
    main()
