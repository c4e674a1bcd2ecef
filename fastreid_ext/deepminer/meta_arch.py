"""Deep Miner: A Deep and Multi-branch Network which Mines Rich and Diverse Features (Benzine et al., 2021)."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.layers import pooling
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.deepminer.attention import ChannelAttention, SpatialAttention
from fastreid_ext.deepminer.erasing import erase, keep_mask
from fastreid_ext.deepminer.pooling import StripePool
from fastreid_ext.modeling.augmentation_table import BatchAugmentation, augmentations_from_config
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.heads import BNNeckHead
from fastreid_ext.modeling.loss_table import Criterion, Term, terms_from_config
from fastreid_ext.modeling.trunk import (
    STAGES,
    StageCopies,
    check_trunk,
    last_map_rows,
    run_stage,
    run_stem,
    stage_channels,
)


class Branch(nn.Module):
    """Copies of the blocks (and attention modules) behind block ``after``: from Y_after to a branch's last map."""

    def __init__(self, backbone: nn.Module, attention: nn.ModuleDict, after: int):
        super().__init__()
        self.after = after
        self.trunk = StageCopies(backbone, [stage for stage in STAGES if stage > after])
        # Same starting weights as the attention on the global branch: they are copied before any training.
        self.attention = copy.deepcopy(nn.ModuleDict({k: a for k, a in attention.items() if int(k) > after}))

    def forward(self, y: Tensor) -> Tensor:
        for stage in self.trunk.stages:
            y = attend(self.attention, stage, run_stage(self.trunk, stage, y))
        return y


