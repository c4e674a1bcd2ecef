"""An export that fails, is stopped, or finds a file of the user leaves nothing behind and removes nothing."""

import os
import resource
from contextlib import suppress

import pytest

from fastreid_ext.export import exporting, staging

STEPS = ("_record", "staged", "_writers", "write_text", "compare", "measure", "place")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, OSError(28, "No space left on device")])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_leaves_nothing(call, tmp_path, monkeypatch, step, error):
    """Neither a file of the export nor the hidden folder, and what another wrote meanwhile stays."""
    other = tmp_path / "out" / "a.safetensors"
    done = getattr(exporting, step)

    def stops(*args, **settings):
        other.write_text("of another")
        if step in ("_writers", "write_text"):
            done(*args, **settings)
        raise error

    monkeypatch.setattr(exporting, step, stops)
    with suppress(RuntimeError, OSError):
        assert call("--format", "weights", "--images", 6, "--latency", name="a.safetensors") != 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == [other.name]
    assert other.read_text() == "of another"


@pytest.fixture
def full_disk():
    """Once called, no file of this process may have more than 50 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(call, tmp_path, monkeypatch, capsys, full_disk):
    """The message names the file that the user asked for."""
    save = exporting.save_weights_file
    monkeypatch.setattr(exporting, "save_weights_file", lambda *args: (full_disk(), save(*args)))
    assert call("--format", "weights", "--images", 6, name="a.safetensors") == 1
    assert f"{tmp_path}/out/a.safetensors can't be written: File too large" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_a_full_disk_for_openvino(call, tmp_path, monkeypatch, capsys, full_disk):
    """Its own writer raises no OSError."""
    import openvino

    save = openvino.save_model
    monkeypatch.setattr(openvino, "save_model", lambda *args, **settings: (full_disk(), save(*args, **settings)))
    assert call("--format", "openvino", "--images", 6, name="a.xml") == 1
    assert f"{tmp_path}/out/a.xml can't be written: iostream error" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_file_that_can_not_be_moved(call, tmp_path, monkeypatch, capsys, failing):
    """All of an export, or none of it."""
    moves, move = [], os.replace

    def replaces(source, target):
        if ".export-" in str(source) and ".export-" not in str(target):
            moves.append(target.name)
            if len(moves) == failing:
                raise OSError(5, "Input/output error")
        move(source, target)

    monkeypatch.setattr(staging.os, "replace", replaces)
    assert call("--format", "weights", "--images", 6, name="a.safetensors") == 1
    assert moves == ["a.safetensors.parity.json", "a.safetensors.json", "a.safetensors"][:failing]
    assert "a.safetensors can't be written: Input/output error" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_that_appears_meanwhile(call, tmp_path, monkeypatch, capsys):
    file, compare = tmp_path / "out" / "a.safetensors.json", exporting.compare

    def compares(*args):
        assert [path.name[:8] for path in (tmp_path / "out").iterdir()] == [".export-"]
        file.write_text("of another")
        return compare(*args)

    monkeypatch.setattr(exporting, "compare", compares)
    assert call("--format", "weights", "--images", 6, name="a.safetensors") == 1
    assert f"{file} exists: remove it" in capsys.readouterr().err
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["of another"]
