"""Groups of queries by how much of the person is hidden, as data sets or TEST.REPORT.OCCLUSION_FILES say."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fastreid.config import CfgNode
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.data.capabilities import KnowsOcclusion
from fastreid_ext.data.catalog import dataset_root
from fastreid_ext.data.datasets.files import log_once
from fastreid_ext.data.occlusion.file import read_occlusions
from fastreid_ext.engine.test_sets import skipped_sets
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.groups import Group, by_occlusion
from fastreid_ext.files import fault_of

KEY = "TEST.REPORT.OCCLUSION_FILES"


def occlusion_groups(cfg: CfgNode, paths: Sequence[str], datasets: Mapping[str, ImageDataset]) -> list[Group]:
    """Group queries by the first data set that knows an image; its file in the config stands for the set's own labels.

    Args:
        cfg: the config.
        paths: of the queries.
        datasets: that they are from, by name.

    Raises:
        ConfigError: a file that knows none of them.
        FileError: a file that can't be read.
    """
    if not cfg.TEST.REPORT.ENABLED:
        return []
    files = dict(cfg.TEST.REPORT.OCCLUSION_FILES)
    shares: list[float | None] = [None] * len(paths)
    sources = []
    for name, dataset in datasets.items():
        if name in files:
            file = _found(files[name])
            found = read_occlusions(file).of_all(paths)
            # Of several training sets, some may have no query.
            if paths and len(datasets) == 1 and all(share is None for share in found):
                raise ConfigError(
                    f"{KEY} names {file} for {name}, which has a row for none of the {len(paths)} queries, such as"
                    f" {paths[0]}: its paths start at its own folder, or are the ends of the images' paths"
                )
            sources.append(str(file))
        elif isinstance(dataset, KnowsOcclusion):
            found = [dataset.occlusion_of(path) for path in paths]
            file = getattr(dataset, "occlusion_file", None)
            if file and paths and len(datasets) == 1 and all(share is None for share in found):
                log_once(
                    logging.WARNING,
                    f"{file} has a row for none of the {len(paths)} queries of {name}, such as {paths[0]}, so there is"
                    " no table by occlusion: its paths start at its own folder",
                )
            sources.append(f"the labels of {name}")
        else:
            continue
        shares = [new if known is None else known for known, new in zip(shares, found, strict=True)]
    unknown = [path for path, share in zip(paths, shares, strict=True) if share is None]
    if sources and 0 < len(unknown) < len(paths):
        log_once(
            logging.WARNING,
            f"{len(unknown)} of {len(paths)} queries of {', '.join(datasets)} have no occlusion in"
            f" {', '.join(sources)}, the first is {unknown[0]}: reports have them apart, as unknown",
        )
    return by_occlusion(shares, cfg.TEST.REPORT.OCCLUSION_EDGES)


def occlusion_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each entry of TEST.REPORT.OCCLUSION_FILES that has no set or no file."""
    known = {*cfg.DATASETS.NAMES, *cfg.DATASETS.TESTS, *cfg.DATASETS.TESTS_OPTIONAL}
    skipped = skipped_sets(cfg)  # whose file may lie in the folder that is not there
    for name, file in cfg.TEST.REPORT.OCCLUSION_FILES:
        if name not in known:
            yield f"{KEY} names {name!r}, which is neither in DATASETS.NAMES nor in DATASETS.TESTS: remove it"
        elif fault := fault_of(os.path.expanduser(file)):
            yield f"{KEY} names a file for {name} that {fault}"
        elif not _found(file).is_file() and name not in skipped:
            yield f"{KEY} names {file!r} for {name}, which is neither here nor in {dataset_root()}"


def _found(file: str) -> Path:
    """Return a file as it is called here, else in the folder of all data sets."""
    path = Path(os.path.expanduser(file))
    return path if path.is_file() else dataset_root() / path
