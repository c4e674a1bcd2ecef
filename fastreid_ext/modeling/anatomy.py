"""Which modules of a network are its stem and its four stages: a few names for each network of FastReID's."""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastreid.modeling.backbones.mobilenet import MobileNetV2
from fastreid.modeling.backbones.mobilenetv3 import MobileNetV3
from fastreid.modeling.backbones.osnet import OSNet
from fastreid.modeling.backbones.regnet.effnet import EffNet
from fastreid.modeling.backbones.regnet.regnet import RegNet
from fastreid.modeling.backbones.repvgg import RepVGG
from fastreid.modeling.backbones.resnext import ResNeXt
from fastreid.modeling.backbones.shufflenet import ShuffleNetV2
from torch import nn

from fastreid_ext.errors import ConfigError

STAGES = (1, 2, 3, 4)
NETWORKS = (
    *("resnet", "narrow_resnet", "deep_resnet", "resnext", "resnest", "res2net", "regnet", "effnet"),
    *("mobilenetv2", "mobilenetv3", "shufflenetv2", "osnet", "repvgg"),
)
# Builder -> the stride of its network's stage 4, where MODEL.BACKBONE.LAST_STRIDE is not read.
LAST_STRIDES = {
    "build_osnet_backbone": 1,
    "build_mobilenetv2_backbone": 2,
    "build_mobilenetv3_backbone": 2,
    "build_shufflenetv2_backbone": 2,
}
PLACE = re.compile(r"(\+?)(\w+(?:\.\w+)*)(?:\[(-?\d*):(-?\d*)\])?")


@dataclass(frozen=True)
class Anatomy:
    """The parts of a network, each as names of its modules in the order in which they run.

    "layer1[:]" names the children of layer1, "conv2[:-1]" all but the last, "stages.0.blocks[:]" those of an inner
    module. A "+" stands before what is no residual block, such as the convolution behind the last one: nothing is put
    behind it, and no block is made after it.
    A network of your own says how it is made in an attribute ``anatomy``.

    Attributes:
        stem: the names of what comes before stage 1.
        stages: the names of stages 1 to 4.

    Raises:
        ValueError: other than four stages, or a name that is not written so.
    """

    stem: str
    stages: tuple[str, str, str, str]

    def __post_init__(self):
        if len(self.stages) != len(STAGES):
            raise ValueError(f"an anatomy has {len(STAGES)} stages, got {len(self.stages)}")
        for word in (word for part in (self.stem, *self.stages) for word in part.split()):
            if not PLACE.fullmatch(word):
                raise ValueError(f"an anatomy names modules as layer1, layer1[:], layer1[2:] or +conv, got {word!r}")

    def stem_names(self, network: nn.Module) -> list[str]:
        """Return the dotted names of the stem's modules."""
        return [name for name, _ in _names(network, self.stem)]

    def stage_names(self, network: nn.Module, stage: int) -> list[str]:
        """Return the dotted names of a stage's modules."""
        return [name for name, _ in _names(network, self.stages[stage - 1])]

    def block_names(self, network: nn.Module, stage: int) -> list[str]:
        """Return the dotted names of a stage's residual blocks."""
        return [name for name, is_block in _names(network, self.stages[stage - 1]) if is_block]

    def missing(self, network: nn.Module) -> list[str]:
        """Return the modules that a network of this kind has and this one lacks."""
        needed = [place[1] for part in (self.stem, *self.stages) for place in _places(part)]
        return [name for name in dict.fromkeys(needed) if not _has(network, name)]


@functools.cache
def _places(part: str) -> list[tuple[bool, str, slice | None]]:
    """Return (residual blocks, module, which of its children; None = itself) of each name."""
    places = []
    for word in part.split():
        mark, name, *ends = PLACE.fullmatch(word).groups()
        children = None if ends[0] is None else slice(*(int(end) if end else None for end in ends))
        places.append((not mark, name, children))
    return places


