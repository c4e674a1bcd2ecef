"""Merges a yaml and KEY VALUE pairs into a config; all mistakes of both are said at once."""

import ast
import copy
import difflib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from fastreid.config.config import BASE_KEY

from fastreid_ext.config import host_get_cfg
from fastreid_ext.engine.checks.listing import raise_together
from fastreid_ext.engine.checks.paths import expand_paths
from fastreid_ext.engine.checks.ranges import RANGES, out_of_range
from fastreid_ext.engine.checks.rules import TEXT, listed, shortened
from fastreid_ext.engine.config_files import read_with_bases
from fastreid_ext.engine.csv_sets import is_listing, register_csv_sets
from fastreid_ext.engine.key_tracking import leaves, note_given
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo.shipped import config_folder
from fastreid_ext.modeling.augmentation_table import AUGMENTATIONS
from fastreid_ext.modeling.backbones import trunk_builder
from fastreid_ext.modeling.timm_trunk import BUILDER as TIMM_BUILDER
from fastreid_ext.modeling.timm_trunk import NEAR, pixels_of

logger = logging.getLogger(__name__)

COMMAND_LINE = "the command line"
LONGEST_VALUE = 100_000  # characters
OF_A_RUN = 0.75  # of FastReID's keys: nobody writes as many by hand, and an older FastReID lacks some
NAMES = listed(TEXT, what='a list of names, such as ["Market1501"]')


def merge_config(cfg: CfgNode, config_file: str, overrides: Sequence[str]) -> None:
    """Merge a yaml and KEY VALUE pairs into cfg, and note in it which keys the user gave.

    The user gave what stands on the command line, and in a yaml of their own; not what stands in a shipped one, in one
    that it is based on, or in the complete config.yaml of a run, ours or one of FastReID's own trainer.

    Raises:
        ConfigError: no such file, or everything that is wrong in it and on the command line: keys that do not exist
            (the message has similar ones), values of the wrong type or out of their range, KEY without VALUE.
    """
    merger = _Merger(cfg)
    given: set[str] = set()
    of_a_run, hosts = False, {key for key, _ in leaves(host_get_cfg())}
    for path, tree in read_with_bases(config_file) if config_file else ():
        values = dict(merger.flat(path, tree))
        merger.merge(path, values)
        of_a_run = len(hosts & set(values)) >= OF_A_RUN * len(hosts)
        own = path == config_file and not _is_shipped(path) and not of_a_run
        given = set(values) if own else given - set(values)
    values = dict(merger.pairs(list(overrides)))
    merger.merge(COMMAND_LINE, values)
    expand_paths(cfg)
    given_at = dict.fromkeys(given, False) | dict.fromkeys(values, True)
    _give_way(cfg, given_at)
    if not of_a_run:  # it has them already
        _take_pixels(cfg, given_at)
    note_given(cfg, given_at)
    if "DATASETS.CSV" not in merger.refused and is_listing(cfg.DATASETS.CSV):
        try:
            register_csv_sets(cfg)  # before any check of names
        except ConfigError as error:
            merger.mistakes.append(str(error))
    wrong = [sentence for key, sentence in out_of_range(cfg) if key not in merger.refused]
    raise_together([*merger.mistakes, *wrong])


def merge_trees(cfg: CfgNode, trees: Sequence[tuple[str, Mapping[str, Any]]], overrides: Sequence[str]) -> None:
    """Merge the keys of a model that was trained, and KEY VALUE pairs, into cfg.

    Args:
        cfg: the defaults.
        trees: (where it stands, keys as a tree), the later ones over the earlier ones.
        overrides: KEY VALUE pairs over all of them; these alone count as given by the user.

    Raises:
        ConfigError: as :func:`merge_config`.
    """
    merger = _Merger(cfg)
    for source, tree in trees:
        merger.merge(source, dict(merger.flat(source, tree)))
    values = dict(merger.pairs(list(overrides)))
    merger.merge(COMMAND_LINE, values)
    expand_paths(cfg)
    note_given(cfg, dict.fromkeys(values, True))
    wrong = [sentence for key, sentence in out_of_range(cfg) if key not in merger.refused]
    raise_together([*merger.mistakes, *wrong])


def _give_way(cfg: CfgNode, given: Mapping[str, bool]) -> None:
    """Switch INPUT.REA off where the user chose a batch augmentation that erases, and a base file INPUT.REA."""
    chosen_names = list(cfg.INPUT.BATCH_AUGMENT.NAME)
    names = [name for name, entry in AUGMENTATIONS.items() if entry.erases and name in chosen_names]
    chosen = "INPUT.BATCH_AUGMENT.NAME" in given and "INPUT.REA.ENABLED" not in given
    if names and chosen and cfg.INPUT.REA.ENABLED is True:
        cfg.INPUT.REA.ENABLED = False
        logger.warning(
            "INPUT.BATCH_AUGMENT.NAME %s erases in the place of the base file's INPUT.REA, which is off now", names[0]
        )


def _take_pixels(cfg: CfgNode, given: Mapping[str, bool]) -> None:
    """Take the mean and standard deviation of a network of timm's, where the user gave no others."""
    if trunk_builder(cfg) != TIMM_BUILDER:
        return
    for key, values in pixels_of(cfg.MODEL.BACKBONE.TIMM.NAME).items():
        name = key.removeprefix("MODEL.")
        if key not in given and max(abs(a - b) for a, b in zip(cfg.MODEL[name], values, strict=True)) > NEAR:
            cfg.MODEL[name] = values
            logger.info("%s is %s, as timm says of %s", key, values, cfg.MODEL.BACKBONE.TIMM.NAME)


