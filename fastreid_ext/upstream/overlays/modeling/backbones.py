"""Pretrained weights of a backbone that FastReID has no file for, loaded whole or not at all."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.modeling.weights import WeightsError

Build = Callable[[CfgNode], nn.Module]


@dataclass(frozen=True)
class Weights:
    """How a backbone comes to its pretrained weights.

    Attributes:
        published: (trunk, node MODEL.BACKBONE) -> the file.
        load: further arguments of :func:`load_pretrained`.
    """

    published: Callable[[nn.Module, CfgNode], Path]
    load: dict[str, Any] = field(default_factory=dict)


def with_pretrained(weights: Weights) -> Callable[[Build], Build]:
    """Decorate a function that builds a backbone: with MODEL.BACKBONE.PRETRAIN its weights are loaded."""

    def decorator(build: Build) -> Build:
        @functools.wraps(build)
        def build_and_load(cfg: CfgNode) -> nn.Module:
            backbone, node = build(cfg), cfg.MODEL.BACKBONE
            if node.PRETRAIN:
                load_pretrained(backbone, weights.published(backbone, node), **weights.load)
            return backbone

        return build_and_load

    return decorator


def load_pretrained(backbone: nn.Module, path: Path, describe: Callable[[dict], str]) -> None:
    """Load a state dict without its classifier.

    Args:
        backbone: gets the weights.
        path: of the file.
        describe: says of a state dict which network it is of.

    Raises:
        WeightsError: a weight that is missing, of another shape or one too many.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    own = backbone.state_dict()
    wrong = [name for name in {**own, **state} if name not in own or name not in state]
    wrong += [name for name in own if name in state and own[name].shape != state[name].shape]
    if wrong:
        raise WeightsError(
            f"{path} holds {describe(state)}, and {len(wrong)} weights do not fit this backbone, such as {wrong[0]}:"
            " name another file in MODEL.BACKBONE.PRETRAIN_PATH, or set PRETRAIN False"
        )
    backbone.load_state_dict(state)
