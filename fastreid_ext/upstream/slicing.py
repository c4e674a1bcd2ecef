"""What of ours a project needs: every definition that its roots reach, module by module."""

import ast
import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from fastreid_ext.upstream import plan
from fastreid_ext.upstream.rewriting import rewritten
from fastreid_ext.upstream.sources import PACKAGE, Import, Piece, Source, file_of, names_in, parsed, resolved, text_of


@dataclass
class Slice:
    """The part of our package that a project takes.

    Attributes:
        sources: module -> its text as a project has it, divided.
        names: module -> the names that are needed of it.
    """

    rows: Mapping[str, Collection[str]]
    sources: dict[str, Source] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)

    def source(self, module: str) -> Source:
        """Return a module as a project has it."""
        if module not in self.sources:
            self.sources[module] = parsed(module, rewritten(module, self.rows, abilities()))
        return self.sources[module]

    def add(self, module: str, name: str) -> None:
        """Take a name of a module of ours, and all that it reads.

        Raises:
            ValueError: the module does not define it.
        """
        if name in self.names.setdefault(module, set()):
            return
        self.names[module].add(name)
        source = self.source(module)
        piece = source.piece_of(name)
        if piece is None:
            raise ValueError(f"{module} does not define {name}")
        self.names[module].update(piece.names)
        self.read(source, names_in(piece.node))

    def read(self, source: Source, names: Iterable[str]) -> None:
        """Take what names mean in a module, where that is ours."""
        for name in sorted(names):
            if source.piece_of(name):
                self.add(source.module, name)
            elif name in source.imports:
                module, attribute = resolved(source.imports[name])
                if module.partition(".")[0] == PACKAGE and attribute:
                    self.add(module, attribute)
                elif module.partition(".")[0] == PACKAGE:
                    raise ValueError(f"{source.module} reads the module {module}: import its names")

    def nodes(self, module: str) -> list[ast.stmt]:
        """Return all statements of a module."""
        return [piece.node for piece in self.source(module).pieces]

    def statements(self, module: str) -> list[Piece]:
        """Return the pieces of a module that are needed, in their order."""
        source, needed = self.source(module), self.names.get(module, set())
        return [piece for piece in source.pieces if needed.intersection(piece.names) or self.changes_table(piece.node)]

    def changes_table(self, node: ast.stmt) -> bool:
        """Whether a statement puts a wanted row into a table of another module."""
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)):
            return False
        table, key = node.targets[0].value, node.targets[0].slice
        return getattr(key, "value", None) in self.rows.get(getattr(table, "id", ""), ())

    def imports(self, module: str) -> dict[str, Import]:
        """Return the imports that the needed pieces of a module read."""
        source = self.source(module)
        read = set().union(*(names_in(piece.node) for piece in self.statements(module)), set())
        return {name: origin for name, origin in source.imports.items() if name in read - _defined(source)}


def _defined(source: Source) -> set[str]:
    return {name for piece in source.pieces for name in piece.names}


@functools.cache
def abilities() -> frozenset[str]:
    """Return the methods that our commands alone ask a model for."""
    kinds = parsed("fastreid_ext.modeling.capabilities", text_of("fastreid_ext.modeling.capabilities")).pieces
    methods = {
        piece.node.name: {each.name for each in piece.node.body if isinstance(each, ast.FunctionDef)}
        for piece in kinds
        if isinstance(piece.node, ast.ClassDef)
    }
    needed = set().union(*(methods[name] for name in plan.NEEDED_ABILITIES))
    kept = {"after_step", "following"}  # a hook and a block call them, not a command
    return frozenset(set().union(*methods.values()) - needed - kept)


def modules_below(package: str) -> list[str]:
    """Return the modules of a package of ours, without the package itself."""
    folder = file_of(package).parent
    return [f"{package}.{file.stem}" for file in sorted(folder.glob("*.py")) if file.stem != "__init__"]


def slice_of(paper: plan.Paper, rows: Mapping[str, Collection[str]]) -> tuple[Slice, dict[str, str]]:
    """Return what a paper needs, and its roots: name -> module.

    Roots are what registers itself in FastReID or in a table of ours, functions that add config keys, and what the
    checkout's side has: trainer and hooks.
    """
    part, roots = Slice(rows), {}
    places = [f"{PACKAGE}.{paper.package}", f"{PACKAGE}.upstream.stand_ins.{paper.package}"]
    modules = [module for place in places if file_of(place) for module in modules_below(place)]
    for module in [*modules, f"{PACKAGE}.upstream.stand_ins.keys"]:
        source = part.source(module)
        for piece in source.pieces:
            if part.changes_table(piece.node):
                part.names.setdefault(module, set())
                part.read(source, names_in(piece.node))
            elif is_root(piece.node) and piece.node.name not in plan.LEFT_OUT:
                roots[piece.node.name] = module
    if "Trainer" not in roots:
        roots["Trainer"] = f"{PACKAGE}.upstream.stand_ins.trainer"
    for name, module in roots.items():
        part.add(module, name)
    return part, roots


def is_root(node: ast.stmt) -> bool:
    """Whether a definition registers itself, adds config keys, or is the trainer."""
    if isinstance(node, ast.FunctionDef) and node.name.startswith("add_") and node.name.endswith("_config"):
        return True
    decorators = [ast.unparse(each) for each in getattr(node, "decorator_list", ())]
    return any(each.endswith("_REGISTRY.register()") for each in decorators) or (
        isinstance(node, ast.ClassDef) and node.name == "Trainer"
    )
