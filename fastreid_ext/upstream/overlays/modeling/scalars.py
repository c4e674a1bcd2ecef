"""Numbers for the log."""

from collections.abc import Sequence

from fastreid.utils.events import get_event_storage
from torch import Tensor


def log_scalars(names: Sequence[str], values: Tensor) -> None:
    """Log numbers (n,) in FastReID's event storage, by as many names."""
    storage = get_event_storage()
    for name, number in zip(names, values.tolist(), strict=True):
        storage.put_scalar(name, number)
