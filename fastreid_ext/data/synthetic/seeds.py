"""Random streams that depend on names only, never on global state or on the order of the work."""

import hashlib

import numpy as np


def random_state(*key):
    """A NumPy ``RandomState`` seeded by the SHA-256 of the parts of ``key`` (str or int).

    ``RandomState`` and not ``Generator``: NumPy freezes the streams of the former across versions.
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return np.random.RandomState(int.from_bytes(digest[:4], "little"))


def pick(rng, options, weights=None):
    """One of ``options``; ``weights`` (same length, any positive scale) default to equal ones."""
    if weights is None:
        return options[rng.randint(len(options))]
    threshold = rng.random_sample() * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        threshold -= weight
        if threshold < 0:
            return option
    return options[-1]
