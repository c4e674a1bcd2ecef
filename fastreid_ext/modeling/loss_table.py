"""The table that MODEL.LOSSES.NAME picks from, and the one loop that applies it to every branch."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from fastreid.config import CfgNode
from fastreid.modeling.losses import pairwise_circleloss, pairwise_cosface
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.losses import (
    CenterLoss,
    batch_hard_triplet_loss,
    bounded_exponential_distance_loss,
    smoothed_cross_entropy,
    soft_margin_triplet_loss,
    supervised_contrastive_loss,
)
from fastreid_ext.losses.bounded_exponential_distance import demand_both_pairs
from fastreid_ext.losses.supervised_contrastive import demand_two_images_of_one
from fastreid_ext.losses.triplet import demand_two_identities
from fastreid_ext.precision import at_least_float32, without_autocast


@dataclass(frozen=True)
class LossEntry:
    """One row of the table.

    Attributes:
        what: middle part of the key ``loss_<what>_<branch>``.
        source: the branch output it reads, "logits" or "feature" (before BNNeck).
        node: its config node below MODEL.LOSSES; SCALE is the weight of the loss.
        build: (node, num_classes, dim) -> callable(source, targets).
        defaults: the node's keys; empty where the host already has the node.
        needs: refuses targets (B,) that the loss is not defined for, where it does not do so itself; None where it is
            defined for all.
    """

    what: str
    source: str
    node: str
    build: Callable[[CfgNode, int, int], Callable[[Tensor, Tensor], Tensor]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    needs: Callable[[Tensor], None] | None = None


LOSSES: dict[str, LossEntry] = {
    "SmoothedCrossEntropyLoss": LossEntry(
        "cls",
        "logits",
        "SMOOTHED_CE",
        lambda node, num_classes, dim: _with(smoothed_cross_entropy, epsilon=node.EPSILON),
        {"EPSILON": 0.1, "SCALE": 1.0},
    ),
    "SoftMarginTripletLoss": LossEntry(
        "triplet",
        "feature",
        "SOFT_TRIPLET",
        lambda node, num_classes, dim: _with(soft_margin_triplet_loss, checked=True),
        {"SCALE": 1.0},
        needs=demand_two_identities,
    ),
    "BatchHardTripletLoss": LossEntry(
        "triplet",
        "feature",
        "HARD_TRIPLET",
        lambda node, num_classes, dim: _with(batch_hard_triplet_loss, margin=node.MARGIN, checked=True),
        {"MARGIN": 0.3, "SCALE": 1.0},
        needs=demand_two_identities,
    ),
    "BoundedExponentialDistanceLoss": LossEntry(
        "bed",
        "feature",
        "BED",
        lambda node, num_classes, dim: _with(
            bounded_exponential_distance_loss,
            alpha=node.ALPHA,
            normalize=node.NORM,
            reduction=node.REDUCTION,
            checked=True,
        ),
        {"ALPHA": 0.3, "NORM": True, "REDUCTION": "balanced", "SCALE": 1.0},
        needs=demand_both_pairs,
    ),
    "SupervisedContrastiveLoss": LossEntry(
        "supcon",
        "feature",
        "SUPCON",
        lambda node, num_classes, dim: _with(supervised_contrastive_loss, temperature=node.TEMPERATURE, checked=True),
        {"TEMPERATURE": 0.1, "SCALE": 1.0},
        needs=demand_two_images_of_one,
    ),
    "CenterLoss": LossEntry(
        "center",
        "feature",
        "CENTER",
        lambda node, num_classes, dim: CenterLoss(num_classes, dim, node.RATE),
        {"RATE": 0.5, "SCALE": 5e-4},
    ),
    "CircleLoss": LossEntry(
        "circle",
        "feature",
        "CIRCLE",
        lambda node, num_classes, dim: _with(pairwise_circleloss, margin=node.MARGIN, gamma=node.GAMMA),
    ),
    "Cosface": LossEntry(
        "cosface",
        "feature",
        "COSFACE",
        lambda node, num_classes, dim: _with(pairwise_cosface, margin=node.MARGIN, gamma=node.GAMMA),
    ),
}


def _with(function: Callable[..., Tensor], **settings: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return partial(function, **settings)


def _checked(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Check the settings of a function now, on a small batch, and not in the first step; modules check their own."""
    if not isinstance(loss, nn.Module):
        with torch.device("cpu"), torch.no_grad():
            loss(torch.eye(4)[:, :2], torch.tensor([0, 0, 1, 1]))
    return loss


