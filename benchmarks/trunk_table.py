"""Write docs/trunks.md: what each trunk has and costs, and which projects can have it.

    python benchmarks/trunk_table.py

Nothing is measured in seconds: parameters and multiply-adds are counted on tensors without numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.config import get_cfg
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.capabilities import TakesMaps
from fastreid_ext.modeling.residual_blocks import block_count
from fastreid_ext.modeling.trunk import STAGES, check_trunk, stage_shapes

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

PAGE = Path(__file__).parents[1] / "docs" / "trunks.md"
SIZE = (256, 128)


@dataclass(frozen=True)
class Trunk:
    """One row.

    Attributes:
        name: MODEL.BACKBONE.NAME without "build_" and "_backbone".
        depth: MODEL.BACKBONE.DEPTH.
        keys: other keys of MODEL.BACKBONE.
    """

    name: str
    depth: str
    keys: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """Return the config keys of this trunk, without ImageNet weights."""
        node = {"NAME": f"build_{self.name}_backbone", "DEPTH": self.depth, "PRETRAIN": False, **self.keys}
        return {f"MODEL.BACKBONE.{key}": value for key, value in node.items()}


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
    "ResNeXt-50": Trunk("resnext", "50x"),
    "ResNeSt-50": Trunk("resnest", "50x"),
    "Res2Net-26": Trunk("res2net", "26x"),
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


def build(trunk: Trunk) -> torch.nn.Module:
    """Return a trunk without numbers, for images of SIZE, where its code lets it have none."""
    cfg = get_cfg()
    settings = {**trunk.settings(), "INPUT.SIZE_TRAIN": list(SIZE)}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    try:
        with torch.device("meta"):
            return build_backbone(cfg).eval()
    except RuntimeError:  # it reads numbers off its tensors
        return build_backbone(cfg).eval()


def multiply_adds(network: torch.nn.Module) -> int:
    """Count those of one image of SIZE (docs/counting.md)."""
    images = next(network.parameters()).new_zeros(1, 3, *SIZE)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops() // 2


def row(name: str, trunk: Trunk) -> str:
    """Return a trunk's line of the table, and why a project can't have it."""
    network = build(trunk)
    size = f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f}"
    cost = f"{multiply_adds(network) / 1e9:.3f}"
    try:
        check_trunk(network)
    except ConfigError:
        stages, staged = "none", False
    else:
        shapes, staged = stage_shapes(network), True
        maps = [f"{shapes[i].channels} at 1/{shapes[i].reduction} ({block_count(network, i)})" for i in STAGES]
        stages = ", ".join(maps)
    cells = ["yes" if staged or not needs_stages(project) else "no" for project in PROJECTS]
    keys = " ".join(f"{key} {value}" for key, value in trunk.settings().items() if not key.endswith("PRETRAIN"))
    return f"| {name} | `{keys.replace('MODEL.BACKBONE.', '')}` | {size} | {cost} | {stages} | {' | '.join(cells)} |"


def needs_stages(project: str) -> bool:
    """Return whether a meta-architecture runs its trunk stage by stage."""
    kind = META_ARCH_REGISTRY.get(project)
    return isinstance(kind, TakesMaps) and kind.takes != "map"


TEXT = """\
# Trunks: every project on every backbone

Written by `python benchmarks/trunk_table.py`.

A trunk is any network with a stem and four stages. Stage 1 ends at a quarter of the image, stages 2 to 4 at 1/8, 1/16
and 1/32, or 1/16 again with a last stride of 1. Deep Miner, MSReID and MGRe run it stage by stage; OccludedReID and
Res2NetMultiTask read its last map alone. Any project takes any backbone below:

```
fastreid-ext train --config-file demo/deepminer.yml MODEL.BACKBONE.NAME build_osnet_backbone MODEL.BACKBONE.DEPTH x0_5
```

Parameters (millions) and [multiply-adds](counting.md) (10^9, of one {height}x{width} image) are the trunk's alone, with
the default `LAST_STRIDE` of 1. A stage is given as channels of its map, the map's share of the image, and how many
residual blocks make it. Images per second: not measured yet.

| Trunk | `MODEL.BACKBONE` | M | G | Stages 1 to 4 | {projects} |
|---|---|---|---|---|{lines}
{rows}

- **Other settings**: a config's own `FEAT_DIM`, `WITH_IBN` or `PRETRAIN_PATH` is of the trunk that it was written for.
  FastReID's Baseline needs `MODEL.BACKBONE.FEAT_DIM`, the channels of stage 4; the five projects measure them.
- **LAST_STRIDE** is read by the ResNets, ResNeXt, ResNeSt, Res2Net, RegNet, EfficientNet and RepVGG. FastReID's OSNet
  always has a last stride of 1, and its MobileNets and ShuffleNetV2 one of 2. Another value is an error on the command
  line, and in your own yaml unless it is the default; what a shipped config sets is left out, with a line in the log.
- **OSNet**: the two blocks of its `conv4` are stages 3 and 4, and `conv5` belongs to stage 4. What halves the map at
  the end of `conv2` and `conv3` begins the next stage.
- **ShuffleNetV2** has no block at a quarter of the image: stage 1 is the pooling before the blocks. MGRe's feature
  extraction has none there either, unless `MODEL.MGRE.FE.BLOCKS` gives a number.
