"""``fastreid-ext doctor``: what it prints and its exit status, also where FastReID, torchvision or faiss is missing."""

import argparse
from pathlib import Path

import pytest

import fastreid_ext
from fastreid_ext.cli import main
from fastreid_ext.commands import doctor
from fastreid_ext.engine.doctor import NOTE, OK, PROBLEM, Finding

REPOSITORY = Path(fastreid_ext.__file__).parents[1]

SCRIPT = """
import argparse, sys

for name in [name for name in sys.modules if name.partition(".")[0] == {missing!r}]:
    del sys.modules[name]


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Blocker())
from fastreid_ext.commands.doctor import add_parser

parser = argparse.ArgumentParser()
add_parser(parser.add_subparsers())
args = parser.parse_args(["doctor"])
sys.exit(args.run(args))
"""


def test_what_is_printed(monkeypatch, capsys):
    findings = [
        Finding("installed", OK, "torch 2"),
        Finding("data sets", NOTE, "Market1501: not there", "put it there"),
        Finding("data sets", OK, "MSMT17: here"),
    ]
    monkeypatch.setattr("fastreid_ext.engine.doctor.examine", lambda: findings)
    assert doctor.run(argparse.Namespace()) == 0
    assert capsys.readouterr().out == (
        "installed:\n"
        "  ok       torch 2\n"
        "data sets:\n"
        "  note     Market1501: not there\n"
        "           -> put it there\n"
        "  ok       MSMT17: here\n"
        "everything that is needed is there\n"
    )
    findings.append(Finding("patches", PROBLEM, "zero-grad: skipped"))
    assert doctor.run(argparse.Namespace()) == 1
    assert capsys.readouterr().out.endswith("patches:\n  PROBLEM  zero-grad: skipped\n1 problem\n")


def test_the_command_line_knows_it(monkeypatch, capsys):
    monkeypatch.setattr("fastreid_ext.engine.doctor.examine", lambda: [Finding("installed", PROBLEM, "no torch")])
    assert main(["doctor"]) == 1
    assert "no torch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("missing", "lines"),
    [
        (
            "fastreid",
            [
                "  PROBLEM  FastReID is not found: ModuleNotFoundError: No module named 'fastreid'",
                "           -> pip install --no-deps fastreid==1.4.0",
            ],
        ),
        (
            "faiss",
            [
                "  PROBLEM  faiss can't be imported: ModuleNotFoundError: No module named 'faiss'",
                "           -> pip install faiss-cpu",
                "  PROBLEM  FastReID can't be healed: ImportError: FastReID needs the package 'faiss', which is "
                "missing: run `pip install faiss-cpu`.",
            ],
        ),
        (
            "torchvision",
            ["  PROBLEM  torchvision can't be imported: ModuleNotFoundError: No module named 'torchvision'"],
        ),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(missing, lines, exit_of):
    status, text = exit_of(SCRIPT.format(missing=missing))
    assert status == 1 and "Traceback" not in text
    printed = text.splitlines()
    assert all(line in printed for line in lines), text
    assert {"patches:", "data sets:", "pretrained weights:", "caches:"} <= set(printed)
