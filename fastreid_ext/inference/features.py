"""Test features of a model that is in memory."""

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.precision import without_autocast

SOME_SIZE = (256, 128)  # of an image, where a config leaves images their size


@torch.no_grad()
def test_features(model: nn.Module, images: Tensor) -> Tensor:
    """Return the test features (B, D) of images (B, 3, H, W), 0 to 255, in float32.

    FastReID's own models change their input in place, so they get copies.
    """
    with without_autocast(images):
        return model({"images": images.clone()}).float()


def feature_length(cfg: CfgNode, model: nn.Module) -> int:
    """Return D of a model in eval mode, by a grey image of the size of its test."""
    size = [side for side in cfg.INPUT.CROP.SIZE] if cfg.INPUT.CROP.ENABLED else list(cfg.INPUT.SIZE_TEST)
    height, width = (size[0], size[-1]) if size[0] > 0 else SOME_SIZE
    device = next(model.parameters()).device
    return test_features(model, torch.full((1, 3, height, width), 127.0, device=device, dtype=torch.float32)).shape[1]