class _Merger:
    """Puts values into a config, and gathers a sentence for each that does not belong there."""

    def __init__(self, cfg: CfgNode):
        self.cfg = cfg
        self.defaults = dict(leaves(cfg))
        self.nodes = {key[:place] for key in self.defaults for place, letter in enumerate(key) if letter == "."}
        self.mistakes: list[str] = []
        self.refused: set[str] = set()

    def flat(self, source: str, tree: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
        """Yield (dotted key, value) of the tree of a yaml."""
        for name, value in tree.items():
            key = f"{path}{name}"
            if not isinstance(name, str) or "." in name:
                self._refuse(
                    source, key, f"{shortened(key)} must be keys below each other, such as SOLVER: {{MAX_EPOCH: 60}}"
                )
            elif key in self.nodes and isinstance(value, Mapping):
                yield from self.flat(source, value, f"{key}.")
            elif isinstance(value, Mapping) and key not in self.defaults:
                self._refuse(source, key, f"Non-existent key: {shortened(key)}{self._near(_first_leaf(key, value))}")
            else:
                yield key, value

    def pairs(self, overrides: list[str]) -> Iterator[tuple[str, Any]]:
        """Yield (dotted key, value) of KEY VALUE pairs."""
        late = [item for item in overrides if str(item).startswith("--")]
        if late:
            raise ConfigError(f"{COMMAND_LINE}: {late[0]} must stand before the KEY VALUE pairs")
        if len(overrides) % 2:
            self.mistakes.append(
                f"{COMMAND_LINE}: Override list has odd length: {' '.join(map(str, overrides))}; each KEY has a VALUE"
            )
            return
        yield from zip(map(str, overrides[::2]), overrides[1::2], strict=True)

    def merge(self, source: str, values: Mapping[str, Any]) -> None:
        """Put the values where they belong."""
        for key, value in values.items():
            try:
                self._put(key, self._fitting(key, value))
            except ConfigError as error:
                self._refuse(source, key, str(error))

    def _put(self, key: str, value: Any) -> None:
        *path, last = key.split(".")
        node = self.cfg
        for part in path:
            node = node[part]
        node[last] = copy.deepcopy(value)  # two keys of a yaml may share a list by an alias

    def _refuse(self, source: str, key: str, sentence: str) -> None:
        self.refused.add(key)
        self.mistakes.append(f"{source}: {sentence}")

    def _fitting(self, key: str, raw: Any) -> Any:
        """Return a value as the type that its key has."""
        if key == BASE_KEY:
            raise ConfigError(f"the reserved key {BASE_KEY} can only be used in files")
        if key in self.nodes:
            first = next(leaf for leaf in self.defaults if leaf.startswith(f"{key}."))
            raise ConfigError(f"{key} has keys below it, and no value of its own: set {first}, say")
        if key not in self.defaults:
            raise ConfigError(f"Non-existent key: {shortened(key)}{self._near(key)}")
        default, value = self.defaults[key], decoded(key, raw)
        if value is None and default is not None:
            raise ConfigError(f"{key} has no value: give it one, such as {default!r}")
        if type(value) is type(default):
            return value
        if isinstance(default, str) and isinstance(raw, str | int) and not isinstance(raw, bool):
            return str(raw)  # a folder may be named 2024
        if isinstance(default, float) and type(value) is int and abs(value) < 2**53:
            return float(value)
        if isinstance(default, list | tuple) and isinstance(value, list | tuple):
            return type(default)(value)
        rule = RANGES.get(key, TEXT if isinstance(default, str) else NAMES)
        if default is None and rule.holds(value):
            return value  # what None stands for is settled as the run begins
        if type(default) is int and type(value) is float and rule.holds(value):
            return value  # FastReID's default is whole, other numbers make sense too
        hint = f": write {int(value)}" if type(value) is float and value.is_integer() and type(default) is int else ""
        raise ConfigError(rule.complaint(key, value) + hint)

    def _near(self, key: str) -> str:
        known = list(self.defaults)
        last = key.split(".")[-1]
        found = (
            difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            or [k for k in known if difflib.get_close_matches(last, [k.split(".")[-1]], cutoff=0.7)][:3]
        )
        return f"; did you mean {' or '.join(found)}?" if found else ""


def decoded(key: str, value: Any) -> Any:
    """Return what a text stands for, as yacs reads it: a number, a list, None; a text that is none of these stays.

    Raises:
        ConfigError: a text that is too long or nested too deeply.
    """
    if not isinstance(value, str):
        return value
    if len(value) > LONGEST_VALUE:
        raise ConfigError(f"{key} has a value of {len(value)} characters, which is none")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a path with a backslash is none of Python's business
            return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError):
        return value
    except (MemoryError, RecursionError) as error:
        raise ConfigError(f"{key} has a value that is nested too deeply") from error


def _is_shipped(path: str) -> bool:
    return config_folder() in Path(path).resolve().parents


def _first_leaf(key: str, value: Any) -> str:
    while isinstance(value, Mapping) and value:
        name, value = next(iter(value.items()))
        key = f"{key}.{name}"
    return key
