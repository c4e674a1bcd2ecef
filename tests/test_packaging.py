"""The wheel: one version, all configs and all code in it, and it works away from the checkout."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastreid_ext
from fastreid_ext import zoo
from fastreid_ext.data.synthetic.person import sample_person
from fastreid_ext.data.synthetic.render import render
from fastreid_ext.data.synthetic.sizes import SIZES
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config_file, list_config_files

MOST_BYTES = 20_000_000  # of the wheel
PEOPLE = 10  # seed of the drawn ones
REPOSITORY = Path(fastreid_ext.__file__).parents[1]


def test_one_version():
    tree = ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8"))
    versions = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "VERSION"
    ]
    assert versions == [fastreid_ext.__version__]


def test_unknown_config():
    with pytest.raises(ConfigError, match=r"no config 'DeepMiner/R50.yml' is shipped: did you mean DeepMiner/\w+_R50"):
        get_config_file("DeepMiner/R50.yml")


def test_listed_configs_are_files():
    files = list_config_files()
    assert "DeepMiner/Market1501_R50.yml" in files and not any("Base-" in file for file in files)
    assert all(Path(get_config_file(file)).is_file() for file in files)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built without network, from a copy: a build leaves folders behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("fastreid_ext", "configs"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", str(source), "--no-deps", "--no-build-isolation", "--wheel-dir", str(out))
    (path,) = out.glob("*.whl")
    return path


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments, "--no-index"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_has_everything(wheel):
    assert wheel.name.startswith(f"fastreid_ext-{fastreid_ext.__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    configs = {
        f"fastreid_ext/model_zoo/{path.relative_to(REPOSITORY).as_posix()}"
        for path in (REPOSITORY / "configs").rglob("*.yml")
    }
    code = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "fastreid_ext").rglob("*.py")}
    assert configs and code
    assert configs <= names and code <= names
    page = {
        path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "fastreid_ext/report/templates").iterdir()
    }
    assert len(page) == 3 and page <= names
    assert not any(name.startswith(("tests/", "projects/", "benchmarks/")) for name in names)


@pytest.fixture
def people(tmp_path):
    """Folders of drawn pictures, 256x128: two of a person to ask for, four more, and six of each of four others."""
    rng = np.random.RandomState(PEOPLE)
    for folder, person in zip("abcde", [sample_person(rng) for _ in range(5)], strict=True):
        for number, camera in enumerate((2, 2, 2, 3, 3, 3)):
            place = tmp_path / ("query" if folder == "a" and number in (0, 3) else folder)
            place.mkdir(exist_ok=True)
            (place / f"{number}.jpg").write_bytes(render(person, camera, None, rng, SIZES["bench"]).jpeg)
    return tmp_path


ELSEWHERE = """
import json, socket

def refuse(*args, **kwargs):
    raise AssertionError(f"the network is asked: {args}")

socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse

from fastreid_ext import Extractor
extractor = Extractor()
nearness = [float((extractor("query") @ extractor(folder).T).mean()) for folder in "abcde"]

import fastreid_ext
from fastreid_ext.model_zoo import get_config, get_config_file, list_config_files
cfg = get_config("DeepMiner/Market1501_R50.yml")
print(json.dumps([fastreid_ext.__file__, get_config_file("DeepMiner/Market1501_R50.yml"), str(extractor.model.weights),
                  nearness, list_config_files(),
                  cfg.MODEL.META_ARCHITECTURE, cfg.SOLVER.IMS_PER_BATCH, list(cfg.DATASETS.NAMES)]))
"""


@pytest.mark.slow
def test_the_wheel_works_elsewhere(wheel, people, tmp_path_factory):
    """Its two lines with extractor, without network, rank a person's folder above those of others."""
    target = tmp_path_factory.mktemp("installed") / "site"
    pip("install", str(wheel), "--no-deps", "--target", str(target))
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE],
        cwd=people,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    package, config, weights, nearness, files, *values = json.loads(done.stdout.splitlines()[-1])
    assert all(Path(path).is_relative_to(target) and Path(path).is_file() for path in (package, config, weights))
    assert nearness[0] == max(nearness), nearness
    assert files == list_config_files()
    assert values == ["DeepMiner", 64, ["Market1501"]]  # of Base-DeepMiner, of Base-ReID, its own


@pytest.mark.slow
def test_the_wheel_is_small_and_has_the_models(wheel):
    assert wheel.stat().st_size <= MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        for name in zoo.models():
            for path in (zoo.weights_of(name), zoo.card_of(name), zoo.FOLDER / f"{name}.json"):
                assert archive.read(f"fastreid_ext/zoo/{path.name}") == path.read_bytes()
