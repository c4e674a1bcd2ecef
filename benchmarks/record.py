"""What every benchmark writes beside its numbers: command, commit, hardware, versions."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
# What benchmarks write, and that changes no number.
WRITTEN = [f":(top,exclude){path}" for path in ("benchmarks/results", "docs/evidence.md")]


def write_record(name: str, results: Any, path: Path | None = None, **facts: Any) -> Path:
    """Write results/<name>.json (or ``path``) and return where it lies."""
    path = path or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "command": " ".join(["python", os.path.relpath(sys.argv[0], Path(__file__).parents[1]), *sys.argv[1:]]),
        "commit": commit(),
        "hardware": hardware(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        **facts,
        "results": results,
    }
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


def commit() -> str:
    """Name the commit of this checkout, with "-dirty" where files of it were changed, what benchmarks write apart.

    BENCHMARK_COMMIT names it where the tree was copied without its history.
    """
    return os.environ.get("BENCHMARK_COMMIT") or commit_of(Path(__file__).parent)


def commit_of(checkout: Path) -> str:
    """Name the commit of a checkout, as :func:`commit` does."""
    name = _git(checkout, "describe", "--always", "--abbrev=12")
    # Records that are written row by row would otherwise call the code that made them changed.
    changed = _git(checkout, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *WRITTEN)
    return name + "-dirty" * bool(changed) if name else "not a checkout"


def hardware() -> dict[str, Any]:
    """Name the processor, its cores and the GPU, if there is one."""
    facts: dict[str, Any] = {"cpu": _cpu_name(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.is_file()
        else []
    )
    return names[0] if names else platform.processor() or platform.machine()


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip()
