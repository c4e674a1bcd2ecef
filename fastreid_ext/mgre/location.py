"""The location module and its loss (section 3.1, eq. 1 to 3)."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.mgre.regions import Region
from fastreid_ext.precision import at_least_float32, without_autocast

POOLED = (8, 4)  # what the max pooling leaves of a map, whatever its size
LARGEST = 4.0  # of a box's sides, as shares of the image: exp can't overflow
SMALLEST = 1e-3


class WindowMaxPool(nn.AdaptiveMaxPool2d):
    """torch's adaptive max pooling, and the same numbers by operations that ONNX has where no gradient is wanted.

    ONNX has windows of one size alone: those of a map whose sides are multiples of the output's.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, *output_size)."""
        sides = list(zip((2, 3), self.output_size, strict=True))
        if torch.is_grad_enabled() or not any(x.shape[axis] % count for axis, count in sides):
            return super().forward(x)
        for axis, count in sides:
            size = x.shape[axis]
            bounds = [(size * i // count, -(-size * (i + 1) // count)) for i in range(count)]
            x = torch.stack([x.narrow(axis, low, high - low).amax(dim=axis) for low, high in bounds], dim=axis)
        return x


class LocationModule(nn.Module):
    """Convolution, ReLU, batch norm, max pooling and a linear layer: four numbers and so one box per region (eq. 1, 2).

    The linear layer gives (o_x, o_y, u, v): the center moves by tanh(o) from its predefined place, width and height are
    exp(u) and exp(v), all as shares of the image. Training starts at the prior boxes: the layer's weights are small and
    its biases (0, 0, log width, log height). tanh and exp are float32 under any autocast, and a side is kept between
    0.001 and 4 images.

    Args:
        channels: C of the map.
        regions: located in it, in the order of the boxes.
        hidden: channels of the convolution; 16 make the three modules cost what table 8 leaves for them.
        norm: channels -> normalisation layer.

    Raises:
        ValueError: no region.
    """

    def __init__(
        self,
        channels: int,
        regions: Sequence[Region],
        hidden: int = 16,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ):
        super().__init__()
        if not regions:
            raise ValueError("a location module needs at least one region")
        self.features = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            norm(hidden),
            WindowMaxPool(POOLED),
            nn.Flatten(),
        )
        self.predict = nn.Linear(hidden * POOLED[0] * POOLED[1], 4 * len(regions))
        nn.init.normal_(self.predict.weight, std=1e-3)
        start = [[0.0, 0.0, math.log(region.prior[1]), math.log(region.prior[0])] for region in regions]
        with torch.no_grad():
            self.predict.bias.copy_(torch.tensor(start).flatten())
        self.register_buffer("centers", torch.tensor([region.center for region in regions]), persistent=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> boxes (B, R, 4): x_min, y_min, x_max, y_max as shares of the image, in float32."""
        raw = self.predict(self.features(maps))
        with without_autocast(maps):
            offset, side = at_least_float32(raw).unflatten(1, (-1, 4)).split(2, dim=2)  # (B, R, 2) each
            center = self.centers + offset.tanh()
            half = side.clamp(math.log(SMALLEST), math.log(LARGEST)).exp() / 2
            return torch.cat([center - half, center + half], dim=2)


def pseudo_boxes(
    joints: torch.Tensor,
    joint_sets: Sequence[Sequence[int]],
    margin: float = 0.05,
    threshold: float = 0.2,
    min_joints: int = 2,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the boxes around the visible joints of every region, and which of them are known (eq. 3).

    Args:
        joints: (B, J, 3) x, y as shares of the image, and confidence.
        joint_sets: of every region, numbers of its joints.
        margin: around the joints, as a share of the image.
        threshold: a joint counts if its confidence exceeds it.
        min_joints: a region with fewer such joints is unknown.

    Returns:
        Boxes (B, R, 4) x_min, y_min, x_max, y_max, zeros where unknown, and known (B, R) bool.

    Raises:
        ConfigError: joints that are not (B, J, 3), or a region that uses joints outside 0 to J - 1.
    """
    if joints.dim() != 3 or joints.shape[2] != 3:
        raise ValueError(f"expected joints (B, J, 3) of x, y and confidence, got {tuple(joints.shape)}")
    last = max((joint for joint_set in joint_sets for joint in joint_set), default=-1)
    if last >= joints.shape[1]:
        raise ConfigError(
            f"the regions are made of joints up to number {last}, but the labels have joints 0 to"
            f" {joints.shape[1] - 1}: they belong to another body model than MODEL.MGRE.REGIONS"
        )
    joints = at_least_float32(joints)
    boxes, known = [], []
    for joint_set in joint_sets:
        # One by one: a list of numbers is an index that is sent to the device, which makes the processor wait.
        members = torch.stack([joints[:, joint] for joint in joint_set], dim=1)
        seen = members[..., 2] > threshold  # (B, n)
        place = members[..., :2]
        low = place.masked_fill(~seen[..., None], math.inf).amin(dim=1) - margin
        high = place.masked_fill(~seen[..., None], -math.inf).amax(dim=1) + margin
        enough = seen.sum(dim=1) >= min_joints
        boxes.append(torch.where(enough[:, None], torch.cat([low, high], dim=1), 0.0))
        known.append(enough)
    return torch.stack(boxes, dim=1), torch.stack(known, dim=1)


def labelled_boxes(joints: torch.Tensor, regions: Sequence[Region], **location: float) -> torch.Tensor:
    """Return the boxes (B, R, 4) that the joints give the regions, and the prior box where they give none.

    Args:
        joints: (B, J, 3) x, y as shares of the image, and confidence.
        regions: in the order of the boxes.
        location: margin, threshold and min_joints, see :func:`pseudo_boxes`.
    """
    boxes, known = pseudo_boxes(joints, [region.joints for region in regions], **location)
    prior = boxes.new_tensor([region.prior_box for region in regions])
    return torch.where(known[..., None], boxes, prior)


def location_loss(
    boxes: torch.Tensor,
    joints: torch.Tensor,
    joint_sets: Sequence[Sequence[int]],
    margin: float = 0.05,
    threshold: float = 0.2,
    min_joints: int = 2,
    size: tuple[int, int] = (1, 1),
) -> torch.Tensor:
    """Squared error of a box's four sides against the joints' extent plus a margin (eq. 3), mean over known regions.

    The paper sums over one region; without any known region the loss is zero, with a gradient of zeros.

    Args:
        boxes: (B, R, 4) of :class:`LocationModule`.
        joints, joint_sets, margin, threshold, min_joints: see :func:`pseudo_boxes`.
        size: (H, W) of the map that the boxes are on, for errors in its pixels, as eq. 2 has them; (1, 1) for shares
            of the image.

    Returns:
        A scalar in float32 or better.

    Raises:
        ValueError: shapes that do not fit.
    """
    if boxes.shape != (joints.shape[0], len(joint_sets), 4):
        raise ValueError(f"expected boxes ({joints.shape[0]}, {len(joint_sets)}, 4), got {tuple(boxes.shape)}")
    with without_autocast(boxes):
        targets, known = pseudo_boxes(joints, joint_sets, margin, threshold, min_joints)
        boxes = at_least_float32(boxes)
        height, width = size
        x_errors, y_errors = (boxes - targets.to(boxes.dtype)).square().unflatten(2, (2, 2)).sum(dim=2).unbind(dim=2)
        errors = x_errors * width**2 + y_errors * height**2  # (B, R)
        return (errors * known).sum() / known.sum().clamp(min=1)
