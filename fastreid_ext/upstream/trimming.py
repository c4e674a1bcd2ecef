"""A module without its checks of settings, which belong to a start-up like ours."""

import ast
import re
from collections.abc import Callable, Iterator

from fastreid_ext.upstream.edits import Edit, Text, until_settled

CHECK = re.compile(r"_?(check|demand)(_|$)")
REFUSALS = ("ConfigError", "ValueError")


def trimmed(text: str) -> str:
    """Take out statements that only refuse something, what they alone read, and the docstrings' words on them."""
    text = until_settled(text, _checks)
    text = until_settled(text, _unread_locals)
    return re.sub(r'("""(?:(?!""")[^\n])+)\n\s+"""', r'\1"""', until_settled(text, _promises))


def _checks(text: Text) -> Iterator[Edit]:
    """``if ...: raise ConfigError(...)``, and functions whose names say that they check, with their calls."""
    yield from (text.removed(node) for node in _outermost(text.tree, _gone) if not _is_branch(text, node))


def _outermost(node: ast.AST, test: Callable[[ast.AST], bool]) -> Iterator[ast.AST]:
    """Return the nodes that pass a test, and are in no other one that does."""
    for child in ast.iter_child_nodes(node):
        if test(child):
            yield child
        else:
            yield from _outermost(child, test)


def _gone(node: ast.AST) -> bool:
    """Whether a statement only refuses something."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return bool(CHECK.match(getattr(node.value.func, "id", getattr(node.value.func, "attr", ""))))
    if isinstance(node, ast.FunctionDef):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        return bool(CHECK.match(node.name)) or (bool(body) and all(map(_gone, body)))
    if isinstance(node, ast.If | ast.For) and not node.orelse:
        return _refuses(node.body) or all(map(_gone, node.body))
    return False


def _refuses(body: list[ast.stmt]) -> bool:
    return len(body) == 1 and isinstance(body[0], ast.Raise) and _kind(body[0]) in REFUSALS


def _is_branch(text: Text, node: ast.AST) -> bool:
    """Whether a condition is the "elif" of another one."""
    return isinstance(node, ast.If) and text.lines[node.lineno - 1].lstrip().startswith("elif")


def _kind(node: ast.Raise) -> str:
    called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return getattr(called, "id", "")


def _unread_locals(text: Text) -> Iterator[Edit]:
    """What is computed in a function and not read there."""
    for function in (node for node in ast.walk(text.tree) if isinstance(node, ast.FunctionDef)):
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        read = {node.id for node in names if isinstance(node.ctx, ast.Load)}

        def unread(node: ast.AST, read: set[str] = read) -> bool:
            if isinstance(node, ast.If) and not node.orelse:
                return all(unread(each) for each in node.body)
            targets = node.targets if isinstance(node, ast.Assign) else ()
            return bool(targets) and all(isinstance(each, ast.Name) and each.id not in read for each in targets)

        yield from map(text.removed, _outermost(function, unread))


def _promises(text: Text) -> Iterator[Edit]:
    """Entries of a "Raises" section that the code does not hold any more."""
    for node in ast.walk(text.tree):
        if not (isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node)):
            continue
        raised = {_kind(each) for each in ast.walk(node) if isinstance(each, ast.Raise)}
        first, last = node.body[0].lineno, node.body[0].end_lineno
        section = next((n for n in range(first, last) if text.lines[n - 1].strip() == "Raises:"), None)
        if section is None:
            continue
        indent = len(text.lines[section - 1]) - len(text.lines[section - 1].lstrip()) + 4
        entries = [n for n in range(section + 1, last) if re.match(rf" {{{indent}}}\w+: ", text.lines[n - 1])]
        gone = [
            n for n in entries if (name := text.lines[n - 1].split(":")[0].strip()) in REFUSALS if name not in raised
        ]
        if gone and gone == entries:
            end = _end_of(text, entries[-1], indent)
            yield text.lines_replaced(section - (not text.lines[section - 2].strip()), end)
            return
        for n in gone:
            yield text.lines_replaced(n, _end_of(text, n, indent))
            return


def _end_of(text: Text, entry: int, indent: int) -> int:
    """Return the last line of an entry that begins at a line."""
    while text.lines[entry].startswith(" " * (indent + 4)):
        entry += 1
    return entry
