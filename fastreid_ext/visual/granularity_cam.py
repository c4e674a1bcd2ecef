"""Class activation maps of several granularities, put back to where their regions lie (figure 4 of MGRe)."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.modeling.regions import Granularity, RegionBoxes
from fastreid_ext.visual.grad_cam import Score, watch

ALL = "all together"


def granularity_cams(
    model: nn.Module, images: Tensor, score: Score, granularities: Mapping[str, Granularity]
) -> dict[str, Tensor]:
    """Return for each granularity where its maps raise a score, and the same of ``ALL`` of them, in [0, 1].

    The map of a module is sum over channels of (summed gradient) * activation: the class activation map of what is
    pooled from it. Summed, not averaged as in Grad-CAM, so that maps of different sizes count alike. A region's map is
    laid into its predicted box; where boxes overlap the values are added, for they add up in the score too. ``ALL`` is
    the sum over the granularities. Then ReLU, and each picture is divided by its largest value.

    Args:
        model: in evaluation mode, with ``locate_regions`` if a map is that of a region.
        images: (B, 3, H, W) on the 0-255 scale, on the model's device.
        score: what is explained, one number an image.
        granularities: name -> the modules.

    Returns:
        Name -> (B, H, W) in float32, ``ALL`` last.

    Raises:
        ValueError: a module that the model lacks, that gives no map or that the score does not depend on.
    """
    layers = [layer for granularity in granularities.values() for layer in granularity.layers]
    boxes: Mapping[str, RegionBoxes] = {}
    if any(region is not None for granularity in granularities.values() for region in granularity.layers.values()):
        with torch.no_grad():
            boxes = model.locate_regions(model.preprocess_image(images))
    maps, gradients = watch(model, layers, images, score)
    evidence = {}
    for name, granularity in granularities.items():
        total = images.new_zeros(len(images), *images.shape[2:], dtype=torch.float32)
        for layer, region in granularity.layers.items():
            weights = gradients[layer].float().sum(dim=(2, 3), keepdim=True)
            cam = (weights * maps[layer].float()).sum(dim=1)  # (B, h, w)
            total += paste(cam, None if region is None else boxes[region].predicted, images.shape[2:])
        evidence[name] = total
    evidence[ALL] = torch.stack(list(evidence.values())).sum(dim=0)
    return {name: _to_one(F.relu(total)) for name, total in evidence.items()}


def paste(maps: Tensor, boxes: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Lay maps into boxes of an image: what sampling the boxes took out, put back; zero outside the box.

    Cell (i, j) of a map fills its part of the box cut into h x w cells; bilinear between their middles, and up to the
    box's edge the outermost cells reach. A box without area shows nothing.

    Args:
        maps: (B, h, w).
        boxes: (B, 4) x_min, y_min, x_max, y_max as shares of the image, which they may reach outside of; None = all
            of the image.
        size: (H, W) of the image in pixels.

    Returns:
        (B, H, W)

    Raises:
        ValueError: shapes that do not fit.
    """
    if boxes is None:
        boxes = maps.new_tensor([0.0, 0.0, 1.0, 1.0]).expand(len(maps), 4)
    if maps.dim() != 3 or boxes.shape != (len(maps), 4):
        raise ValueError(f"expected maps (B, h, w) and boxes (B, 4), got {tuple(maps.shape)} and {tuple(boxes.shape)}")
    positions = [(torch.arange(n, device=maps.device, dtype=boxes.dtype) + 0.5) / n for n in size]
    y, inside_y = _within(positions[0], boxes[:, 1], boxes[:, 3])
    x, inside_x = _within(positions[1], boxes[:, 0], boxes[:, 2])
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)  # (B, H, W, 2) in [-1, 1]
    spread = F.grid_sample(
        maps[:, None], grid.to(maps.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )[:, 0]
    return spread * (inside_y[:, :, None] & inside_x[:, None, :])


def _within(positions: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return positions (n,) in each box's own coordinate from -1 to 1 (B, n), and whether they lie in it."""
    inside = (positions >= low[:, None]) & (positions < high[:, None])
    extent = (high - low).clamp_min(torch.finfo(low.dtype).tiny)
    own = 2 * (positions - low[:, None]) / extent[:, None] - 1
    return own.where(inside, own.new_zeros(())), inside


def _to_one(heat: Tensor) -> Tensor:
    top = heat.amax(dim=(1, 2), keepdim=True)
    return heat / torch.where(top > 0, top, torch.ones_like(top))


def branch_lengths(granularities: Mapping[str, Granularity]) -> Score:
    """Score: sum over the branches of weight * log of the length of its feature, before it is divided by that length.

    The length of a normalised feature carries no information, so the length before normalisation is scored. The
    logarithm counts relative changes: a branch outweighs another only by its weight in the test feature.
    """

    def score(model: nn.Module, images: Tensor) -> Tensor:
        branches = model.branches(model.preprocess_image(images), None)
        lengths = [
            (granularity.weight, torch.linalg.vector_norm(branches[granularity.branch]["neck"].float(), dim=1))
            for granularity in granularities.values()
        ]
        return torch.stack([weight * length.clamp_min(1e-12).log() for weight, length in lengths]).sum(dim=0)

    return score