@register(META_ARCH_REGISTRY)
class DeepMiner(BranchedReID):
    """A global branch, input-erased branches (IE) and a local branch on one ResNet-like backbone (section 3).

    Args:
        backbone: any ResNet-like FastReID backbone; it is the trunk of the global branch.
        num_classes: K, identities of the training set.
        loss_terms: the losses of every branch (eq. 2).
        head: settings of :class:`BNNeckHead` other than in_dim and num_classes.
        pool_layer: name of the host's pooling for the global and the IE branches (the paper: global max).
        ie_blocks: blocks B_i that an IE branch follows.
        erase_threshold: tau of eq. 1.
        local_stripes: stripes of the local branch; 0 = no local branch.
        attention_blocks: blocks that ATT = CHAM(SAM(.)) follows, on every branch whose path has that block.
        sam, cham: settings of the two modules, or None to leave one out.
        test_branch_norm, augmentations: see :class:`BranchedReID`.
        min_input_height: smallest image height in pixels that the stripes have to serve; None = not checked.

    Raises:
        ValueError: a backbone without ResNet stages, blocks that do not exist, attention without any module.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        num_classes: int,
        loss_terms: list[Term],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        head: dict[str, Any] | None = None,
        pool_layer: str = "GlobalMaxPool",
        ie_blocks: Sequence[int] = (2, 3),
        erase_threshold: float = 0.8,
        local_stripes: int = 4,
        attention_blocks: Sequence[int] = (2, 3),
        sam: dict[str, Any] | None = None,
        cham: dict[str, Any] | None = None,
        test_branch_norm: bool = False,
        min_input_height: int | None = None,
        augmentations: Sequence[BatchAugmentation] = (),
    ):
        check_trunk(backbone)
        _check_blocks("MODEL.DEEPMINER.IE_BLOCKS", ie_blocks, STAGES[:-1])
        _check_blocks("MODEL.DEEPMINER.ATTENTION_BLOCKS", attention_blocks, STAGES)
        if attention_blocks and sam is None and cham is None:
            raise ValueError(
                "MODEL.DEEPMINER.ATTENTION_BLOCKS names blocks but SAM and CHAM are both off: empty it, or enable one"
            )
        if not 0.0 <= erase_threshold <= 1.0:
            raise ValueError(f"MODEL.DEEPMINER.ERASE_THRESHOLD must lie in [0, 1], got {erase_threshold}")
        if local_stripes < 0:
            raise ValueError(f"MODEL.DEEPMINER.LOCAL_STRIPES must be 0 or more, got {local_stripes}")
        if pool_layer not in pooling.__all__:
            raise ValueError(f"MODEL.HEADS.POOL_LAYER must be one of {pooling.__all__}, got {pool_layer!r}")
        if local_stripes and min_input_height is not None:
            rows = last_map_rows(backbone, min_input_height)
            if rows < local_stripes:
                raise ValueError(
                    f"images of {min_input_height} rows give a last map of {rows}, too few for"
                    f" MODEL.DEEPMINER.LOCAL_STRIPES ({local_stripes}): raise INPUT.SIZE_TRAIN / SIZE_TEST, or set"
                    " MODEL.BACKBONE.LAST_STRIDE 1"
                )
        channels = stage_channels(backbone)
        attention = nn.ModuleDict({str(i): build_attention(channels[i], sam, cham) for i in sorted(attention_blocks)})
        pool = lambda: nn.Sequential(getattr(pooling, pool_layer)(), nn.Flatten())  # noqa: E731

        starts = {f"ie{i}": i for i in sorted(ie_blocks)} | ({"local": 3} if local_stripes else {})
        pools = {"global": pool()} | {name: pool() for name in starts}
        dims = dict.fromkeys(pools, channels[4])
        if local_stripes:
            pools["local"], dims["local"] = StripePool(local_stripes), channels[4] * local_stripes
        heads = {name: BNNeckHead(dim, num_classes, **(head or {})) for name, dim in dims.items()}

        criterion = Criterion(loss_terms, {name: h.dim for name, h in heads.items()}, num_classes)
        super().__init__(criterion, list(pixel_mean), list(pixel_std), test_branch_norm, augmentations)
        self.backbone = backbone
        self.attention = attention
        self.side_branches = nn.ModuleDict({name: Branch(backbone, attention, i) for name, i in starts.items()})
        self.pools = nn.ModuleDict(pools)
        self.heads = nn.ModuleDict(heads)
        self.erase_threshold = erase_threshold

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node, heads = cfg.MODEL.DEEPMINER, cfg.MODEL.HEADS
        settings = {
            "backbone": build_backbone(cfg),
            "num_classes": heads.NUM_CLASSES,
            "loss_terms": terms_from_config(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "head": {
                "embedding_dim": heads.EMBEDDING_DIM,
                "norm": heads.NORM,
                "cls_layer": heads.CLS_LAYER,
                "scale": heads.SCALE,
                "margin": heads.MARGIN,
            },
            "pool_layer": heads.POOL_LAYER,
            "ie_blocks": node.IE_BLOCKS,
            "local_stripes": node.LOCAL_STRIPES,
            "attention_blocks": node.ATTENTION_BLOCKS,
            "test_branch_norm": node.TEST_BRANCH_NORM,
            "augmentations": augmentations_from_config(cfg),
            "min_input_height": min(cfg.INPUT.SIZE_TRAIN[0], cfg.INPUT.SIZE_TEST[0]),
        }
        # Read only where it is used, so that a key without effect is found at start-up.
        if node.IE_BLOCKS:
            settings["erase_threshold"] = node.ERASE_THRESHOLD
        if node.ATTENTION_BLOCKS and node.SAM.ENABLED:
            settings["sam"] = {"reduction": node.SAM.REDUCTION}
        if node.ATTENTION_BLOCKS and node.CHAM.ENABLED:
            cham = {"reduction": node.CHAM.REDUCTION, "activation": node.CHAM.ACTIVATION}
            settings["cham"] = cham if cham["activation"] == "sigmoid" else cham | {"rescale": node.CHAM.RESCALE}
        return settings

    def stage_maps(self, images: Tensor) -> dict[int, Tensor]:
        """Return Y_i of the global branch; behind an attention module, its output (footnotes 4 and 5)."""
        outputs = {}
        y = run_stem(self.backbone, images)
        for stage in STAGES:
            y = outputs[stage] = attend(self.attention, stage, run_stage(self.backbone, stage, y))
        return outputs

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return branch -> last feature map (B, C4, h, w) of normalised images (B, 3, H, W) (figure 1)."""
        outputs = self.stage_maps(images)
        maps = {"global": outputs[4]}
        for name, branch in self.side_branches.items():
            y = outputs[branch.after]
            maps[name] = branch(y if name == "local" else erase(y, self.erase_threshold))
        return maps

    def spatial_masks(self, images: Tensor) -> dict[str, Tensor]:
        """Return what every input-erased branch may see, (B, 1, h, w) of zeros and ones, of normalised images (eq. 1).

        Raises:
            ValueError: a model without such a branch.
        """
        starts = {name: branch.after for name, branch in self.side_branches.items() if name != "local"}
        if not starts:
            raise ValueError("this model erases nothing (MODEL.DEEPMINER.IE_BLOCKS is empty)")
        outputs = self.stage_maps(images)
        return {f"{name} keeps": keep_mask(outputs[i], self.erase_threshold) for name, i in starts.items()}

    def branches(self, images: Tensor, targets: Tensor | None) -> dict[str, dict[str, Tensor]]:
        """Pool every branch's last map and pass it through its head."""
        maps = self.maps(images)
        return {name: self.heads[name](self.pools[name](y), targets) for name, y in maps.items()}


def build_attention(channels: int, sam: dict[str, Any] | None, cham: dict[str, Any] | None) -> nn.Sequential:
    """ATT(Y) = CHAM(SAM(Y)) with the parts that are given."""
    parts: list[tuple[Callable[..., nn.Module], dict[str, Any] | None]] = [
        (SpatialAttention, sam),
        (ChannelAttention, cham),
    ]
    return nn.Sequential(*(part(channels, **settings) for part, settings in parts if settings is not None))


def attend(attention: nn.ModuleDict, stage: int, y: Tensor) -> Tensor:
    """Pass y through the attention behind a stage, if there is one."""
    key = str(stage)
    return attention[key](y) if key in attention else y


def _check_blocks(key: str, blocks: Sequence[int], allowed: Sequence[int]) -> None:
    if len(set(blocks)) != len(blocks) or not set(blocks) <= set(allowed):
        raise ValueError(f"{key} must name each block once, out of {list(allowed)}; got {list(blocks)}")
