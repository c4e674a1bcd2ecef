"""The descriptor f and the classifier of the identities (section II.C)."""

import re

import torch
from torch import Tensor, nn


class DescriptorHead(nn.Module):
    """Pool the last map to the descriptor f, and classify f (eq. 1).

    Args:
        in_dim: C, channels of the map.
        num_classes: K.
        descriptor: "linear<D>", a linear layer on the average-pooled map, "linear4096" in the paper; "none", the
            average-pooled map; "avgmax", the average- and the max-pooled one side by side.
        dropout: of f before the classifier, in training.

    Attributes:
        dim: D, length of f.

    Raises:
        ValueError: an unknown descriptor, or a dropout outside [0, 1).
    """

    def __init__(self, in_dim: int, num_classes: int, descriptor: str = "linear4096", dropout: float = 0.5):
        super().__init__()
        linear = re.fullmatch(r"linear([1-9]\d*)", descriptor)
        if not linear and descriptor not in ("none", "avgmax"):
            raise ValueError(
                f"MODEL.MULTITASK.DESCRIPTOR must be linear4096 (or another length), none or avgmax, got {descriptor!r}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"MODEL.MULTITASK.DROPOUT must lie in [0, 1), got {dropout}")
        self.with_max = descriptor == "avgmax"
        self.dim = int(linear[1]) if linear else in_dim * (2 if self.with_max else 1)
        self.embed = nn.Linear(in_dim, self.dim) if linear else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(self.dim, num_classes)
        for layer in (self.embed, self.classifier):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, maps: Tensor, targets: Tensor | None = None) -> dict[str, Tensor]:
        """(B, C, h, w) -> {"feature": f (B, D); with targets (B,) "logits" (B, K)}."""
        pooled = maps.mean(dim=(2, 3))
        if self.with_max:
            pooled = torch.cat([pooled, maps.amax(dim=(2, 3))], dim=1)
        feature = self.embed(pooled)
        return {"feature": feature} | ({} if targets is None else {"logits": self.classifier(self.dropout(feature))})
