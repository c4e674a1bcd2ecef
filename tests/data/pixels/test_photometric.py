"""Random grayscale and blur of training images: what they do, how often, where they stand, and from which draws."""

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms
from PIL import Image, ImageFilter
from torchvision import transforms as T

from fastreid_ext.config import get_cfg
from fastreid_ext.data.images import ReIDImages
from fastreid_ext.data.pixels.photometric import RandomGaussianBlur
from fastreid_ext.engine.loaders import train_transforms


@pytest.fixture
def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8))


def config(**settings):
    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN = [64, 32]
    cfg.merge_from_list([x for key, value in settings.items() for x in (f"INPUT.{key.replace('__', '.')}", value)])
    return cfg


def names(cfg):
    steps = train_transforms(cfg).transforms
    return [type(step.transforms[0] if isinstance(step, T.RandomApply) else step).__name__ for step in steps]


def test_they_stand_between_colour_jitter_and_augmix():
    both = {"GRAYSCALE__ENABLED": True, "BLUR__ENABLED": True}
    others = {f"{node}__ENABLED": True for node in ("CJ", "AUGMIX", "REA")}
    grey_blur = ["RandomGrayscale", "RandomGaussianBlur"]
    assert names(config(**both)) == ["Resize", *grey_blur, "ToTensor"]
    assert names(config(**both, **others)) == [
        *("Resize", "ColorJitter", *grey_blur, "AugMix", "ToTensor", "RandomErasing")
    ]
    assert names(config(GRAYSCALE__ENABLED=True)) == ["Resize", "RandomGrayscale", "ToTensor"]
    assert names(config(BLUR__ENABLED=True)) == ["Resize", "RandomGaussianBlur", "ToTensor"]
    off = config(**others)
    assert names(off) == [
        type(step.transforms[0] if isinstance(step, T.RandomApply) else step).__name__
        for step in build_transforms(off, is_train=True).transforms
    ]


def test_grey_images_have_three_equal_channels(noise):
    grey = train_transforms(config(GRAYSCALE__ENABLED=True, GRAYSCALE__PROB=1.0))(noise)
    assert grey.shape == (3, 64, 32) and torch.equal(grey[0], grey[1]) and torch.equal(grey[0], grey[2])
    assert torch.equal(grey[0], torch.from_numpy(np.asarray(noise.convert("L")).astype(np.float32)))
    same = train_transforms(config(GRAYSCALE__ENABLED=True, GRAYSCALE__PROB=0.0))(noise)
    assert torch.equal(same, torch.from_numpy(np.asarray(noise).astype(np.float32)).permute(2, 0, 1))


def test_the_blur_is_a_gaussian_of_the_drawn_width(noise):
    torch.manual_seed(3)
    share = torch.rand(2)[1].item()  # behind the draw that decides
    torch.manual_seed(3)
    blurred = RandomGaussianBlur(1.0, (0.5, 2.5))(noise)
    assert np.array_equal(blurred, noise.filter(ImageFilter.GaussianBlur(0.5 + 2 * share)))
    dot = Image.fromarray(np.full((41, 41, 3), 0, np.uint8))
    dot.paste((255, 255, 255), (16, 16, 25, 25))  # 9 wide: a variance of (81 - 1) / 12
    row = np.asarray(RandomGaussianBlur(1.0, (2.0, 2.0))(dot))[20, :, 0].astype(float)
    variance = (row * (np.arange(41) - 20) ** 2).sum() / row.sum()
    assert abs(variance - 80 / 12 - 2.0**2) < 0.3


def test_they_are_drawn_as_often_as_the_probability_says(noise):
    grey, blur = T.RandomGrayscale(0.2), RandomGaussianBlur(0.2, (0.5, 2.0))
    for transform in (grey, blur):
        changed = sum(not np.array_equal(transform(noise), noise) for _ in range(1000))
        assert abs(changed - 200) < 4 * (1000 * 0.2 * 0.8) ** 0.5


def test_an_image_looks_the_same_for_the_same_seed(noise, tmp_path):
    noise.save(tmp_path / "a.png")
    settings = {"GRAYSCALE__ENABLED": True, "GRAYSCALE__PROB": 0.5, "BLUR__ENABLED": True}
    images = ReIDImages([(str(tmp_path / "a.png"), 0, 0)], train_transforms(config(**settings)), relabel=True)
    keys = [(0, seed) for seed in range(8)]
    first = [item["images"] for item in images.fetch(keys)]
    torch.manual_seed(7)  # whatever was drawn before
    again = [item["images"] for item in images.fetch(keys[::-1])][::-1]
    assert all(map(torch.equal, first, again)) and first[0].dtype is torch.uint8
    assert len({image.numpy().tobytes() for image in first}) > 3
