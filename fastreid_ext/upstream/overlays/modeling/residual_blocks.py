"""A new residual block as it would follow a stage of a ResNet: of its kind, from the stage's channels to the same."""

from fastreid.layers import IBN, SELayer
from torch import nn

from fastreid_ext.modeling.anatomy import anatomy_of


def following_block(trunk: nn.Module, stage: int, channels: int, norm: str = "BN") -> nn.Module:
    """Return a new block of the kind of a stage's last one, from its channels to its channels, without stride.

    Args:
        trunk: it is only looked at.
        stage: 1 to 4.
        channels: of the stage's map.
        norm: FastReID's name of the batch norm.
    """
    last = trunk.get_submodule(anatomy_of(trunk).block_names(trunk, stage)[-1])
    with_se = isinstance(last.se, SELayer)
    return type(last)(channels, channels // last.expansion, norm, isinstance(last.bn1, IBN), with_se)
