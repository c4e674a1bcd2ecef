"""The smallest changes of FastReID's own files with which it trains and evaluates in one process on today's stack.

Each belongs to a patch of :mod:`fastreid_ext.compat`, which says what is broken and why. The places are found by
the names of what stands there, in the syntax tree or, in Cython, in its lines; what is put there is written here. An
edit that finds nothing to change was made already, or belongs to a FastReID that reads differently.
"""

import ast
import collections.abc
import io
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastreid_ext.upstream.checkout import CheckoutError
from fastreid_ext.upstream.edits import Edit, Text, first_line

Find = Callable[[Text], Iterator[Edit]]

# What torch._six offered -> what has it without torch.
OF_SIX = {
    "string_classes": "{0} = str",
    "int_classes": "{0} = int",
    "inf": '{0} = float("inf")',
    "container_abcs": "from collections import abc as {0}",
}


@dataclass(frozen=True)
class HostEdit:
    """A change of one file.

    Attributes:
        patch: the patch of ours that heals the same.
        file: below the folder ``fastreid``.
        what: the change in words, for the commit.
        find: text -> the edits.
    """

    patch: str
    file: str
    what: str
    find: Find


def healed(content_of: Callable[[str], bytes | None]) -> dict[str, bytes]:
    """Return file -> its content with the edits, for the files of a checkout that need some.

    Args:
        content_of: path below the checkout -> its bytes; None where there is no such file.

    Raises:
        CheckoutError: a file that can't be parsed as Python 3, or is nested too deeply.
    """
    texts, read, encodings = {}, {}, {}
    for edit in EDITS:
        path = f"fastreid/{edit.file}"
        if path not in texts:
            content = content_of(path)
            if content is None:
                continue
            read[path], encodings[path] = _read(path, content)
            texts[path] = read[path]
        parsed = Text(texts[path])
        try:
            texts[path] = parsed.edited(edit.find(parsed))
        except RecursionError as error:  # the parser takes more than who walks its tree
            raise CheckoutError(f"{path} is nested too deeply to be edited: fix it, or leave out --heals") from error
    return {path: text.encode(encodings[path]) for path, text in texts.items() if text != read[path]}


def _read(path: str, content: bytes) -> tuple[str, str]:
    """Return the text of a file and its encoding, which keeps a mark of the byte order."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = content.decode(encoding)
        if path.endswith(".py"):  # and not Cython
            ast.parse(text)
    except Exception as error:  # SyntaxError, but also LookupError of an encoding, and what nesting makes of the parser
        said = str(error) or type(error).__name__
        raise CheckoutError(f"{path} can't be parsed as Python 3 ({said}): fix it, or leave out --heals") from error
    return text, encoding


def _function(text: Text, name: str) -> ast.FunctionDef | None:
    """Find a function, or a method by Class.method."""
    body = text.tree.body
    for part in name.split("."):
        node = next((each for each in body if getattr(each, "name", None) == part), None)
        if node is None:
            return None
        body = node.body
    return node


def _begin(name: str, lines: tuple[str, ...]) -> Find:
    """Put lines before the first statement of a function, behind its docstring."""

    def find(text: Text) -> Iterator[Edit]:
        node = _function(text, name)
        body = node.body[ast.get_docstring(node) is not None :] if node else []
        if not body or body[0].lineno == node.lineno or lines[0] in text.segment(node):
            return
        first = first_line(body[0])
        indent = text.lines[first - 1][: body[0].col_offset]
        step = "\t" if indent.endswith("\t") else "    "
        start = text.lines_replaced(first, first).start
        yield Edit(start, start, "".join(f"{indent}{line.replace('    ', step)}\n" for line in lines))

    return find


def _calls(name: str, new: Callable[[Text, ast.Call], str | None]) -> Find:
    """Replace calls of a name, ``self.optimizer.zero_grad`` say."""

    def find(text: Text) -> Iterator[Edit]:
        for node in ast.walk(text.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                written = new(text, node)
                if written is not None:
                    yield text.replaced(node, written)

    return find


def _imported(text: Text, module: str) -> Iterator[ast.ImportFrom]:
    imports = (node for node in text.tree.body if isinstance(node, ast.ImportFrom) and not node.level)
    yield from (node for node in imports if node.module == module)


def _mapping(text: Text) -> Iterator[Edit]:
    for node in _imported(text, "collections"):
        moved = [ast.unparse(alias) for alias in node.names if alias.name in collections.abc.__all__]
        rest = [ast.unparse(alias) for alias in node.names if alias.name not in collections.abc.__all__]
        if moved:
            lines = [f"from collections import {', '.join(rest)}"] if rest else []
            yield text.replaced(node, "\n".join([*lines, f"from collections.abc import {', '.join(moved)}"]))


def _string_classes(text: Text) -> Iterator[Edit]:
    for node in _imported(text, "torch._six"):
        if all(alias.name in OF_SIX for alias in node.names):
            lines = [OF_SIX[alias.name].format(alias.asname or alias.name) for alias in node.names]
            yield text.replaced(node, "\n".join(lines))


def _without_stream(text: Text) -> Iterator[Edit]:
    node = _function(text, "DataLoaderX.__init__")
    for each in ast.walk(node) if node else ():
        ours = isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "self.stream"
        if ours and isinstance(each.value, ast.Call) and ast.unparse(each.value.func) == "torch.cuda.Stream":
            yield text.replaced(each.value, f"{ast.unparse(each.value)} if torch.cuda.is_available() else None")


def _plain_loader(text: Text) -> Iterator[Edit]:
    node = _function(text, "DataLoaderX")
    if node and "self.stream = " in text.segment(node):
        yield from _begin("DataLoaderX.__iter__", ("if self.stream is None:", "    return super().__iter__()"))(text)


def _keeps_gradients(text: Text, node: ast.Call) -> str | None:
    said = any(each.arg == "set_to_none" and ast.unparse(each.value) == "False" for each in node.keywords)
    return None if said else "self.optimizer.zero_grad(set_to_none=False)"


def _to_array(text: Text, node: ast.Call) -> str | None:
    given = {keyword.arg: text.segment(keyword.value) for keyword in node.keywords}
    if given.pop("copy", None) != "False" or not set(given) <= {"dtype", "order"}:
        return None
    return (
        f"np.asarray({', '.join([*map(text.segment, node.args), *(f'{key}={said}' for key, said in given.items())])})"
    )


def _to_bytes(text: Text, node: ast.Call) -> str | None:
    if not (node.args and ast.unparse(node.args[0]).startswith("torch.ByteStorage.from_buffer(")):
        return None
    image = node.args[0].args[0]
    if not (isinstance(image, ast.Call) and isinstance(image.func, ast.Attribute) and image.func.attr == "tobytes"):
        return None
    return f"torch.from_numpy(np.array({ast.unparse(image.func.value)}, np.uint8))"


def _padded(text: Text, node: ast.Call) -> str | None:
    """Curves of equal length: behind its last gallery image a query's curve keeps its value."""
    name, cut, more = ast.unparse(node.args[0]).partition("[:max_rank]")
    if not (cut and name.isidentifier()) or more:
        return None
    return f'all_cmc.append(np.pad({name}, (0, max(max_rank - len({name}), 0)), mode="edge")[:max_rank])'


