"""What the written projects are made of."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from git_checkouts import git

from fastreid_ext.upstream import plan
from fastreid_ext.upstream.project import HEADER, count_lines, project_files
from fastreid_ext.upstream.sources import ROOT

pytestmark = pytest.mark.slow  # the first of them writes all projects


@pytest.fixture(scope="module")
def python_files(written):
    """path below the checkout -> text, of every written Python file."""
    files = Path(written[0], "projects").rglob("*.py")
    return {path.relative_to(written[0]).as_posix(): path.read_text(encoding="utf-8") for path in files}


def test_a_commit_each(written):
    folder, lines = written
    subjects = git(folder, "log", "--format=%s", "--reverse").splitlines()
    assert [subject.partition(":")[0] for subject in subjects[2:]] == [f"Add {p.project}" for p in plan.PAPERS]
    assert subjects[1].startswith("Run on today's Python")
    assert git(folder, "branch", "--show-current").strip() == "fastreid-ext"
    assert not git(folder, "status", "--porcelain")
    assert len(lines) == 2 + len(plan.PAPERS) + 1 and HEADER in lines[-1]


@pytest.mark.parametrize("paper", plan.PAPERS, ids=lambda paper: paper.project)
def test_short(written, paper):
    files = [path for path in Path(written[0], "projects", paper.project).rglob("*") if path.is_file()]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files if "tests" not in path.parts)
    assert 1000 < lines <= plan.MOST_LINES == 2000
    names = {path.name for path in files}
    assert {"README.md", "train_net.py", "two_steps.py", "meta_arch.py", "Market1501_R50.yml"} <= names


def test_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(plan, "MOST_LINES", 1000)
    with pytest.raises(ValueError, match="DeepMiner has .* lines, and 1000 are the most"):
        project_files(plan.PAPERS[0])


def test_tests_do_not_count():
    assert count_lines({"a.py": "x\ny\n", "tests/b.py": "x\n"}) == 2


def test_nothing_of_ours_is_imported_or_named(python_files):
    assert len(python_files) > 100
    for path, text in python_files.items():
        assert "fastreid_ext" not in text, path
        assert HEADER in text.splitlines()[:2], path


def test_relative_imports_have_what_they_name(written, python_files):
    for path, text in python_files.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.level and node.module:
                target = (
                    Path(written[0], path).parents[node.level - 1].joinpath(*node.module.split(".")).with_suffix(".py")
                )
                defined = target.read_text(encoding="utf-8")
                assert all(alias.name in defined for alias in node.names), (path, node.module)


def test_nothing_is_undefined_or_unused(written):
    """F821 undefined names, F401 imports and F841 locals that nobody reads; packages export what they import."""
    command = [
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--select",
        "F,E9",
        "--per-file-ignores",
        "__init__.py:F401",
    ]
    ran = subprocess.run(
        [sys.executable, "-m", *command, "projects"], cwd=written[0], capture_output=True, text=True
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_overlay_is_used(python_files):
    """A definition that takes another one's place stands in some project."""
    texts = "\n".join(python_files.values())
    for file in (ROOT / "upstream" / "overlays").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name != "decorator":
                assert f"def {node.name}(" in texts, (file.name, node.name)


def test_configs_have_known_keys_alone(written):
    """What nobody reads in a checkout is left out, with its comment; what a paper reads is kept."""
    configs = Path(written[0], "projects", "OccludedReID", "configs")
    assert "TESTS_OPTIONAL" not in (configs / "Market1501_R50.yml").read_text()
    base = (configs / "Base-OccludedReID.yml").read_text()
    assert "_BASE_: Base-ReID.yml" in base and "CompoundBatchErasing" in base
