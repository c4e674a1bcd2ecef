"""The configs of a project in a checkout: ours, without the keys that nobody reads there."""

import posixpath
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from fastreid.config import CfgNode

from fastreid_ext import model_zoo
from fastreid_ext.upstream import plan

BASE = "_BASE_"


def configs_of(paper: plan.Paper, trunks: Collection[str]) -> dict[str, CfgNode]:
    """Return name -> config of a project's main configs whose data sets and trunk a checkout has.

    Args:
        paper: the project.
        trunks: names of backbones that the project registers.
    """
    found = {}
    for name in model_zoo.list_config_files():
        folder, file = posixpath.split(name)
        if folder != paper.project:
            continue
        cfg = model_zoo.get_config(name)
        sets = {*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS}
        if sets <= set(plan.DATA_SETS) and cfg.MODEL.BACKBONE.NAME in (*plan.TRUNKS, *trunks):
            found[file] = cfg
    return found


def rows_of(configs: Mapping[str, CfgNode]) -> dict[str, tuple[str, ...]]:
    """Return table -> the rows that some configs name."""
    losses = {name for cfg in configs.values() for name in cfg.MODEL.LOSSES.NAME}
    augmentations = {name for cfg in configs.values() for name in cfg.INPUT.BATCH_AUGMENT.NAME}
    return {"LOSSES": tuple(sorted(losses)), "AUGMENTATIONS": tuple(sorted(augmentations))}


def config_files(paper: plan.Paper, names: Collection[str], known: CfgNode) -> dict[str, str]:
    """Return file -> text of some configs and their bases, all in one folder.

    Args:
        paper: the project.
        names: of the configs.
        known: a config with all keys that there are in a checkout.
    """
    folder, files, open_names = Path(model_zoo.get_config_file("Base-ReID.yml")).parent, {}, list(names)
    while open_names:
        name = open_names.pop()
        place = next(path for path in (folder / paper.project / name, folder / name) if path.is_file())
        text = place.read_text(encoding="utf-8")
        base = yaml.safe_load(text).get(BASE)
        if base:
            text = text.replace(f"{BASE}: {base}", f"{BASE}: {posixpath.basename(base)}")
            open_names.append(posixpath.basename(base))
        files[name] = without_unknown(text, known)
    return files


def without_unknown(text: str, known: CfgNode) -> str:
    """Return a yaml's text without the lines of keys that a config does not have."""
    lines = text.splitlines(keepends=True)
    for first, last in sorted(_unknown(yaml.compose(text), known), reverse=True):
        del lines[first:last]
    return "".join(lines)


def _unknown(node: yaml.MappingNode, known: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    for key, value in node.value:
        if key.value == BASE:
            continue
        if key.value not in known:
            yield key.start_mark.line, max(value.end_mark.line, key.start_mark.line + 1)
        elif isinstance(value, yaml.MappingNode) and isinstance(known[key.value], Mapping):
            yield from _unknown(value, known[key.value])
