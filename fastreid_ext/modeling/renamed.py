"""Weights and settings written before their names were what they are now."""

import re
from collections.abc import Mapping
from typing import Any

from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import nn

from fastreid_ext.modeling.capabilities import RenamesWeights, TakesMaps

# SOLVER.LR_FACTORS names modules: those that have moved into the head.
MOVED = {"verification": "heads.verification"}


def renamed_state(state: Mapping[str, Any], model: nn.Module) -> tuple[dict[str, Any], int]:
    """Give the weights of a state dict the names that a model has for them.

    A name that the model has stays; another is taken through the model's table ``renamed``, pairs of a pattern of the
    name's beginning and what it is now, of which the first that fits counts.

    Returns:
        The state dict in its order, without the "module." that DDP puts before every name, and how many were renamed.
    """
    if state and all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    own, table = model.state_dict().keys(), model.renamed if isinstance(model, RenamesWeights) else ()
    names = {}
    for key in state:
        new = key if key in own else _renamed(key, table)
        names[key] = new if new in own and new not in state else key
    return {names[key]: value for key, value in state.items()}, sum(key != name for key, name in names.items())


def _renamed(key: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in table:
        match = re.match(pattern, key)
        if match:
            return match.expand(new) + key[match.end() :]
    return key


def renamed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat settings of a run, KEY -> value, as they are written today.

    Before heads were plug-ins no meta-architecture of ours read MODEL.HEADS.NAME, so it kept FastReID's default: such
    a run had the head that its config names today, and the key is left out.
    """
    settings = dict(settings)
    ours = isinstance(META_ARCH_REGISTRY._obj_map.get(settings.get("MODEL.META_ARCHITECTURE")), TakesMaps)
    if ours and settings.get("MODEL.HEADS.NAME") == "EmbeddingHead":
        del settings["MODEL.HEADS.NAME"]
        factors = settings.get("SOLVER.LR_FACTORS", [])
        settings["SOLVER.LR_FACTORS"] = [[MOVED.get(name, name), factor] for name, factor in factors]
    return settings
