"""What a model that locates regions of the body says of them, for pictures and measurements.

Such a model has ``located(images, joints=None)``, which gives region -> :class:`RegionBoxes` for normalised images
(B, 3, H, W) and, if known, joints (B, J, 3); it may have ``granularities()``, name -> :class:`Granularity`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from torch import Tensor

from fastreid_ext.compat.names import plain_names


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


def architectures_with(method: str) -> list[str]:
    """Return the registered meta-architectures that have a method, for sentences that name them."""
    names = plain_names(META_ARCH_REGISTRY)
    return sorted(name for name in names if hasattr(META_ARCH_REGISTRY.get(name), method))
