"""The modules of a network that run one after another, found by watching a forward pass.

Whoever calls them in this order computes what the network computes: each reads the very tensor that the one before it
made, so nothing happens between them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NORMS", "Call", "chain_of", "innermost", "is_chain", "size_of", "watch"]

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass(eq=False)
class Call:
    """A module at work.

    Attributes:
        name: its dotted name; "" = the network's own.
        module: it.
        given: the tensor that it read; None where it read more than one.
        made: what it returned.
        calls: of the modules inside it, in their order.
    """

    name: str
    module: nn.Module | None
    given: Tensor | None
    made: Any = None
    calls: list["Call"] = field(default_factory=list)


@torch.no_grad()
def watch(network: nn.Module, forward: Callable[[Tensor], Any], images: Tensor) -> Call:
    """Run a forward and return what was called in it. All tensors are kept: an address tells them apart.

    Args:
        network: whose modules are watched.
        forward: images (B, 3, H, W) -> anything, by modules of the network.
        images: the images.
    """
    whole = Call("", None, images)
    open_calls = [whole]

    def begin(name: str, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        alone = len(given) == 1 and not named and isinstance(given[0], Tensor)
        call = Call(name, module, given[0] if alone else None)
        open_calls[-1].calls.append(call)
        open_calls.append(call)

    def end(made: Any) -> None:
        open_calls.pop().made = made

    handles = []
    for name, module in network.named_modules():
        if module is not network:
            handles.append(
                module.register_forward_pre_hook(
                    lambda module, given, named, name=name: begin(name, module, given, named), with_kwargs=True
                )
            )
            handles.append(module.register_forward_hook(lambda module, given, made: end(made)))
    try:
        whole.made = forward(images)
    finally:
        for handle in handles:
            handle.remove()
    return whole


def is_chain(call: Call) -> bool:
    """Whether the modules inside one run one after another and do all that it does."""
    at = call.given
    for inner in call.calls:
        if at is None or inner.given is not at or not isinstance(inner.made, Tensor):
            return False
        at = inner.made
    return bool(call.calls) and at is call.made


def chain_of(call: Call, opens: Callable[[Call], bool]) -> Iterator[Call]:
    """Yield the modules that run one after another inside one.

    Args:
        call: a chain.
        opens: chain -> whether its own modules stand in its place.
    """
    for inner in call.calls:
        if is_chain(inner) and opens(inner):
            yield from chain_of(inner, opens)
        else:
            yield inner


def innermost(calls: list[Call]) -> Iterator[Call]:
    """Yield the modules that call no others; a normalisation with its activation is one module."""
    for call in calls:
        if call.calls and not isinstance(call.module, NORMS):
            yield from innermost(call.calls)
        else:
            yield call


def size_of(made: Any) -> tuple[int, ...] | None:
    """Return (h, w) of a map (B, C, h, w); None of anything else."""
    return tuple(made.shape[2:]) if isinstance(made, Tensor) and made.dim() == 4 else None
