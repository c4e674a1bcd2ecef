"""A new residual block as it would follow a stage of a trunk: of its kind, from the stage's channels to the same."""

from collections.abc import Callable

from fastreid.layers import IBN, SELayer
from fastreid.modeling.backbones import mobilenet, mobilenetv3, osnet, repvgg, resnest, resnet, resnext, shufflenet
from fastreid.modeling.backbones.regnet import effnet, regnet
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.anatomy import STAGES, anatomy_of
from fastreid_ext.modeling.capabilities import ContinuesBlocks, ContinuesStage

__all__ = ["block_count", "following_block"]

# FastReID's constructors multiply a share with channels and cut off what is behind the point: half a channel more
# makes sure of the number that is meant.
ROUNDING = 0.5


def block_count(trunk: nn.Module, stage: int) -> int:
    """Return how many residual blocks a stage has.

    Raises:
        ConfigError: a trunk without stages.
    """
    return len(anatomy_of(trunk).block_names(trunk, stage))


def following_block(trunk: nn.Module, stage: int, channels: int, norm: str = "BN") -> nn.Module:
    """Return a new block of the kind of a stage's last one, from its channels to its channels, without stride.

    Inside it is as wide as that one. What a stage has behind its last block, such as the convolution that ends a
    MobileNet, gives it other channels than the block's. A stage without a block takes the next stage's kind. A vision
    transformer's norms are part of its blocks, whatever ``norm`` is.

    Args:
        trunk: it is only looked at.
        stage: 1 to 4.
        channels: of the stage's map.
        norm: FastReID's name of the batch norm; a network of timm's has its own.

    Raises:
        ConfigError: a trunk without stages, no residual block in this stage and behind it, or a block that does not say
            how it goes on (:class:`fastreid_ext.modeling.capabilities.ContinuesStage`) and is none of FastReID's.
    """
    anatomy = anatomy_of(trunk)
    names = next(filter(None, (anatomy.block_names(trunk, later) for later in STAGES[stage - 1 :])), None)
    if names is None:
        raise ConfigError(
            f"stage {stage} of {getattr(trunk, 'name', type(trunk).__name__)} has no residual block that another could"
            " follow: do without more blocks (MODEL.MGRE.FE.BLOCKS 0), or choose another trunk"
        )
    if isinstance(trunk, ContinuesBlocks):
        return trunk.following_block(names[-1], channels)
    last = trunk.get_submodule(names[-1])
    if isinstance(last, ContinuesStage):  # a block of ours that has more settings than FastReID's
        return last.following(norm)
    make = next((MAKERS[kind] for kind in type(last).__mro__ if kind in MAKERS), None)
    if make is None:
        raise ConfigError(
            f"{type(trunk).__name__} has blocks of a kind of its own: give {type(last).__name__} a method"
            " following(norm) that returns a new block with its output channels"
        )
    return make(last, channels, norm)


def _of_resnet(last: nn.Module, channels: int, norm: str) -> nn.Module:
    with_se = isinstance(last.se, SELayer)
    return type(last)(channels, channels // last.expansion, norm, isinstance(last.bn1, IBN), with_se)


def _of_resnext(last: nn.Module, channels: int, norm: str) -> nn.Module:
    planes, groups = channels // last.expansion, last.conv2.groups
    width = (last.conv2.out_channels // groups + ROUNDING) * 64 / planes
    return type(last)(channels, planes, norm, isinstance(last.bn1, IBN), width, groups)


def _of_resnest(last: nn.Module, channels: int, norm: str) -> nn.Module:
    planes, groups = channels // last.expansion, last.conv2.cardinality
    width = (last.conv2.channels // groups + ROUNDING) * 64 / planes
    kind = {"radix": last.radix, "cardinality": groups, "bottleneck_width": width, "dilation": last.dilation}
    return type(last)(channels, planes, **kind, avd=last.avd, avd_first=last.avd_first, norm_layer=norm)


def _of_regnet(last: nn.Module, channels: int, norm: str) -> nn.Module:
    inner, group_width = last.f.a.out_channels, last.f.b.in_channels // last.f.b.groups
    squeeze = last.f.se.f_ex[0].out_channels / channels if hasattr(last.f, "se") else None
    return type(last)(channels, channels, 1, norm, inner / channels, group_width, squeeze)


def _of_efficientnet(last: nn.Module, channels: int, norm: str) -> nn.Module:
    expansion, squeeze = (
        (width + ROUNDING) / channels for width in (last.dwise.out_channels, last.se.f_ex[0].out_channels)
    )
    return type(last)(channels, expansion, last.dwise.kernel_size[0], 1, squeeze, channels, norm)


def _of_mobilenetv2(last: nn.Module, channels: int, norm: str) -> nn.Module:
    return type(last)(channels, channels, norm, 1, _depthwise(last).out_channels / channels)


def _of_mobilenetv3(last: nn.Module, channels: int, norm: str) -> nn.Module:
    inner = _depthwise(last)
    parts = set(map(type, last.modules()))
    with_se, activation = mobilenetv3.SqueezeExcitation in parts, "HS" if nn.Hardswish in parts else "RE"
    size = (channels, inner.kernel_size[0], inner.out_channels, channels)
    settings = mobilenetv3.InvertedResidualConfig(*size, with_se, activation, 1, inner.dilation[0], 1.0)
    return type(last)(settings, norm)


def _depthwise(block: nn.Module) -> nn.Conv2d:
    return next(m for m in block.modules() if isinstance(m, nn.Conv2d) and m.groups > 1)


def _of_shufflenet(last: nn.Module, channels: int, norm: str) -> nn.Module:
    half = channels // 2
    return type(last)(norm, half, channels, half, ksize=last.ksize, stride=1)


def _of_osnet(last: nn.Module, channels: int, norm: str) -> nn.Module:
    return type(last)(channels, channels, norm, IN=last.IN is not None)


def _of_repvgg(last: nn.Module, channels: int, norm: str) -> nn.Module:
    return type(last)(channels, channels, norm, kernel_size=3, stride=1, padding=1, groups=last.groups)


MAKERS: dict[type, Callable[[nn.Module, int, str], nn.Module]] = {
    resnet.BasicBlock: _of_resnet,
    resnet.Bottleneck: _of_resnet,
    resnext.Bottleneck: _of_resnext,
    resnest.Bottleneck: _of_resnest,
    regnet.ResBottleneckBlock: _of_regnet,
    effnet.MBConv: _of_efficientnet,
    mobilenet.InvertedResidual: _of_mobilenetv2,
    mobilenetv3.InvertedResidual: _of_mobilenetv3,
    shufflenet.ShuffleV2Block: _of_shufflenet,
    osnet.OSBlock: _of_osnet,
    repvgg.RepVGGBlock: _of_repvgg,
}
