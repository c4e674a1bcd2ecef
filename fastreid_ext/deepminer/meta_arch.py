"""Deep Miner: A Deep and Multi-branch Network which Mines Rich and Diverse Features (Benzine et al., 2021)."""

from collections.abc import Mapping
from typing import Any

from fastreid.config import CfgNode, configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor, nn

from fastreid_ext.compat.names import register
from fastreid_ext.deepminer.attention import attend, attention_behind
from fastreid_ext.deepminer.branches import InputErasedBranch, LaterStages
from fastreid_ext.deepminer.layout import LOCAL, BranchLayout
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.backbones import fixed_last_stride
from fastreid_ext.modeling.branched import BranchedReID
from fastreid_ext.modeling.head_plugins import BranchHead, Outputs
from fastreid_ext.modeling.tokens import Tokens
from fastreid_ext.modeling.trunk import (
    STAGES,
    check_trunk,
    last_map_rows,
    map_of,
    run_stage,
    run_stem,
    stage_channels,
)


@register(META_ARCH_REGISTRY)
class DeepMiner(BranchedReID):
    """A global branch, input-erased branches (IE) and a local branch on one trunk (section 3).

    Args:
        backbone: any trunk, see :mod:`fastreid_ext.modeling.trunk`; its stages are the paper's blocks B1 ... B4.
        head: of the branches' last maps; the paper's is :class:`DeepMinerHead`.
        layout: the branches.
        attention: block -> ATT = CHAM(SAM(.)) behind it; side branches get copies.
        shared: settings of :class:`BranchedReID`.

    Raises:
        ConfigError: a backbone without stages.
    """

    takes = "branch_maps"
    nodes = ("DEEPMINER",)
    renamed = (
        (r"pools\.global\.", "heads.pools.global_."),
        (r"heads\.global\.", "heads.necks.global_."),
        (r"heads\.(ie\d|local)\.", r"heads.necks.\1."),
        (r"pools\.", "heads.pools."),
        (r"side_branches\.(ie\d)\.(trunk|attention)\.", r"side_branches.\1.blocks.\2."),
    )

    @configurable
    def __init__(
        self, *, backbone: nn.Module, head: BranchHead, layout: BranchLayout, attention: nn.ModuleDict, **shared: Any
    ):
        check_trunk(backbone)
        super().__init__(head, **shared)
        self.backbone = backbone
        self.attention = attention
        self.side_branches = nn.ModuleDict()
        for name, after in layout.starts.items():
            later = LaterStages(backbone, attention, after)
            self.side_branches[name] = later if name == LOCAL else InputErasedBranch(later, layout.erase_threshold)
        self.heads = head
        self.starts = layout.starts

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node, layout, backbone = cfg.MODEL.DEEPMINER, BranchLayout.from_config(cfg), build_backbone(cfg)
        check_trunk(backbone)
        channels = stage_channels(backbone)
        if layout.local_stripes:
            height = min(cfg.INPUT.SIZE_TRAIN[0], cfg.INPUT.SIZE_TEST[0])
            rows = last_map_rows(backbone, height)
            if rows < layout.local_stripes:  # else the key is not read here: a backbone of a user's own may ignore it
                last_stride = cfg.MODEL.BACKBONE.LAST_STRIDE if fixed_last_stride(cfg) is None else 1
                layout.check_rows(rows, height, last_stride)
        sam = cham = None
        if layout.attention_blocks and node.SAM.ENABLED:
            sam = {"reduction": node.SAM.REDUCTION}
        if layout.attention_blocks and node.CHAM.ENABLED:
            cham = {"reduction": node.CHAM.REDUCTION, "activation": node.CHAM.ACTIVATION}
            cham |= {} if cham["activation"] == "sigmoid" else {"rescale": node.CHAM.RESCALE}
        return cls.shared_settings(cfg) | {
            "backbone": backbone,
            "layout": layout,
            "attention": attention_behind(layout.attention_blocks, channels, sam, cham),
            "head": cls.build_head(cfg, channels[4]),
            "test_branch_norm": node.TEST_BRANCH_NORM,
        }

    def stage_maps(self, images: Tensor) -> dict[int, Tensor]:
        """Return Y_i of the global branch; behind an attention module, its output (footnotes 4 and 5)."""
        return {stage: map_of(y) for stage, y in self._outputs(images).items()}

    def _outputs(self, images: Tensor) -> dict[int, Tensor | Tokens]:
        outputs = {}
        y = run_stem(self.backbone, images)
        for stage in STAGES:
            y = outputs[stage] = attend(self.attention, stage, run_stage(self.backbone, stage, y))
        return outputs

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return branch -> last feature map (B, C4, h, w) of normalised images (B, 3, H, W) (figure 1)."""
        outputs = self._outputs(images)
        side = {name: branch(outputs[self.starts[name]]) for name, branch in self.side_branches.items()}
        return {"global": map_of(outputs[4])} | side

    def branches(self, images: Tensor, targets: Tensor | None, **labels: Tensor) -> Outputs:
        """Give the head every branch's last map."""
        return self.heads.branches(self.maps(images), targets, **labels)

    def branch_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Return branch -> last feature map, for figure 2."""
        return self.maps(images)

    def describe(self, maps: Mapping[str, Tensor]) -> Outputs:
        """Return branch -> outputs of the head for last maps of the branches."""
        return self.heads.branches(maps, None)

    def branch_stripes(self) -> dict[str, int]:
        """Return branch -> the stripes that its map is pooled in."""
        pools = dict(getattr(self.heads, "pools", nn.ModuleDict()).items())
        return {name: getattr(pools.get(name), "stripes", 1) for name in ("global", *self.side_branches)}

    def spatial_masks(self, images: Tensor) -> dict[str, Tensor]:
        """Return what every input-erased branch may see, (B, 1, h, w) of zeros and ones, of normalised images (eq. 1).

        Raises:
            ConfigError: a model without such a branch.
        """
        erased = {name: part for name, part in self.side_branches.items() if isinstance(part, InputErasedBranch)}
        if not erased:
            raise ConfigError("this model erases nothing (MODEL.DEEPMINER.IE_BLOCKS is empty)")
        outputs = self.stage_maps(images)
        return {f"{name} keeps": branch.keep_mask(outputs[self.starts[name]]) for name, branch in erased.items()}
