"""Image transforms: arguments and conversions that torchvision, torch and NumPy have dropped."""

import types

import numpy as np
import torch
import torchvision.transforms
from fastreid.data.transforms import build as host_build

from fastreid_ext.compat.patch import patch, replace

TO_TENSOR = "fastreid.data.transforms.functional:to_tensor"
BUILD_TRANSFORMS = "fastreid.data.transforms.build:build_transforms"


def _random_affine(*args, resample=0, fillcolor=0, **kwargs):
    """torchvision's RandomAffine under the argument names that it had until 0.11; 0 is nearest neighbour."""
    interpolation = torchvision.transforms.InterpolationMode.NEAREST
    if resample:  # PIL's number: 2 bilinear, 3 bicubic
        interpolation = {
            2: torchvision.transforms.InterpolationMode.BILINEAR,
            3: torchvision.transforms.InterpolationMode.BICUBIC,
        }[int(resample)]
    return torchvision.transforms.RandomAffine(*args, interpolation=interpolation, fill=fillcolor, **kwargs)


@patch(
    "random-affine",
    heals="data/transforms/build.py:81",
    needed_by="torchvision >= 0.13",
    targets={BUILD_TRANSFORMS: ("c000b159e80f",)},
)
def random_affine() -> None:
    """RandomAffine lost ``resample`` and ``fillcolor``; INPUT.AFFINE.ENABLED now finds the present names."""
    host_build.T = types.SimpleNamespace(**{**vars(torchvision.transforms), "RandomAffine": _random_affine})


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


@patch(
    "to-tensor",
    heals="data/transforms/functional.py:38",
    needed_by="NumPy >= 2.0; torch >= 2.0 warns of TypedStorage for every image",
    targets={TO_TENSOR: ("ecebec169d64",)},
)
def to_tensor_without_storage() -> None:
    """``np.array(copy=False)`` raises in NumPy 2, and torch deprecates the storage the tensor came from."""
    replace(TO_TENSOR, to_tensor)
