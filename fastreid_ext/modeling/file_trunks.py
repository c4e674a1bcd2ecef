"""What a file of ``fastreid-ext export --format weights`` says of its trunk, for whoever builds another one."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fastreid_ext.errors import UserError
from fastreid_ext.foreign_files import shown
from fastreid_ext.modeling.safetensors_files import RECORD, begins_as_safetensors, read_safetensors

# Where a trunk's weights come from, which says nothing of its shape.
OF_LOADING = ("PRETRAIN", "PRETRAIN_PATH", "PRETRAIN_PARTIAL")
LONGEST_RECORD, LONGEST_CONFIG = 1 << 20, 1 << 16  # characters
MOST_BRACKETS = 500  # that open: deep nesting takes seconds
NAME = re.compile(r"\w{1,60}")  # shown without quotes


def other_keys(path: str | Path, node: Mapping[str, Any]) -> str:
    """Return the keys of MODEL.BACKBONE that a file's trunk has and another one has not, with their values.

    Args:
        path: the file, which may be of anybody.
        node: MODEL.BACKBONE of the other trunk.

    Returns:
        Such as "MODEL.BACKBONE.NAME build_osnet_backbone, DEPTH x0_25"; "" where the file says nothing, or the same.
    """
    theirs, node = _flat(_backbone_of(path)), _flat(node)
    odd = [key for key in node if key in theirs and key not in OF_LOADING and theirs[key] != node[key]]
    plain = [key for key in odd if isinstance(theirs[key], str | int | float)]
    values = {key: theirs[key] if isinstance(theirs[key], str) else repr(theirs[key]) for key in plain}
    named = ", ".join(
        f"{key} {value if NAME.fullmatch(value) else shown(theirs[key])}" for key, value in values.items()
    )
    return f"MODEL.BACKBONE.{named}" if named else ""


def _flat(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a node and of the nodes in it, such as "NARROW.WIDTH"."""
    inner = {
        f"{key}.{name}": value for key, part in node.items() if isinstance(part, dict) for name, value in part.items()
    }
    return {**{key: value for key, value in node.items() if not isinstance(value, dict)}, **inner}


def _backbone_of(path: str | Path) -> Mapping[str, Any]:
    """Return MODEL.BACKBONE of the config in a file; nothing where there is none, or one that is not ours."""
    try:
        text = read_safetensors(path, "no tensor")[1].get(RECORD, "{}") if begins_as_safetensors(path) else "{}"
        config = json.loads(text)["config"] if len(text) <= LONGEST_RECORD else ""
        if not isinstance(config, str) or len(config) > LONGEST_CONFIG:
            return {}
        if "&" in config or config.count("[") + config.count("{") > MOST_BRACKETS:  # anchors may multiply
            return {}
        found = yaml.safe_load(config)["MODEL"]["BACKBONE"]
    except (LookupError, RecursionError, TypeError, ValueError, UserError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
