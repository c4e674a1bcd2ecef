"""A sample of the generated command lines; ``python tests/commands/command_lines.py --all`` runs every one."""

import importlib.util
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("command_lines.py")


@pytest.fixture(scope="module")
def command_lines():
    if "command_lines" not in sys.modules:
        spec = importlib.util.spec_from_file_location("command_lines", SCRIPT)
        sys.modules["command_lines"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["command_lines"])
    return sys.modules["command_lines"]


def test_there_are_many_and_always_the_same(command_lines):
    lines = command_lines.all_lines()
    assert len(lines) >= 1500 and lines == command_lines.all_lines()
    assert {line[0] for line, _ in lines if line} >= {"train", "extract", "search", "verify", "cam", "masks", "boxes"}


def test_a_sample_is_refused_in_one_sentence_or_works(command_lines, tmp_path):
    sample = random.Random(command_lines.SEED).sample(command_lines.all_lines(), 60)
    with command_lines.prepared(tmp_path):
        outcomes = [(line, command_lines.run_line(line, refused)) for line, refused in sample]
    wrong = [(line, outcome) for line, outcome in outcomes if outcome.kind not in command_lines.GOOD]
    assert not wrong, wrong
    assert Counter(outcome.kind for _, outcome in outcomes)["refused"] > 40


@pytest.mark.parametrize(
    ("printed", "status", "must_be_refused", "kind"),
    [
        ("fastreid-ext train: SEED is -7 and must be 0 or more", 1, True, "refused"),
        ("fastreid-ext train: 2 mistakes:\n  1. a\n  2. b", 1, True, "refused"),
        ("fastreid-ext train: SEED is -7\nand more", 1, True, "no sentence"),
        ("", 0, True, "nonsense"),
        ("", 0, False, "accepted"),
        ("", 1, True, "silence"),
        ("Traceback (most recent call last):", 1, True, "traceback"),
        ("fastreid-ext train: no", 1, False, "wrongly refused"),
        ("usage: x\nfastreid-ext train: error: no such option", 2, True, "refused"),
    ],
)
def test_what_becomes_of_a_line(command_lines, printed, status, must_be_refused, kind):
    assert command_lines._judged(status, "", printed, must_be_refused)[0] == kind
