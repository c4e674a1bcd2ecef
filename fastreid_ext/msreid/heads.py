"""The mask-separated head (sections 3.3 and 3.4, figure 2)."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from fastreid.config import CfgNode, configurable
from fastreid.layers import get_norm
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.branch_modules import BranchModules
from fastreid_ext.modeling.head_plugins import BranchHead, Outputs, check_meta_architecture
from fastreid_ext.modeling.heads import BNNeckHead
from fastreid_ext.modeling.trunk import stage_channels, trunk_of
from fastreid_ext.msreid.bottleneck import ProjectedBottleneck
from fastreid_ext.msreid.start import CLASSIFIER_STD, check_init, start
from fastreid_ext.precision import at_least_float32

POOLS = ("sum", "concat")


@register(REID_HEADS_REGISTRY)
class MaskSeparatedHead(BranchHead):
    """A global feature from stage 4 under a mask m and a local one from stage 3 under 1 - m (section 3.3).

    Takes one map per stage: a dict of stage -> (B, C, h, w), of which it reads those of 3 and 4.

    Args:
        local_channels, global_channels: C of the maps of stages 3 and 4.
        num_classes: K.
        dim: length of a reduced map.
        local: with the local branch.
        mask: with the mask; without it both branches see everything.
        mask_before_reduce: mask the map and reduce it then, as the prose reads; the authors reduce first.
        pool: sum of average and max pooling, or concat.
        norm: FastReID's name of the batch norm.
        init: how the layers start, "authors" or "torch", see :mod:`fastreid_ext.msreid.start`.

    Raises:
        ConfigError: an unknown pool or init, or a dim below one.
    """

    takes = "stage_maps"

    @configurable
    def __init__(
        self,
        *,
        local_channels: int,
        global_channels: int,
        num_classes: int,
        dim: int = 1536,
        local: bool = True,
        mask: bool = True,
        mask_before_reduce: bool = False,
        pool: str = "sum",
        norm: str = "BN",
        init: str = "authors",
    ):
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(f"MODEL.MSREID.POOL must be one of {POOLS}, got {pool!r}")
        check_init(init)
        if dim < 1:
            raise ConfigError(f"MODEL.MSREID.DIM must be 1 or more, got {dim}")
        channels = {"global": global_channels} | ({"local": local_channels} if local else {})
        block = partial(ProjectedBottleneck, norm=partial(get_norm, norm))
        self.mask = block(global_channels, 1, activation=nn.Sigmoid()) if mask else None
        self.reduce = BranchModules({name: block(count, dim) for name, count in channels.items()})
        length = dim * (2 if pool == "concat" else 1)
        self.necks = BranchModules(
            {name: BNNeckHead(length, num_classes, norm=norm, classifier_std=CLASSIFIER_STD[init]) for name in channels}
        )
        start(self.mask, init)
        start(self.reduce, init)
        # They change nothing: what a branch pools is the output of a module, which `cam` and hooks can name (figure 6).
        self.separated = BranchModules({name: nn.Identity() for name in channels})
        self.mask_before_reduce = mask_before_reduce
        self.pool = pool

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        check_meta_architecture(cfg, cls)
        node, channels = cfg.MODEL.MSREID, stage_channels(trunk_of(cfg))
        settings = {
            "local_channels": channels[3],
            "global_channels": channels[4],
            "num_classes": cfg.MODEL.HEADS.NUM_CLASSES,
            "dim": node.DIM,
            "local": node.LOCAL,
            "mask": node.MASK,
            "pool": node.POOL,
            "norm": cfg.MODEL.HEADS.NORM,
            "init": node.INIT,
        }
        return settings | ({"mask_before_reduce": node.MASK_BEFORE_REDUCE} if node.MASK else {})

    @property
    def dims(self) -> dict[str, int]:
        """Branch -> length of its feature."""
        return {name: neck.dim for name, neck in self.necks.items()}

    def masks(self, layer3: Tensor, layer4: Tensor) -> dict[str, Tensor]:
        """Return what each branch sees, (B, 1, h, w) in [0, 1]: m on layer4's map, 1 - m on layer3's.

        Where the two maps differ in size (a last stride of 2) m is repeated for the positions of layer3 that one
        position of layer4 stands for.
        """
        m = self.mask(layer4)
        return {"global": m, "local": 1 - _repeated(m, layer3.shape[2:])}

    def branches(self, maps: Mapping[int, Tensor], targets: Tensor | None = None) -> Outputs:
        """Stage -> its map (B, C, h, w); returns branch -> outputs of :class:`BNNeckHead`."""
        masks = self.masks(maps[3], maps[4]) if self.mask is not None else {}
        outputs = {}
        for name, neck in self.necks.items():
            y = maps[4 if name == "global" else 3]
            if masks and self.mask_before_reduce:
                y = self.reduce[name](y * masks[name])
            else:
                y = self.reduce[name](y)
                y = y * masks[name] if masks else y
            y = self.separated[name](y)
            outputs[name] = neck(self._pool(y).to(neck.weight.dtype), targets)
        return outputs

    def _pool(self, y: Tensor) -> Tensor:
        y = at_least_float32(y)
        pooled = y.mean(dim=(2, 3)), y.amax(dim=(2, 3))
        return pooled[0] + pooled[1] if self.pool == "sum" else torch.cat(pooled, dim=1)


def _repeated(m: Tensor, size: Sequence[int]) -> Tensor:
    """Enlarge (B, 1, h, w) to (B, 1, *size): every position takes the nearest one's value.

    These are the numbers of F.interpolate(mode="nearest-exact"), which ONNX has no operation for.
    """
    if m.shape[2:] == tuple(size):
        return m
    rows, columns = (
        ((torch.arange(large, device=m.device) + 0.5) * (small / large)).long()
        for large, small in zip(size, m.shape[2:], strict=True)
    )
    return m[:, :, rows[:, None], columns]
