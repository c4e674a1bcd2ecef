"""Random streams that depend on names only, never on global state or on the order of the work."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")


def random_state(*key: str | int) -> np.random.RandomState:
    """Return a NumPy ``RandomState`` seeded by the SHA-256 of the parts of ``key``.

    ``RandomState`` and not ``Generator``: NumPy freezes the streams of the former across versions.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.RandomState(int.from_bytes(digest[:4], "little"))


def pick(rng: np.random.RandomState, options: Sequence[Option], weights: Sequence[float] | None = None) -> Option:
    """Return one of some options at random.

    Args:
        rng: draws one number.
        options: to choose from.
        weights: one per option, on any positive scale; None for equal ones.
    """
    if weights is None:
        return options[rng.randint(len(options))]
    threshold = rng.random_sample() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        threshold -= weight
        if threshold < 0:
            return option
    return options[-1]
