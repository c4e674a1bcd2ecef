"""ImageNet weights of a Res2Net: the authors' files, and timm's of the same names."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.weights import WeightsError, read_state

logger = logging.getLogger(__name__)

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


def load_pretrained(backbone: nn.Module, path: Path) -> None:
    """Load ImageNet weights: all of the backbone's or none; only a classifier (fc) is ignored.

    Raises:
        WeightsError: a file that can't be read safely, or weights of another network.
    """
    try:
        state = {key.removeprefix("module."): value for key, value in read_state(path).items()}
    except WeightsError as error:
        hint = "; write the tensors of safetensors into a .pth by torch.save" if path.suffix == ".safetensors" else ""
        raise WeightsError(f"MODEL.BACKBONE.PRETRAIN_PATH: {error}{hint}") from error
    # The batch norms' counters are of no use here, and files written before torch had them lack them.
    own = {key: value for key, value in backbone.state_dict().items() if not key.endswith("num_batches_tracked")}
    theirs = {key: v for key, v in state.items() if not key.endswith("num_batches_tracked")}
    classifier = {key for key in theirs if re.fullmatch(r"fc\.(weight|bias)", key)}
    problems = {
        "missing": sorted(own.keys() - theirs.keys()),
        "unexpected": sorted(theirs.keys() - own.keys() - classifier),
        "of another shape": sorted(key for key in own.keys() & theirs.keys() if own[key].shape != theirs[key].shape),
    }
    if any(problems.values()):
        found = ", ".join(f"{len(keys)} {what} (such as {keys[0]})" for what, keys in problems.items() if keys)
        raise WeightsError(
            f"{path} does not fit the Res2Net of MODEL.BACKBONE: {found}; it holds {_describe(theirs)}, and this one is"
            f" {_describe(own)}"
        )
    backbone.load_state_dict({key: theirs[key] for key in own}, strict=False)  # not strict: the counters
    left_out = f"; left out: {', '.join(sorted(classifier))}" if classifier else ""
    logger.info("loaded all %d weights and buffers of the Res2Net from %s%s", len(own), path, left_out)


def _describe(state: Mapping[str, Tensor]) -> str:
    """Say which config weights are of, by their names and shapes."""
    first, split = state.get("layer1.0.conv1.weight"), state.get("layer1.0.convs.0.weight")
    if first is None or split is None:
        return "no Res2Net"
    if split.shape[0] != split.shape[1]:
        return "a Res2NeXt"  # grouped convolutions
    blocks = {key.split(".convs.")[0] for key in state if ".convs." in key}
    width = len(split)
    return f"DEPTH {3 * len(blocks) + 2}x, WIDTH {width}, SCALE {len(first) // width}, V1B {'conv1.0.weight' in state}"
