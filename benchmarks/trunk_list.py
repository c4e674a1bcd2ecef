"""The trunks of docs/trunks.md, by their names there: what scripts and tests try is out of this one table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastreid_ext.config import get_cfg
from fastreid_ext.modeling.capabilities import TakesMaps

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

SIZE = (256, 128)  # of the images that a trunk is counted and timed with
SPEED = "trunk_speed.json"  # of trunk_speed.py, in benchmarks/results


@dataclass(frozen=True)
class Trunk:
    """One row.

    Attributes:
        name: MODEL.BACKBONE.NAME without "build_" and "_backbone".
        depth: MODEL.BACKBONE.DEPTH; "" where it is not read.
        keys: other keys of MODEL.BACKBONE.
    """

    name: str
    depth: str
    keys: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return the config keys of this trunk, without ImageNet weights."""
        depth = {"DEPTH": self.depth} if self.depth else {}
        node = {"NAME": f"build_{self.name}_backbone", **depth, "PRETRAIN": False, **self.keys}
        return {f"MODEL.BACKBONE.{key}": value for key, value in node.items()}


def timm(name: str, **keys: Any) -> Trunk:
    """Return the row of a network of timm's, with other keys of MODEL.BACKBONE."""
    return Trunk("timm", "", {"TIMM.NAME": name, **keys})


IBN = {"WITH_IBN": True}
TRUNKS = {
    "OSNet x0.25": Trunk("osnet", "x0_25"),
    "OSNet x0.5, IBN": Trunk("osnet", "x0_5", IBN),
    "OSNet x1.0": Trunk("osnet", "x1_0"),
    "MobileNetV2": Trunk("mobilenetv2", "1.0x"),
    "MobileNetV3 Small": Trunk("mobilenetv3", "Small"),
    "MobileNetV3 Large": Trunk("mobilenetv3", "Large"),
    "ShuffleNetV2 1.0x": Trunk("shufflenetv2", "1.0x"),
    "RegNetX-200MF": Trunk("regnet", "200x"),
    "RegNetY-400MF": Trunk("regnet", "400y"),
    "EfficientNet-B0": Trunk("effnet", "b0"),
    "RepVGG-A0": Trunk("repvgg", "A0"),
    "Narrow ResNet-10": Trunk("narrow_resnet", "10x", {"NARROW.WIDTH": 32}),
    "Narrow ResNet-18": Trunk("narrow_resnet", "18x", {"NARROW.WIDTH": 32}),
    "ResNet-18": Trunk("resnet", "18x"),
    "ResNet-50": Trunk("resnet", "50x"),
    "ResNet-50, IBN": Trunk("resnet", "50x", IBN),
    "ResNet-152": Trunk("deep_resnet", "152x"),
    "ResNeXt-50": Trunk("resnext", "50x"),
    "ResNeSt-50": Trunk("resnest", "50x"),
    "Res2Net-26": Trunk("res2net", "26x"),
    "MobileNetV4 Small": timm("mobilenetv4_conv_small"),
    "MobileNetV4 Medium": timm("mobilenetv4_conv_medium"),
    "ConvNeXtV2 Atto": timm("convnextv2_atto"),
    "ConvNeXtV2 Tiny": timm("convnextv2_tiny"),
    "EdgeNeXt XX-Small": timm("edgenext_xx_small"),
    "FastViT-T8": timm("fastvit_t8"),
    "DenseNet-121": timm("densenet121"),
    "EfficientNetV2 Small": timm("tf_efficientnetv2_s"),
    "ViT-Ti/16": timm("vit_tiny_patch16_224"),
    "DINOv2 Small": timm("vit_small_patch14_dinov2"),
    "DINOv3 Small": timm("vit_small_patch16_dinov3"),
    "EVA-02 Tiny": timm("eva02_tiny_patch14_224"),
    "ViT small": Trunk("vit", "small"),
}
PROJECTS = {
    "DeepMiner": "DeepMiner",
    "MSReID": "MSReID",
    "MGRe": "MGRe",
    "OccludedReID": "OccludedReID",
    "Res2NetMultiTask": "Res2NetMultiTask",
    "Baseline": "FastReID's Baseline",
}


def config_of(trunk: Trunk) -> CfgNode:
    """Return the config of a trunk for images of SIZE."""
    cfg = get_cfg()
    settings = {**trunk.settings(), "INPUT.SIZE_TRAIN": list(SIZE)}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    return cfg


def needs_stages(project: str) -> bool:
    """Return whether a meta-architecture runs its trunk stage by stage."""
    kind = META_ARCH_REGISTRY.get(project)
    return isinstance(kind, TakesMaps) and kind.takes != "map"
