"""A new block of the kind of another one: without its stride, of other channels before and behind it, and untrained."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.last_stride import keep_size
from fastreid_ext.modeling.module_chain import NORMS, Call, innermost, size_of, watch

__all__ = ["fitted_block"]

WIDTHS = ("num_features", "num_channels", "in_channels", "out_channels", "groups", "dim")


@torch.no_grad()
def fitted_block(block: nn.Module, given: Tensor, channels: int) -> nn.Module | None:
    """Return a new block from ``channels`` to ``channels`` without stride; None if this kind can't be made so.

    Inside it is as wide as the given one. Layers of torch's begin with torch's initial values; other parameters, such
    as those that scale a branch, with the given block's.

    Args:
        block: untrained, in eval mode.
        given: (1, C, h, w), a map that it takes.
        channels: of the new one.
    """
    new = copy.deepcopy(block)
    whole = watch(new, new, given)
    for call in list(innermost(whole.calls)):
        if call.given is not None and size_of(call.given) == size_of(given) != size_of(call.made):
            keep_size(new, call)
    if not isinstance(whole.made, Tensor) or (given.shape[1], whole.made.shape[1]) != (channels, channels):
        _widen(watch(new, new, given), channels)
    for module in new.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    images = given.new_zeros(1, channels, *given.shape[2:])
    try:
        return new if new(images).shape == images.shape else None
    except (RuntimeError, AssertionError):  # two ways through the block that no longer have one size
        return None


def _widen(whole: Call, channels: int) -> None:
    """Give ``channels`` to what reads the block's input, and to what makes its output; what lies between stays."""
    calls = [call for call in _layers(whole.calls) if call.given is not None and isinstance(call.made, Tensor)]
    outer = [whole.given]
    for call in calls:  # from the input on, up to the first convolutions
        if any(call.given is tensor for tensor in outer):
            _set_width(call.module, 1, channels)
            if not _is_dense(call.module):
                outer.append(call.made)
    inner: list[Tensor] = []
    for call in reversed(calls):  # from the output back, up to the last convolutions
        if any(call.made is tensor for tensor in inner):
            if not _is_dense(call.module):
                inner.append(call.given)
            continue
        if call.made.dim() == 4 and call.made.shape[1] == whole.made.shape[1] and call.made.shape[2] > 1:
            _set_width(call.module, 0, channels)
        if _is_dense(call.module):
            inner.append(call.given)


def _layers(calls: list[Call]) -> Iterator[Call]:
    """Yield the innermost modules; one that weighs channels by numbers of the whole map stands for what is in it."""
    for call in calls:
        if not call.calls or isinstance(call.module, NORMS) or _is_gate(call):
            yield call
        else:
            yield from _layers(call.calls)


def _is_gate(call: Call) -> bool:
    """Whether a module is as squeeze-and-excitation: its convolutions read and make vectors, and it keeps the map."""
    maps = size_of(call.given) == size_of(call.made) != (1, 1)
    inside = [inner for inner in innermost(call.calls) if isinstance(inner.module, nn.Conv2d)]
    return maps and bool(inside) and all(size_of(inner.made) == (1, 1) for inner in inside)


def _is_dense(module: nn.Module) -> bool:
    """Whether a module has a number of channels before it of its own, and another one behind it."""
    return isinstance(module, nn.Conv2d) and module.groups != module.in_channels


def _set_width(module: nn.Module, side: int, channels: int) -> None:
    """Give a module another number of channels: behind it (side 0), before it (1), and both unless it is dense."""
    if inside := [layer for layer in module.modules() if _is_dense(layer) and layer is not module]:
        _set_width(inside[0], 1, channels)  # of a gate: the channels that it reads, and those that it weighs
        _set_width(inside[-1], 0, channels)
        return
    if _is_dense(module):
        name = ("out_channels", "in_channels")[side]
        old = getattr(module, name) // (module.groups if side else 1)
        setattr(module, name, channels)
        new = channels // (module.groups if side else 1)
        sides = (side,)
    else:
        widths = [getattr(module, name) for name in WIDTHS if isinstance(getattr(module, name, None), int)]
        own = [
            value.shape[0] for value in (*module._parameters.values(), *module._buffers.values()) if _has_rows(value)
        ]
        old, new, sides = next(iter([*widths, *own]), 0), channels, (0,)
        for name in WIDTHS:
            if getattr(module, name, None) == old:
                setattr(module, name, channels)
        if getattr(module, "normalized_shape", None) == (old,):
            module.normalized_shape = (channels,)
    for values in (module._parameters, module._buffers):
        for name, value in values.items():
            if _has_rows(value):
                values[name] = _resized(value, old, new, sides[0] if value.dim() > sides[0] else None)


def _has_rows(value: Tensor | None) -> bool:
    return value is not None and value.dim() > 0


def _resized(value: Tensor, old: int, new: int, side: int | None) -> Tensor:
    if side is None or value.shape[side] != old:
        return value
    shape = list(value.shape)
    shape[side] = new
    resized = value.new_full(shape, value.float().mean().item())
    return nn.Parameter(resized, value.requires_grad) if isinstance(value, nn.Parameter) else resized
