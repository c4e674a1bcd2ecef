"""A new block of a vision transformer for a map of its own, such as one that MGRe sampled in a region."""

import copy

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.tokens import BEHIND

__all__ = ["RegionBlock"]


class RegionBlock(nn.Module):
    """A block as another one is made, with new weights: its tokens are the places of a map and nothing else.

    There are no class and register tokens, for a region is no image, and no rotary positions, for a sampled map is on
    no grid of the image's patches.

    Args:
        block: of timm's; it is only looked at, and may be without numbers.
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = copy.deepcopy(block)
        self.block._modules.pop(BEHIND, None)
        self.block.to_empty(device=torch.get_default_device())
        for module in self.block.modules():  # as timm draws a vision transformer's
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif hasattr(module, "reset_parameters"):
                module.reset_parameters()

    def forward(self, y: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        tokens = self.block(y.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).unflatten(2, y.shape[2:]).contiguous()
