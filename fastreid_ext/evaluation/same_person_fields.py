"""What each field of a file of thresholds may hold; such a file may be of anybody."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastreid_ext.evaluation.calibration import FITS, MEASURES, Calibration, Line, Steps
from fastreid_ext.evaluation.distances import DISTANCE_METRICS
from fastreid_ext.evaluation.pair_thresholds import MEASURED_AT, NAMES
from fastreid_ext.foreign_files import are_whole_numbers

MOST_STEPS = 1_000_000


def wrong_field(data: Mapping[str, Any]) -> str:
    """Return the name of a field with a value that can't be; "" = none. All of FITTING are there."""
    return next((name for name, fits in FITTING.items() if not fits(data[name])), "")


def read_calibration(value: Mapping[str, Any]) -> Calibration:
    """Return a calibration from its node, which has been found to fit."""
    if value["method"] == Steps.name:
        return Steps(*(tuple(float(one) for one in value[name]) for name in ("starts", "log_odds")))
    return Line(*(float(value[name]) for name in ("slope", "offset", "lowest", "highest")))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and _as_float(value) is not None


def _as_float(value: int | float) -> float | None:
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # JSON has whole numbers of any length
        return None


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) <= MOST_STEPS and all(map(_is_number, value))


def _are_rising(value: Any, strictly: bool) -> bool:
    if not _are_numbers(value):
        return False
    steps = np.diff(np.asarray(value, dtype=np.float64))
    return bool((steps > 0).all() if strictly else (steps >= 0).all())


def _is_calibration(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("method") == Steps.name:
        starts, log_odds = value.get("starts"), value.get("log_odds")
        rising = _are_rising(starts, strictly=True) and _are_rising(log_odds, strictly=False)
        return rising and len(log_odds) == len(starts) + 1
    numbers = [value.get(name) for name in Line.__dataclass_fields__ if name != "name"]
    if value.get("method") != Line.name or not all(map(_is_number, numbers)):
        return False
    slope, _, lowest, highest = numbers
    return slope >= 0 and lowest <= highest


def _are_texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_measures(value: Any, names: set[str], measures: tuple[str, ...]) -> bool:
    """Whether it is name -> measure -> number, of some of these names."""
    return (
        isinstance(value, dict)
        and set(value) <= names
        and all(
            isinstance(one, dict) and set(one) == set(measures) and all(map(_is_number, one.values()))
            for one in value.values()
        )
    )


FITTING: Mapping[str, Callable[[Any], bool]] = {
    "metric": lambda value: isinstance(value, str) and value in DISTANCE_METRICS,
    "calibration": _is_calibration,
    "thresholds": lambda value: (
        isinstance(value, dict)
        and set(value) == set(NAMES)
        and all(one is None or _is_number(one) for one in value.values())
    ),
    "notes": lambda value: isinstance(value, dict) and set(value) <= set(NAMES) and _are_texts(value.values()),
    **{name: lambda value: are_whole_numbers([value], least=1) for name in ("positives", "negatives", "people")},
    "rates": lambda value: _are_measures(value, set(NAMES), MEASURED_AT),
    "held_out": lambda value: _are_measures(value, set(FITS), MEASURES) and set(value) == set(FITS),
    "seed": lambda value: are_whole_numbers([value]),
    "warnings": lambda value: isinstance(value, list) and _are_texts(value),
    **{name: lambda value: isinstance(value, str) for name in ("measured_on", "model_sha256", "config_sha256")},
    "prior": lambda value: _is_number(value) and 0 < value < 1,
}
