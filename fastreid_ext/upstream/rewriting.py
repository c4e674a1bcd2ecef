"""Rules of :mod:`fastreid_ext.upstream.plan` on the text of one module."""

import ast
import functools
import re
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from fastreid_ext.upstream import plan
from fastreid_ext.upstream.edits import Edit, Text, first_line, until_settled
from fastreid_ext.upstream.sources import file_of, parsed, resolved, text_of
from fastreid_ext.upstream.trimming import trimmed

OVERLAYS = "fastreid_ext.upstream.overlays"
TO_COMMA = re.compile(rb"(?:#[^\n]*|[^,#])*")  # from an argument's end, past parentheses and comments


def rewritten(module: str, rows: Mapping[str, Collection[str]], abilities: Collection[str]) -> str:
    """Return the text of a module as a project in a checkout has it.

    Args:
        module: dotted name of a module of ours.
        rows: table -> its rows that the project needs.
        abilities: methods that only our commands call.
    """
    wanted = tuple(sorted(rows.get(plan.TABLES.get(module, ""), ())))
    return _rewritten(module, wanted, bool(rows["AUGMENTATIONS"]), frozenset(abilities))


@functools.cache  # most modules are the same in all projects
def _rewritten(module: str, wanted: Collection[str], augmented: bool, abilities: Collection[str]) -> str:
    text = text_of(module)
    overlay = overlay_of(module)
    if overlay and file_of(overlay):
        text = _overlaid(text, text_of(overlay))
    members = (*plan.CUT_EVERYWHERE, *plan.CUT_MEMBERS.get(module, ()))
    if not augmented:
        members += plan.CUT_WITHOUT_AUGMENTATIONS.get(module, ())
    text = until_settled(text, lambda parsed: _cut_members(parsed, members))
    text = until_settled(text, _decorators)
    text = until_settled(text, _settled)
    text = until_settled(text, _inlined(module, text))
    if table := plan.TABLES.get(module):
        text = until_settled(text, lambda parsed: _rows(parsed, table, wanted))
    text = _without_abilities(text, abilities)
    if not module.startswith("fastreid_ext.upstream."):
        text = trimmed(text)
    read = _attributes(ast.parse(text_of(module)))
    text = until_settled(text, lambda parsed: _unread_private(parsed, read))
    return re.sub(r"\n{3,}(?=    )", "\n\n", text)


def overlay_of(module: str) -> str | None:
    """Return the module whose definitions take the place of a module's, if there can be one."""
    rest = module.removeprefix("fastreid_ext.")
    return None if rest.startswith("upstream.") else f"{OVERLAYS}.{rest}"


