"""A tiny model and a tiny data set, for runs in this process and for command lines in others."""

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import warm
from PIL import Image

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "train_tiny.py"
CONFIG = FOLDER / "tiny.yml"
TREE = "Market-1501-v15.09.15"


def _load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


_load(SCRIPT)  # registers the tiny backbone in this process


class CommandLine:
    """Runs train_tiny.py as a user would, in a process of its own that starts warm."""

    def __init__(self, data: Path):
        self.env = {**os.environ, "FASTREID_DATASETS": str(data), "OMP_NUM_THREADS": "1"}

    def command(self, output: Path, *args: object, overrides: dict | None = None, starter: Sequence[str] = ()) -> list:
        """Return what stands behind the interpreter's name; ``starter`` is a module that starts the script."""
        pairs = [str(item) for pair in {"OUTPUT_DIR": output, **(overrides or {})}.items() for item in pair]
        return [*starter, str(SCRIPT), "--config-file", str(CONFIG), *map(str, args), *pairs]

    def start(self, output: Path, *args: object, overrides: dict | None = None, env: dict | None = None, **kwargs):
        """Start it and return the process; its output is in ``<output>.txt``."""
        text = Path(f"{output}.txt")
        command = self.command(output, *args, overrides=overrides)
        return warm.WarmProcess(command, {**self.env, **(env or {})}, text, text, **kwargs)

    def run(
        self,
        output: Path,
        *args: object,
        starter: Sequence[str] = (),
        overrides: dict | None = None,
        env: dict | None = None,
    ):
        """Run it to its end."""
        return warm.run(self.command(output, *args, overrides=overrides, starter=starter), {**self.env, **(env or {})})

    def run_ranks(self, output: Path, *args: object, overrides: dict | None = None):
        """Run two of it to their ends, each in the environment of a rank of torchrun's."""
        return warm.torchrun(self.command(output, *args, overrides=overrides), self.env)


@pytest.fixture(scope="session")
def datasets(tmp_path_factory):
    """A folder of data sets with SynthReIDTiny in it."""
    from fastreid_ext.data.synthetic import generate

    root = tmp_path_factory.mktemp("datasets")
    generate(str(root), "tiny", progress=False)
    return root


@pytest.fixture(scope="session")
def command_line(datasets):
    return CommandLine(datasets)


@pytest.fixture
def run_main(datasets, tmp_path, monkeypatch, forget_logs):
    """``run_main("--resume", KEY=value)``: the command line in this process; returns OUTPUT_DIR."""
    from fastreid_ext.cli import main

    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*args: object, config: object = CONFIG, **overrides: object) -> Path:
        pairs = {"OUTPUT_DIR": tmp_path / "out", **{key.replace("__", "."): v for key, v in overrides.items()}}
        overrides = [str(item) for pair in pairs.items() for item in pair]
        if status := main(["train", "--config-file", str(config), *map(str, args), *overrides]):
            raise SystemExit(status)
        return Path(str(pairs["OUTPUT_DIR"]))

    yield run
    torch.set_num_threads(threads)


def write_market(root: Path, identities: int = 8, images: int = 4, size: tuple[int, int] = (32, 64)) -> Path:
    """A Market1501 tree of noise: training identities under two cameras, and four others to be found again."""
    rng = np.random.RandomState(0)
    folders = {
        "bounding_box_train": [(p, 1 + n % 2, n) for p in range(1, identities + 1) for n in range(images)],
        "query": [(p, 1, 0) for p in range(101, 105)],
        "bounding_box_test": [(p, c, 1) for p in range(101, 105) for c in (1, 2)],
    }
    for folder, names in folders.items():
        path = root / TREE / folder
        path.mkdir(parents=True)
        for pid, camera, number in names:
            pixels = rng.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path / f"{pid:04d}_c{camera}s1_{number:06d}_00.jpg")
    return root


@pytest.fixture
def market(tmp_path, monkeypatch):
    """``market(identities=8, images=4)``: a small Market1501 that the data sets of this process are found in."""

    def build(**kwargs: int) -> Path:
        root = write_market(tmp_path / "market", **kwargs)
        monkeypatch.setenv("FASTREID_DATASETS", str(root))
        return root / TREE

    return build


MARKET = {"DATASETS__NAMES": "('Market1501',)", "DATASETS__TESTS": "('Market1501',)"}


@pytest.fixture
def market_keys():
    """The overrides that train and test on Market1501."""
    return dict(MARKET)


def same(a: object, b: object, path: str = "") -> list[str]:
    """Where two checkpoints differ in a single bit; empty = nowhere."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        equal = a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
        return [] if equal else [path]
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{path}: keys {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [where for key in a for where in same(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return [f"{path}: {len(a)} and {len(b)} entries"]
        return [where for i, (x, y) in enumerate(zip(a, b, strict=True)) for where in same(x, y, f"{path}/{i}")]
    return [] if a == b else [f"{path}: {a!r} and {b!r}"]


@pytest.fixture(scope="session")
def differences():
    """``differences(a, b)``: where two checkpoints, files or dicts, differ in a single bit."""

    def compare(a: object, b: object) -> list[str]:
        return same(*(torch.load(x, weights_only=False) if isinstance(x, str | Path) else x for x in (a, b)))

    return compare


@pytest.fixture(scope="session")
def plain():
    """Text without the colours of the log."""
    return lambda text: re.sub(r"\x1b\[[0-9;]*m", "", text)
