"""Values from the files of a run, which may be anybody's: what is not of the expected kind is not taken."""

import math
import re
from collections.abc import Mapping
from typing import Any

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LONGEST = 500  # letters of a text
MOST = 10_000  # entries of a list


def text(value: Any, longest: int = LONGEST) -> str:
    """Return a value as one text that UTF-8 can hold, cut to a length; "" for None.

    HTML would read control characters but the tab and the new line as others, and no two names would be equal any more.
    """
    found = "" if value is None else value if isinstance(value, str) else repr(value)
    found = CONTROL.sub("\ufffd", found.encode(errors="replace").decode())
    return found if len(found) <= longest else f"{found[:longest]}..."


def number(value: Any) -> float | None:
    """Return a finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:  # an int of hundreds of digits
        return None
    return found if math.isfinite(found) else None


def whole(value: Any) -> int | None:
    """Return a whole number of at most 15 digits, or None."""
    found = number(value)
    return int(found) if found is not None and found == int(found) and abs(found) < 1e15 else None


def numbers(value: Any) -> list[float]:
    """Return a list of finite numbers, [] if one of its entries is none."""
    entries = items(value)
    found = [number(entry) for entry in entries]
    return [] if None in found else found


def items(value: Any) -> list[Any]:
    """Return a list, of MOST entries at most; [] for anything else."""
    return value[:MOST] if isinstance(value, list) else []


def pairs(value: Any) -> dict[str, Any]:
    """Return a dict with texts for keys; {} for anything else."""
    found = dict(value) if isinstance(value, Mapping) else {}
    return {text(key): entry for key, entry in list(found.items())[:MOST]}
