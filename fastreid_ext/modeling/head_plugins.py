"""Heads as plug-ins: what our meta-architectures ask of a head in FastReID's registry, and how they build it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastreid.config import CfgNode
from fastreid.config import get_cfg as host_get_cfg
from fastreid.modeling.heads import REID_HEADS_REGISTRY, build_heads
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import plain_names
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.capabilities import TakesMaps

# What a head may take -> the words for it. A meta-architecture of ours names one of them too, in its own ``takes``.
TAKES = {
    "map": "one map, the trunk's last",
    "stage_maps": "one map per stage of the trunk",
    "branch_maps": "one map per branch",
}

Outputs = dict[str, dict[str, Tensor]]


class BranchHead(nn.Module):
    """A head for our meta-architectures: maps -> branch -> {"feature", "neck", "logits"}.

    A head of your own inherits from this class or from :class:`MapHead`, registers in FastReID's
    ``REID_HEADS_REGISTRY``, and is built by ``build_heads(cfg)`` where MODEL.HEADS.NAME names it. Channels of the
    trunk's last map are in ``cfg.MODEL.BACKBONE.FEAT_DIM``, as for FastReID's own heads: our meta-architectures measure
    them.

    Attributes:
        takes: "map" (B, C, h, w), "stage_maps" (dict of stage 1 ... 4 -> map) or "branch_maps" (dict of branch -> map).
        dims: branch -> D, length of its feature; a branch that is not in it has no losses of MODEL.LOSSES.
        without_logits: branches that have a feature alone.
        labels, test_labels: what :meth:`branches` takes by name out of a training or test batch, such as "joints".
        training_only: sub-modules that no test feature reads: an evaluation does without their weights.
    """

    takes: ClassVar[str]
    dims: Mapping[str, int]
    without_logits: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    test_labels: tuple[str, ...] = ()
    training_only: tuple[str, ...] = ()

    def branches(self, maps: Any, targets: Tensor | None = None, **labels: Tensor) -> Outputs:
        """Return branch -> {"feature": (B, D) before BNNeck, "neck": (B, D) after it, with targets "logits" (B, K)}."""
        raise TypeError(f"{type(self).__name__} defines no branches()")

    def extra_losses(self, branches: Mapping[str, Mapping[str, Tensor]], targets: Tensor) -> dict[str, Tensor]:
        """Return the weighted losses of the head's own, beside those of MODEL.LOSSES: none."""
        return {}

    def forward(self, maps: Any, targets: Tensor | None = None, **labels: Tensor) -> Any:
        """Return what :meth:`branches` does."""
        return self.branches(maps, targets, **labels)


class MapHead(BranchHead):
    """A head that reads one map (B, C, h, w), for our meta-architectures and for FastReID's ``Baseline`` alike."""

    takes = "map"

    def embed(self, branches: Mapping[str, Mapping[str, Tensor]]) -> Tensor:
        """Return the test feature (B, D) in float32: the first branch's, after BNNeck."""
        return next(iter(branches.values()))["neck"].float()

    def forward(self, maps: Tensor, targets: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Return what FastReID's ``Baseline`` expects: in training its dict, in a test the test feature (B, D).

        The dict is of the first branch: "features" (B, D), and "cls_outputs" and "pred_class_logits" (B, K), which for
        a classifier of several heads are the sum of their logits.

        Raises:
            ValueError: a training forward without targets.
        """
        branches = self.branches(maps, targets)
        if not self.training:
            return self.embed(branches)
        if targets is None:
            raise ValueError(f"{type(self).__name__} classifies in training: give it targets, or call eval() first")
        first = next(iter(branches.values()))
        logits = first["logits"].sum(dim=1) if first["logits"].dim() == 3 else first["logits"]
        return {"cls_outputs": logits, "pred_class_logits": logits, "features": first["feature"]}


def build_head(cfg: CfgNode, takes: str, feat_dim: int, keys: Sequence[str] = ()) -> nn.Module:
    """Let FastReID's build_heads build MODEL.HEADS.NAME for a trunk whose last map has ``feat_dim`` channels.

    Args:
        cfg: the config.
        takes: what the meta-architecture gives its head, a key of :data:`TAKES`.
        feat_dim: written to MODEL.BACKBONE.FEAT_DIM of the config that the head is built from.
        keys: nodes below MODEL of the project; a head of a user's own need not read them or MODEL.HEADS.

    Raises:
        ConfigError: no such head, one that takes other maps, or a MODEL.BACKBONE.FEAT_DIM that is not the trunk's.
    """
    name, arch = cfg.MODEL.HEADS.NAME, cfg.MODEL.META_ARCHITECTURE
    heads = REID_HEADS_REGISTRY._obj_map
    found = takes_of(heads.get(name))
    if found != takes:
        names = plain_names(REID_HEADS_REGISTRY)
        fits = ", ".join(other for other in names if takes_of(heads[other]) == takes)
        what = f"takes {TAKES[found]}" if found in TAKES else "is not a head of this kind"
        what = what if name in heads else "is not registered"
        raise ConfigError(f"MODEL.HEADS.NAME is {name}, which {what}; {arch} gives its head {TAKES[takes]}: set {fits}")
    given, default = cfg.MODEL.BACKBONE.FEAT_DIM, host_get_cfg().MODEL.BACKBONE.FEAT_DIM
    if given not in (feat_dim, default):
        raise ConfigError(
            f"MODEL.BACKBONE.FEAT_DIM is {given}, but the trunk's last map has {feat_dim} channels: leave the key out"
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.FEAT_DIM = feat_dim
    head = build_heads(cfg)
    if is_users_own(head):
        # A project's yaml sets what the project's head reads; that another one does not is no mistake of its user.
        for node in (cfg.MODEL.HEADS, *(cfg.MODEL[key] for key in keys)):
            _read_all(node)
    return head


def takes_of(kind: type | None) -> str | None:
    """Return what a registered head takes or a meta-architecture gives, None for FastReID's own and for no class."""
    return kind.takes if isinstance(kind, TakesMaps) else None


def is_users_own(head: nn.Module) -> bool:
    """Return whether a head for our meta-architectures is none of ours."""
    return isinstance(head, TakesMaps) and not type(head).__module__.startswith("fastreid_ext.")


def _read_all(node: CfgNode) -> None:
    for key in node:
        if isinstance(node[key], CfgNode):
            _read_all(node[key])


def check_meta_architecture(cfg: CfgNode, head: type[BranchHead]) -> None:
    """Check that a head which takes several maps is not built for a meta-architecture of FastReID, which gives one.

    Raises:
        ConfigError: it is.
    """
    arch = cfg.MODEL.META_ARCHITECTURE
    kinds = META_ARCH_REGISTRY._obj_map
    if arch in kinds and kinds[arch].__module__.startswith("fastreid."):
        fits = [name for name in plain_names(META_ARCH_REGISTRY) if takes_of(kinds[name]) == head.takes]
        raise ConfigError(
            f"MODEL.HEADS.NAME is {head.__name__}, which takes {TAKES[head.takes]}; FastReID's {arch} gives its head"
            f" one map: set MODEL.META_ARCHITECTURE {' or '.join(fits)}, or another head"
        )


def has_extra_losses(cfg: CfgNode) -> bool:
    """Return whether a config's meta-architecture computes a head's extra losses: ours do, FastReID's do not."""
    return isinstance(META_ARCH_REGISTRY._obj_map.get(cfg.MODEL.META_ARCHITECTURE), TakesMaps)