- **MobileNets, EfficientNet and ShuffleNetV2** end in a convolution to many channels, which belongs to stage 4. MGRe's
  feature extraction of that stage is as wide inside as the stage's last block.
- **RegNet and EfficientNet** read yaml files that some installations of FastReID lack; an error says so.
- **A vision transformer** has no stages yet: Deep Miner, MSReID and MGRe refuse it in one sentence.
- **MSReID** has soft attention with a 16th of a stage's channels inside; where 16 does not divide them, their greatest
  common divisor takes its place. `MODEL.MSREID.STEM_POOL torchvision` needs a stem with max pooling: a ResNet's,
  ResNeXt's, ResNeSt's, Res2Net's or OSNet's.
- **Disentangled non-local blocks** stand behind the last residual blocks of any trunk: `MODEL.BACKBONE.NAME
  build_dnl_backbone MODEL.BACKBONE.DNL.TRUNK build_osnet_backbone MODEL.BACKBONE.DNL.BLOCKS "[0, 1, 1, 0]"`.

## timm

`pip install 'fastreid-ext[timm]'` and any network of [timm](https://github.com/huggingface/pytorch-image-models) whose
maps are at 1/4, 1/8, 1/16 and 1/32 of the image is a trunk:

```
fastreid-ext train --config-file demo/deepminer.yml MODEL.BACKBONE.NAME build_timm_backbone \\
    MODEL.BACKBONE.TIMM.NAME mobilenetv4_conv_small
```

- **Which**: ConvNeXt, EfficientNet, MobileNetV1 to V4, RegNet, ResNet with its many kin, ResNeSt, Res2Net, SENet,
  DenseNet, DPN, DLA, VovNet, CSPNet, NFNet, HGNet, GhostNet, RexNet, FastViT, RepViT, MobileOne, EdgeNeXt, MetaFormer
  and more: about 700 of the 1371 names of timm 1.0.31. Stem and stages are read off the network: its `feature_info`
  names where a stage ends, and a forward pass says which modules run one after another. Running them one by one is
  timm's `forward_features`, so a ConvNeXt's last normalisation, which timm has behind the pooling, is not there. What
  runs in parallel (HRNet), has a fifth stage (SelecSLS), takes images of one size (MaxViT, CoAtNet, Swin) or ends a
  stage inside a block (Xception) is refused in a sentence.
- **The name** may have the tag of timm's weights: `convnextv2_tiny.fcmae_ft_in1k`. Names that begin with `hf-hub:` or
  `local-dir:` are not taken, because a trained model must be built again without the hub and that folder.
- **LAST_STRIDE** 1, the default, takes the last downsampling out of the network as timm builds it: the convolutions and
  poolings of stage 4 that halve the map work at a stride of 1, with the weights that they have, as in FastReID's own
  trunks. Nothing is dilated, as timm's `output_stride` does in those of its networks that have it. A convolution of 2x2
  pixels, as a ConvNeXt has, gets a row and a column of zeros behind the map; a pooling of 2x2 is left out. Where the
  map is not twice as large then, an error says to set `LAST_STRIDE` 2.
- **Weights**: `MODEL.BACKBONE.PRETRAIN True` without a `PRETRAIN_PATH` loads timm's own, out of the hub's folder here
  or from the hub; without either it stops. `PRETRAIN_PATH` may be a `.safetensors` or `.pth` file, or
  `hf-hub:OWNER/REPOSITORY`, whose `model.safetensors` is taken and nothing else. Every file is read by our own reader,
  every tensor of the trunk has to be there, and a classifier is left out. Names of a network's authors are brought to
  timm's by timm's own function where it has one.
- **Mean and deviation** (`MODEL.PIXEL_MEAN`, `PIXEL_STD`) are those that timm says of the network, unless you give
  others, which is a warning.
- **Without effect** are `DEPTH`, `NORM`, `WITH_IBN`, `WITH_SE` and `WITH_NL`: the name says it all.
- **MGRe's feature extraction** is made of blocks as the stage's last one, of the stage's channels and without a stride.
  A block that divides or joins maps of fixed widths (GhostNet, VovNet, RexNet) can't be made so: set
  `MODEL.MGRE.FE.BLOCKS 0`. The lists of layers of a DenseNet and the plain convolutions of a VGG are no residual
  blocks: there is nothing that MGRe or a non-local block could follow.

## A network of your own

It is a trunk if its modules have a ResNet's names (`conv1`, `bn1`, `relu`, `maxpool`, `layer1` to `layer4`), or if it
says which of its modules are what:

```python
from torch import nn

from fastreid_ext.modeling.anatomy import Anatomy


class MyNet(nn.Module):
    anatomy = Anatomy("stem", ("stage1[:]", "stage2[:]", "stage3[:]", "stage4[:] +last_conv"))
```

`stage1[:]` names the children of `stage1`, and `stages.0.blocks[:]` those of a module further inside; a `+` stands
before what is no residual block. For MGRe's feature extraction its blocks also need a method `following(norm)` that
returns a new block with the same output channels.
"""


def page() -> str:
    """Return the whole page."""
    return TEXT.format(
        height=SIZE[0],
        width=SIZE[1],
        projects=" | ".join(PROJECTS.values()),
        lines="---|" * len(PROJECTS),
        rows="\n".join(row(name, trunk) for name, trunk in TRUNKS.items()),
    )


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print("written to", PAGE)


if __name__ == "__main__":
    main()
