"""The sampling module (section 3.1, eq. 4 and 5)."""

import torch
import torch.nn.functional as F

from fastreid_ext.precision import at_least_float32, without_autocast


def sample_regions(features: torch.Tensor, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Sample a box of every map at N x M points, by bilinear interpolation (eq. 4, 5); zero outside the map.

    Place (row i, column j) of the result stands at the middle of cell (i, j) of the box cut into N x M cells. A box
    of N x M whole pixels comes out exactly, as by eq. 4 and 5 with places counted from the same corner. For a box of
    other sides, places that are counted from 0 would lie 0.5 (l1 / M - 1) pixels of the map further left, and
    0.5 (l2 / N - 1) further up: not around the middle of the box. Differentiable in both arguments. Coordinates are
    float32 under any autocast.

    Args:
        features: (B, C, H, W).
        boxes: (B, 4) x_min, y_min, x_max, y_max as shares of the map's width and height; they may reach outside it.
        size: (N, M), height and width of the result.

    Returns:
        (B, C, N, M) in the dtype of the features.

    Raises:
        ValueError: shapes that do not fit.
    """
    if features.dim() != 4 or boxes.shape != (features.shape[0], 4):
        raise ValueError(
            f"expected features (B, C, H, W) and boxes (B, 4), got {tuple(features.shape)} and {tuple(boxes.shape)}"
        )
    if min(size) < 1:
        raise ValueError(f"the sampled size must be 1 x 1 or more, got {tuple(size)}")
    with without_autocast(features):
        corners = at_least_float32(boxes)
        low, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]  # (B, 2): x and y
        x = low[:, :1] + extent[:, :1] * _middles(size[1], corners)  # (B, M)
        y = low[:, 1:] + extent[:, 1:] * _middles(size[0], corners)  # (B, N)
        grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)  # (B, N, M, 2) in shares
        maps = at_least_float32(features)
        sampled = F.grid_sample(
            maps, (2 * grid - 1).to(maps.dtype), mode="bilinear", padding_mode="zeros", align_corners=False
        )
    return sampled.to(features.dtype)


def _middles(count: int, like: torch.Tensor) -> torch.Tensor:
    """Middles of ``count`` equal cells of [0, 1]: (1, count)."""
    return ((torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count)[None]
