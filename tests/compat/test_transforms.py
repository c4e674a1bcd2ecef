"""Every augmentation of the host runs on today's torchvision, Pillow and NumPy."""

import random
import warnings

import numpy as np
import pytest
import torch
from fastreid.data.transforms import ToTensor, build_transforms
from PIL import Image


@pytest.fixture
def image():
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 32, 3)).astype(np.uint8))


@pytest.mark.parametrize("kind", ["AFFINE", "AUTOAUG", "AUGMIX", "CJ", "RPT", "REA", "CROP"])
def test_augmentation(kind, image, host_cfg):
    overrides = {f"INPUT.{kind}.ENABLED": True}
    if kind not in ("AFFINE", "CROP"):
        overrides[f"INPUT.{kind}.PROB"] = 1.0
    if kind == "CROP":
        overrides["INPUT.CROP.SIZE"] = [64, 32]
    transforms = build_transforms(host_cfg(overrides=overrides), is_train=True)
    random.seed(0)
    torch.manual_seed(0)
    for _ in range(30):  # AutoAugment and AugMix draw from many operations
        out = transforms(image)
        assert out.shape == (3, 64, 32) and out.dtype == torch.float32 and out.isfinite().all()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "CMYK", "YCbCr", "1", "I", "F", "I;16"])
def test_to_tensor_keeps_the_values(mode, image):
    picture = image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = ToTensor()(picture)
    expected = np.asarray(picture).astype(np.float64) * (255 if mode == "1" else 1)
    expected = expected.reshape(64, 32, -1).transpose(2, 0, 1)
    np.testing.assert_array_equal(tensor.double().numpy(), expected)
    assert tensor.is_contiguous()
    assert tensor.dtype == {"I": torch.int32, "I;16": torch.int16}.get(mode, torch.float32)


def test_to_tensor_of_arrays():
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    assert ToTensor()(pixels).tolist() == pixels.transpose(2, 0, 1).tolist()
    assert ToTensor()(pixels).dtype == torch.float32
    assert ToTensor()(pixels[..., 0].astype(np.float64)).shape == (1, 2, 3)
