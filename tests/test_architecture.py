"""The house rules that a machine can hold: which way imports point, and a few things no file of ours has."""

import ast
import sys
from pathlib import Path

import pytest

import fastreid_ext

PACKAGE = Path(fastreid_ext.__file__).parent
PAPERS = ("deepminer", "msreid", "mgre", "res2net", "occluded")
# From the ground up: a room imports rooms below it and itself. Papers stand beside each other and beside evaluation.
FLOORS = (
    ("errors.py", "image_files.py", "precision.py", "processes.py", "progress.py"),
    ("files.py", "signals.py", "zoo"),
    ("foreign_files.py", "isolation.py"),
    ("onnx_files.py",),
    ("layers",),
    ("losses",),
    ("data",),
    ("modeling",),
    (*PAPERS, "evaluation"),
    ("config.py",),
    ("model_zoo",),
    ("engine",),
    ("inference",),
    ("visual", "pose"),
    ("export",),
    ("search",),
    ("report", "reproduce", "upstream"),
    ("commands", "scripts"),
    ("cli.py",),
    ("__init__.py", "__main__.py"),
)
# What a paper may know of ours.
OF_PAPERS = ("data", "errors.py", "files.py", "layers", "losses", "modeling", "precision.py")
# They take plain arguments: neither FastReID nor a config.
PLAIN = (
    *("layers", "losses", "precision.py", "errors.py", "files.py"),
    *("image_files.py", "processes.py", "progress.py", "signals.py", "zoo"),
)
# It heals FastReID and knows nothing of us. Who trains or starts everything knows it; who registers something knows
# how names are registered.
COMPAT, KNOW_COMPAT, NAMES = "compat", ("engine", "scripts", "__init__.py"), "fastreid_ext.compat.names"
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


def rooms_of(names):
    """Rooms that dotted names stand in; a name of the package itself, such as its version, is in none."""
    for name in names:
        package, _, rest = name.partition(".")
        if package == "fastreid_ext" and rest:
            first = rest.split(".")[0]
            yield from (room for room in (first, f"{first}.py") if (PACKAGE / room).exists())


def floor_of(room):
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def complaints(file, tree):
    """What is wrong with the imports of one file; empty if nothing is."""
    names, room = set(imports(tree, file)), room_of(file)
    if room in PLAIN:
        host = sorted(name for name in names if name.split(".")[0] in ("fastreid", "yacs"))
        yield from (f"{room} imports FastReID: {name}" for name in host)
    for other in sorted(set(rooms_of(names)) - {room}):
        if room == COMPAT:
            yield f"compat imports {other}"
        elif other == COMPAT:
            known = [name for name in names if name.startswith("fastreid_ext.compat")]
            if room in PLAIN or (room not in KNOW_COMPAT and not all(name.startswith(NAMES) for name in known)):
                yield f"{room} imports compat"
        elif room in PAPERS and other not in OF_PAPERS:
            yield f"{room} imports {other}"
        elif floor_of(other) >= floor_of(room):
            yield f"{room} climbs to {other}"


def test_imports_point_one_way():
    found = {file: list(complaints(file, tree_of(file))) for file in FILES}
    assert {file: wrong for file, wrong in found.items() if wrong} == {}


def test_every_room_has_a_floor():
    rooms = {room_of(file) for file in FILES} - {COMPAT}
    assert rooms == {room for floor in FLOORS for room in floor}


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("deepminer/heads.py", "from fastreid_ext.mgre import x", "deepminer imports mgre"),
        ("deepminer/heads.py", "from fastreid_ext import mgre", "deepminer imports mgre"),
        ("deepminer/heads.py", "from ..msreid.heads import x", "deepminer imports msreid"),
        ("mgre/heads.py", "from fastreid_ext.engine.checks import x", "mgre imports engine"),
        ("mgre/heads.py", "from fastreid_ext.pose import x", "mgre imports pose"),
        ("evaluation/ranks.py", "import fastreid_ext.deepminer.config", "evaluation climbs to deepminer"),
        ("modeling/trunk.py", "import fastreid_ext.deepminer.config", "modeling climbs to deepminer"),
        ("data/loader.py", "def f():\n  from fastreid_ext import engine", "data climbs to engine"),
        ("evaluation/roc.py", "from fastreid_ext.engine.run import x", "evaluation climbs to engine"),
        ("modeling/heads.py", "from fastreid_ext.engine import run", "modeling climbs to engine"),
        ("engine/run.py", "from fastreid_ext.commands.common import x", "engine climbs to commands"),
        ("engine/hooks.py", "from fastreid_ext.search import x", "engine climbs to search"),
        ("search/extract.py", "from fastreid_ext.commands import extract", "search climbs to commands"),
        ("losses/center.py", "from fastreid.layers import x", "losses imports FastReID: fastreid.layers.x"),
        ("layers/gem.py", "from fastreid_ext.config import get_cfg", "layers climbs to config.py"),
        ("files.py", "from fastreid_ext.data import poses", "files.py climbs to data"),
        ("compat/amp.py", "from fastreid_ext.precision import x", "compat imports precision.py"),
        ("data/loader.py", "from fastreid_ext.compat import amp", "data imports compat"),
        ("losses/center.py", "from fastreid_ext.compat.names import register", "losses imports compat"),
        ("data/datasets/files.py", "from fastreid_ext.compat.names import register", None),
        ("commands/extract.py", "def run():\n  from fastreid_ext.search.extract import x", None),
        ("cli.py", "from fastreid_ext import __version__", None),
        ("config.py", "from fastreid_ext.deepminer import x", None),
        ("losses/center.py", "from fastreid_ext.precision import x", None),
        ("deepminer/heads.py", "from .attention import x", None),
    ],
)
def test_the_check_sees(file, line, complaint):
    assert list(complaints(file, ast.parse(line))) == ([complaint] if complaint else [])


def test_files_are_short():
    lines = {file: len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {file: count for file, count in lines.items() if count > MOST_LINES} == {}, "give what they hold two files"


def test_commands_are_light():
    """At module level a command imports the standard library and modules of ours that do the same."""
    allowed = ("commands", "errors", "processes", "signals", "zoo")
    plain = ("data.validation", "export.options", "search.kinds", "pose.options")
    light = [f"fastreid_ext.{name}" for name in (*allowed, *plain)]
    for file in FILES:
        if room_of(file) != "commands":
            continue
        body = [node for node in tree_of(file).body if isinstance(node, ast.Import | ast.ImportFrom)]
        for name in imports(ast.Module(body, []), file):
            ours = any(name == module or name.startswith(f"{module}.") for module in light)
            assert ours or name.split(".")[0] in sys.stdlib_module_names, f"{file} imports {name} when it is imported"


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
