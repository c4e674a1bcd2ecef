"""Fits principal components on training images, and measures what a test set loses by them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.test_sets import first_test_set
from fastreid_ext.engine.training_subsets import training_sets, training_subsets
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.blocks import rows_per_block
from fastreid_ext.evaluation.distances import DISTANCE_METRICS, DistanceRows
from fastreid_ext.evaluation.query_metrics import metrics_of, summarise
from fastreid_ext.evaluation.ranks import GroundTruth, find_matches
from fastreid_ext.files import write_text
from fastreid_ext.inference.compression import Compression, fit, path_beside, save
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.progress import ProgressBar

DIMS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # that are measured, below the one that is asked for
METRICS = ("mAP", "Rank-1")


def compress(cfg: CfgNode, model: nn.Module, dim: int, images: int, test_set: str = "") -> tuple[str, Path]:
    """Fit components, keep them beside MODEL.WEIGHTS and measure them; return the table and the file.

    Beside the file, tables are written as Markdown and JSON.

    Args:
        cfg: the model's config.
        model: of ``load_trained``, in eval mode.
        dim: components to keep.
        images: training images to fit on, spread evenly; 0 = all.
        test_set: what is measured; "" = the first of DATASETS.TESTS.

    Raises:
        ConfigError: more components than images or numbers, or a ranking that is not by a distance of features.
        DataSetError, ImageError, FileError: data that are missing, or files that can't be read or written.
    """
    if cfg.TEST.METRIC not in DISTANCE_METRICS:
        raise ConfigError(f"TEST.METRIC is {cfg.TEST.METRIC!r}; components are measured for {DISTANCE_METRICS}")
    name = test_set or first_test_set(cfg, "name a data set with --test-set, or in DATASETS.TESTS")
    extractor = Extractor.of_model(cfg, model, workers=cfg.DATALOADER.NUM_WORKERS, normalise=False)
    if dim >= extractor.dim:
        raise ConfigError(f"--dim is {dim}, and the model's features have {extractor.dim} numbers: lower it")
    items = training_subsets(cfg, training_sets(cfg)).train
    chosen = np.unique(np.linspace(0, len(items) - 1, min(images or len(items), len(items))).round().astype(int))
    fitted = fit(_features(extractor, [items[n][0] for n in chosen], "training images"), dim, extractor.record)
    loader, _ = eval_loader(cfg, name)
    features = _features(extractor, [item[0] for item in loader.dataset.img_items], name)
    rows = _measured(fitted, torch.from_numpy(features), loader.dataset, cfg.TEST.METRIC)
    path = path_beside(Path(cfg.MODEL.WEIGHTS))
    save(path, fitted)
    about = {
        "weights": cfg.MODEL.WEIGHTS,
        "model_sha256": fitted.model_sha256,
        "training_images": fitted.images,
        "training_sets": list(cfg.DATASETS.NAMES),
        "test_set": name,
        "metric": cfg.TEST.METRIC,
        "rows": rows,
    }
    table = compression_table(rows, name)
    write_text(path.with_suffix(".json"), json.dumps(about, indent=1) + "\n")
    write_text(path.with_suffix(".md"), table + "\n")
    return table, path


def _features(extractor: Extractor, files: list[str], name: str) -> np.ndarray:
    blocks = []
    with ProgressBar(name, len(files)) as bar:
        for features, _ in extractor.batches(iter(files)):
            blocks.append(features)
            bar.advance(len(features))
    return np.concatenate(blocks)


def _measured(fitted: Compression, features: Tensor, dataset: Any, metric: str) -> list[dict[str, float]]:
    """Return, by number of components and then for whole features, the metrics and what is lost of them."""
    gallery_items = dataset.split(dataset.img_items)
    pids, camids = ([np.array([item[column] for item in side]) for side in gallery_items] for column in (1, 2))
    people = GroundTruth(tuple(pids), tuple(camids), dataset.left_out)
    dims = [*(dim for dim in DIMS if dim < fitted.dim), fitted.dim]
    shares = fitted.explained.double().cumsum(0).tolist()
    sides = {dim: fitted(features, dim) for dim in dims} | {features.shape[1]: features}
    found = {}
    for dim, values in sides.items():
        query, gallery = dataset.split(values)
        distances = DistanceRows(query, gallery, metric)
        matches = find_matches(distances, people, range(len(query)), rows_per_block(distances))
        found[dim] = summarise(metrics_of(matches))
    whole = found[features.shape[1]]
    return [
        {
            "dim": dim,
            "variance": shares[dim - 1] if dim in dims else 1.0,
            **{name: numbers[name] for name in METRICS},
            **{f"{name}_change": numbers[name] - whole[name] for name in METRICS},
        }
        for dim, numbers in found.items()
    ]


def compression_table(rows: list[dict[str, float]], test_set: str) -> str:
    """Return the rows as Markdown."""
    lines = [
        f"| numbers of a feature | variance kept | mAP on {test_set} | change | Rank-1 | change |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        whole = row is rows[-1]
        changes = ["-" if whole else f"{row[f'{name}_change']:+.2f}" for name in METRICS]
        lines.append(
            f"| {row['dim']}{' (all)' if whole else ''} | {100 * row['variance']:.1f} % | {row['mAP']:.2f} |"
            f" {changes[0]} | {row['Rank-1']:.2f} | {changes[1]} |"
        )
    return "\n".join(lines)