def _overlaid(text: str, over: str) -> str:
    """Put the overlay's definitions, methods and docstrings in the place of those of the same name."""
    base, source = Text(text), Text(over)
    named = {node.name: node for node in base.tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    edits = [_docstring(base, base.tree, ast.get_docstring(source.tree, clean=False))]
    added = []  # definitions of the overlay's own, before the one that it has behind them
    for node in source.tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            edits.append(Edit(*[base.removed(base.tree.body[1]).start] * 2, source.segment(node) + "\n"))
            continue
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        old = named.get(node.name)
        if old is None:
            added.append(_lines_of(source, node))
        elif isinstance(old, ast.ClassDef) and not node.decorator_list:
            edits += _members(base, source, old, node)
        else:
            lines = "\n\n".join([*added, _lines_of(source, node)])
            edits.append(base.lines_replaced(first_line(old), old.end_lineno, lines))
            added = []
    return "\n\n\n".join([base.edited(filter(None, edits)).rstrip(), *added]) + "\n"


def _members(base: Text, source: Text, old: ast.ClassDef, new: ast.ClassDef) -> Iterator[Edit | None]:
    yield _docstring(base, old, ast.get_docstring(new, clean=False))
    methods = {node.name: node for node in old.body if isinstance(node, ast.FunctionDef)}
    for node in new.body:
        if isinstance(node, ast.FunctionDef):
            place = methods[node.name]
            yield base.lines_replaced(first_line(place), place.end_lineno, _lines_of(source, node))


def _docstring(base: Text, node: ast.Module | ast.ClassDef, new: str | None) -> Edit | None:
    return base.replaced(node.body[0], f'"""{new}"""') if new else None


def _lines_of(source: Text, node: ast.stmt) -> str:
    return "".join(source.lines[first_line(node) - 1 : node.end_lineno]).rstrip("\n") + "\n"


def _cut_members(text: Text, names: Collection[str]) -> Iterator[Edit]:
    """Take out what has one of these names: methods, assignments, arguments with what docstrings say of them, loops
    over an attribute, calls that are a statement, and rows of a dict."""
    for node in ast.walk(text.tree):
        if isinstance(node, ast.FunctionDef):
            if node.name in names:
                yield text.removed(node)
            yield from _cut_from(text, _parameters(node), names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if getattr(target, "attr", getattr(target, "id", None)) in names:
                yield text.removed(node)
        elif isinstance(node, ast.For) and getattr(node.iter, "attr", None) in names:
            yield text.removed(node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            if getattr(node.value.func, "id", None) in names:
                yield text.removed(node)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if getattr(key, "value", None) in names:
                    yield text.lines_replaced(key.lineno, value.end_lineno)
        if isinstance(node, ast.Call):
            given = sorted([*node.args, *node.keywords], key=lambda each: (each.lineno, each.col_offset))
            yield from _cut_from(text, list(zip(given, given, strict=True)), names)
    for number, line in enumerate(text.lines, 1):
        found = re.match(r"( {8,})(\w+): ", line)
        if found and found[2] in names:
            last = number
            while text.lines[last].startswith(found[1] + "    "):
                last += 1
            yield text.lines_replaced(number, last)


def _parameters(node: ast.FunctionDef) -> list[tuple[ast.arg, ast.AST]]:
    """Return the parameters but ``**``, each with the node that it ends with."""
    args = [*node.args.posonlyargs, *node.args.args]
    defaults = [*[None] * (len(args) - len(node.args.defaults)), *node.args.defaults]
    if node.args.vararg:
        args, defaults = [*args, node.args.vararg], [*defaults, None]
    ends = [*defaults, *node.args.kw_defaults]
    return [(arg, end or arg) for arg, end in zip([*args, *node.args.kwonlyargs], ends, strict=True)]


def _cut_from(text: Text, items: Sequence[tuple[ast.AST, ast.AST]], names: Collection[str]) -> Iterator[Edit]:
    """Take out parameters, or arguments of a call, with the comma that parts them from their neighbour.

    Args:
        items: each parameter or argument, with the node that it ends with.
    """
    data = text.text.encode()
    spans = [(text.replaced(item, "").start, text.replaced(last, "").end) for item, last in items]
    for number, ((item, _), (start, end)) in enumerate(zip(items, spans, strict=True)):
        if getattr(item, "arg", None) not in names:
            continue
        before = spans[number - 1][1] if number else start
        after = spans[number + 1][0] if number + 1 < len(spans) else end
        apart = after == end or b"*" in data[end:after] or (number and b"/" in data[end:after])
        if number and apart:
            yield Edit(before + TO_COMMA.match(data[before:start]).end(), end, "")
        elif apart:
            yield Edit(start, end + re.match(rb"(?:\s*,\s*)?", data[end:]).end(), "")
        else:
            yield Edit(start, after, "")


def _decorators(text: Text) -> Iterator[Edit]:
    """``register(REGISTRY)`` of ours becomes FastReID's own ``REGISTRY.register()``."""
    for node in ast.walk(text.tree):
        for each in getattr(node, "decorator_list", ()):
            written = ast.unparse(each)
            if written in plan.DROPPED_DECORATORS:
                yield text.lines_replaced(each.lineno, each.end_lineno)
            elif isinstance(each, ast.Call) and written.startswith("register("):
                yield text.replaced(each, f"{text.segment(each.args[0])}.register()")


def truth(node: ast.AST) -> bool | None:
    """Return what a condition always is in a checkout, None where that is open."""
    written = ast.unparse(node)
    if written in plan.SETTLED:
        return plan.SETTLED[written]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
        return False if ast.unparse(node.args[1]) in plan.NEVER_INSTANCES else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = truth(node.operand)
        return None if inner is None else not inner
    if isinstance(node, ast.BoolOp):
        parts, end = [truth(value) for value in node.values], isinstance(node.op, ast.Or)
        return end if end in parts else None if None in parts else not end
    return None


def _settled(text: Text) -> Iterator[Edit]:
    for node in ast.walk(text.tree):
        if isinstance(node, ast.If) and (known := truth(node.test)) is not None:
            kept = node.body if known else node.orelse
            if not kept:
                yield text.removed(node)
                continue
            lines = "".join(text.lines[kept[0].lineno - 1 : kept[-1].end_lineno])
            yield text.lines_replaced(
                node.lineno, node.end_lineno, textwrap.indent(textwrap.dedent(lines), " " * node.col_offset)
            )
        elif isinstance(node, ast.IfExp) and (known := truth(node.test)) is not None:
            yield text.replaced(node, text.segment(node.body if known else node.orelse))
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            sides = {ast.unparse(side): side for side in (node.left, node.right)}
            if sides.pop(plan.NO_UNION_WITH, None) and sides:
                yield text.replaced(node, text.segment(*sides.values()))


def _inlined(module: str, text: str) -> Callable[[Text], Iterator[Edit]]:
    known = {name: resolved(origin) for name, origin in parsed(module, text).imports.items()}
    called = {name: plan.INLINED.get(".".join(origin)) for name, origin in known.items()}

    def inline(text: Text) -> Iterator[Edit]:
        for node in ast.walk(text.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and called.get(node.func.id):
                yield text.replaced(node, called[node.func.id].format(*map(text.segment, node.args)))

    return inline


def _rows(text: Text, table: str, wanted: Collection[str]) -> Iterator[Edit]:
    """Leave the wanted rows of a table, which are lines of their own."""
    for node in text.tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not (isinstance(target, ast.Name) and target.id == table and isinstance(node.value, ast.Dict)):
            continue
        for key, value in zip(node.value.keys, node.value.values, strict=True):
            name = "**" if key is None else getattr(key, "value", None)
            name = name if isinstance(name, str) else ast.unparse(key)
            if name not in wanted:
                first = (key or value).lineno
                while text.lines[first - 2].strip().startswith("#"):
                    first -= 1
                yield text.lines_replaced(first, value.end_lineno)


def _without_abilities(text: str, names: Collection[str]) -> str:
    """Take out methods that only our commands call: no line outside of these methods names them."""
    parsed = Text(text)
    found = [
        method
        for kind in parsed.tree.body
        if isinstance(kind, ast.ClassDef)
        for method in kind.body
        if isinstance(method, ast.FunctionDef) and method.name in names
    ]
    if not found:
        return text
    edits = [parsed.removed(method) for method in found]
    rest = parsed.edited(edits)
    called = {node.attr for node in ast.walk(ast.parse(rest)) if isinstance(node, ast.Attribute)}
    return parsed.edited(edit for edit, method in zip(edits, found, strict=True) if method.name not in called)


def _unread_private(text: Text, read_before: Collection[str]) -> Iterator[Edit]:
    """Take out private methods that the module named before, and names no more."""
    gone = set(read_before) - _attributes(text.tree)
    for kind in text.tree.body:
        for method in kind.body if isinstance(kind, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and method.name.startswith("_") and method.name in gone:
                yield text.removed(method)


def _attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
