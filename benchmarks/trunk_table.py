"""Write docs/trunks.md: what each trunk has and costs, and which projects can have it.

    python benchmarks/trunk_table.py

Parameters and multiply-adds are counted on tensors without numbers. All else is what trunk_speed.py, trunk_exports.py
and light_trunks.py measured last.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from light_trunks import table as light_table
from record import RESULTS
from torch.utils.flop_counter import FlopCounterMode
from trunk_list import PROJECTS, SIZE, SPEED, TRUNKS, Trunk, config_of, needs_stages

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.residual_blocks import block_count, following_block
from fastreid_ext.modeling.trunk import STAGES, check_trunk, stage_shapes

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.modeling.backbones import build_backbone

PAGE = Path(__file__).parents[1] / "docs" / "trunks.md"
EXPORTS, LIGHT = "trunk_exports.json", "light_trunks.json"  # in benchmarks/results, as SPEED


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


def continues(network: torch.nn.Module) -> bool:
    """Return whether each stage can have more blocks of its kind, as MGRe's feature extraction needs."""
    try:
        for stage, shape in stage_shapes(network).items():
            if block_count(network, stage):
                following_block(network, stage, shape.channels)
    except ConfigError:
        return False
    return True


def measured(name: str = SPEED) -> dict[str, Any]:
    """Return the record of a benchmark; without one there are no results in it."""
    file = RESULTS / name
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
    able = {True: "yes", False: "no"}
    continued = staged and continues(network)
    cells = [able[not needs_stages(project) or (continued if project == "MGRe" else staged)] for project in PROJECTS]
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


def exports() -> str:
    """Say how far the features of ONNX files are from those of the models."""
    record = measured(EXPORTS)
    found = record["results"]
    if not found:
        return "of these trunks: not measured yet."
    worst = max(value for by_project in found.values() for value in by_project.values())
    return (
        f"on {len(found)} of these trunks, for small models with random weights\n  and batches of"
        f" {' and '.join(map(str, record['batches']))}: no number of a feature of an ONNX file is further from the"
        f" model's than {worst:.1e}\n  of the largest ([`{EXPORTS}`](../benchmarks/results/{EXPORTS}))."
    )


def light() -> str:
    """Return what light trunks lose against ResNet-50, as a table."""
    record = measured(LIGHT)
    if not record["results"]:
        return "Not measured yet."
    sets = {name: {data: of for data, of in row.items() if data != "speed"} for name, row in record["results"].items()}
    machine = record["hardware"]
    return (
        f"`{record['command']}`: the losses and schedule of [the shipped model](zoo.md) on SynthReID's demo,\nimages of"
        f" 128x64, {record['epochs']} epochs, all trunks from random numbers, seeds"
        f" {', '.join(map(str, record['seeds']))}; mean and standard\ndeviation. So it says what a trunk learns in few"
        " steps without ImageNet's weights, and not where it ends. Images per second\nare those of the test, float32,"
        f" one thread of an {machine['cpu']}, commit {record['commit']}"
        f" ([`{LIGHT}`](../benchmarks/results/{LIGHT})).\n\n"
        + light_table(sets, {name: row["speed"] for name, row in record["results"].items()})
    )


