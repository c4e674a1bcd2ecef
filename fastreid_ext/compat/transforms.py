"""Image transforms: arguments and conversions that torchvision, torch and NumPy have dropped."""

import importlib
import types

import numpy as np
import torch

from fastreid_ext.compat.host import HostModule
from fastreid_ext.compat.patch import patch, replace
from fastreid_ext.compat.probing import refuse, swapped

config = HostModule("fastreid.config")
functional = HostModule("fastreid.data.transforms.functional")
host_build = HostModule("fastreid.data.transforms.build")

TO_TENSOR = "fastreid.data.transforms.functional:to_tensor"
BUILD_TRANSFORMS = "fastreid.data.transforms.build:build_transforms"


def _random_affine(*args, resample=0, fillcolor=0, **kwargs):
    """torchvision's RandomAffine under the argument names that it had until 0.11; 0 is nearest neighbour."""
    from torchvision.transforms import InterpolationMode, RandomAffine

    interpolation = InterpolationMode.NEAREST
    if resample:  # PIL's number: 2 bilinear, 3 bicubic
        interpolation = {2: InterpolationMode.BILINEAR, 3: InterpolationMode.BICUBIC}[int(resample)]
    return RandomAffine(*args, interpolation=interpolation, fill=fillcolor, **kwargs)


def _affine_fails() -> bool:
    """Whether transforms can't be built with INPUT.AFFINE.ENABLED."""
    cfg = config.get_cfg()
    cfg.INPUT.AFFINE.ENABLED = True
    host_build.build_transforms(cfg, is_train=True)
    return False


@patch(
    "random-affine",
    heals="data/transforms/build.py:81",
    needed_by="torchvision >= 0.14",
    targets={BUILD_TRANSFORMS: ("c000b159e80f",)},
    uses=("fastreid.data.transforms.build:T",),
    needed=_affine_fails,
    if_skipped="INPUT.AFFINE.ENABLED raises TypeError",
    cause="RandomAffine has lost its arguments resample and fillcolor",
    fix="interpolation and fill",
)
def random_affine() -> None:
    """RandomAffine lost ``resample`` and ``fillcolor``; INPUT.AFFINE.ENABLED now finds the present names."""
    present = importlib.import_module("torchvision.transforms")
    lent = types.SimpleNamespace(**{**vars(present), "RandomAffine": _random_affine})
    replace("fastreid.data.transforms.build:T", lent, everywhere=False)


def to_tensor(pic) -> torch.Tensor:
    """An image as a (C, H, W) tensor; bytes become floats in [0, 255], other numbers stay as they are.

    Args:
        pic: a PIL image, or an array of shape (H, W) or (H, W, C).
    """
    if isinstance(pic, np.ndarray):
        array = pic
    elif pic.mode == "I;16":
        array = np.array(pic, dtype=np.int16)  # torch has few operations for uint16
    elif pic.mode == "1":
        array = np.array(pic, dtype=np.uint8) * 255
    else:
        array = np.array(pic)
    if array.ndim == 2:
        array = array[:, :, None]
    tensor = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))  # (C, H, W)
    return tensor.float() if tensor.dtype == torch.uint8 else tensor


def _conversion_fails() -> bool:
    """Whether an image of 32-bit integers does not convert, or one of bytes goes through torch's old storage."""
    from PIL import Image

    with swapped(torch, ByteStorage=types.SimpleNamespace(from_buffer=refuse)):
        values = [functional.to_tensor(Image.new(mode, (1, 1), 7)).tolist() for mode in ("I", "L")]
    return values != [[[[7]]], [[[7.0]]]]


@patch(
    "to-tensor",
    heals="data/transforms/functional.py:38",
    needed_by="NumPy >= 2.0; torch >= 2.0 warns of TypedStorage for every image",
    targets={TO_TENSOR: ("ecebec169d64",)},
    needed=_conversion_fails,
    if_skipped="images of other modes than 8-bit colour and grey raise, and others convert with a warning",
    cause="np.array(copy=False) is refused by NumPy 2 where a copy is needed; torch deprecates ByteStorage",
    fix="np.asarray, and torch.from_numpy of the image's array",
)
def to_tensor_without_storage() -> None:
    """``np.array(copy=False)`` raises in NumPy 2, and torch deprecates the storage the tensor came from."""
    replace(TO_TENSOR, to_tensor)
