"""What the probes of the patches share: trying the host's code without a trace.

A probe runs the host's own function on a few numbers, with stand-ins for what it must not touch (CUDA, process groups,
files), and returns whether the fault shows; an exception means the same. Probes run at import, so all of them together
take a fraction of a second. Few of them read the host's source instead; their docstrings say why.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["Asked", "refuse", "silent", "swapped"]


class Asked(Exception):
    """The host called what a probe had put a stand-in for."""


def refuse(*args: Any, **kwargs: Any) -> None:
    """Stand in for something that the host must not call."""
    raise Asked


@contextlib.contextmanager
def swapped(owner: Any, **values: Any) -> Iterator[None]:
    """Give attributes of a module or class other values for a while."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep warnings, log records and prints to ourselves."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
