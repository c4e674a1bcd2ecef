"""The groups of queries that reports of an evaluation (TEST.REPORT) tell apart, from what the data sets know."""

from collections.abc import Mapping, Sequence

from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.capabilities import KnowsTraits
from fastreid_ext.engine.occlusion import occlusion_groups
from fastreid_ext.evaluation.groups import Group, by_trait


def query_groups(cfg: CfgNode, items: Sequence[tuple], datasets: Mapping[str, ImageDataset]) -> list[Group]:
    """Group queries by how much of the person is hidden, and by each trait that a data set knows.

    Args:
        cfg: the config.
        items: (path, person, camera) of the queries.
        datasets: that they are from, by name.

    Raises:
        ConfigError, FileError: as :func:`fastreid_ext.engine.occlusion.occlusion_groups`.
    """
    if not cfg.TEST.REPORT.ENABLED:
        return []
    paths = [item[0] for item in items]
    return [*occlusion_groups(cfg, paths, datasets), *_trait_groups(items, datasets)]


def _trait_groups(items: Sequence[tuple], datasets: Mapping[str, ImageDataset]) -> list[Group]:
    knowing = [dataset for dataset in datasets.values() if isinstance(dataset, KnowsTraits)]
    traits = [
        {key: value for dataset in knowing for key, value in dataset.traits_of(item[0]).items()} for item in items
    ]
    names = dict.fromkeys(name for known in traits for name in known)
    pids = [item[1] for item in items]
    return [group for name in names for group in by_trait(name, pids, [known.get(name) for known in traits])]
