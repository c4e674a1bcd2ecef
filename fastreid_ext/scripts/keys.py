"""The config keys of our models in FastReID's own get_cfg, which its scripts call."""

import functools
import importlib
import logging
from typing import TYPE_CHECKING, Any

from fastreid_ext.compat.patch import replace

if TYPE_CHECKING:
    from fastreid.config import CfgNode

__all__ = ["add_missing", "add_to_host", "set_keys", "without"]

# What our models read themselves, whoever trains them; all else of ours our trainer reads alone.
OF_MODELS = ("MODEL.", "INPUT.BATCH_AUGMENT.")
OF_THE_TRAINER = ("MODEL.CHANNELS_LAST", "MODEL.WEIGHTS_PARTIAL")

logger = logging.getLogger("fastreid.config")  # scripts set up the log "fastreid"


def add_to_host() -> None:
    """Make the imported FastReID's get_cfg return our keys too, and its default_setup tell what they do to a run.

    A key that FastReID, or the fork that is imported, has keeps its value; MODEL.DEVICE alone becomes the CPU where it
    is "cuda" and there is none. The config.yaml of a run that sets none of our keys has none of them: plain FastReID
    reads it. Keys that are set and that only our trainer reads are a warning in the log.
    """
    ours = importlib.import_module("fastreid_ext.config")
    host = importlib.import_module("fastreid.config").get_cfg
    setup = importlib.import_module("fastreid.engine.defaults").default_setup

    @functools.wraps(host)
    def get_cfg() -> "CfgNode":
        cfg, with_ours = host(), ours.get_cfg()
        add_missing(cfg, with_ours)
        if cfg.MODEL.DEVICE == "cuda":
            cfg.MODEL.DEVICE = with_ours.MODEL.DEVICE
        return cfg

    @functools.wraps(setup)
    def default_setup(cfg: "CfgNode", args: Any) -> None:
        chosen = set_keys(cfg, host(), ours.get_cfg())
        setup(cfg if chosen else without(cfg, host(), ours.get_cfg()), args)
        if unread := [key for key in chosen if key in OF_THE_TRAINER or not key.startswith(OF_MODELS)]:
            logger.warning(
                f"FastReID's trainer does not know {', '.join(unread)}: they have no effect in this run; fastreid-ext"
                " train reads them"
            )

    replace("fastreid.config:get_cfg", get_cfg)
    replace("fastreid.engine.defaults:default_setup", default_setup)


def add_missing(cfg: Any, other: Any) -> None:
    """Give a config the keys of another one that it lacks, at any depth."""
    for key, value in other.items():
        if key not in cfg:
            cfg[key] = value
        elif isinstance(value, dict) and isinstance(cfg[key], dict):
            add_missing(cfg[key], value)


def set_keys(cfg: Any, host: Any, ours: Any) -> list[str]:
    """List the keys of ours that have another value than their default.

    Args:
        cfg: the config of a run.
        host: FastReID's defaults without our keys.
        ours: our defaults.
    """
    leaves = importlib.import_module("fastreid_ext.engine.key_tracking").leaves
    theirs, defaults = dict(leaves(host)), dict(leaves(ours))
    return [
        key
        for key, value in leaves(cfg)
        if key in defaults and key not in theirs and _plain(value) != _plain(defaults[key])
    ]


def without(cfg: Any, host: Any, ours: Any) -> Any:
    """Return a copy of a config without the keys that are in ``ours`` and not in ``host``; what a fork adds stays."""
    kept = cfg.clone()
    kept.defrost()
    _drop(kept, host, ours)
    kept.freeze()
    return kept


def _drop(node: Any, host: Any, ours: Any) -> None:
    for key in [key for key in node if key in ours]:
        if key not in host:
            del node[key]
        elif all(isinstance(each[key], dict) for each in (node, host, ours)):
            _drop(node[key], host[key], ours[key])


def _plain(value: Any) -> Any:
    """A value with tuples as lists: a yaml has no tuples."""
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value
