"""Every example of docs/zoo.md runs, in its order."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from fastreid_ext import zoo
from fastreid_ext.cli import main
from fastreid_ext.engine.trainer import Trainer
from fastreid_ext.export import exporting

DOC = Path(__file__).parents[2] / "docs" / "zoo.md"
BLOCKS = re.findall(r"^```(python)?\n(.*?)^```", DOC.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
LINES = [line for kind, text in BLOCKS if not kind for line in re.sub(r"\\\n", "", text).splitlines()]


@pytest.fixture
def world(people, pictures, synth_tiny, tmp_path, monkeypatch):
    """The files that the examples name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").symlink_to(people)
    shutil.copy(pictures[0], "a.jpg")
    shutil.copy(pictures[1], "b.jpg")
    shop = tmp_path / "shop"
    shop.mkdir()
    for part, camera in (("train", 0), ("query", 0), ("gallery", 1)):
        rows = [f"{person}/{2 * camera + n}.png,{person},{camera}" for person in range(4) for n in range(2)]
        text = "\n".join(f"{people}/person_{row}" for row in rows)
        (shop / f"{part}.csv").write_text(f"path,person,camera\n{text}\n")
    return tmp_path


def test_the_snippets(world, capsys):
    names = {}
    for _, snippet in (block for block in BLOCKS if block[0]):
        exec(compile(snippet, str(DOC), "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith(names["answer"].verdict) and "## Not for" in printed
    assert names["features"].shape == (2, names["extractor"].dim)


TRAINING = ["DATASETS.NAMES", "('SynthReIDTiny',)", "DATASETS.TESTS", "('SynthReIDTiny',)", "MODEL.DEVICE", "cpu"]
TRAINING += ["SOLVER.IMS_PER_BATCH", "16", "DATALOADER.NUM_WORKERS", "0"]


class Written(Exception):
    """An export has come to where it writes."""


def written(cfg, model, options, record):
    raise Written(cfg.MODEL.WEIGHTS)


@pytest.mark.slow
@pytest.mark.usefixtures("forget_logs")
def test_the_command_lines(world, monkeypatch, capsys):
    """A training ends where its first epoch would start, ONNX where it would be written: it takes half a minute."""
    monkeypatch.setattr(Trainer, "train", lambda self: {})
    monkeypatch.setattr(exporting, "_onnx", written)
    assert len(LINES) == 8
    for line in LINES:
        program, command, *words = shlex.split(line.replace("/data/shop", str(world / "shop")), comments=True)
        words = ["--images", "4", *words] if command == "export" else words
        words += TRAINING if command == "train" else []
        if "onnx" in words:
            with pytest.raises(Written, match=str(zoo.weights_of())):
                main([command, *words])
        else:
            assert program == "fastreid-ext" and main([command, *words]) == 0, (line, capsys.readouterr().err)
    assert {"mine.safetensors", "same_person.json"} <= {path.name for path in world.iterdir()}
