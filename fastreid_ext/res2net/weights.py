"""ImageNet weights of a Res2Net: the authors' files, and timm's of the same names."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fastreid_ext.modeling.weights import WeightsError

# What the authors publish (CC BY-NC-SA 4.0: not for commercial use), as (depth, width, scale, v1b) -> name of the file.
PUBLISHED = {
    ("50x", 26, 4, False): "res2net50_26w_4s-06e79181.pth",
    ("50x", 48, 2, False): "res2net50_48w_2s-afed724a.pth",
    ("50x", 14, 8, False): "res2net50_14w_8s-6527dddc.pth",
    ("50x", 26, 6, False): "res2net50_26w_6s-19041792.pth",
    ("50x", 26, 8, False): "res2net50_26w_8s-2c7c9f12.pth",
    ("101x", 26, 4, False): "res2net101_26w_4s-02a759a1.pth",
    ("50x", 26, 4, True): "res2net50_v1b_26w_4s-3cf99910.pth",
    ("101x", 26, 4, True): "res2net101_v1b_26w_4s-0812c246.pth",
}
PUBLISHED_AT = "https://github.com/Res2Net/Res2Net-PretrainedModels"


def pretrained_file(path: str, depth: str, width: int, scale: int, v1b: bool) -> Path:
    """Return MODEL.BACKBONE.PRETRAIN_PATH, else the authors' file in torch's folder of downloads.

    Raises:
        WeightsError: it is not there; the message names the file and where it belongs.
    """
    if path:
        if not Path(path).is_file():
            raise WeightsError(f"there is no file {path}: check MODEL.BACKBONE.PRETRAIN_PATH")
        return Path(path)
    name = PUBLISHED.get((depth, width, scale, v1b))
    if name is None:
        raise WeightsError(
            f"MODEL.BACKBONE.PRETRAIN is True, but no ImageNet weights are published for a Res2Net of DEPTH {depth},"
            f" WIDTH {width}, SCALE {scale}, V1B {v1b}: name a file of your own in MODEL.BACKBONE.PRETRAIN_PATH, or set"
            " PRETRAIN False"
        )
    file = Path(torch.hub.get_dir()) / "checkpoints" / name  # where the authors' own code keeps it
    if not file.is_file():
        raise WeightsError(
            f"MODEL.BACKBONE.PRETRAIN is True and {file} is not there: download {name} (links and terms at"
            f" {PUBLISHED_AT}) to that place, or name it in MODEL.BACKBONE.PRETRAIN_PATH, or set PRETRAIN False"
        )
    return file


def describe(state: Mapping[str, Tensor]) -> str:
    """Say which config weights are of, by their names and shapes."""
    first, split = state.get("layer1.0.conv1.weight"), state.get("layer1.0.convs.0.weight")
    if first is None or split is None:
        return "no Res2Net"
    if split.shape[0] != split.shape[1]:
        return "a Res2NeXt"  # grouped convolutions
    blocks = {key.split(".convs.")[0] for key in state if ".convs." in key}
    width = len(split)
    return f"DEPTH {3 * len(blocks) + 2}x, WIDTH {width}, SCALE {len(first) // width}, V1B {'conv1.0.weight' in state}"
