"""The matrix of versions: what it installs, runs and says. Its commands are not run: an environment has gigabytes."""

import subprocess
from pathlib import Path

import pytest
import version_matrix

ROOT = Path(version_matrix.__file__).resolve().parents[1]


@pytest.fixture
def commands(monkeypatch):
    """Commands that were run, and a place for what they are to answer: word of a command -> (status, output)."""

    class Commands(list):
        answers = {}

        def __call__(self, command, **how):
            self.append((command, how))
            word = next((word for word in self.answers if word in " ".join(command)), None)
            if command[1:3] == ["-m", "venv"]:
                Path(command[3]).mkdir(parents=True)
            return subprocess.CompletedProcess(command, *self.answers.get(word, (0, "3 passed in 1s\n")), "")

    monkeypatch.setattr(version_matrix, "interpreter", lambda version: f"python{version}")
    monkeypatch.setattr(version_matrix.shutil, "which", lambda name: None)
    monkeypatch.delenv("FASTREID_CHECKOUT", raising=False)
    return Commands()


def run(commands, tmp_path, *arguments):
    return version_matrix.main(["--folder", str(tmp_path), *arguments], commands)


def test_a_combination(commands, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FASTREID_CHECKOUT", str(tmp_path / "host"))
    assert run(commands, tmp_path, "--only", "3.12-2.11") == 0
    (venv, _), (install, _), (host, _), (wheel, first), (checkout, second) = commands
    assert venv == ["python3.12", "-m", "venv", str(tmp_path / "3.12-2.11")]
    assert install[-3:] == ["torch==2.11.*", "torchvision", f"{ROOT}[dev]"]
    assert host[-2:] == ["--no-deps", "fastreid==1.4.0"]
    assert wheel[-1] == version_matrix.TELLING[-1] and first["env"]["PYTHONPATH"] == str(ROOT)
    assert first["cwd"] == ROOT and first["env"]["OMP_NUM_THREADS"] == "1"
    assert checkout[-1] == version_matrix.WITH_A_CHECKOUT[-1]
    assert second["env"]["PYTHONPATH"].split(version_matrix.os.pathsep) == [str(ROOT), str(tmp_path / "host")]
    assert capsys.readouterr().out.splitlines() == [
        "Python 3.12, torch 2.11, fastreid 1.4.0: passed: 3 passed in 1s",
        "Python 3.12, torch 2.11, FastReID's git checkout: passed: 3 passed in 1s",
    ]
    assert not (tmp_path / "3.12-2.11").exists()
    pins = (tmp_path / "3.12-2.11.txt").read_text().splitlines()
    assert [pin for pin in pins if pin.startswith("numpy==")]
    # torch 2.11 takes no setuptools from 82 on: with our pin nothing fits.
    assert not [pin for pin in pins if pin.startswith(("torch==", "torchvision==", "fastreid==", "setuptools=="))]


def test_a_folder_beside_the_working_one(commands, tmp_path, monkeypatch):
    """The tests are started in the checkout, where "environments" would be another folder."""
    monkeypatch.chdir(tmp_path)
    assert run(commands, "environments", "--only", "3.12-2.11", "--keep") == 0
    (tests,) = (command for command, _ in commands if "pytest" in command)
    assert Path(tests[0]).is_relative_to(tmp_path.resolve() / "environments" / "3.12-2.11")


def test_an_environment_that_is_kept_is_taken_up(commands, tmp_path):
    for _ in range(2):
        assert run(commands, tmp_path, "--only", "3.10-2.8", "--keep", "tests/losses") == 0
    assert sum("venv" in command for command, _ in commands) == 1
    assert [command[-1] for command, _ in commands if "pytest" in command] == ["tests/losses"] * 2


def test_what_is_not_run_says_why(commands, tmp_path, capsys, monkeypatch):
    commands.answers = {
        "torch==2.15.*": (1, "WARNING: old pip\nERROR: No version fits torch==2.15.* (from versions: 2.8.0, 2.11.0)")
    }
    monkeypatch.setattr(version_matrix, "PYTHONS", ("3.10", "3.99"))
    monkeypatch.setattr(version_matrix, "TORCHES", ("2.15",))

    def interpreter(version):
        if version == "3.99":
            raise version_matrix.NotRun("no Python 3.99 on this machine")
        return f"python{version}"

    monkeypatch.setattr(version_matrix, "interpreter", interpreter)
    assert run(commands, tmp_path) == 0
    assert not (tmp_path / "3.10-2.15").exists()
    assert capsys.readouterr().out.splitlines() == [
        "Python 3.10, torch 2.15: not run (what it needs can't be installed: ERROR: No version fits torch==2.15.*)",
        "Python 3.99, torch 2.15: not run (no Python 3.99 on this machine)",
    ]


def test_a_failed_test_is_shown_and_fails(commands, tmp_path, capsys):
    commands.answers = {"not slow": (1, "FAILED tests/losses/test_center.py::test_step\n1 failed in 2s\n")}
    assert run(commands, tmp_path, "--only", "3.11-2.15") == 1
    assert capsys.readouterr().out.splitlines() == [
        "    FAILED tests/losses/test_center.py::test_step",
        "    1 failed in 2s",
        "Python 3.11, torch 2.15, fastreid 1.4.0: failed: 1 failed in 2s",
    ]


def test_a_combination_that_is_not_there(commands, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(commands, tmp_path, "--only", "2.7-2.8")
    assert "no such combination: 2.7-2.8; there are 3.10-2.8, " in capsys.readouterr().err


def test_the_tests_are_there():
    assert all((ROOT / name).exists() for name in (*version_matrix.TELLING, *version_matrix.WITH_A_CHECKOUT))


def test_a_python_that_is_not_there():
    with pytest.raises(version_matrix.NotRun, match="no Python 2.99 on this machine"):
        version_matrix.interpreter("2.99")


def test_a_python_of_another_version_is_passed_over(tmp_path, monkeypatch):
    """Such as one of pyenv's, which starts whatever its folder says."""
    wrong, right = (tmp_path / "versions" / name / "bin" / "python" for name in ("3.12.1", "3.12.2"))
    for path, version in ((wrong, "3.11"), (right, "3.12")):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/sh\necho {version}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(version_matrix.shutil, "which", lambda name: None)
    assert version_matrix.interpreter("3.12") == str(right)
