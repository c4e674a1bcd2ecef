"""The table that KD.LOSSES.NAME picks from: losses between a student's and a teacher's features of a batch."""

from collections.abc import Callable
from dataclasses import dataclass

from fastreid.config import CfgNode
from torch import Tensor

from fastreid_ext.losses import relational_distance_loss, similarity_preserving_loss


@dataclass(frozen=True)
class DistillationEntry:
    """One row of the table.

    Attributes:
        key: of the loss in the log.
        node: its config node below KD.LOSSES; SCALE is its weight.
        scale: the default of SCALE.
        loss: (student (B, D), teacher (B, E)) -> scalar.
    """

    key: str
    node: str
    scale: float
    loss: Callable[[Tensor, Tensor], Tensor]


# 25 is what Park et al. have beside a cross entropy. Tung and Mori have 3000, for maps of CIFAR-10: relations of test
# features in batches of few identities differ by far more.
DISTILLATION_LOSSES: dict[str, DistillationEntry] = {
    "RelationalDistanceLoss": DistillationEntry("loss_kd_distance", "DISTANCE", 25.0, relational_distance_loss),
    "SimilarityPreservingLoss": DistillationEntry(
        "loss_kd_similarity", "SIMILARITY", 100.0, similarity_preserving_loss
    ),
}


def add_distillation_config(cfg: CfgNode) -> None:
    """Add the keys of our distillation to FastReID's node KD, whose own are for its Distiller alone."""
    # The trained model that a student learns from, whatever its head and length: a run's folder (its model_best.pth,
    # or TEACHER_WEIGHTS in it), a .safetensors or .onnx file of fastreid-ext export, zoo, or a config with
    # TEACHER_WEIGHTS; "" = none (docs/distillation.md)
    cfg.KD.TEACHER = ""
    cfg.KD.TEACHER_WEIGHTS = ""
    cfg.KD.LOSSES = CfgNode({"NAME": ["RelationalDistanceLoss"]})
    for entry in DISTILLATION_LOSSES.values():
        cfg.KD.LOSSES[entry.node] = CfgNode({"SCALE": entry.scale})


def distillation_terms(cfg: CfgNode) -> dict[str, tuple[float, Callable[[Tensor, Tensor], Tensor]]]:
    """Return key of the loss -> its weight and function, for the names of KD.LOSSES.NAME."""
    entries = [DISTILLATION_LOSSES[name] for name in cfg.KD.LOSSES.NAME]
    return {entry.key: (cfg.KD.LOSSES[entry.node].SCALE, entry.loss) for entry in entries}
