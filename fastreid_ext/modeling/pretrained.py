"""Pretrained weights of a trunk: every tensor accounted for, or one sentence.

A trunk that a part of its weights was loaded into trains, and nobody knows. So the file's names are brought to the
trunk's, by whatever wrapper and prefix they have, and each tensor of the trunk has to be there in its shape. What the
file has beyond the trunk, such as a classifier, is left out; more of the trunk itself, such as further blocks, is of
another network.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fastreid_ext.errors import UserError
from fastreid_ext.foreign_files import caption, shown
from fastreid_ext.modeling.weights import WeightsError, no_floats, not_finite, read_file, states_in

__all__ = ["NON_LOCAL", "load_pretrained"]

logger = logging.getLogger(__name__)

# Blocks that start as the identity: without weights of their own they leave the others their meaning.
NON_LOCAL = r"NL_\d+\."
CLASSIFIER = r"(head\.)?(fc|classifier|last_linear|linear)\."
COUNTER = "num_batches_tracked"
SHOWN, LONGEST = 5, 100  # names in a message, and characters of each: they are a file's
# What only one of two variants of a network has in its names -> the key that chooses it.
VARIANTS = {
    r"(^|\.)IN\.": "MODEL.BACKBONE.WITH_IBN",
    r"\.se\.": "MODEL.BACKBONE.WITH_SE",
    NON_LOCAL: "MODEL.BACKBONE.WITH_NL",
}

Describe = Callable[[Mapping[str, Tensor]], str]
Adapt = Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]
Rename = Callable[[nn.Module, Any], Any]


def load_pretrained(
    backbone: nn.Module,
    path: str | Path,
    *,
    partial: bool = False,
    added: str = NON_LOCAL,
    adapt: Adapt | None = None,
    rename: Rename | None = None,
    describe: Describe | None = None,
) -> None:
    """Load the weights of a file into a trunk: all of the trunk's or none, unless ``partial``.

    Counters of batch norms do not count: files of older versions of torch have none.

    Args:
        backbone: the trunk.
        path: the file; a state dict in it may stand in other dicts, and its names behind any prefix.
        partial: load what fits, and log what does not (MODEL.BACKBONE.PRETRAIN_PARTIAL).
        added: pattern of the names' beginning that a file need not have, because the trunk adds these on purpose.
        adapt: (trunk, weights in the trunk's names) -> the weights in its shapes.
        rename: (trunk, what the file holds) -> the same in the trunk's names.
        describe: weights -> which config they are of, for the message.

    Raises:
        WeightsError: a file that can't be read safely, weights of another network, or values that are not finite.
    """
    try:
        loaded = read_file(path)
    except UserError as error:
        raise WeightsError(f"MODEL.BACKBONE.PRETRAIN_PATH: {error}") from error
    loaded = rename(backbone, loaded) if rename else loaded
    own = _counted(backbone.state_dict())
    needed = sum(not re.match(added, key) for key in own)
    theirs, source, beside = _of_trunk(loaded, own, needed, path)
    theirs = adapt(backbone, theirs) if adapt else theirs
    odd = no_floats(theirs, own)
    same = {key: theirs[key] for key in own if key in theirs and theirs[key].shape == own[key].shape}
    fitting = {key: value.to(own[key].dtype) for key, value in same.items() if key not in odd}
    anew = sorted(key for key in own.keys() - theirs.keys() if re.match(added, key))
    problems = {
        "missing": sorted(own.keys() - theirs.keys() - set(anew)),
        "unexpected": sorted(key for key in theirs.keys() - own.keys() if _is_of_trunk(key, own)),
        "of another shape": sorted((own.keys() & theirs.keys()) - same.keys()),
        "without floats": sorted(odd),
    }
    net = type(backbone).__name__
    if any(problems.values()) and not (partial and fitting):
        logger.info("%s does not fit the %s of MODEL.BACKBONE%s", path, net, _listed(problems))
        kinds = [(describe or _blocks)(state) for state in (theirs, own)]
        of = (
            f"; it holds {kinds[0]}, and this one is {kinds[1]}"
            if kinds[0] and (describe or kinds[0] != kinds[1])
            else ""
        )
        advice = "MODEL.BACKBONE.PRETRAIN_PARTIAL True loads what fits" if fitting else "nothing in it fits"
        raise WeightsError(
            f"{path} does not fit the {net} of MODEL.BACKBONE: {_counts(problems)}{of}"
            f"{_variant(problems, theirs)}; {advice}"
        )
    if broken := not_finite(fitting):
        raise WeightsError(
            f"{path} has values that are NaN or infinite in {len(broken)} tensors ({_such_as(broken)}): its training"
            " diverged, so name another file"
        )
    backbone.load_state_dict(fitting, strict=False)  # not strict: the counters, and what is added
    whole = f"all {len(own)}" if len(fitting) == len(own) else f"{len(fitting)} of {len(own)}"
    left_out = sorted({*beside, *(theirs.keys() - own.keys() - set(problems["unexpected"]))})
    rest = f"; left out: {_such_as(left_out, '')}" if left_out else ""
    logger.info("loaded %s weights and buffers of the %s from %s%s", whole, net, path, rest)
    if source:
        logger.info("%s: %s", path, source)
    if anew:
        logger.info("not in the file, and trained anew, as this trunk adds them: %d (%s)", len(anew), _such_as(anew))
    if any(problems.values()):
        logger.warning("the rest of the %s is trained anew: %s does not fit it%s", net, path, _listed(problems))


def _counted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.endswith(COUNTER)}


def _of_trunk(
    loaded: object, own: Mapping[str, Tensor], needed: int, path: str | Path
) -> tuple[dict[str, Tensor], str, list[str]]:
    """Find the trunk's weights in what a file holds: in the dict, and behind the prefix, with most of its names.

    Of several with equally many, such as a deeper teacher and its student, it is those that fit best.

    Args:
        loaded: what the file holds.
        own: the trunk's weights.
        needed: how many of them a whole trunk has at least.
        path: the file, for messages.

    Returns:
        Them by the trunk's names, what was taken off in words, and the names beside them.

    Raises:
        WeightsError: no tensors, or two such sets with other values.
    """
    states = [(at, _counted(state)) for at, state in states_in(loaded)]
    states = [(at, state) for at, state in states if state]
    if not states:
        raise WeightsError(f"MODEL.BACKBONE.PRETRAIN_PATH: {path} holds no state dict of tensors")
    found = [(count, at, state, prefix) for at, state in states for prefix, count in _prefixes(state, own).items()]
    most = max((count for count, *_ in found), default=0)
    most_names = [one for one in found if one[0] == most] or [(0, *states[0], "")]
    whole = [one for one in most_names if one[0] >= needed]
    best = min(whole, key=lambda one: _misfits(_behind(*one[2:]), own)) if whole else most_names[0]
    _, at, state, prefix = best
    taken = _behind(state, prefix)
    for one in found:
        count, elsewhere, another, other = one
        theirs = _behind(another, other)
        if one is best or count < needed or _misfits(theirs, own) > _misfits(taken, own):
            continue  # another network
        if another is state and count == most and _differ(own, taken, theirs):
            raise WeightsError(
                f"{path} holds the trunk of MODEL.BACKBONE twice, at {shown(prefix)} and {shown(other)}: save one of"
                " them alone"
            )
        if another is not state and _differ(own, taken, theirs):
            logger.warning(
                "%s holds the trunk more than once, with other values: its %s is taken, not its %s",
                *(path, shown(at or "first level"), shown(elsewhere or "first level")),
            )
    words = [f"took its {shown(at)}" if at else "", f"took {shown(prefix)} off its names" if prefix else ""]
    beside = [key for key in state if not key.startswith(prefix)]
    return taken, " and ".join(filter(None, words)), beside


def _misfits(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    """Count the weights of another shape than the trunk's, and those of a trunk that has more."""
    return sum(value.shape != own[key].shape if key in own else _is_of_trunk(key, own) for key, value in state.items())


def _behind(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def _differ(own: Iterable[str], one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    shared = (key for key in own if key in one and key in other)
    # torch does not compare floats of 8 bits.
    return any(not one[key].double().equal(other[key].double()) for key in shared)


def _prefixes(state: Iterable[str], own: Mapping[str, Tensor]) -> Counter[str]:
    """Count the trunk's names behind each prefix that ends in a dot, or none."""
    counts: Counter[str] = Counter()
    for key in state:
        starts = [0, *(place + 1 for place, letter in enumerate(key) if letter == ".")]
        counts.update(key[:start] for start in starts if key[start:] in own)
    return counts


def _is_of_trunk(key: str, own: Mapping[str, Tensor]) -> bool:
    """Whether a name that the trunk lacks belongs to a trunk, and not to what a file has besides."""
    inside = key.split(".")[0] in {name.split(".")[0] for name in own} or bool(re.match(NON_LOCAL, key))
    return inside and not re.match(CLASSIFIER, key)


def _blocks(state: Mapping[str, Tensor]) -> str:
    """Say how many blocks the stages of weights have."""
    blocks: dict[str, set[str]] = {}
    for key in state:
        match = re.match(r"(\w+)\.(?:[a-z]+)?(\d+)\.", key)
        if match:
            blocks.setdefault(match[1], set()).add(match[2])
    return ", ".join(
        f"{len(numbers)} blocks in {stage}" for stage, numbers in sorted(blocks.items()) if len(numbers) > 1
    )


def _variant(problems: Mapping[str, list[str]], theirs: Iterable[str]) -> str:
    """Say which key's parts a file has or lacks; names that are missing in a shallower trunk say nothing of that."""
    for pattern, key in VARIANTS.items():
        if any(re.search(pattern, name) for name in problems["unexpected"]):
            return f"; it is of a network with what {key} True builds"
        lacked = any(re.search(pattern, name) for name in problems["missing"])
        if lacked and not any(re.search(pattern, name) for name in theirs):
            return f"; it is of a network without what {key} True builds"
    return ""


def _counts(problems: Mapping[str, list[str]]) -> str:
    return ", ".join(f"{len(keys)} {what} ({_such_as(keys)})" for what, keys in problems.items() if keys)


def _listed(problems: Mapping[str, list[str]]) -> str:
    return "".join(f"\n  {what:16}  {caption(key)}" for what, keys in problems.items() for key in keys)


def _such_as(keys: list[str], start: str = "such as ") -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN and not start else ""
    return f"{start}{', '.join(caption(key[:LONGEST]) for key in keys[:SHOWN])}{more}"