def add_losses_config(cfg: CfgNode) -> None:
    """Add the node of every loss of the table below MODEL.LOSSES."""
    for entry in LOSSES.values():
        if entry.defaults:
            cfg.MODEL.LOSSES[entry.node] = CfgNode(dict(entry.defaults))


@dataclass(frozen=True)
class Term:
    """A loss of the table with its settings, applied to every branch alike."""

    name: str
    what: str
    source: str
    weight: float
    build: Callable[[int, int], Callable[[Tensor, Tensor], Tensor]]
    needs: Callable[[Tensor], None] | None = None


def terms_from_config(cfg: CfgNode) -> list[Term]:
    """Read MODEL.LOSSES.

    Raises:
        ConfigError: no name, an unknown name, a name given twice, or two losses with the same key.
    """
    names = list(cfg.MODEL.LOSSES.NAME)
    if not names:
        raise ConfigError(f"MODEL.LOSSES.NAME is empty; choose from {sorted(LOSSES)}")
    terms: dict[str, Term] = {}
    for name in names:
        if name not in LOSSES:
            raise ConfigError(
                f"MODEL.LOSSES.NAME has {name!r}, which {cfg.MODEL.META_ARCHITECTURE} does not know;"
                f" choose from {sorted(LOSSES)}"
            )
        entry, node = LOSSES[name], cfg.MODEL.LOSSES[LOSSES[name].node]
        if entry.what in terms:
            raise ConfigError(
                f"MODEL.LOSSES.NAME has {terms[entry.what].name!r} and {name!r}, which both are the"
                f" {entry.what} loss of a branch: keep one"
            )
        build = entry.build
        terms[entry.what] = Term(
            name,
            entry.what,
            entry.source,
            node.SCALE,
            lambda num_classes, dim, build=build, node=node: build(node, num_classes, dim),
            needs=entry.needs,
        )
    return list(terms.values())


class Criterion(nn.Module):
    """Every loss of the table on every branch: ``loss_<what>_<branch>``, in float32 whatever the autocast.

    Args:
        terms: what :func:`terms_from_config` gives, or terms made by hand.
        branch_dims: branch -> length of its feature (losses with a state need it).
        num_classes: identities of the training set.
        without_logits: branches that have a feature alone; losses on logits pass them over.
        shared: kinds of loss (``what``) whose state, the centers say, is one for all branches.
    """

    def __init__(
        self,
        terms: list[Term],
        branch_dims: Mapping[str, int],
        num_classes: int,
        without_logits: Collection[str] = (),
        shared: Collection[str] = (),
    ):
        super().__init__()
        self.weights: dict[str, float] = {}
        self.sources: dict[str, tuple[str, str]] = {}
        self.functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
        self.needs = tuple(dict.fromkeys(term.needs for term in terms if term.needs))  # each once for all branches
        self._seen: Tensor | None = None  # targets that meet them
        self.stateful = nn.ModuleDict()  # registered, so that their buffers are saved and moved
        built: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
        for branch, dim in branch_dims.items():
            for term in terms:
                if term.source == "logits" and branch in without_logits:
                    continue
                key = f"loss_{term.what}_{branch}"
                loss = built.get(term.what) if term.what in shared else None
                loss = built[term.what] = loss or _checked(term.build(num_classes, dim))
                self.weights[key], self.sources[key] = term.weight, (branch, term.source)
                if isinstance(loss, nn.Module):
                    self.stateful[key] = loss
                else:
                    self.functions[key] = loss

    def check(self, targets: Tensor, on_cpu: Tensor | None = None) -> None:
        """Refuse targets that a loss is not defined for; :meth:`forward` does not look at the same tensor again.

        Args:
            targets: (B,).
            on_cpu: the targets in the processor's memory, where nobody waits for a GPU to look at them; an augmentation
                may have added some to ``targets``, which are looked at then if these are too few.

        Raises:
            ConfigError: such targets.
        """
        for refuse in self.needs:
            try:
                refuse(targets if on_cpu is None else on_cpu)
            except ConfigError:
                refuse(targets)
        self._seen = targets

    def forward(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """branches: branch -> {"logits": (B, K), "feature": (B, D)}; targets (B,). Returns weighted scalars.

        Raises:
            ConfigError: targets that a loss is not defined for.
        """
        if targets is not self._seen:
            self.check(targets)
        self._seen = None
        losses = {}
        for key, (branch, source) in self.sources.items():
            loss = self.stateful[key] if key in self.stateful else self.functions[key]
            value = branches[branch][source]
            with without_autocast(value):
                losses[key] = self.weights[key] * loss(at_least_float32(value), targets)
        return losses
