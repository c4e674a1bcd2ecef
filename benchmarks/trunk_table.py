"""Write docs/trunks.md: what each trunk has and costs, and which projects can have it.

    python benchmarks/trunk_table.py

Parameters and multiply-adds are counted on tensors without numbers. Images per second are those that trunk_speed.py
measured last.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from record import RESULTS
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.config import get_cfg
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.capabilities import TakesMaps
from fastreid_ext.modeling.residual_blocks import block_count
from fastreid_ext.modeling.trunk import STAGES, check_trunk, stage_shapes

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

PAGE = Path(__file__).parents[1] / "docs" / "trunks.md"
SPEED = "trunk_speed.json"  # in benchmarks/results
SIZE = (256, 128)


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
    "FastViT-T8": timm("fastvit_t8"),
    "DenseNet-121": timm("densenet121"),
    "EfficientNetV2 Small": timm("tf_efficientnetv2_s"),
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


def build(trunk: Trunk) -> torch.nn.Module:
    """Return a trunk without numbers, for images of SIZE, where its code lets it have none."""
    cfg = config_of(trunk)
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


def measured() -> dict[str, Any]:
    """Return the record of trunk_speed.py; without one there are no results in it."""
    file = RESULTS / SPEED
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"results": {}}


def row(name: str, trunk: Trunk) -> str:
    """Return a trunk's line of the table: what it costs, its stages, and which projects can have it."""
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
    speed = measured()["results"].get(name)
    rate = f"{speed['images_per_second']:.0f} ({speed['ratio']:.1f})" if speed else "–"
    keys = keys.replace("MODEL.BACKBONE.", "")
    return f"| {name} | `{keys}` | {size} | {cost} | {rate} | {stages} | {' | '.join(cells)} |"


def conditions() -> str:
    """Say how the images per second were measured."""
    record = measured()
    if not record["results"]:
        return "Images per second: not measured yet."
    machine, torchs = record["hardware"], record["versions"]["torch"]
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    return (
        f"Images per second are of batches of {record['batch']} in float32 on {threads} of an {machine['cpu']}, with"
        f" torch\n{torchs} ([`{SPEED}`](../benchmarks/results/{SPEED})); in brackets, how many times those of"
        " ResNet-50 in\nthe same run."
    )


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
residual blocks make it.

{speed}

| Trunk | `MODEL.BACKBONE` | M | G | Images/s | Stages 1 to 4 | {projects} |
|---|---|---|---|---|---|{lines}
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
- **timm's networks** need the extra `timm` (`pip install 'fastreid-ext[timm]'`) and `MODEL.BACKBONE.TIMM.NAME`.
- **FastReID's vision transformer** has no stages: Deep Miner, MSReID and MGRe refuse it in one sentence.
- **MSReID** has soft attention with a 16th of a stage's channels inside; where 16 does not divide them, their greatest
  common divisor takes its place. `MODEL.MSREID.STEM_POOL torchvision` needs a stem with max pooling: a ResNet's,
  ResNeXt's, ResNeSt's, Res2Net's or OSNet's.
- **Disentangled non-local blocks** stand behind the last residual blocks of any trunk: `MODEL.BACKBONE.NAME
  build_dnl_backbone MODEL.BACKBONE.DNL.TRUNK build_osnet_backbone MODEL.BACKBONE.DNL.BLOCKS "[0, 1, 1, 0]"`.

## A network of your own

It is a trunk if its modules have a ResNet's names (`conv1`, `bn1`, `relu`, `maxpool`, `layer1` to `layer4`), or if it
says which of its modules are what:

```python
from torch import nn

from fastreid_ext.modeling.anatomy import Anatomy


class MyNet(nn.Module):
    anatomy = Anatomy("stem", ("stage1[:]", "stage2[:]", "stage3[:]", "stage4[:] +last_conv"))
```

`stage1[:]` names the children of `stage1`; a `+` stands before what is no residual block. For MGRe's feature extraction
its blocks also need a method `following(norm)` that returns a new block with the same output channels.
"""


def page(rows: Iterable[str]) -> str:
    """Return the whole page, with the lines of the table."""
    return TEXT.format(
        height=SIZE[0],
        width=SIZE[1],
        speed=conditions(),
        projects=" | ".join(PROJECTS.values()),
        lines="---|" * len(PROJECTS),
        rows="\n".join(rows),
    )


def main() -> None:
    PAGE.write_text(page(row(name, trunk) for name, trunk in TRUNKS.items()), encoding="utf-8")
    print("written to", PAGE)


if __name__ == "__main__":
    main()
