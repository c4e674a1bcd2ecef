"""The runs of evidence.py: each is trained once, in a folder of its own, and becomes a row of the record."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from evidence_questions import HELD_OUT, TRUNKS, Arm, Question
from record import commit, hardware

from fastreid_ext.data.synthetic import generate
from fastreid_ext.engine import repeat
from fastreid_ext.processes import run_command

OTHER_PEOPLE = 1  # seed of the SynthReID that trunks are trained on
COMMON = (
    *("TEST.OCCLUSION.ENABLED", "True", "TEST.RANK_LIST.ENABLED", "False"),
    *("DATALOADER.NUM_WORKERS", "1", "SOLVER.CHECKPOINT_KEEP", "('final',)"),
)
WEIGHTS = "model_final.pth"
SCALE = 10_000  # average precisions are kept as whole numbers of so many parts


class RunError(Exception):
    """A run that ended without results; its folder has the log."""


@dataclass(frozen=True)
class Trial:
    """What every run is changed by, to try the script: a size of SynthReID ("" = demo) and KEY VALUE pairs."""

    size: str = ""
    overrides: tuple[str, ...] = ()

    def pairs(self) -> tuple[str, ...]:
        sets = [f"SynthReID{self.size}", f"SynthReIDOccluded{self.size}"]
        return ("DATASETS.NAMES", str((sets[0],)), "DATASETS.TESTS", str(tuple(sets)), *self.overrides)

    def test_set(self, name: str) -> str:
        """Return the name of a test set in this size."""
        return name if name == HELD_OUT else name + self.size


def key(arm: Arm, seed: int, trial: Trial) -> str:
    """Return the name of a run; arms of several questions that are the same share it."""
    text = json.dumps([arm.config, arm.overrides, arm.trunk, arm.tested_with, trial.pairs()])
    return f"{Path(arm.config).stem}-{hashlib.sha256(text.encode()).hexdigest()[:10]}/seed{seed}"


def plan(questions: Sequence[Question]) -> Iterator[tuple[Arm, int]]:
    """Yield every run once: question by question, and in a question all arms of one seed before the next."""
    seen = set()
    for question in questions:
        arms = question.arms.values()
        for seed in sorted({seed for arm in arms for seed in arm.seeds}):
            for arm in arms:
                run = (replace(arm, seeds=()), seed)
                if seed in arm.seeds and run not in seen:
                    seen.add(run)
                    yield arm, seed


def trunk_weights(name: str, output: Path, trial: Trial) -> Path:
    """Train a trunk unless it is there, and return its weights."""
    trunk, folder = TRUNKS[name], output / "trunks" / name
    root = output / "trunks" / "datasets"
    generate(root, size=(trial.size or "demo").lower(), seed=OTHER_PEOPLE, progress=False)
    with data_below(root):
        repeat.train(trunk.config, 0, folder, [*COMMON, *trunk.overrides, *trial.pairs()])
    return folder / "seed0" / WEIGHTS


@contextmanager
def data_below(root: Path) -> Iterator[None]:
    """Let commands that are started within find their data sets below a folder."""
    before = os.environ.get("FASTREID_DATASETS")
    os.environ["FASTREID_DATASETS"] = str(root.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ["FASTREID_DATASETS"]
        else:
            os.environ["FASTREID_DATASETS"] = before


def carry_out(arm: Arm, seed: int, output: Path, trial: Trial, keep: bool) -> dict[str, Any]:
    """Train an arm with a seed, or test its weights, and return the row of the record.

    Args:
        arm, seed: what is run; a run that has ended is read, one that was interrupted goes on.
        output: folder of all runs.
        trial: what every run is changed by.
        keep: whether another arm is to test the weights, which are deleted otherwise.

    Raises:
        RunError, UserError: the run failed.
    """
    overrides = [*COMMON, *arm.overrides, *trial.pairs()]
    done, start_from = output / key(arm, seed, trial), []
    if arm.trunk and not arm.tested_with:
        start_from = ["MODEL.WEIGHTS", str(trunk_weights(arm.trunk, output, trial))]
    start = time.monotonic()
    if arm.tested_with:
        weights = output / key(replace(arm, tested_with=()), seed, trial) / WEIGHTS
        evaluate_again(arm, seed, weights, done, overrides)
    else:
        repeat.train(arm.config, seed, done.parent, [*overrides, *start_from])
        for checkpoint in [] if keep else done.glob("model_*.pth"):
            checkpoint.unlink()
    return {
        "config": arm.config,
        "overrides": overrides,
        "trunk": arm.trunk,
        "tested_with": list(arm.tested_with),
        "seed": seed,
        "commit": commit(),
        "hardware": hardware(),
        "seconds": round(time.monotonic() - start),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        **numbers(done),
        **({"trunk_results": _results(output / "trunks" / arm.trunk / "seed0")} if arm.trunk else {}),
    }


def evaluate_again(arm: Arm, seed: int, weights: Path, output: Path, overrides: Sequence[str]) -> None:
    """Test weights under an arm's further keys.

    Raises:
        RunError: that failed.
    """
    pairs = zip(overrides[::2], overrides[1::2], strict=True)
    of_the_test = [text for pair in pairs if not pair[0].startswith("SOLVER.") for text in pair]
    call = ["--config-file", arm.config, "SEED", str(seed), "OUTPUT_DIR", str(output), "MODEL.WEIGHTS", str(weights)]
    if run_command(["train", "--eval-only", *call, *of_the_test, *arm.tested_with]):
        raise RunError(f"the test in {output} failed: see its log.txt")


def numbers(folder: Path) -> dict[str, Any]:
    """Return the results of a run by test set, and of each query its average precision and its first rank.

    Raises:
        RunError: what it wrote is not there.
    """
    queries: dict[str, dict] = {}
    for name in _results(folder):
        path = folder / f"queries_{name}.json"
        if not path.is_file():
            raise RunError(f"{path} is missing: TEST.REPORT.ENABLED and TEST.EVALUATOR streamed write it")
        clean = json.loads(path.read_text(encoding="utf-8"))
        found = {
            "images": hashlib.sha256("\n".join(clean["images"]).encode()).hexdigest()[:16],
            "groups": clean["groups"],
            "first_rank": clean["first_rank"],
            "average_precision": _whole(clean["average_precision"]),
        }
        erased = folder / f"queries_{name}_erased.json"
        if erased.is_file():
            found["erased"] = _whole(json.loads(erased.read_text(encoding="utf-8"))["average_precision"])
        queries[name] = found
    return {"results": _results(folder), "queries": queries}


def _whole(values: Sequence[float]) -> list[int]:
    return [round(value * SCALE) for value in values]


def _results(folder: Path) -> dict[str, dict[str, float]]:
    path = folder / "results.json"
    if not path.is_file():
        raise RunError(f"{path} is missing")
    found = json.loads(path.read_text(encoding="utf-8"))["results"]
    return {name: {metric: round(value, 3) for metric, value in values.items()} for name, values in found.items()}
