"""The memory of an evaluation: whether it suffices, and on which device."""

from dataclasses import dataclass

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import Tensor

from fastreid_ext.evaluation.blocks import rows_per_block
from fastreid_ext.evaluation.reranked import sums_mb


@dataclass(frozen=True)
class ExpectedRows:
    """What is known of distances (:class:`fastreid_ext.evaluation.distances.CountedRows`) before there are features.

    The length of the features is not known, and hardly matters.
    """

    shape: tuple[int, int]
    device: torch.device
    fixed_mb: float
    width: int = 0


def check_memory(cfg: CfgNode, num_query: int, num_gallery: int) -> None:
    """Check, before there are features, that a row of distances fits in TEST.EVAL_MEMORY_MB.

    Args:
        cfg: the run's config.
        num_query, num_gallery: images of the test set.

    Raises:
        EvaluationError: it does not.
    """
    memory_mb, device, both = cfg.TEST.EVAL_MEMORY_MB, torch.device(cfg.MODEL.DEVICE), num_query + num_gallery
    if cfg.TEST.AQE.ENABLED:  # to more images than the gallery's
        rows_per_block(ExpectedRows((both, both), device, 0.0), memory_mb)
    sums = sums_mb(memory_mb) if cfg.TEST.RERANK.ENABLED else 0.0
    rows_per_block(ExpectedRows((num_query, num_gallery), device, sums), memory_mb)


def on_device(features: Tensor, cfg: CfgNode) -> Tensor:
    """Move the features to the model's GPU if they, and what ranking takes, fit there beside the model."""
    if torch.device(cfg.MODEL.DEVICE).type != "cuda":
        return features
    free, _ = torch.cuda.mem_get_info()
    # All processes must decide the same: their distances must be equal to the last bit.
    room = comm.all_gather(free > 1.2 * features.nbytes + cfg.TEST.EVAL_MEMORY_MB * 2**20)
    return features.to("cuda") if all(room) else features
