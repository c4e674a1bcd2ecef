"""What the runs of a table need: data sets and published weights."""

from collections.abc import Iterable, Sequence

from fastreid.config import CfgNode

from fastreid_ext.data.catalog import DataSetError, dataset_root, load_dataset
from fastreid_ext.data.datasets.synthreid import choices
from fastreid_ext.data.synthetic import find
from fastreid_ext.errors import UserError
from fastreid_ext.modeling.backbones import published_weights
from fastreid_ext.modeling.timm_weights import HUB
from fastreid_ext.modeling.weights import NotHereYet

RENDERED = "SynthReID"  # how the names begin of the sets that are made on first use


def missing_sets(needs: Iterable[tuple[CfgNode, Sequence[str]]]) -> list[str]:
    """Return, a sentence each, which data sets are not there.

    Args:
        needs: configs, each with the test sets that must be there though they may be optional for the config.
    """
    names = []
    for cfg, tested in needs:
        names += [(name, ("train",)) for name in cfg.DATASETS.NAMES]
        names += [(name, ("query", "gallery")) for name in (*cfg.DATASETS.TESTS, *tested)]
    sentences = []
    for name, splits in dict.fromkeys(names):
        if name.startswith(RENDERED):
            continue
        try:
            load_dataset(name, splits)
        except DataSetError as error:
            sentences.append(str(error))
    return list(dict.fromkeys(sentences))


def unrendered(configs: Iterable[CfgNode]) -> list[str]:
    """Return which rendered data sets the first run makes."""
    names = {name for cfg in configs for name in (*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS)}
    known = choices()
    return sorted(name for name in names if name in known and find(dataset_root(), known[name].size) is None)


def weights_to_download(configs: Iterable[CfgNode]) -> tuple[list[str], list[str]]:
    """Return, a sentence each, which weights the first run downloads, and why others can't be had."""
    coming: dict[str, None] = {}
    impossible: dict[str, None] = {}
    for cfg in configs:
        node = cfg.MODEL.BACKBONE
        if not node.PRETRAIN or (node.PRETRAIN_PATH and not node.PRETRAIN_PATH.startswith(HUB)):
            continue
        try:
            file, url = published_weights(cfg)
        except NotHereYet as error:
            coming[str(error)] = None
        except UserError as error:
            impossible[str(error)] = None
        else:
            if url and not file.is_file():
                coming[f"{file} is not there: it is downloaded from {url} when it is first needed"] = None
    return list(coming), list(impossible)
