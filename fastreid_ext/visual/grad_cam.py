"""Grad-CAM.

Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Score = Callable[[nn.Module, Tensor], Tensor]  # (model, images (B, 3, H, W)) -> (B,)
MOST_PARTS = 16  # of a test feature, each brought to length one


def grad_cam(model: nn.Module, layer: str, images: Tensor, score: Score) -> Tensor:
    """Return where a layer's map raises a score: ReLU(sum over channels of (mean gradient) * activation), in [0, 1].

    The map is enlarged to the images and divided by its largest value; an image whose score nothing in the layer
    raises has a map of zeros. The model is left in the mode and with the gradients that it had.

    Args:
        model: in evaluation mode.
        layer: dotted name of a module whose output is (B, C, h, w); of a sequence the last one counts.
        images: (B, 3, H, W) on the 0-255 scale, on the model's device.
        score: what is explained, one number an image.

    Returns:
        (B, H, W) in float32.

    Raises:
        ValueError: no such layer, one that the score does not pass, or one whose output is no map.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        near = [name for name in modules if name.count(".") <= 1 and name]
        raise ValueError(f"the model has no layer {layer!r}; it has {', '.join(near)} and what lies below them")
    watched = modules[layer]
    while isinstance(watched, nn.Sequential) and len(watched):
        watched = watched[-1]  # FastReID's ResNets run the blocks of a layer themselves, not the layer
    outputs: list[Tensor] = []
    handle = watched.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        with torch.enable_grad():
            # A gradient has to reach the layer though no weight asks for one. A second copy, for FastReID's models
            # write into what they are given, and nobody may write into a leaf.
            scores = score(model, images.detach().clone().requires_grad_().clone())
            if not outputs or not isinstance(outputs[-1], Tensor) or outputs[-1].dim() != 4:
                raise ValueError(f"the layer {layer!r} gives no feature map (B, C, h, w) on the way to the score")
            maps, gradient = outputs[-1], None
            if maps.requires_grad and scores.requires_grad:
                (gradient,) = torch.autograd.grad(scores.sum(), maps, allow_unused=True)
    finally:
        handle.remove()
    if gradient is None:
        raise ValueError(f"the score does not depend on the layer {layer!r}")
    weights = gradient.float().mean(dim=(2, 3), keepdim=True)
    cam = F.relu((weights * maps.detach().float()).sum(dim=1, keepdim=True))
    cam = F.interpolate(cam, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    top = cam.amax(dim=(1, 2), keepdim=True)
    return cam / torch.where(top > 0, top, torch.ones_like(top))


def feature_length(model: nn.Module, images: Tensor) -> Tensor:
    """Score: the L2 norm of the test feature, that is, what makes the feature what it is; needs no identity.

    Raises:
        ValueError: a feature of one or more parts of length one, whose gradient is nothing but rounding.
    """
    lengths = torch.linalg.vector_norm(model(images).float(), dim=1)
    squares = lengths.detach().square()
    parts = squares[0].round().clamp(1, MOST_PARTS)
    if (squares - parts).abs().max() < 1e-4:
        raise ValueError(
            f"the test feature is {lengths[0]:.3f} long whatever the image, so there is nothing to explain: explain the"
            " similarity to an image (--query)"
        )
    return lengths


def similarity_to(feature: Tensor) -> Score:
    """Score: the cosine of an image's test feature with one feature (D,): what makes it look like that image."""
    return lambda model, images: F.cosine_similarity(model(images).float(), feature[None].float())
