"""A new block of a vision transformer for a map of its own, such as one that MGRe sampled in a region."""

import copy

import torch
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.tokens import BEHIND

__all__ = ["RegionBlock"]


class RegionBlock(nn.Module):
    """A block as another one is made, with new weights: its tokens are the places of a map and nothing else.

    There are no class and register tokens, for a region is no image, and no rotary positions, for a sampled map is on
    no grid of the image's patches.

    Args:
        block: of timm's; it is only looked at, and may be without numbers.

    Raises:
        ConfigError: some of its numbers are of no layer that says how they begin.
    """

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = copy.deepcopy(block)
        self.block._modules.pop(BEHIND, None)
        tables = {name: value for name, value in self.block.named_buffers() if not value.is_floating_point()}
        self.block.to_empty(device=torch.get_default_device())
        with torch.no_grad():
            for value in self._numbers().values():  # the memory has whatever was there
                value.fill_(torch.nan)
            for name, value in self.block.named_buffers():  # a table of places is what it is, and is not drawn
                if name in tables and not tables[name].is_meta:
                    value.copy_(tables[name])
        for module in self.block.modules():  # as timm draws a vision transformer's
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif hasattr(module, "reset_parameters"):
                module.reset_parameters()
        made = dict(self.block.named_buffers())
        left = [name for name, value in self._numbers().items() if not value.is_meta and value.isnan().any()]
        left += [name for name, value in tables.items() if value.is_meta and not made[name].is_meta]
        if left:
            raise ConfigError(
                f"a new {type(block).__name__} for regions can't be made, for it does not say how {', '.join(left)}"
                " begin: do without more blocks (MODEL.MGRE.FE.BLOCKS 0), or choose another trunk"
            )

    def _numbers(self) -> dict[str, Tensor]:
        named = (*self.block.named_parameters(), *self.block.named_buffers())
        return {name: value for name, value in named if value.is_floating_point()}

    def forward(self, y: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        tokens = self.block(y.flatten(2).transpose(1, 2))
        return tokens.transpose(1, 2).unflatten(2, y.shape[2:]).contiguous()
