"""What a config key may be set to: rules that the table of ranges is made of."""

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Rule:
    """What holds for every admissible value.

    Attributes:
        holds: value -> whether it is admissible.
        says: how it goes on behind "and must be".
        near: value -> what the user may have meant, as an end of the sentence; "" = no idea.
    """

    holds: Callable[[Any], bool]
    says: str | Callable[[], str]
    near: Callable[[Any], str] = lambda value: ""

    def complaint(self, key: str, value: Any) -> str:
        """Return the sentence about a value that is not admissible."""
        says = self.says if isinstance(self.says, str) else self.says()
        return f"{key} is {shortened(repr(value))} and must be {says}{self.near(value)}"


def number(
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    such_as: str = "",
) -> Rule:
    """A finite number in a range; ``low`` and ``high`` belong to it, ``above`` and ``below`` do not."""
    return Rule(
        lambda value: _is_number(value) and math.isfinite(value) and _within(value, low, high, above, below),
        "a finite number" + _range_text(low, high, above, below) + such_as,
    )


def whole(low: int | None = None, high: int | None = None, *, such_as: str = "") -> Rule:
    """A whole number in a range whose ends belong to it."""
    return Rule(
        lambda value: type(value) is int and _within(value, low, high, None, None),
        "a whole number" + _range_text(low, high, None, None) + such_as,
    )


def share(**ends: float) -> Rule:
    """A number from 0 to 1, or in a narrower range."""
    ends = {"low": 0, "high": 1} | ends
    ends = {key: value for key, value in ends.items() if not (key == "low" and "above" in ends)}
    ends = {key: value for key, value in ends.items() if not (key == "high" and "below" in ends)}
    return number(**ends)


FLAG = Rule(lambda value: type(value) is bool, "True or False")
TEXT = Rule(lambda value: isinstance(value, str) and "\0" not in value, "text")


def one_of(choices: Iterable[Any] | Callable[[], Iterable[Any]], listed: bool = True) -> Rule:
    """One of some values; of a registry a callable, because users register names of their own later.

    Args:
        choices: the values, or what returns them.
        listed: name all of them; else only the nearest.
    """

    def known() -> list[Any]:
        return list(choices() if callable(choices) else choices)

    def says() -> str:
        return f"one of {', '.join(map(str, known()))}" if listed else "a registered name"

    return Rule(lambda value: value in known(), says, lambda value: nearest(value, known(), everything_said=listed))


def listed(item: Rule, *, least: int = 0, most: int | None = None, such_as: str = "", what: str = "") -> Rule:
    """A list of ``least`` to ``most`` entries, each of which follows a rule."""

    def holds(value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and least <= len(value) <= (math.inf if most is None else most)
            and all(map(item.holds, value))
        )

    def says() -> str:
        if what:
            return what + such_as
        count = f"{least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        return f"a list of {count} entries, each {item.says if isinstance(item.says, str) else item.says()}{such_as}"

    def near(value: Any) -> str:
        wrong = [entry for entry in value if not item.holds(entry)] if isinstance(value, list | tuple) else []
        return item.near(wrong[0]) if wrong else ""

    return Rule(holds, says, near)


def pair(item: Rule, what: str, *, rising: bool = True) -> Rule:
    """Two values, the first not above the second if they must rise."""

    def holds(value: Any) -> bool:
        both = isinstance(value, list | tuple) and len(value) == 2 and all(map(item.holds, value))
        return both and (not rising or value[0] <= value[1])

    return Rule(holds, what)


def also(rule: Rule, holds: Callable[[Any], bool], says: str) -> Rule:
    """A rule with a further condition on its values."""
    return Rule(lambda value: rule.holds(value) and holds(value), says, rule.near)


def rising(values: Sequence[float]) -> bool:
    """Whether each number is above the one before it."""
    return all(a < b for a, b in zip(values, values[1:], strict=False))


def nearest(value: Any, known: Iterable[Any], everything_said: bool = False) -> str:
    """Return "; did you mean ...?" with the names most like a value, whatever their case; "" = none is."""
    names = {str(name).lower(): str(name) for name in known}
    found = difflib.get_close_matches(str(value).lower(), list(names), n=1 if everything_said else 3, cutoff=0.6)
    return f"; did you mean {' or '.join(names[name] for name in found)}?" if found else ""


def shortened(text: str, longest: int = 120) -> str:
    """Return a text for a message: in one line, and without its middle if it is long."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 4 :]}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(value: float, low: Any, high: Any, above: Any, below: Any) -> bool:
    return (
        (low is None or value >= low)
        and (high is None or value <= high)
        and (above is None or value > above)
        and (below is None or value < below)
    )


def _range_text(low: Any, high: Any, above: Any, below: Any) -> str:
    first = f"{low} or more" if low is not None else f"above {above}" if above is not None else ""
    last = f"not above {high}" if high is not None else f"below {below}" if below is not None else ""
    if low is not None and high is not None:
        return f" from {low} to {high}"
    text = " and ".join(filter(None, (first, last)))
    return f", {text}" if text else ""
