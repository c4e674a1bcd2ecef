"""Runs the parts of on_gpu.sh one after the other, each in a process and within a time of its own.

    bash benchmarks/on_gpu.sh                 on a machine with a GPU: minutes
    bash benchmarks/on_gpu.sh --dry-run       every part at a toy size on the CPU, to see that no line stumbles

A part that fails or runs out of its time loses what it had not measured yet, and none of the others. Each writes its
JSON after every row; summary.json says how each part ended, and log.txt has what they printed.
"""

import argparse
import importlib
import importlib.util
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from fastreid_ext.processes import end_with_parent

# Part -> seconds at most. The last one has all the time that is left.
PARTS = {"steps": 110, "ranking": 90, "nccl": 35, "cuda_tests": 80, "training": 150, "compiled": 50}
CLOSING = 4.0  # seconds for the end of a part, and of all
# What the parts import: the name to import, and the package where that is another.
NEEDED = {
    **dict.fromkeys(("torch", "torchvision", "numpy", "scipy", "matplotlib", "tensorboard", "h5py", "tqdm"), ""),
    **dict.fromkeys(("yacs", "termcolor", "tabulate", "filelock", "safetensors", "fastreid", "pytest"), ""),
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "faiss": "faiss-cpu",
}


def missing() -> list[str]:
    """Return the packages that are not there."""
    return [package or name for name, package in NEEDED.items() if importlib.util.find_spec(name) is None]


def play(name: str, device: str, toy: bool, output: Path, seconds: float) -> None:
    """Run a part in this process, which is one of its own: what it starts ends with it."""
    os.setsid()
    end_with_parent()
    multiprocessing.set_start_method("fork", force=True)  # of loaders' workers, as where a user starts a process
    log = os.open(output / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    from on_gpu.call import Call  # torch, whose import counts as the part's time

    call = Call(name, device, toy, output, time.monotonic() + seconds)
    importlib.import_module(f"on_gpu.{name}").measure(call)


def run_part(name: str, device: str, toy: bool, output: Path, seconds: float) -> dict[str, object]:
    """Run a part, kill it when its time is over, and return how it ended."""
    # CUDA does not survive a fork. A dry run has none, and a fork need not import everything again.
    context = multiprocessing.get_context("fork" if toy else "spawn")
    start = time.monotonic()
    process = context.Process(target=play, args=(name, device, toy, output, max(seconds - CLOSING, 0.0)))
    process.start()
    try:
        process.join(seconds)
        ended = "done" if process.exitcode == 0 else f"failed with status {process.exitcode}: see log.txt"
        if process.exitcode is None:
            ended = "stopped: out of time"
    finally:  # Ctrl-C does not reach a part, and Python would wait for it
        try:
            os.killpg(process.pid, signal.SIGKILL)  # with all that it started
        except ProcessLookupError:
            process.kill()  # it had not become a leader yet, or it is gone
        process.join()
    return {"ended": ended, "seconds": round(time.monotonic() - start, 1), "at_most": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="toy sizes on the CPU; what needs CUDA is skipped")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--seconds", type=float, default=530.0, help="for all of them (530)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the JSON files")
    args = parser.parse_args()
    start = time.monotonic()
    if absent := missing():
        sys.exit(f"missing here: {', '.join(absent)}. Collect them with `on_gpu.sh wheels FOLDER {' '.join(absent)}`")
    args.output.mkdir(parents=True, exist_ok=True)
    output = args.output.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("FASTREID_DATASETS", str(Path(folder) / "datasets"))
        os.environ["ON_GPU_SCRATCH"] = folder
        if args.dry_run:
            os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tensors are small
            importlib.import_module("fastreid_ext.engine.run")
        ended = {}
        for name in args.parts:
            left = args.seconds - CLOSING - (time.monotonic() - start)
            # A dry run is on a machine that may have other work, and nobody waits for it.
            limit = left if args.dry_run or name == args.parts[-1] else min(PARTS[name], left)
            if limit <= CLOSING:
                ended[name] = {"ended": "not run: out of time"}
                continue
            ended[name] = run_part(name, "cpu" if args.dry_run else "cuda", args.dry_run, output, limit)
            print(f"{name}: {ended[name]}", flush=True)
    from record import write_record

    write_record("summary", ended, output / "summary.json", seconds=round(time.monotonic() - start, 1))
    if any(part["ended"] != "done" for part in ended.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
