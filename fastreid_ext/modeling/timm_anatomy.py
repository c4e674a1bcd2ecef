"""Which modules of a network of timm's are its stem and its four stages, read off the network itself.

Its ``feature_info`` says behind which module the map is at a quarter, an eighth, a 16th and a 32nd of the image. A
forward pass says which modules run one after another, so that running them one by one is the network's own forward.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from fastreid_ext.errors import ConfigError, first_line
from fastreid_ext.modeling.anatomy import STAGES, Anatomy
from fastreid_ext.modeling.module_chain import NORMS, Call, chain_of, is_chain, watch

__all__ = ["REDUCTIONS", "SIZE", "Parts", "parts_of"]

REDUCTIONS = (4, 8, 16, 32)  # of the four stages
SIZE = (128, 64)  # of the image that is looked with: not square, to tell maps from those with their channels last
# The map gets smaller before the blocks of a stage, by modules that are named so.
SMALLER = re.compile(r"(^|[._])(down|pool|transition|patch_embed)")

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Parts:
    """The parts of a network.

    Attributes:
        anatomy: of the modules by their names in the network.
        names: of all of them, in the order in which they run.
    """

    anatomy: Anatomy
    names: tuple[str, ...]


def parts_of(network: nn.Module, name: str) -> Parts:
    """Return the parts of a network of timm's, which is looked at with one image; it is left as it was.

    Args:
        network: in eval mode.
        name: of it, for messages.

    Raises:
        ConfigError: it has no stem and four stages that run one after another.
        RuntimeError: it stops at tensors without numbers.
    """
    ends = _ends(network, name)
    images = next(network.parameters()).new_zeros(1, 3, *SIZE)
    try:
        whole = watch(network, network.forward_features, images)
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        if images.is_meta and isinstance(error, RuntimeError):  # it may have read numbers, which these have not
            raise
        raise ConfigError(
            f"timm's {name} takes images of some sizes only, and not of {SIZE[0]}x{SIZE[1]}"
            f" ({first_line(error)[:120]}): choose another MODEL.BACKBONE.TIMM.NAME"
        ) from error
    stages = [module for module, _ in ends]
    inside = [part for stage in stages for part in _outer(stage)]
    calls = list(chain_of(whole, lambda call: _is_sequence(call, inside))) if is_chain(whole) else []
    if not calls:
        raise _refused(name, "its modules do not run one after another")
    places = [_place(calls, module, channels, stage, name) for stage, (module, channels) in enumerate(ends, 1)]
    if sorted(set(places)) != places:
        raise _refused(name, "its stages do not run one after another")
    first = _first(calls, stages[0], places[0])
    bounds = [first, *(place + 1 for place in places[:-1]), len(calls)]
    names = [
        call.name if index <= places[-1] and _is_block(call) else f"+{call.name}" for index, call in enumerate(calls)
    ]
    idle = {index for index, call in enumerate(calls) if isinstance(call.module, nn.Identity)}
    spans = [range(first), *(range(bounds[i], bounds[i + 1]) for i in range(len(STAGES)))]
    stem, *words = (" ".join(names[index] for index in span if index not in idle) for span in spans)
    order = tuple(call.name for index, call in enumerate(calls) if index not in idle)
    return Parts(Anatomy(stem.replace("+", ""), tuple(words)), order)


def _refused(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"timm's {name} is no trunk with a stem and four stages, because {why}: choose another MODEL.BACKBONE.TIMM.NAME"
    )


def _ends(network: nn.Module, name: str) -> list[tuple[str, int]]:
    """Return (the module at its end, channels) of each stage.

    Raises:
        ConfigError: timm names no map at a stage's share of the image, or further ones behind stage 4.
    """
    infos = getattr(network, "feature_info", None)
    infos = infos if isinstance(infos, list) else getattr(infos, "info", [])
    by_share = {info["reduction"]: (info["module"], info["num_chs"]) for info in infos}  # the last one of each
    there = ", ".join(f"1/{share}" for share in sorted(by_share)) or "no place"
    for stage, share in zip(STAGES, REDUCTIONS, strict=True):
        if share not in by_share:
            raise _refused(name, f"it has no stage {stage}, whose map is at 1/{share} of the image (it has {there})")
    if max(by_share) > REDUCTIONS[-1]:
        raise _refused(name, f"it has a fifth stage, at 1/{max(by_share)} of the image")
    return [by_share[share] for share in REDUCTIONS]


def _outer(module: str) -> list[str]:
    """Return the names of a module and of those that it is in."""
    parts = module.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _is_sequence(call: Call, stages: Sequence[str]) -> bool:
    """Whether a chain is a list of blocks, and not a block whose modules happen to run one after another."""
    plain = type(call.module).forward is nn.Sequential.forward
    return (plain or call.name in stages) and all(_is_map(inner.made) for inner in call.calls)


def _is_map(made: Tensor) -> bool:
    """Whether a tensor is a map of the image looked with, its channels before its rows."""
    return made.dim() == 4 and any(_has_share(made, share) for share in (1, 2, *REDUCTIONS))


def _has_share(made: Tensor, share: int) -> bool:
    return tuple(made.shape[2:]) == tuple(side // share for side in SIZE)


def _place(calls: Sequence[Call], module: str, channels: int, stage: int, name: str) -> int:
    """Return the place of a stage's last module."""
    places = [i for i, call in enumerate(calls) if call.name == module or call.name.startswith(f"{module}.")]
    if not places:
        outer = next((call.name for call in calls if module.startswith(f"{call.name}.")), "a module")
        raise _refused(name, f"stage {stage} ends inside {outer}, at {module}, and that can only be run as a whole")
    made = calls[places[-1]].made
    if made.dim() != 4 or not _has_share(made, REDUCTIONS[stage - 1]) or made.shape[1] != channels:
        got = "x".join(map(str, made.shape[1:]))
        want = "x".join(map(str, (channels, *(side // REDUCTIONS[stage - 1] for side in SIZE))))
        raise _refused(name, f"the map of stage {stage} is {got} and not {want} for an image of {SIZE[0]}x{SIZE[1]}")
    return places[-1]


def _first(calls: Sequence[Call], stage: str, last: int) -> int:
    """Return the place of stage 1's first block: what comes before it, such as pooling, is of the stem."""
    named = [i for i, call in enumerate(calls) if call.name.startswith(f"{stage}.")]
    begin = named[0] if named else 0
    quarter = [i for i in range(begin, last + 1) if _is_block(calls[i]) and _has_share(calls[i].made, REDUCTIONS[0])]
    return quarter[0] if quarter else begin if named else last


def _is_block(call: Call) -> bool:
    """Whether a module is a residual block, and not a normalisation, a convolution or what makes the map smaller.

    Nor a list of layers whose maps are put side by side, as in a DenseNet: it runs whatever is added to it.
    """
    if isinstance(call.module, (*NORMS, *LISTS)) or not call.calls or SMALLER.search(call.name):
        return False
    return sum(isinstance(module, nn.Conv2d | nn.Linear) for module in call.module.modules()) > 1