def _padded_when_compiled(text: Text) -> Iterator[Edit]:
    """The same in Cython, whose curve goes on with what an earlier query left; eval_cuhk03_cy has lines like it."""
    function = ""
    for number, line in enumerate(text.lines, 1):
        if not line[0].isspace():
            function = line
        if "eval_market1501_cy(" in function and line.strip() == "all_cmc[q_idx, rank_idx] = cmc[rank_idx]":
            new = line.replace("= cmc[rank_idx]", "= cmc[min(rank_idx, num_g_real - 1)]")
            yield text.lines_replaced(number, number, new)


IN_PYTHON = 'print("FastReID ranks in Python instead.")'
WITHOUT_MAKE = ("import shutil", 'if shutil.which("make") is None:', f"    {IN_PYTHON}", "    return")


EDITS = (
    HostEdit("imports", "data/build.py", "import Mapping from collections.abc", _mapping),
    HostEdit("imports", "data/build.py", "no torch._six: texts are str", _string_classes),
    HostEdit("imports", "evaluation/testing.py", "import Mapping from collections.abc", _mapping),
    HostEdit(
        "zero-grad",
        "engine/train_loop.py",
        "zero_grad(set_to_none=False), which keeps the flat gradient buffers; without it no parameter changes",
        _calls("self.optimizer.zero_grad", _keeps_gradients),
    ),
    HostEdit("loader-without-cuda", "data/data_utils.py", "no CUDA stream without CUDA", _without_stream),
    HostEdit(
        "loader-without-cuda",
        "data/data_utils.py",
        "without CUDA the loader is the plain DataLoader that it extends",
        _plain_loader,
    ),
    HostEdit(
        "to-tensor",
        "data/transforms/functional.py",
        "np.asarray in place of np.array(copy=False)",
        _calls("np.array", _to_array),
    ),
    HostEdit(
        "to-tensor",
        "data/transforms/functional.py",
        "an array of the image in place of torch.ByteStorage",
        _calls("torch.ByteTensor", _to_bytes),
    ),
    HostEdit("ranking", "evaluation/rank.py", "curves of one length", _calls("all_cmc.append", _padded)),
    HostEdit("ranking", "evaluation/rank_cylib/rank_cy.pyx", "curves that end with their query", _padded_when_compiled),
    HostEdit(
        "never-compile",
        "evaluation/rank_cylib/__init__.py",
        "where the Cython tool can't be compiled the evaluation goes on in Python, as it does without it",
        _calls("sys.exit", lambda text, node: IN_PYTHON),
    ),
    HostEdit(
        "never-compile",
        "evaluation/rank_cylib/__init__.py",
        "the same where there is no make, which is not called then",
        _begin("compile_helper", WITHOUT_MAKE),
    ),
)
