"""The release: one version and licence, an sdist that makes the wheel, all configs and code in it, and it works."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

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
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_one_version():
    """It is written in the package; what can't read it there says the same."""
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\S+) \((unreleased|\d{4}-\d\d-\d\d)\)$", CHANGELOG, flags=re.MULTILINE)
    assert citation["version"] == newest[1] == fastreid_ext.__version__
    assert fastreid_ext.__version__ not in (REPOSITORY / "setup.py").read_text(encoding="utf-8")


def test_citation_has_what_the_format_requires():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["cff-version"]) == "1.2.0" and citation["license"] == "Apache-2.0"
    assert citation["title"] and citation["message"]
    for work in (citation, *citation["references"]):
        assert work["authors"] and all("name" in person or "family-names" in person for person in work["authors"])


def test_a_changelog_of_releases():
    headings = re.findall(r"^## (.*)$", CHANGELOG, flags=re.MULTILINE)
    assert headings and all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", heading) for heading in headings[1:])


def test_unknown_config():
    with pytest.raises(ConfigError, match=r"no config 'DeepMiner/R50.yml' is shipped: did you mean DeepMiner/\w+_R50"):
        get_config_file("DeepMiner/R50.yml")


def test_listed_configs_are_files():
    files = list_config_files()
    assert "DeepMiner/Market1501_R50.yml" in files and not any("Base-" in file for file in files)
    assert all(Path(get_config_file(file)).is_file() for file in files)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source distribution, from a copy: a build leaves folders behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("sdist")
    for path in REPOSITORY.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    for name in ("fastreid_ext", "configs"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "tests", source / "tests", ignore=lambda folder, names: set(names) - {"test_files.py"})
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run([sys.executable, "-c", build, str(out)], cwd=source)
    (path,) = out.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel that the source distribution makes, without network."""
    out = tmp_path_factory.mktemp("wheel")
    pip("wheel", str(sdist), "--no-deps", "--no-build-isolation", "--wheel-dir", str(out))
    (path,) = out.glob("*.whl")
    return path


def run(command, **how):
    """What a command prints; it must not fail."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **how)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments):
    run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments, "--no-index"])


@pytest.mark.slow
def test_the_sdist_has_no_test(sdist):
    """setuptools takes tests/test*.py by itself, which can't run without what they import from beside them."""
    with tarfile.open(sdist) as archive:
        tops = {Path(name).parts[1] for name in archive.getnames() if "/" in name}
    assert {"fastreid_ext", "configs", "LICENSE", "CITATION.cff", "CHANGELOG.md"} <= tops
    assert not tops & {"tests", "benchmarks", "projects", "docs", "datasets", "logs"}


@pytest.mark.slow
def test_both_pass_the_check_of_the_index(sdist, wheel):
    pytest.importorskip("twine")
    printed = run([sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)])
    assert printed.count("PASSED") == 2


@pytest.mark.slow
def test_what_the_wheel_says_of_itself(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        about = email.message_from_bytes(archive.read(name))
        assert archive.read(name.replace("METADATA", "licenses/LICENSE")) == (REPOSITORY / "LICENSE").read_bytes()
        assert archive.read("fastreid_ext/py.typed") == b""
    assert about["Version"] == fastreid_ext.__version__ and about["Name"] == "fastreid-ext"
    assert about["License-Expression"] == "Apache-2.0" and about.get_all("License-File") == ["LICENSE"]
    assert not [
        text for text in about.get_all("Classifier") if text.startswith("License")
    ]  # PEP 639 has one or the other


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
    target = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(target, with_pip=False)
    python = target / "bin" / "python" if os.name == "posix" else target / "Scripts" / "python.exe"
    pip("--python", str(python), "install", str(wheel), "--no-deps")
    (site,) = target.rglob("site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text(
        "\n".join(ours), encoding="utf-8"
    )  # torch and its like, but no checkout of ours
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    assert (
        run([python.with_name("fastreid-ext"), "--version"], cwd=people, env=env).split()[-1]
        == fastreid_ext.__version__
    )
    printed = run([python, "-c", ELSEWHERE], cwd=people, env=env)
    package, config, weights, nearness, files, *values = json.loads(printed.splitlines()[-1])
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
