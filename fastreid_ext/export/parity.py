"""How far an exported model's features and metrics are from the model's own, on real images."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from fastreid.config import CfgNode
from tabulate import tabulate
from torch import nn

from fastreid_ext.data.loader import as_float32, build_test_loader
from fastreid_ext.evaluation.ranking import rank_metrics
from fastreid_ext.export.compared_images import Compared
from fastreid_ext.inference.features import test_features
from fastreid_ext.inference.record import ModelRecord
from fastreid_ext.layers import unit_length

CPU = torch.device("cpu")
BATCHES = (1, 2, 7)
METRICS = ("Rank-1", "mAP")
# The largest distance of an exported feature from the model's own, as a share of its length, and percent of mAP.
# Deep Miner erases what is brighter than a threshold: in float16 and int8 a position may fall on its other side.
TOLERANCES = {"float32": 1e-3, "float16": 0.3, "int8": 1.0}
MAP_TOLERANCES = {"float32": 0.5, "float16": 2.0}
# Of the tolerance, that half of the features may be away; features that have nothing in common are 1.4 lengths away.
MEDIANS = {"float32": 0.1, "float16": 0.1, "int8": 0.5}

Run = Callable[[np.ndarray], np.ndarray]  # images as the file takes them -> features


@dataclass
class Parity:
    """What a comparison found.

    Attributes:
        images: how many.
        source: which.
        dtype: of the file: "float32", "float16" or "int8".
        largest_difference: of two numbers at the same place.
        least_cosine: of an exported feature and the model's own.
        largest_distance, median_distance: of the two, as a share of the length of the model's own.
        largest_distance_of_batches: batch size -> the same, for images 1 ... n in one batch.
        original, exported: Rank-1 and mAP in percent.
        tolerance, map_tolerance: what largest_distance and the change of mAP may be; None = any.
    """

    images: int
    source: str
    dtype: str
    largest_difference: float
    least_cosine: float
    largest_distance: float
    median_distance: float
    largest_distance_of_batches: dict[int, float]
    original: dict[str, float]
    exported: dict[str, float]
    tolerance: float
    map_tolerance: float | None

    @property
    def faults(self) -> list[str]:
        """What is beyond the tolerance, as parts of a sentence."""
        found = []
        for where, distance in (("", self.largest_distance), *self.largest_distance_of_batches.items()):
            if not distance <= self.tolerance:  # NaN is a fault too
                batch = f" in batches of {where}" if where else ""
                found.append(f"a feature is {distance:.2g} of its length away{batch} (tolerance {self.tolerance:g})")
        most = MEDIANS[self.dtype] * self.tolerance
        if not self.median_distance <= most:
            found.append(f"half of the features are {self.median_distance:.2g} away (tolerance {most:g})")
        change = abs(self.exported["mAP"] - self.original["mAP"])
        if self.map_tolerance is not None and not change <= self.map_tolerance:
            found.append(f"mAP changes by {change:.2f} (tolerance {self.map_tolerance:g})")
        return found

    def table(self) -> str:
        """Return a table in markdown."""
        rows = [
            ["largest difference of two numbers", "", "", f"{self.largest_difference:.2e}"],
            ["least cosine", "", "", f"{self.least_cosine:.8f}"],
            ["largest distance / length", "", "", f"{self.largest_distance:.2e}"],
            ["median distance / length", "", "", f"{self.median_distance:.2e}"],
            *(
                [f"largest in a batch of {size}", "", "", f"{distance:.2e}"]
                for size, distance in self.largest_distance_of_batches.items()
            ),
            *(
                [f"{name} (%)", f"{value:.2f}", f"{self.exported[name]:.2f}", f"{self.exported[name] - value:+.2f}"]
                for name, value in self.original.items()
            ),
        ]
        return tabulate(
            rows,
            headers=[f"{self.images} {self.source}", "PyTorch", "exported", "difference"],
            tablefmt="github",
            disable_numparse=True,
            colalign=("left", *["right"] * 3),
        )

    def record(self) -> dict[str, Any]:
        """Return all of it for JSON, which has no word for what is no number."""
        return _without_nan({**asdict(self), "within_tolerance": not self.faults})


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fed(record: ModelRecord, images: np.ndarray) -> np.ndarray:
    """Return images (B, 3, H, W), 0 to 255, as a file takes them."""
    if record.pixels == "raw":
        return images
    mean, std = (np.array(three, np.float32).reshape(1, 3, 1, 1) for three in (record.mean, record.std))
    return (images - mean) / std


@torch.no_grad()
def compare(
    cfg: CfgNode, model: nn.Module, run: Run, record: ModelRecord, compared: Compared, dtype: str, tolerance: float
) -> Parity:
    """Run a model and its export on the same images.

    Args:
        cfg: the model's config.
        model: of ``load_trained``, in eval mode, on the CPU.
        run: the export.
        record: of the export.
        compared: the images.
        dtype: a key of TOLERANCES.
        tolerance: of the distance of two features, as a share of the length.
    """
    pairs, first = [], None
    workers = cfg.DATALOADER.NUM_WORKERS
    loader = build_test_loader(compared.images, compared.chosen.tolist(), cfg.TEST.IMS_PER_BATCH, workers, CPU)
    for batch in loader:
        images = as_float32(batch["images"])
        first = images[: max(BATCHES)].clone() if first is None else first
        pairs.append(both(model, run, record, images))
    original, exported = (torch.cat(features) for features in zip(*pairs, strict=True))
    batches = {}
    for size in BATCHES:
        repeated = first.repeat(-(-size // len(first)), 1, 1, 1)[:size]
        batches[size] = float(distances(*both(model, run, record, repeated)).max())
    pids, camids = compared.labels(1), compared.labels(2)
    metrics = []
    for features in (original, exported):
        parts = features[: compared.queries], features[compared.queries :]
        if features is exported and not exported.isfinite().all():  # float16 ends at 65504
            metrics.append(dict.fromkeys(METRICS, math.nan))
            continue
        scored = rank_metrics(*parts, *pids, *camids, metric=cfg.TEST.METRIC)
        metrics.append({name: scored[name] for name in METRICS})
    return Parity(
        images=len(original),
        source=compared.source,
        dtype=dtype,
        largest_difference=float((exported - original).abs().max()),
        least_cosine=float((unit_length(original.double()) * unit_length(exported.double())).sum(dim=1).min()),
        largest_distance=float(distances(original, exported).max()),
        median_distance=float(distances(original, exported).median()),
        largest_distance_of_batches=batches,
        original=metrics[0],
        exported=metrics[1],
        tolerance=tolerance,
        map_tolerance=MAP_TOLERANCES.get(dtype),
    )


def both(model: nn.Module, run: Run, record: ModelRecord, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the features (B, D) of a model and of its export, in float32."""
    original = test_features(model, images)
    original = unit_length(original) if record.normalised else original
    return original, torch.from_numpy(np.asarray(run(fed(record, images.numpy())), dtype=np.float32))


def distances(original: torch.Tensor, exported: torch.Tensor) -> torch.Tensor:
    """Return the distance (B,) of two features, as a share of the length of the first."""
    lengths = original.double().norm(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
    return (exported.double() - original.double()).norm(dim=1) / lengths
