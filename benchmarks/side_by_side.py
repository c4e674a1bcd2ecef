"""Training steps and test features of two commits side by side on one machine: how many times as fast the later one is.

    git worktree add --detach /tmp/then 1d7d96c
    python benchmarks/side_by_side.py --then /tmp/then

Each config runs in two processes, one of each checkout, which take turns round by round: a slow moment of the machine
hits both. A ratio is the median of the rounds' ratios, with the least and the largest of them. Before the first round
each side may choose the layout that it trains in, as it does for a long training.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from record import commit_of, write_record
from tabulate import tabulate

HERE = Path(__file__).parent
SMALL = ("INPUT.SIZE_TRAIN", "[256, 128]", "INPUT.SIZE_TEST", "[256, 128]")
# What is compared -> config, images of a batch, keys
CASES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "demo, Deep Miner": ("demo/deepminer.yml", 64, ()),
    "demo, Baseline": ("demo/baseline.yml", 64, ()),
    "Deep Miner, ResNet-50": ("DeepMiner/Market1501_R50.yml", 16, SMALL),
    "MSReID, ResNet-50": ("MSReID/Market1501_R50.yml", 16, SMALL),
    "MGRe, ResNet-50": ("MGRe/Market1501_R50.yml", 16, SMALL),
    "Occluded, ResNet-50": ("OccludedReID/Market1501_R50.yml", 16, SMALL),
    "Res2Net, Res2Net-50": ("Res2NetMultiTask/Market1501_Res2Net50.yml", 16, SMALL),
    "Baseline, ResNet-50": ("Baseline/Market1501_R50.yml", 16, SMALL),
}
WORKS = ("train", "test")


class Side:
    """A process that times the works of a config by the package of a checkout."""

    def __init__(self, checkout: Path, case: tuple[str, int, tuple[str, ...]]):
        config, batch, keys = case
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "side_by_side_worker.py"), config, str(batch), *keys],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
        )
        self.layout = self._answer("ready").removeprefix("ready ")

    def seconds(self, work: str) -> float:
        assert self.process.stdin is not None
        print(work, file=self.process.stdin, flush=True)
        return float(self._answer(""))

    def end(self) -> None:
        self.process.communicate()

    def _answer(self, begin: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:  # the package may print before
            if line.startswith(begin):
                return line.strip()
        raise SystemExit("side_by_side: one side ended; its own error is above")


def compare(sides: dict[str, Side], rounds: int) -> dict[str, Any]:
    """Time both sides in turn; return for each work both sides' seconds and how many times as fast "now" is."""
    found: dict[str, Any] = {"channels innermost": {name: side.layout for name, side in sides.items()}}
    for work in WORKS:
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(rounds):
            for name in sorted(sides, reverse=bool(number % 2)):  # neither is always the first
                seconds[name].append(sides[name].seconds(work))
        found[work] = {**ratio(seconds["then"], seconds["now"]), "seconds": seconds}
    return found


def ratio(then: list[float], now: list[float]) -> dict[str, float]:
    """Return the median, the least and the largest of the rounds' ratios."""
    ratios = [a / b for a, b in zip(then, now, strict=True)]
    values = {"times as fast": statistics.median(ratios), "least": min(ratios), "largest": max(ratios)}
    return {name: round(value, 3) for name, value in values.items()}


def table(results: dict[str, Any]) -> str:
    rows = [
        [name, *("{times as fast:.2f} ({least:.2f} to {largest:.2f})".format(**found[work]) for work in WORKS)]
        for name, found in results.items()
    ]
    return tabulate(rows, headers=["", "training step", "test features"], tablefmt="github")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--then", type=Path, required=True, metavar="FOLDER", help="checkout of the earlier commit")
    parser.add_argument("--now", type=Path, default=HERE.parent, metavar="FOLDER", help="of the later (this one)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for name in args.cases:
        sides = {side: Side(folder, CASES[name]) for side, folder in (("then", args.then), ("now", args.now))}
        results[name] = compare(sides, args.rounds)
        for side in sides.values():
            side.end()
        print(table({name: results[name]}), flush=True)
        write_record("side_by_side", results, commits={"then": commit_of(args.then), "now": commit_of(args.now)})
    print(table(results))


if __name__ == "__main__":
    main()