TEXT = """\
# Trunks: every project on every backbone

Written by `python benchmarks/trunk_table.py`.

A trunk is any network with a stem and four stages. Stage 1 ends at a quarter of the image, stages 2 to 4 at 1/8, 1/16
and 1/32, or 1/16 again with a last stride of 1. Deep Miner, MSReID and MGRe run it stage by stage; OccludedReID and
Res2NetMultiTask read its last map alone. A project takes each backbone below that its column says yes to:

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
- **ONNX**: all projects {exports}
- **OSNet**: the two blocks of its `conv4` are stages 3 and 4, and `conv5` belongs to stage 4. What halves the map at
  the end of `conv2` and `conv3` begins the next stage.
- **ShuffleNetV2** has no block at a quarter of the image: stage 1 is the pooling before the blocks. MGRe's feature
  extraction has none there either, unless `MODEL.MGRE.FE.BLOCKS` gives a number.
- **MobileNets, EfficientNet and ShuffleNetV2** end in a convolution to many channels, which belongs to stage 4. MGRe's
  feature extraction of that stage is as wide inside as the stage's last block.
- **NORM GN** has 32 groups, which must divide all channels: those of ResNet, ResNeXt, the larger narrow ResNets and
  OSNet x1.0, RegNetX-400MF and 800MF, RegNetY-800MF and 4000MF, RepVGG-B0 and others. Elsewhere a sentence says so.
- **RegNet and EfficientNet** read yaml files that some installations of FastReID lack; an error says so.
- **FastReID's vision transformer** has no stages: Deep Miner, MSReID and MGRe refuse it in one sentence. timm's are
  [trunks](#vision-transformers).
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

- **Which**: ConvNeXt, EfficientNet, MobileNetV1 to V4, RegNet, ResNet and its relatives, ResNeSt, Res2Net, SENet,
  DenseNet, DPN, DLA, VovNet, CSPNet, NFNet, HGNet, GhostNet, RexNet, FastViT, RepViT, MobileOne, EdgeNeXt, MetaFormer
  and more, several hundred of timm's names. timm 1.0.23 is the oldest that is taken, and DPN needs 1.0.31. Stem and
  stages are read off the network: its `feature_info`
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
  or from the hub; without either it stops, after one try to reach the hub (`HF_HUB_ETAG_TIMEOUT`, 10 seconds). The
  demos say `PRETRAIN False`: the trunks of the commands here begin with random numbers. `PRETRAIN_PATH` may be a
  `.safetensors` or `.pth` file, or `hf-hub:OWNER/REPOSITORY`, whose `model.safetensors` is taken and nothing else.
  Every file is read by our own reader, every tensor of the trunk has to be there, and a classifier is left out. Names
  of a network's authors are brought to timm's by timm's own function where it has one.
- **Mean and deviation** (`MODEL.PIXEL_MEAN`, `PIXEL_STD`) are those that timm says of the network, unless you give
  others, which is a warning.
- **Without effect** are `DEPTH`, `NORM`, `WITH_IBN`, `WITH_SE` and `WITH_NL`: the name says it all. Who gives one stops
  with an error; of `DEPTH` and `NORM` on the command line, for the defaults too.
- **MGRe's feature extraction** is made of blocks as the stage's last one, of the stage's channels and without a stride.
  A block that divides or joins maps of fixed widths (GhostNet, VovNet, RexNet) can't be made so: set
  `MODEL.MGRE.FE.BLOCKS 0`. The lists of layers of a DenseNet and the plain convolutions of a VGG are no residual
  blocks: there is nothing that MGRe or a non-local block could follow.

## Vision transformers

timm's plain vision transformers are trunks too: ViT, DeiT, CLIP's, SigLIP's, DINOv2, DINOv3, EVA and EVA-02.

```
fastreid-ext train --config-file demo/mgre.yml MODEL.BACKBONE.NAME build_timm_backbone \\
    MODEL.BACKBONE.TIMM.NAME vit_small_patch14_dinov2 SOLVER.OPT AdamW SOLVER.LAYER_DECAY 0.75
```

- **Stages** are four groups of blocks, as equal as their number allows. A stage's tokens make its map, with a row for
  each row of patches in all four stages: 16 x 8 for 256x128 and patches of 16. The last map is timm's
  `forward_features`, with the last norm where timm has it before the pooling. Class and register tokens and rotary
  positions go on beside the maps, in side branches too: a paper's attention or erasing works on the map alone.
- **Sizes**: images whose sides the patches do not divide are resized to the nearest that they do, 256x128 to 252x126
  for patches of 14, so that a map covers its image and a mirrored image has the mirrored patches; a line in the log
  says so. Position embeddings of a file are resampled to `INPUT.SIZE_TRAIN` by timm's own function (cubic,
  antialiased), those of class and register tokens are not. A file's grid is taken to be square, or 2 or 3 times as high
  as wide. Images of another size than the training's may be tested.
- **Rates**: `SOLVER.LAYER_DECAY 0.75` multiplies the rate of layer l of L blocks by 0.75^(L + 1 - l), the stem being
  layer 0 and copies of blocks in side branches having those of the blocks. It comes on top of `SOLVER.LR_FACTORS`, and
  any trunk with stages takes it. No weight decay acts on positions and class and register tokens; layer scale has that
  of norms.
- **Switches**: `MODEL.BACKBONE.TIMM.DROP_PATH 0.1` leaves blocks out in training, with a share that rises linearly to
  0.1. `MODEL.BACKBONE.TIMM.CHECKPOINTING True` keeps what comes into each block alone and runs the block again for the
  gradients, which are the same.
- **MGRe's feature extraction** is made of new blocks of the kind on the places of a region alone, without class token
  and rotary positions. Its regions are sampled with as many points as table 1 has, more than a map of patches has
  places: smaller ones in `MODEL.MGRE.REGIONS` cost less. Deep Miner's stripes need as many rows of patches.
- **Without effect** is `LAST_STRIDE`: no stage of a transformer halves its map.

## Configs

Each project has its recipe on a light and on a modern trunk, for Market1501 and, small enough for a CPU, for SynthReID:

| | Market1501 | SynthReID |
|---|---|---|
| light, all projects | `<Project>/Market1501_OSNet.yml`: OSNet x1.0 | `<Project>/SynthReID_OSNet.yml`: OSNet x0.25 |
| modern, Deep Miner, MSReID, MGRe, OccludedReID | `Market1501_ConvNeXtV2T.yml` | `SynthReID_ConvNeXtV2A.yml` |
| modern, Res2NetMultiTask, FastReID's Baseline | `Market1501_DINOv2S.yml` | `SynthReID_ViTTi.yml` |

```
fastreid-ext train --config-file MGRe/SynthReID_OSNet.yml
```

Those for Market1501 begin with published weights; timm's of ConvNeXtV2 are CC BY-NC 4.0, not for commercial use. The
modern ones train with AdamW, and with smaller rates for early layers. Those for SynthReID begin with random numbers, so
that they run anywhere. Two steps of each were tried here, and no run to its end. `MGRe/ablation/table8_*.yml` are the
larger trunks of MGRe's table 8.

## What speed costs

{light}

Plain and narrow ResNets learn soonest; networks of depthwise convolutions, such as OSNet and the MobileNets, learn
little in so few steps. What ImageNet's weights or more steps add was not measured.

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


def page(rows: Iterable[str]) -> str:
    """Return the whole page, with the lines of the table."""
    return TEXT.format(
        height=SIZE[0],
        width=SIZE[1],
        speed=conditions(),
        exports=exports(),
        light=light(),
        projects=" | ".join(PROJECTS.values()),
        lines="---|" * len(PROJECTS),
        rows="\n".join(rows),
    )


def main() -> None:
    PAGE.write_text(page(row(name, trunk) for name, trunk in TRUNKS.items()), encoding="utf-8")
    print("written to", PAGE)


if __name__ == "__main__":
    main()
