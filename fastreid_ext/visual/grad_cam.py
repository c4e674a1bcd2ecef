"""Grad-CAM.

Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, ICCV 2017.
"""

import difflib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.trunk import last_module

Score = Callable[[nn.Module, Tensor], Tensor]  # (model, images (B, 3, H, W)) -> (B,)


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
        ConfigError: no such layer, a layer that the score does not depend on, or one whose output is not a map.
    """
    maps, gradients = watch(model, [layer], images, score)
    weights = gradients[layer].float().mean(dim=(2, 3), keepdim=True)
    cam = F.relu((weights * maps[layer].float()).sum(dim=1, keepdim=True))
    cam = F.interpolate(cam, size=images.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    top = cam.amax(dim=(1, 2), keepdim=True)
    return cam / torch.where(top > 0, top, torch.ones_like(top))


def watch(
    model: nn.Module, layers: Sequence[str], images: Tensor, score: Score
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return by layer its map (B, C, h, w) and the gradient of a score with respect to it.

    Args:
        model, images, score: see :func:`grad_cam`.
        layers: dotted names.

    Raises:
        ConfigError: see :func:`grad_cam`.
    """
    outputs: dict[str, Tensor] = {}
    handles = []
    try:
        for layer in layers:
            keep = lambda module, inputs, output, layer=layer: outputs.__setitem__(layer, output)  # noqa: E731
            handles.append(_module(model, layer).register_forward_hook(keep))
        with torch.enable_grad():
            # A gradient has to reach the layer though no weight asks for one. A second copy, for FastReID's models
            # write into what they are given, and nobody may write into a leaf.
            scores = score(model, images.detach().clone().requires_grad_().clone())
            for layer in layers:
                if not isinstance(outputs.get(layer), Tensor) or outputs[layer].dim() != 4:
                    raise ConfigError(f"the layer {layer!r} gives no feature map (B, C, h, w) on the way to the score")
            asked = [layer for layer in layers if outputs[layer].requires_grad and scores.requires_grad]
            inputs = [outputs[layer] for layer in asked]
            found = torch.autograd.grad(scores.sum(), inputs, allow_unused=True) if asked else ()
    finally:
        for handle in handles:
            handle.remove()
    gradients = {layer: gradient for layer, gradient in zip(asked, found, strict=True) if gradient is not None}
    for layer in layers:
        if layer not in gradients:
            raise ConfigError(f"the score does not depend on the layer {layer!r}")
    return {layer: outputs[layer].detach() for layer in layers}, gradients


def _module(model: nn.Module, layer: str) -> nn.Module:
    modules = dict(model.named_modules())
    if layer not in modules:
        near = difflib.get_close_matches(layer, modules, n=3, cutoff=0.6)
        tops = [name for name in modules if name and "." not in name]
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(tops)} and what lies below them"
        raise ConfigError(f"the model has no layer {layer!r}; {hint}")
    watched = modules[layer]
    while isinstance(watched, nn.Sequential) and len(watched):
        watched = watched[-1]  # FastReID's ResNets run the blocks of a layer themselves, not the layer
    return watched


def last_layer(model: nn.Module) -> str:
    """Return the name of what gives the last map of a model's backbone; "backbone" itself where no stages are known."""
    try:
        return f"backbone.{last_module(getattr(model, 'backbone', None))}"
    except ConfigError:
        return "backbone"


def feature_length(model: nn.Module, images: Tensor) -> Tensor:
    """Score: the L2 norm of the test feature; needs no identity.

    Raises:
        ConfigError: a feature of a fixed length, whose gradient is nothing but rounding.
    """
    with torch.no_grad():  # before the forward that is watched
        others = torch.linalg.vector_norm(model(255 - images).float(), dim=1)
    lengths = torch.linalg.vector_norm(model(images).float(), dim=1)
    if ((lengths - others).abs() < 1e-4 * others).all():  # of the negatives, which have nothing in common with them
        raise ConfigError(
            f"the test feature is {lengths[0]:.3f} long whatever the image, so there is nothing to explain: explain the"
            " similarity to an image (--query)"
        )
    return lengths


def similarity_to(feature: Tensor) -> Score:
    """Score: the cosine of an image's test feature with one feature (D,): what makes it look like that image."""
    return lambda model, images: F.cosine_similarity(model(images).float(), feature[None].float())
