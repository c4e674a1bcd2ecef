"""The rules on small texts."""

import textwrap

import pytest

from fastreid_ext.upstream import plan, rewriting
from fastreid_ext.upstream.edits import Text, until_settled
from fastreid_ext.upstream.sources import ROOT, names_in, parsed, resolved
from fastreid_ext.upstream.trimming import trimmed


def settled(text):
    return until_settled(textwrap.dedent(text), rewriting._settled)


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("x = 1 if isinstance(y, TokenTrunk) else 2  # why\n", "x = 2  # why\n"),
        ("x = y if not isinstance(y, TokenTrunk) else z\n", "x = y\n"),
        ("def f(y: Tensor | Tokens) -> Tokens | Tensor: ...\n", "def f(y: Tensor) -> Tensor: ...\n"),
        ("if isinstance(y, TokenTrunk) and z:\n    a()\nb()\n", "b()\n"),
        ("if isinstance(y, TokenTrunk):\n    a()\nelse:\n    # here\n    b()\nc()\n", "b()\nc()\n"),
        ("if z or not isinstance(y, TokenTrunk):  # always\n    a()\n", "a()\n"),
        ("if isinstance(y, Mapping) and z:\n    a()\n", "if isinstance(y, Mapping) and z:\n    a()\n"),
    ],
)
def test_settled_conditions(text, then):
    assert settled(text) == then


def test_inlined_calls():
    text = "from fastreid_ext.modeling.tokens import map_of, on_map\n\nz = map_of(on_map(partial(f, t=1), g(y)))\n"
    rule = rewriting._inlined("fastreid_ext.deepminer.branches", text)
    assert until_settled(text, rule).endswith("z = partial(f, t=1)(g(y))\n")


def test_rows_of_a_table():
    text = 'T = {\n    # of a\n    "a": 1,\n    "b": [\n        2,\n    ],\n    **more,\n}\n'
    assert (
        until_settled(text, lambda parsed: rewriting._rows(parsed, "T", ("b",)))
        == 'T = {\n    "b": [\n        2,\n    ],\n}\n'
    )


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("def f(x: int, checked: bool = False) -> int: ...\n", "def f(x: int) -> int: ...\n"),
        ("def f(x, y=(1, 2), checked=g(3), *, z=1): ...\n", "def f(x, y=(1, 2), *, z=1): ...\n"),
        ("def f(checked=False, x=1): ...\n", "def f(x=1): ...\n"),
        ("def f(\n    x,\n    checked=False,\n): ...\n", "def f(\n    x,\n): ...\n"),
        ("y = f(x, checked=True)\n", "y = f(x)\n"),
        ("y = f(checked=True)\n", "y = f()\n"),
        ("y = f(checked=True, x=h(checked=checked))\n", "y = f(x=h())\n"),
        ("y = f(*x, checked=True, needs=a, **z)\n", "y = f(*x, **z)\n"),
        ("y = f(\n    x,\n    needs=a,\n)\n", "y = f(\n    x,\n)\n"),
        ("y = f(checked, needs)\n", "y = f(checked, needs)\n"),
        ("y = lambda x: f(x, checked=True)\n", "y = lambda x: f(x)\n"),
        ("y = f(\n    checked=True,\n)\n", "y = f(\n    )\n"),
        ("y = f((x), checked=True)\n", "y = f((x))\n"),
        ("y = f(checked=True, *x)\n", "y = f(*x)\n"),
        (
            "y = f(\n    x,  # why, and\n    checked=True,  # was\n    z=1,\n)\n",
            "y = f(\n    x,  # why, and\n    z=1,\n)\n",
        ),
        ("def f(x, *, checked=False): ...\n", "def f(x): ...\n"),
        ("def f(x, *, z, checked=False, **w): ...\n", "def f(x, *, z, **w): ...\n"),
        ("def f(x, *y, checked=False): ...\n", "def f(x, *y): ...\n"),
        ("def f(checked, *, x): ...\n", "def f(*, x): ...\n"),
        ("def f(x, checked, /, z): ...\n", "def f(x, /, z): ...\n"),
    ],
)
def test_parameters_and_arguments_are_cut_by_name(text, then):
    assert until_settled(text, lambda parsed: rewriting._cut_members(parsed, ("checked", "needs"))) == then


def test_checks_go_with_their_words():
    text = '''
    def f(x: int) -> int:
        """Double x.

        Args:
            x: 1 or more.

        Raises:
            ConfigError: less
                than one.
            KeyError: never.
        """
        least = 1
        if x < least:
            raise ConfigError("x")
        check_more(x)
        return 2 * x


    def check_more(x: int) -> None:
        if x > 5:
            raise ConfigError("x")
    '''
    then = '''
    def f(x: int) -> int:
        """Double x.

        Args:
            x: 1 or more.

        Raises:
            KeyError: never.
        """
        return 2 * x
    '''
    assert trimmed(textwrap.dedent(text)).rstrip() == textwrap.dedent(then).rstrip()


def test_a_choice_stays():
    """What raises in one of several cases is no check, and keeps its promise."""
    doc = '"""F.\n\n    Raises:\n        ValueError: 2.\n    """'
    text = f"def f(x):\n    {doc}\n    if x:\n        return 1\n    raise ValueError\n"
    assert trimmed(text) == text


def test_a_docstring_of_one_line_ends_in_it():
    """Quotation marks within it change nothing."""
    text = 'def f(x):\n    """x: {"a": 1}.\n\n    Raises:\n        ConfigError: never.\n    """\n    return x\n'
    assert trimmed(text) == 'def f(x):\n    """x: {"a": 1}."""\n    return x\n'


def test_a_function_of_checks_alone_goes():
    method = (
        "    def __post_init__(self):\n        for b in self:\n            if b:\n                raise ConfigError()\n"
    )
    text = f"class A:\n    b = 1\n\n{method}"
    assert trimmed(text).rstrip() == "class A:\n    b = 1"


def test_names_and_where_they_are_from():
    text = "from fastreid_ext.layers import unit_length\n\n# of one\nONE = 1  # 1\n\n\ndef f(x: 'Later'):\n    ONE\n"
    source = parsed("m", text)
    assert [piece.names for piece in source.pieces] == [("ONE",), ("f",)]
    assert source.pieces[0].text == "# of one\nONE = 1  # 1" and source.pieces[1].apart
    assert names_in(source.pieces[1].node) == {"Later", "ONE"}
    assert resolved(source.imports["unit_length"]) == ("fastreid_ext.layers.unit_length", "unit_length")


def test_offsets_are_bytes():
    text = Text('x = "ü", 1 if isinstance(y, TokenTrunk) else 2\n')
    assert text.edited(rewriting._settled(text)) == 'x = "ü", 2\n'


def test_every_settled_condition_is_ours():
    """A rule whose text stands nowhere in our source any more would rot."""
    folders = ("modeling", *(paper.package for paper in plan.PAPERS))
    files = [file for folder in folders for file in (ROOT / folder).glob("*.py")]
    sources = "\n".join(file.read_text(encoding="utf-8") for file in files)
    for condition in plan.SETTLED:
        assert condition.replace("'", '"') in sources, condition
