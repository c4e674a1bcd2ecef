"""Changes of Python text by the places of its syntax tree, so that comments and layout stay."""

import ast
import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """What the bytes from ``start`` to ``end`` become."""

    start: int
    end: int
    new: str


LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python counts them: str.splitlines knows other ends too


class Text:
    """A text with its tree, and the place of each node in it; of other languages than Python the lines alone."""

    def __init__(self, text: str):
        self.text = text
        self.lines = LINES.findall(text)
        self._end = re.search(r"\r\n|\r|\n|$", text).group() or "\n"  # of a line
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line.encode()))

    @functools.cached_property
    def tree(self) -> ast.Module:
        """What the text says."""
        return ast.parse(self.text)

    def segment(self, node: ast.AST) -> str:
        """Return the text of a node."""
        return ast.get_source_segment(self.text, node)

    def replaced(self, node: ast.AST, new: str) -> Edit:
        """Put other text in a node's place."""
        start = self._starts[node.lineno - 1] + node.col_offset
        return Edit(start, self._starts[node.end_lineno - 1] + node.end_col_offset, new)

    def lines_replaced(self, first: int, last: int, new: str = "") -> Edit:
        """Put other text in the place of whole lines, counted from 1."""
        return Edit(self._starts[first - 1], self._starts[last], new)

    def removed(self, node: ast.stmt) -> Edit:
        """Take a statement out, with its decorators and the comments right above it."""
        first = first_line(node)
        while first > 1 and self.lines[first - 2].strip().startswith("#"):
            first -= 1
        return self.lines_replaced(first, node.end_lineno)

    def edited(self, edits: Iterable[Edit]) -> str:
        """Return the text with the edits; of two that overlap, the one that begins later is made."""
        data, limit = self.text.encode(), len(self.text.encode()) + 1
        for edit in sorted(edits, key=lambda each: (-each.start, each.end)):
            if edit.end <= limit:
                data = data[: edit.start] + edit.new.replace("\n", self._end).encode() + data[edit.end :]
                limit = edit.start
        return data.decode()


def first_line(node: ast.stmt) -> int:
    """Return the line, from 1, of a statement or of its first decorator."""
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])


def until_settled(text: str, rule: Callable[[Text], Iterator[Edit]], most: int = 50) -> str:
    """Apply a rule again and again until it asks for no more edits.

    Raises:
        ValueError: it never does.
    """
    for _ in range(most):
        parsed = Text(text)
        edits = list(rule(parsed))
        if not edits:
            return text
        text = parsed.edited(edits)
    raise ValueError(f"{rule.__name__} does not settle")
