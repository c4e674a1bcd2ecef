"""How a shipped model is named, and what is said to whoever names it wrongly."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext import Extractor, zoo
from fastreid_ext.engine.checks.paths import teacher_mistakes, weights_mistakes
from fastreid_ext.errors import ConfigError, FileError, UserError
from fastreid_ext.inference.weights_file import config_with_weights
from fastreid_ext.model_zoo import get_config


def test_the_default_is_shipped():
    assert zoo.DEFAULT in zoo.models() == sorted(zoo.models())
    assert zoo.weights_of() == zoo.weights_of(zoo.DEFAULT) == zoo.FOLDER / f"{zoo.DEFAULT}.safetensors"
    assert zoo.file_named("zoo") == zoo.file_named(zoo.DEFAULT_NAME) == zoo.weights_of()
    assert zoo.card_of() == zoo.weights_of().with_suffix(".md")


def test_names_cost_nothing():
    """Commands import it for their help."""
    code = "import sys; from fastreid_ext.zoo import weights_of; weights_of(); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "fastreid", "safetensors", "yaml"} & set(printed) and "fastreid_ext.zoo" in printed


@pytest.mark.parametrize("text", ["", "Zoo", "zoo.safetensors", "zoo/wide.yml", "./zoo", Path("zoo"), 7, None])
def test_what_is_no_such_name(text):
    assert zoo.file_named(text) is None and not zoo.is_name(text)


NEAR = rf"did you mean zoo:{zoo.DEFAULT}\?$"
WRONG = {
    f"zoo:{zoo.DEFAULT[:-1]}": NEAR,
    f"zoo:{zoo.DEFAULT.title()}": NEAR,
    f"zoo:{zoo.DEFAULT}.safetensors": NEAR,
    "zoo:123": f"no model '123' is shipped: those that are: .*zoo:{zoo.DEFAULT}",
    f"zoo:../zoo/{zoo.DEFAULT}": f"no model '../zoo/{zoo.DEFAULT}' is shipped",
    "zoo:": f"zoo: names no model: write zoo, or .*zoo:{zoo.DEFAULT}",
    "zoo:a\0b": "has a character of value 0",
    "zoo:" + "x" * 5000: "longer than a file system allows",
    "zoo:" + "x" * 100: "no model 'x{60}' is shipped",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_model_that_is_not_shipped(name):
    cfg = get_config("demo/baseline.yml")
    cfg.KD.TEACHER = name
    with pytest.raises(UserError, match=WRONG[name]) as caught:
        Extractor(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
    (sentence,) = teacher_mistakes(cfg)
    assert re.search(WRONG[name], sentence) and sentence.startswith("KD.TEACHER")


def test_an_installation_without_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    for name in ("", zoo.DEFAULT, "other"):
        with pytest.raises(FileError, match=f"there is no .*{zoo.DEFAULT}.safetensors: reinstall fastreid-ext"):
            zoo.weights_of(name)
    (tmp_path / f"{zoo.DEFAULT}.safetensors").touch()
    with pytest.raises(FileError, match=f"there is no .*{zoo.DEFAULT}.md: reinstall"):
        zoo.card_of()


def test_something_else_of_that_name(tmp_path, monkeypatch, shipped, pictures, caplog):
    """The name means the shipped model wherever one stands; ./zoo and a Path mean what lies there."""
    monkeypatch.chdir(tmp_path)
    assert zoo.file_named("zoo") and "shipped model" not in caplog.text
    (tmp_path / "zoo").mkdir()
    found = Extractor("zoo", device="cpu")
    assert np.array_equal(found(pictures[0]), shipped(pictures[0]))
    assert f"zoo is the shipped model {zoo.DEFAULT}; write ./zoo for what lies in the current folder" in caplog.text
    for folder in ("./zoo", Path("zoo")):
        with pytest.raises(UserError, match="the folder zoo is not that of a run"):
            Extractor(folder)
    cfg = get_config("demo/baseline.yml")
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.BACKBONE.PRETRAIN_PATH = True, "zoo"
    assert list(weights_mistakes(cfg)) == []
    cfg.MODEL.BACKBONE.PRETRAIN_PATH = "./zoo"
    assert ["which is a folder" in each for each in weights_mistakes(cfg)] == [True]


def test_a_path_that_reads_as_the_name(tmp_path, monkeypatch, copy):
    """It is a file of the current folder, whether there is one or not, as a model and as weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yml").write_text(config_with_weights(copy).dump())
    for path in (Path("zoo"), Path(zoo.DEFAULT_NAME)):
        with pytest.raises(UserError, match=f"there is no config file ./{path}"):
            Extractor(path, device="cpu")
        with pytest.raises(UserError, match=f"./{path}"):
            Extractor("own.yml", weights=path, device="cpu")


def test_nothing_is_written_among_the_models(tmp_path):
    with pytest.raises(ConfigError, match=f"would be written into the installed package.*--output {zoo.DEFAULT}.safe"):
        zoo.check_own(zoo.weights_of(), "the components")
    zoo.check_own(tmp_path / f"{zoo.DEFAULT}.safetensors", "the components")
