"""Activation maps of a model's branches, each explained by its own feature (figure 2 of Deep Miner)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.capabilities import HasBranchMaps, architectures_with


def branch_cams(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return for each branch where its last map makes its own feature long, in [0, 1].

    That is ReLU(sum over channels of weight * activation), as Grad-CAM has it; the weight of a channel is its mean
    gradient within what is pooled to one number: the whole map, or a stripe of it. The explained number is the length
    of the branch's part of the test feature. Each map is enlarged to the images and divided by its largest value.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W) on the 0-255 scale, on the model's device.

    Returns:
        Branch -> (B, H, W) in float32.

    Raises:
        ConfigError: a model without a map for each branch.
    """
    if not isinstance(model, HasBranchMaps):
        names = ", ".join(architectures_with(HasBranchMaps))
        raise ConfigError(f"{type(model).__name__} has no map for each branch; those that have: {names}")
    with torch.no_grad():
        maps = model.branch_maps(model.preprocess_image(images))
    maps = {name: y.detach().float().requires_grad_() for name, y in maps.items()}
    with torch.enable_grad():
        outputs = model.describe(maps)
        lengths = [torch.linalg.vector_norm(outputs[name]["neck"].float(), dim=1).sum() for name in maps]
        gradients = torch.autograd.grad(sum(lengths), list(maps.values()))
    stripes = model.branch_stripes()
    cams = {}
    for (name, y), gradient in zip(maps.items(), gradients, strict=True):
        weights = F.adaptive_avg_pool2d(gradient, (stripes[name], 1))
        weights = F.interpolate(weights, size=(y.shape[2], 1), mode="nearest-exact")
        cam = F.relu((weights * y.detach()).sum(dim=1, keepdim=True))
        cam = F.interpolate(cam, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
        top = cam.amax(dim=(1, 2), keepdim=True)
        cams[name] = cam / torch.where(top > 0, top, torch.ones_like(top))
    return cams
