"""Images that are not finite: the file or the setting behind a loss that is not."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fastreid_ext.data.images import ImageError
from fastreid_ext.errors import ConfigError

LARGEST = 1e4  # of a normalised pixel; papers' have about 3


def check_finite_images(batch: Mapping[str, Any], model: nn.Module) -> None:
    """Look for the reason of a loss that is not finite in a batch's images and in what normalises them.

    Args:
        batch: ``images`` (B, C, H, W) on the 0-255 scale and ``img_paths``.
        model: in DDP or not; has ``pixel_std`` if it normalises.

    Raises:
        ConfigError: MODEL.PIXEL_STD makes pixels so large that no network can use them.
        ImageError: images with a pixel that is not finite; names the first.
    """
    std = getattr(getattr(model, "module", model), "pixel_std", None)
    if isinstance(std, torch.Tensor) and not 255 / std.abs().min() <= LARGEST:
        raise ConfigError(
            f"the loss is not finite, and MODEL.PIXEL_STD {std.flatten().tolist()} makes pixels larger than"
            f" {LARGEST:g}: it is the deviation of pixels from 0 to 255, such as [58.395, 57.12, 57.375]"
        )
    bad = (~torch.isfinite(batch["images"]).flatten(1).all(dim=1)).nonzero()[:, 0].tolist()
    if bad:
        raise ImageError(
            f"{len(bad)} of {len(batch['images'])} images of a batch have pixels that are not finite, the first is"
            f" {batch['img_paths'][bad[0]]}: check the transforms of INPUT, or replace the image"
        )
