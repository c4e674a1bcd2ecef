"""The wheel: one version, all configs and all code in it, and it works away from the checkout."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fastreid_ext
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config_file, list_config_files

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


@pytest.mark.slow
def test_the_wheel_works_elsewhere(wheel, tmp_path):
    target, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    pip("install", str(wheel), "--no-deps", "--target", str(target))
    script = """
import json, fastreid_ext
from fastreid_ext.model_zoo import get_config, get_config_file, list_config_files
cfg = get_config("DeepMiner/Market1501_R50.yml")
print(json.dumps([fastreid_ext.__file__, get_config_file("DeepMiner/Market1501_R50.yml"), list_config_files(),
                  cfg.MODEL.META_ARCHITECTURE, cfg.SOLVER.IMS_PER_BATCH, list(cfg.DATASETS.NAMES)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    package, config, files, *values = json.loads(done.stdout.splitlines()[-1])
    assert Path(package).is_relative_to(target) and Path(config).is_relative_to(target) and Path(config).is_file()
    assert files == list_config_files()
    assert values == ["DeepMiner", 64, ["Market1501"]]  # of Base-DeepMiner, of Base-ReID, its own
