"""Which config keys the user gave, which a run reads, and those that were given and are not read."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastreid.config import CfgNode

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.augmentation_table import AUGMENTATIONS
from fastreid_ext.modeling.loss_table import LOSSES

# Read when an evaluation runs, outside the trainer, or by what builds any model: not being read at start-up means
# nothing for these.
READ_LATER = (
    "TEST",
    "OUTPUT_DIR",
    "CUDNN_BENCHMARK",
    "SEED",
    "MODEL.WEIGHTS",
    "MODEL.WEIGHTS_PARTIAL",
    "MODEL.DEVICE",
    "MODEL.CHANNELS_LAST",
    "INPUT.SIZE_TEST",
    "DATASETS.TESTS",
    "DATASETS.TESTS_OPTIONAL",
)


class _Log(set):
    """A set of dotted keys that all copies of a tracked config share."""

    def __deepcopy__(self, memo: dict) -> "_Log":
        return self


class TrackedCfgNode(CfgNode):
    """A config that records which of its keys are read; clones share the same record."""

    def __getitem__(self, key: str) -> Any:
        log = self.__dict__.get("_log")
        if log is not None:
            log.add(self.__dict__["_path"] + key)
        return super().__getitem__(key)


def track(cfg: CfgNode) -> tuple[TrackedCfgNode, set[str]]:
    """Return a copy of cfg that records which keys are read, and the record."""
    log = _Log()
    tracked = TrackedCfgNode(cfg)  # yacs converts the nodes below
    _mark(tracked, "", log)
    given = given_keys(cfg)
    if given is not None:
        note_given(tracked, given)
    if cfg.is_frozen():
        tracked.freeze()
    return tracked, log


def _mark(node: TrackedCfgNode, path: str, log: _Log) -> None:
    for key, value in node.items():
        if isinstance(value, TrackedCfgNode):
            _mark(value, f"{path}{key}.", log)
    node.__dict__["_log"], node.__dict__["_path"] = log, path


def note_given(cfg: CfgNode, keys: Mapping[str, bool]) -> None:
    """Note in a config which keys its user gave, and whether on the command line; clones have the note too."""
    cfg.__dict__["_given"] = dict(keys)


def given_keys(cfg: CfgNode) -> dict[str, bool] | None:
    """Return key -> whether it was given on the command line; None for a config that was not merged by us."""
    return cfg.__dict__.get("_given")


def leaves(node: CfgNode, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) of every leaf of a config, without recording a read."""
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def unread_keys(cfg: CfgNode, defaults: CfgNode, log: set[str], nodes: tuple[str, ...] | None = None) -> list[str]:
    """Return the keys that the user gave, that differ from the defaults and were not read so far.

    A key in a yaml counts unless the command line changes the part of the config that the key is in, so that what reads
    it may be switched off there. In a config that we did not merge, every key counts but those of a loss or batch
    augmentation that is not chosen, which a base file sets for those who choose it.

    Args:
        cfg: the run's config.
        defaults: what get_cfg() gives.
        log: of :func:`track`.
        nodes: look below these nodes only; None = everywhere.
    """
    default, given = dict(leaves(defaults)), given_keys(cfg)
    idle = _not_chosen(dict(leaves(cfg))) if given is None else ()
    changed = {key.partition(".")[0] for key, late in (given or {}).items() if late}
    return [
        key
        for key, value in leaves(cfg)
        if value != default.get(key)
        and (given is None or given.get(key) or (key in given and key.partition(".")[0] not in changed))
        and key not in log
        and not below(key, READ_LATER)
        and not below(key, idle)
        and (nodes is None or below(key, nodes))
    ]


def _not_chosen(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the nodes of our losses and batch augmentations that a config, KEY -> value, does not name."""
    names = values["MODEL.LOSSES.NAME"]
    losses = {entry.node for entry in LOSSES.values()} - {e.node for name, e in LOSSES.items() if name in names}
    named = values["INPUT.BATCH_AUGMENT.NAME"]
    augmentations = [entry.node for name, entry in AUGMENTATIONS.items() if name not in named]
    return (*(f"MODEL.LOSSES.{node}" for node in losses), *(f"INPUT.BATCH_AUGMENT.{node}" for node in augmentations))


def check_all_read(cfg: CfgNode, defaults: CfgNode, log: set[str], nodes: tuple[str, ...] | None = None) -> None:
    """Check that every key that was set has been read.

    Raises:
        ConfigError: keys that have no effect in this run, because nothing reads them.
    """
    unread = unread_keys(cfg, defaults, log, nodes)
    if unread:
        raise ConfigError(
            f"{', '.join(unread)} {'have' if len(unread) > 1 else 'has'} no effect here: no part reads"
            f" {'them' if len(unread) > 1 else 'it'} (MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE},"
            f" MODEL.LOSSES.NAME {tuple(cfg.MODEL.LOSSES.NAME)}); leave {'them' if len(unread) > 1 else 'it'} out, or"
            " enable the part"
        )


def below(key: str, nodes: tuple[str, ...]) -> bool:
    """Return whether a key is one of some keys, or below one of some nodes."""
    return any(key == node or key.startswith(node + ".") for node in nodes)
