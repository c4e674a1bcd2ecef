"""What a model that locates regions of the body returns about them, for pictures and measurements.

:mod:`fastreid_ext.modeling.capabilities` says which methods return these.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class RegionBoxes:
    """Boxes of one region in B images: x_min, y_min, x_max, y_max as shares of the image; they may reach outside it.

    Attributes:
        predicted: (B, 4) what the model says.
        prior: (4,) what training starts from.
        pseudo: (B, 4) what the joints say; None without joints.
        known: (B,) bool, where ``pseudo`` is known; None without joints.
    """

    predicted: Tensor
    prior: Tensor
    pseudo: Tensor | None = None
    known: Tensor | None = None


@dataclass(frozen=True)
class Granularity:
    """One branch of a model and the maps that it pools.

    Attributes:
        branch: its name in ``model.branches()``.
        weight: of its feature, of length one, in the test feature.
        layers: dotted name of the module that makes a map -> the region in whose box the map lies; None = whole image.
    """

    branch: str
    weight: float
    layers: Mapping[str, str | None]
