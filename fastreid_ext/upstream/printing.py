"""Files of a project: the needed pieces of each module, with imports that are relative to their new place."""

import posixpath
import re
import sys
from collections import defaultdict

from fastreid_ext.upstream.slicing import Slice
from fastreid_ext.upstream.sources import PACKAGE, Import, resolved

SHARED = "shared"
STAND_INS = f"{PACKAGE}.upstream.stand_ins"
WIDTH = 120


def place_of(module: str, package: str) -> str:
    """Return the path of a module in the written package, without ``.py``."""
    parts = module.split(".")
    if module.startswith((f"{PACKAGE}.{package}.", f"{STAND_INS}.{package}.")):
        return parts[-1]
    return f"{SHARED}/{parts[-1]}"


def files_of(part: Slice, package: str, header: str) -> dict[str, str]:
    """Return path in the written package -> text of the file.

    Args:
        part: what the package needs.
        package: its name.
        header: first line of each file.

    Raises:
        ValueError: two modules of one name.
    """
    files = {}
    for module in sorted(part.names):
        path = f"{place_of(module, package)}.py"
        if path in files:
            raise ValueError(f"two modules are to become {path}")
        files[path] = _text(part, module, package, header)
    return files


def _text(part: Slice, module: str, package: str, header: str) -> str:
    source = part.source(module)
    lines = [header, f'"""{source.docstring}"""', ""]
    if imports := _imports(part, module, package):
        lines += [*imports, ""]
    body = ""
    for piece in part.statements(module):
        compound = hasattr(piece.node, "body")
        gap = "\n\n\n" if compound or after_compound(body) else "\n\n" if piece.apart else "\n"
        body = f"{body}{gap}{piece.text}" if body else ("\n" if compound and imports else "") + piece.text
    return _at_home("\n".join(lines) + "\n" + body.rstrip() + "\n", package)


def after_compound(body: str) -> bool:
    """Whether a text ends in a function or class."""
    return body.rpartition("\n")[2].startswith(" ")


def _imports(part: Slice, module: str, package: str) -> list[str]:
    """Return the import lines of a module: the standard library and others, FastReID, ours."""
    here, groups = place_of(module, package), defaultdict(lambda: defaultdict(list))
    for name, origin in part.imports(module).items():
        if origin[0].partition(".")[0] == PACKAGE:
            target, attribute = resolved(origin)
            if target == module:  # an overlay names its own module
                continue
            groups["ours"][_relative(here, place_of(target, package))].append((attribute, name))
        else:
            key = "standard" if origin[0].partition(".")[0] in sys.stdlib_module_names else "others"
            groups[key][origin[0]].append((origin[1], name))
    blocks = [_lines(groups[key]) for key in ("standard", "others", "ours") if groups[key]]
    return [line for number, block in enumerate(blocks) for line in (["", *block] if number else block)]


def _lines(modules: dict[str, list[Import]]) -> list[str]:
    lines = []
    for module in sorted(modules):
        whole = [alias for attribute, alias in modules[module] if not attribute]
        for alias in whole:
            lines.append(f"import {module}" + (f" as {alias}" if alias != module.split(".")[0] else ""))
        names = sorted(name if name == alias else f"{name} as {alias}" for name, alias in modules[module] if name)
        if not names:
            continue
        line = f"from {module} import {', '.join(names)}"
        if len(line) > WIDTH:
            line = "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])
        lines.append(line)
    return lines


def _relative(here: str, there: str) -> str:
    """Return how a file names another one of its package: ".errors", ".shared.trunk" or "..layout"."""
    folder = posixpath.dirname(here)
    path = posixpath.relpath(there, folder or ".").split("/")
    ups = path.count("..")
    return "." * (ups + 1) + ".".join(path[ups:])


def _at_home(text: str, package: str) -> str:
    """Let what docstrings and comments say of our modules name the written ones."""

    def home(found: re.Match) -> str:
        module, _, name = found[1].rpartition(".")
        return f"{package}.{name}" if module else found[1]

    text = re.sub(rf":(?:mod|class|func):`{PACKAGE}\.[\w.]*?(\w+)`", r"``\1``", text)
    return re.sub(rf"\b{PACKAGE}\.([\w.]+\w)", home, text)
