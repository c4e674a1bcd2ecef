"""A module of ours as text: its top-level statements with their comments, and what each name in it means."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "fastreid_ext"
ROOT = Path(__file__).resolve().parents[1]

Import = tuple[str, str]  # module, and the name in it; "" is the module itself


@dataclass(frozen=True)
class Piece:
    """A top-level statement with the comments above it.

    Attributes:
        node: the statement.
        text: its lines.
        names: what it defines; none for a statement that changes something, such as a row that is put into a table.
        apart: an empty line stands before it.
    """

    node: ast.stmt
    text: str
    names: tuple[str, ...]
    apart: bool


@dataclass
class Source:
    """A module.

    Attributes:
        module: its dotted name.
        text: all of it.
        docstring: what it begins with.
        imports: name -> where it is from, as written.
        pieces: the other statements, in their order.
    """

    module: str
    text: str
    docstring: str = ""
    imports: dict[str, Import] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)

    def piece_of(self, name: str) -> Piece | None:
        """Return what defines a name."""
        return next((piece for piece in self.pieces if name in piece.names), None)


def file_of(module: str) -> Path | None:
    """Return the file of a module of ours, None if there is none."""
    path = ROOT.joinpath(*module.split(".")[1:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@functools.cache
def text_of(module: str) -> str:
    """Return the source of a module of ours."""
    return file_of(module).read_text(encoding="utf-8")


def parsed(module: str, text: str) -> Source:
    """Divide the text of a module into its pieces."""
    source, lines, tree = Source(module, text), text.splitlines(), ast.parse(text)
    source.docstring = ast.get_docstring(tree, clean=False) or ""
    end = 0
    for node in tree.body:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))])
        while first - 1 > end and lines[first - 2].startswith("#"):
            first -= 1
        if isinstance(node, ast.Import | ast.ImportFrom):
            source.imports.update(_imported(node))
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            names = tuple(_defined(node))
            if names != ("__all__",):
                apart = first - 1 > end
                source.pieces.append(Piece(node, "\n".join(lines[first - 1 : node.end_lineno]), names, apart))
        end = node.end_lineno
    return source


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Import]]:
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield alias.asname or alias.name, (node.module, alias.name)
        else:
            yield alias.asname or alias.name.partition(".")[0], (alias.name if alias.asname else alias.name, "")


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        found = target.elts if isinstance(target, ast.Tuple) else [target]
        yield from (each.id for each in found if isinstance(each, ast.Name))


def names_in(node: ast.AST) -> set[str]:
    """Return every name that a statement reads, those in annotations that are written as text too."""
    found = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    for each in ast.walk(node):
        notes = [getattr(each, "annotation", None), getattr(each, "returns", None)]
        for note in notes:
            if isinstance(note, ast.Constant) and isinstance(note.value, str):
                found |= names_in(ast.parse(note.value, mode="eval"))
    return found


def resolved(origin: Import) -> Import:
    """Follow a name that a package of ours takes from a module of its own, to the module that defines it."""
    module, name = origin
    if module.partition(".")[0] != PACKAGE:
        return origin
    behind = parsed(module, text_of(module)).imports.get(name)
    if behind:
        return resolved(behind)
    return (f"{module}.{name}", "") if name and file_of(f"{module}.{name}") else origin
