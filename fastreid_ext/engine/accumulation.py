"""Gradient accumulation: a batch in parts, one after the other, for a device whose memory does not hold it whole."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from fastreid_ext.modeling.capabilities import MovesInForward


def parts_of(batch: Mapping[str, Any], parts: int) -> Iterator[dict[str, Any]]:
    """Yield the parts of a batch in its order, without copies of its tensors.

    Args:
        batch: tensors, lists and tuples of one entry an image, and values of the whole batch.
        parts: their number; it divides that of the images.

    Raises:
        ValueError: it doesn't.
    """
    count = len(batch["images"])
    if parts < 1 or count % parts:
        raise ValueError(f"{count} images can't be divided into {parts} parts")
    size = count // parts
    for start in range(0, count, size):
        yield {key: _slice(value, start, start + size, count) for key, value in batch.items()}


def share_steps(model: nn.Module, parts: int) -> None:
    """Tell the modules whose state moves in a forward pass that ``parts`` of these make one step."""
    for module in model.modules():
        if isinstance(module, MovesInForward):
            module.step_share = 1.0 / parts


def _slice(value: Any, start: int, end: int, count: int) -> Any:
    has_entries = value.dim() > 0 if isinstance(value, torch.Tensor) else isinstance(value, (list, tuple))
    return value[start:end] if has_entries and len(value) == count else value