def _has(network: nn.Module, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(network, part):
            return False
        network = getattr(network, part)
    return True


def _names(network: nn.Module, part: str) -> Iterator[tuple[str, bool]]:
    for are_blocks, name, children in _places(part):
        if children is None:
            yield name, are_blocks
        else:
            module = network.get_submodule(name)
            yield from ((f"{name}.{child}", are_blocks) for child in list(module._modules)[children])


RESNET = Anatomy("conv1 bn1 relu maxpool", ("layer1[:]", "layer2[:]", "layer3[:]", "layer4[:]"))
# Blocks in "features" -> how they are divided, so that each stage begins where the map is halved. What is at half the
# size of the image is the stem, as in the others.
MOBILE = {
    18: Anatomy("features[:2]", ("features[2:4]", "features[4:7]", "features[7:14]", "features[14:] +conv")),
    17: Anatomy(
        "features[:2]",
        ("features[2:4]", "features[4:7]", "features[7:13]", "features[13:-1] +features[-1:] +conv"),
    ),
    13: Anatomy(
        "features[:1]", ("features[1:2]", "features[2:4]", "features[4:9]", "features[9:-1] +features[-1:] +conv")
    ),
}
Make = Callable[[nn.Module], Anatomy]
ANATOMIES: dict[type, Anatomy | Make] = {
    ResNeXt: Anatomy("conv1 bn1 relu maxpool1", RESNET.stages),
    RegNet: Anatomy("stem", ("s1[:]", "s2[:]", "s3[:]", "s4[:]")),
    EffNet: Anatomy("stem s1[:]", ("s2[:]", "s3[:]", "s4[:] s5[:]", "s6[:] s7[:] +head")),
    # conv2 and conv3 end in what halves the map for the next one. conv4's two blocks make two stages: the map keeps
    # its size between them, as between stages 3 and 4 of a ResNet with a last stride of 1.
    OSNet: Anatomy(
        "conv1 maxpool", ("conv2[:-1]", "+conv2[-1:] conv3[:-1]", "+conv3[-1:] conv4[:1]", "conv4[1:] +conv5")
    ),
    RepVGG: Anatomy("stage0", ("stage1[:]", "stage2[:]", "stage3[:]", "stage4[:]")),
    # Its blocks begin at an eighth of the image: stage 1 is the pooling before them.
    ShuffleNetV2: Anatomy("first_conv", ("+maxpool", "features[:4]", "features[4:12]", "features[12:] +conv_last")),
    **dict.fromkeys(
        (MobileNetV2, MobileNetV3), lambda network: MOBILE.get(len(getattr(network, "features", ())), RESNET)
    ),
}


def _as_resnet(network: nn.Module) -> Anatomy:
    """A ResNet's names. A stage with a forward of its own is one block: how its children go together is not known."""
    layers = {f"layer{i}": getattr(network, f"layer{i}", None) for i in STAGES}
    chains = (nn.Sequential.forward, nn.ModuleList.forward, None)
    own = [name for name, layer in layers.items() if getattr(type(layer), "forward", None) not in chains]
    return Anatomy(RESNET.stem, tuple(name if name in own else f"{name}[:]" for name in layers)) if own else RESNET


def anatomy_of(network: nn.Module) -> Anatomy:
    """Return which modules of a network are its stem and stages.

    Raises:
        ConfigError: it is none of the networks that are known here, has no ``anatomy``, and is not made as a ResNet.
    """
    found = getattr(network, "anatomy", None)
    if not isinstance(found, Anatomy):
        found = next((ANATOMIES[kind] for kind in type(network).__mro__ if kind in ANATOMIES), _as_resnet)
        found = found if isinstance(found, Anatomy) else found(network)
    if missing := found.missing(network):
        raise ConfigError(
            f"the papers' networks need a stem and four stages, and {type(network).__name__} has no"
            f" {', '.join(missing)}: set MODEL.BACKBONE.NAME to build_resnet_backbone, or to that of"
            f" {', '.join(NETWORKS[1:])}"
        )
    return found
