"""Examples in docstrings and docs: docstrings' are run, docs' name what exists; tests of some pages run theirs."""

import ast
import doctest
import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from pages import PAGES, REPOSITORY
from PIL import Image

import fastreid_ext
from fastreid_ext.cli import argument_parser

PACKAGE = Path(fastreid_ext.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def blocks(page):
    """(language, text) of a page's fenced blocks."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_docstrings(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for picture in ("a.jpg", "b.jpg"):
        Image.fromarray(np.zeros((64, 32, 3), np.uint8)).save(picture)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed


def test_python_in_docs():
    """It is valid, and what it imports of ours is there."""
    names = 0
    for page in PAGES:
        for language, text in blocks(page):
            if language != "python":
                continue
            for node in ast.walk(ast.parse(text, page)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fastreid_ext":
                    module = importlib.import_module(node.module)
                    for alias in node.names:
                        names += 1
                        if not hasattr(module, alias.name):
                            importlib.import_module(f"{node.module}.{alias.name}")
    assert names > 20


def command_lines(page):
    """Command lines of ours in a page, as words."""
    for language, text in blocks(page):
        if language not in ("", "bash", "sh"):
            continue
        for line in re.sub(r"\\\n", " ", text).splitlines():
            if match := re.match(r"(?:\$ |[A-Z_]+=\S+ )*fastreid-ext (.*)$", line.strip()):
                words = shlex.split(match[1], comments=True)
                if words[1:2] != ["..."]:  # which stands for the arguments of the line before
                    yield words


def test_commands_in_docs(capsys):
    """Their options and the kinds of their values are right."""
    wrong, count, parser = [], 0, argument_parser()
    for page in PAGES:
        for words in command_lines(page):
            count += 1
            try:
                args, rest = parser.parse_known_args(words)
                if rest and (not hasattr(args, "opts") or any(word.startswith("--") for word in rest)):
                    wrong.append((page, words, rest))
            except SystemExit as stopped:
                if stopped.code:
                    wrong.append((page, words, capsys.readouterr().err.splitlines()[-1]))
    assert not wrong
    assert count > 60
