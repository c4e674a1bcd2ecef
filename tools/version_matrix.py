"""Runs tests with several versions of Python, torch and FastReID: one virtual environment after the other.

python tools/version_matrix.py                         everything: many hours, and 8 GB for one environment at a time
python tools/version_matrix.py --only 3.10-2.8         one combination
python tools/version_matrix.py --only 3.12-2.11 tests  the whole suite in it
FASTREID_CHECKOUT=../fast-reid python ...              also with a git checkout of FastReID

Prints a line for each combination: passed, failed, or "not run" with the reason. The environments are made by uv, or by
venv and pip where it is not there; --keep leaves them in --folder, where the next call takes them up again.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
TORCHES = ("2.8", "2.11", "2.15")
FASTREID = "fastreid==1.4.0"
FREE = ("torch", "torchvision", "fastreid", "setuptools")  # pins of constraints.txt that follow from the combination
# Where versions show: what is patched, files and processes, numbers, a run of each project, the command line.
TELLING = (
    *("tests/compat", "tests/losses", "tests/layers", "tests/evaluation/test_distances.py", "tests/search"),
    *("tests/inference", "tests/projects/test_tiny.py", "tests/engine/test_doctor.py", "tests/test_files.py"),
)
# Of them, what does not look for the wheel itself.
WITH_A_CHECKOUT = ("tests/projects/test_tiny.py", "tests/search", "tests/inference", "tests/compat/test_trainer.py")

Run = Callable[..., subprocess.CompletedProcess]


@dataclass(frozen=True)
class Combination:
    """One environment.

    Attributes:
        python, torch: versions, such as "3.10" and "2.8".
    """

    python: str
    torch: str

    @property
    def name(self) -> str:
        """As ``--only`` takes it."""
        return f"{self.python}-{self.torch}"


class NotRun(Exception):
    """Why a combination can't be tried here."""


def interpreter(version: str) -> str:
    """Return a Python of a version: of uv, on the path or of pyenv.

    Raises:
        NotRun: there is none.
    """
    if shutil.which("uv"):
        found = subprocess.run(["uv", "python", "find", version], capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places = [shutil.which(f"python{version}"), *map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))]
    for place in filter(None, places):
        asked = subprocess.run(
            [place, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        )
        if asked.returncode == 0 and asked.stdout.strip() == version:
            return place
    raise NotRun(f"no Python {version} on this machine")


def constraints(text: str) -> str:
    """Return the pins of constraints.txt without those that a combination chooses."""
    lines = (line for line in text.splitlines() if line.partition("==")[0].strip() not in FREE)
    return "\n".join(lines) + "\n"


def install(combination: Combination, folder: Path, run: Run) -> Path:
    """Make the environment of a combination, or take up one that is complete, and return its Python.

    Raises:
        NotRun: nothing to be installed fits, or no such Python.
    """
    place = folder / combination.name
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = place / ".complete"
    if done.is_file():
        return python
    shutil.rmtree(place, ignore_errors=True)
    base = interpreter(combination.python)
    pins = folder / f"{combination.name}.txt"
    folder.mkdir(parents=True, exist_ok=True)
    pins.write_text(constraints((ROOT / "constraints.txt").read_text(encoding="utf-8")), encoding="utf-8")
    _must(run([base, "-m", "venv", str(place)]), "no environment could be made")
    if shutil.which("uv"):
        pip = ["uv", "pip", "install", "--quiet", "--python", str(python)]
    else:
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir"]
    wanted = [f"torch=={combination.torch}.*", "torchvision", f"{ROOT}[dev]"]
    _must(run([*pip, "-c", str(pins), *wanted]), "what it needs can't be installed")
    _must(run([*pip, "--no-deps", FASTREID]), "FastReID can't be installed")
    done.touch()
    return python


def _must(done: subprocess.CompletedProcess, what: str) -> None:
    if done.returncode:
        said = [line for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        errors = [line for line in said if "error" in line.lower()] or said or ["without a word"]
        raise NotRun(f"{what}: {errors[0].partition(' (from versions')[0].strip()}")


def hosts(tests: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each FastReID: its name, what goes before PYTHONPATH, and its tests."""
    yield FASTREID.replace("==", " "), "", tests or list(TELLING)
    if checkout := os.environ.get("FASTREID_CHECKOUT"):
        yield "FastReID's git checkout", str(Path(checkout).resolve()), tests or list(WITH_A_CHECKOUT)


def test(python: Path, checkout: str, tests: list[str], run: Run) -> str:
    """Run tests in an environment and return how they ended, in words."""
    path = os.pathsep.join(filter(None, [str(ROOT), checkout]))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [str(python), "-m", "pytest", "-m", "not slow", "-p", "no:cacheprovider", "--no-header", "-rf", *tests]
    done = run(command, cwd=ROOT, env=env)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    for line in lines if done.returncode else ():
        print(f"    {line}", flush=True)
    return f"{'failed' if done.returncode else 'passed'}: {lines[-1].strip('= ') if lines else done.stderr.strip()}"


def quietly(command: list[str], **how) -> subprocess.CompletedProcess:
    """Run a command and keep what it prints."""
    return subprocess.run(command, capture_output=True, text=True, **how)


def main(argv: list[str] | None = None, run: Run = quietly) -> int:
    """Run the matrix; the exit status is 1 if a test failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", metavar="FILE", help="tests; default: those where versions show")
    parser.add_argument("--only", action="append", metavar="PYTHON-TORCH", help="one combination; may be repeated")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".venv-matrix", metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--keep", action="store_true", help="leave the environments there")
    args = parser.parse_args(argv)
    args.folder = args.folder.resolve()  # the tests are started in another folder
    every = [Combination(python, torch) for python in PYTHONS for torch in TORCHES]
    unknown = set(args.only or ()) - {combination.name for combination in every}
    if unknown:
        parser.error(f"no such combination: {', '.join(sorted(unknown))}; there are {', '.join(c.name for c in every)}")
    status = 0
    for combination in every:
        if args.only and combination.name not in args.only:
            continue
        start = f"Python {combination.python}, torch {combination.torch}"
        try:
            python = install(combination, args.folder, run)
        except NotRun as reason:
            print(f"{start}: not run ({reason})", flush=True)
            shutil.rmtree(args.folder / combination.name, ignore_errors=True)
            continue
        try:
            for host, checkout, tests in hosts(args.tests):
                ended = test(python, checkout, tests, run)
                print(f"{start}, {host}: {ended}", flush=True)
                status |= ended.startswith("failed")
        finally:
            if not args.keep:
                shutil.rmtree(args.folder / combination.name, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
