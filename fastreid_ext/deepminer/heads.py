"""The head of Deep Miner: pooling, BNNeck and classifier of every branch (sections 3.2, 3.3 and 4.1)."""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.layers import pooling
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.deepminer.layout import LOCAL, BranchLayout
from fastreid_ext.deepminer.pooling import StripePool
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.branch_modules import BranchModules
from fastreid_ext.modeling.head_plugins import BranchHead, Outputs, check_meta_architecture
from fastreid_ext.modeling.heads import BNNeckHead


@register(REID_HEADS_REGISTRY)
class DeepMinerHead(BranchHead):
    """Global max pooling of the global and the input-erased branches, stripes of the local one; then BNNeck for each.

    Takes one map per branch: a dict of branch -> (B, C, h, w).

    Args:
        in_dim: C, channels of every branch's last map.
        layout: the branches.
        neck: settings of :class:`BNNeckHead` other than in_dim, num_classes among them.
        pool_layer: name of the host's pooling for the global and the IE branches (the paper: global max).

    Raises:
        ConfigError: an unknown pooling.
    """

    takes = "branch_maps"

    @configurable
    def __init__(self, *, in_dim: int, layout: BranchLayout, neck: dict[str, Any], pool_layer: str = "GlobalMaxPool"):
        super().__init__()
        if pool_layer not in pooling.__all__:
            raise ConfigError(f"MODEL.HEADS.POOL_LAYER must be one of {pooling.__all__}, got {pool_layer!r}")
        lengths = layout.lengths(in_dim)
        whole = getattr(pooling, pool_layer)
        self.pools = BranchModules(
            {
                name: StripePool(layout.local_stripes) if name == LOCAL else nn.Sequential(whole(), nn.Flatten())
                for name in lengths
            }
        )
        self.necks = BranchModules({name: BNNeckHead(length, **neck) for name, length in lengths.items()})

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        check_meta_architecture(cfg, cls)
        return {
            "in_dim": cfg.MODEL.BACKBONE.FEAT_DIM,
            "layout": BranchLayout.from_config(cfg),
            "neck": BNNeckHead.settings_of(cfg),
            "pool_layer": cfg.MODEL.HEADS.POOL_LAYER,
        }

    @property
    def dims(self) -> dict[str, int]:
        """Branch -> length of its feature."""
        return {name: neck.dim for name, neck in self.necks.items()}

    def branches(self, maps: Mapping[str, Tensor], targets: Tensor | None = None) -> Outputs:
        """Branch -> its last map (B, C, h, w); returns branch -> outputs of :class:`BNNeckHead`."""
        return {name: neck(self.pools[name](maps[name]), targets) for name, neck in self.necks.items()}
