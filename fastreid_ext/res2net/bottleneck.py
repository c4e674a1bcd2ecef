"""The Res2Net module (section II.B, figure 2; Gao et al., TPAMI 2020, section 3.1)."""

import torch
from fastreid.layers import get_norm
from torch import Tensor, nn

from fastreid_ext.errors import ConfigError


class Res2NetBottleneck(nn.Module):
    """A bottleneck whose 3x3 convolution is a hierarchy of small ones, each with its own split of the channels.

    Behind the first 1x1 convolution the map is cut into s splits x_1 ... x_s of w channels. With K_i a 3x3 convolution,
    batch norm and ReLU: y_1 = K_1(x_1), y_i = K_i(x_i + y_{i-1}), y_s = x_s, which a second 1x1 convolution combines.
    The first block of a stage adds nothing, y_i = K_i(x_i), and its y_s is x_s behind a 3x3 average pooling with the
    block's stride. Gao et al. write the split without a convolution first and publish weights with it last; it is last
    here. Names and layout are those of their weights.

    Args:
        in_channels: of the input.
        planes: the block gives 4 * planes channels; a plain bottleneck has ``planes`` inside.
        stride: of the 3x3 convolutions, 1 or 2.
        downsample: layers of the shortcut; None = the input as it is.
        width: w for planes = 64; a split has floor(planes * width / 64) channels.
        scale: s; 1 is a plain bottleneck.
        first: the block is the first one of its stage.
        norm: FastReID's name of the batch norm.

    Raises:
        ConfigError: a scale below 1, splits without channels, or a stride in a block that is not a stage's first.
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        *,
        width: int = 26,
        scale: int = 4,
        first: bool = False,
        norm: str = "BN",
    ):
        super().__init__()
        channels = planes * width // 64
        if scale < 1 or channels < 1:
            raise ConfigError(
                f"a Res2Net needs a scale of 1 or more and splits of 1 channel or more; got scale {scale}, and width"
                f" {width} gives {channels} of {planes}"
            )
        if stride != 1 and not first:
            raise ValueError(f"only the first block of a stage shrinks the map, and this one has stride {stride}")
        out_channels = planes * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels * scale, 1, bias=False)
        self.bn1 = get_norm(norm, channels * scale)
        convolved = max(1, scale - 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False) for _ in range(convolved)
        )
        self.bns = nn.ModuleList(get_norm(norm, channels) for _ in range(convolved))
        self.pool = nn.AvgPool2d(3, stride, padding=1) if first else nn.Identity()
        self.conv3 = nn.Conv2d(channels * scale, out_channels, 1, bias=False)
        self.bn3 = get_norm(norm, out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample
        self.first = first
        self.settings = {"planes": planes, "width": width, "scale": scale}

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, 4 * planes, h / stride, w / stride)."""
        splits = self.relu(self.bn1(self.conv1(x))).split(self.convs[0].in_channels, dim=1)  # views, not copies
        outputs: list[Tensor] = []
        for split, conv, bn in zip(splits, self.convs, self.bns, strict=False):  # the last split has no convolution
            # Not +=, which would change the output that is already listed.
            y = split if self.first or not outputs else outputs[-1] + split
            outputs.append(self.relu(bn(conv(y))))
        if len(splits) > len(outputs):
            outputs.append(self.pool(splits[-1]))
        y = self.bn3(self.conv3(torch.cat(outputs, dim=1)))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)

    def following(self, norm: str) -> "Res2NetBottleneck":
        """Return a new block as it would follow this one in its stage: its channels and kind, its own weights."""
        return Res2NetBottleneck(self.conv3.out_channels, **self.settings, norm=norm)
