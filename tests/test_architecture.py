"""The house rules that a machine can hold: which way imports point, and a few things no file of ours has."""

import ast
from pathlib import Path

import pytest

import fastreid_ext

PACKAGE = Path(fastreid_ext.__file__).parent
PAPERS = ("deepminer", "msreid", "mgre", "res2net", "occluded")
# They may know the papers: that is where everything is registered and where the config keys come together.
KNOW_PAPERS = ("__init__.py", "config.py")
# They take plain arguments: neither the host nor a config, and of ours only each other.
PLAIN = ("layers", "losses", "precision.py")
# A room that only the command line enters: who trains or evaluates needs no index.
ONLY_COMMANDS = "search"
MOST_LINES = 300

FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))


def tree_of(file):
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"))


def room_of(file):
    """First part of a path in the package: "losses" of "losses/center.py", "config.py" of "config.py"."""
    return file.split("/")[0]


def imports(tree, file):
    """Dotted names of all that a file imports, also within functions; relative imports are resolved."""
    package = ["fastreid_ext", *file.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from fastreid_ext import deepminer` names a module by its alias
            yield from (f"{module}.{alias.name}" for alias in node.names)


def below(name, modules):
    return any(name == module or name.startswith(module + ".") for module in modules)


def papers_in(names):
    return {paper for paper in PAPERS for name in names if below(name, [f"fastreid_ext.{paper}"])}


def complaints(file, tree):
    """What is wrong with the imports of one file; empty if nothing is."""
    names, room = set(imports(tree, file)), room_of(file)
    if room in PAPERS:
        yield from (f"{room} imports the paper {other}" for other in sorted(papers_in(names) - {room}))
    elif file not in KNOW_PAPERS:
        yield from (f"shared code imports the paper {paper}" for paper in sorted(papers_in(names)))
    ours = {name for name in names if below(name, ["fastreid_ext"])}
    if room in PLAIN:
        yield from (f"{room} imports the host: {name}" for name in sorted(names) if below(name, ["fastreid", "yacs"]))
        plain = [f"fastreid_ext.{name.removesuffix('.py')}" for name in PLAIN]
        yield from (f"{room} imports {name}" for name in sorted(ours) if not below(name, plain))
    if room not in (ONLY_COMMANDS, "cli.py"):
        entered = (name for name in sorted(ours) if below(name, [f"fastreid_ext.{ONLY_COMMANDS}"]))
        yield from (f"{room} imports {name}" for name in entered)
    if room == "compat":
        yield from (f"compat imports {name}" for name in sorted(ours) if not below(name, ["fastreid_ext.compat"]))


@pytest.mark.parametrize("file", FILES)
def test_imports_point_one_way(file):
    assert list(complaints(file, tree_of(file))) == []


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("deepminer/heads.py", "from fastreid_ext.mgre import x", "deepminer imports the paper mgre"),
        ("deepminer/heads.py", "from fastreid_ext import mgre", "deepminer imports the paper mgre"),
        ("deepminer/heads.py", "from ..msreid.heads import x", "deepminer imports the paper msreid"),
        ("engine/hooks.py", "import fastreid_ext.deepminer.config", "shared code imports the paper deepminer"),
        ("data/loader.py", "def f():\n  from fastreid_ext import deepminer", "shared code imports the paper deepminer"),
        ("losses/center.py", "from fastreid.layers import x", "losses imports the host: fastreid.layers.x"),
        ("layers/gem.py", "from fastreid_ext.config import get_cfg", "layers imports fastreid_ext.config.get_cfg"),
        ("compat/amp.py", "from fastreid_ext.precision import x", "compat imports fastreid_ext.precision.x"),
        ("engine/hooks.py", "from fastreid_ext.search import x", "engine imports fastreid_ext.search.x"),
        ("search/extract.py", "from fastreid_ext.mgre import x", "shared code imports the paper mgre"),
        ("cli.py", "from fastreid_ext.search.extract import x", None),
        ("config.py", "from fastreid_ext.deepminer import x", None),
        ("losses/center.py", "from fastreid_ext.precision import x", None),
        ("deepminer/heads.py", "from .attention import x", None),
    ],
)
def test_the_check_sees(file, line, complaint):
    assert list(complaints(file, ast.parse(line))) == ([complaint] if complaint else [])


@pytest.mark.parametrize("file", FILES)
def test_files_are_short(file):
    lines = len((PACKAGE / file).read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{file} has {lines} lines: give what it holds two files"


def test_no_star_imports():
    for file in FILES:
        names = [name for name in imports(tree_of(file), file) if name.endswith(".*")]
        assert not names, f"{file} has {names}"


def test_no_device_is_written_down():
    """``x.cuda()`` moves to a device that the config did not name."""
    for file in FILES:
        calls = [
            node.lineno
            for node in ast.walk(tree_of(file))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"
        ]
        assert not calls, f"{file} calls .cuda() in lines {calls}"
