"""Images of any kind arrive in RGB and upright; broken ones name their file; augmentation follows a seed."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.data.images import ImageError, ReIDImages, seeded

RED, GREEN = (250, 10, 20), (10, 240, 30)
EXIF_ORIENTATION = 0x0112


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def images(*paths, transform=to_tensor, relabel=False):
    return ReIDImages([(str(path), pid, 7) for pid, path in enumerate(paths)], transform, relabel)


@pytest.fixture
def two_colours():
    """Red above green."""
    pixels = np.zeros((40, 20, 3), np.uint8)
    pixels[:20], pixels[20:] = RED, GREEN
    return Image.fromarray(pixels)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff"])
def test_rgb(suffix, two_colours, tmp_path):
    two_colours.save(tmp_path / f"image.{suffix}")
    found = images(tmp_path / f"image.{suffix}")[0]["images"]
    assert found.shape == (3, 40, 20)
    assert found[:, 0, 0].tolist() == list(RED) and found[:, 39, 0].tolist() == list(GREEN)


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P", "CMYK", "I;16"])
def test_other_modes_become_rgb(mode, two_colours, tmp_path):
    path = tmp_path / ("image.tiff" if mode in ("CMYK", "I;16") else "image.png")
    if mode == "I;16":
        Image.fromarray(np.full((40, 20), 200 * 257, np.uint16)).save(path)
    else:
        two_colours.convert(mode).save(path)
    found = images(path)[0]["images"]
    assert found.shape == (3, 40, 20) and found.dtype is torch.uint8
    if mode in ("RGBA", "P", "CMYK"):
        assert (found[:, 0, 0].int() - torch.tensor(RED)).abs().max() <= 40  # a palette has few colours
        assert (found[:, 39, 0].int() - torch.tensor(GREEN)).abs().max() <= 40
    else:
        assert torch.equal(found[0], found[1]) and torch.equal(found[1], found[2])


@pytest.mark.parametrize(("orientation", "shape", "red"), [(3, (40, 20), (39, 10)), (6, (20, 40), (10, 39))])
def test_exif_orientation(orientation, shape, red, two_colours, tmp_path):
    """3: the camera was upside down; 6: it was turned, so red ends up on the right."""
    exif = two_colours.getexif()
    exif[EXIF_ORIENTATION] = orientation
    two_colours.save(tmp_path / "image.png", exif=exif)
    found = images(tmp_path / "image.png")[0]["images"]
    assert tuple(found.shape[1:]) == shape
    assert found[:, red[0], red[1]].tolist() == list(RED)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "absent", "folder", "other header"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "tiff", "webp"])
def test_broken_image_names_its_file(damage, suffix, two_colours, tmp_path):
    path = tmp_path / f"image.{suffix}"
    Image.effect_noise((64, 64), 90).convert("RGB").save(path)
    data = path.read_bytes()
    if damage in ("absent", "folder"):
        path.unlink()
        if damage == "folder":
            path.mkdir()
    else:
        path.write_bytes(
            {
                "cut": data[: len(data) // 2],
                "empty": b"",
                "text": b"<html>404</html>",
                "other header": b"\0" * 12 + data[12:],
            }[damage]
        )
    with pytest.raises(ImageError) as raised:
        images(path)[0]
    assert str(path) in str(raised.value) and "replace it or remove it" in str(raised.value)


def test_random_damage_is_read_or_named(tmp_path):
    """Whatever PIL raises for flipped bytes, the file is named."""
    rng = np.random.RandomState(0)
    for suffix in ("png", "jpg", "gif", "tiff", "bmp"):
        path = tmp_path / f"image.{suffix}"
        Image.effect_noise((24, 24), 90).convert("RGB").save(path)
        data = path.read_bytes()
        for _ in range(60):
            broken = bytearray(data)
            for place in rng.randint(0, min(len(data), 120), 4):
                broken[place] = rng.randint(256)
            path.write_bytes(bytes(broken))
            try:
                found = images(path)[0]["images"]
            except ImageError as error:
                assert str(path) in str(error)
            else:
                assert found.shape[0] == 3


# ---- items ----------------------------------------------------------------------------------------------------------


def noisy(image):
    """A transform that draws from all three generators."""
    return torch.tensor([random.random(), np.random.rand(), torch.rand(1).item(), float(np.array(image).mean())])


@pytest.fixture
def pair(two_colours, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        two_colours.save(path)
    return paths


def test_an_item(pair):
    item = images(*pair)[1]
    assert (item["targets"], item["camids"], item["img_paths"]) == (1, 7, str(pair[1]))


def test_relabelling(pair):
    items = [(str(pair[0]), "set_20", "set_5"), (str(pair[1]), "set_10", "set_6")]
    data = ReIDImages(items, to_tensor, relabel=True)
    assert [(data[i]["targets"], data[i]["camids"]) for i in (0, 1)] == [(1, 0), (0, 1)]
    assert data.num_classes == 2 and len(data) == 2


def test_a_seed_decides_all_that_is_drawn(pair):
    data = images(*pair, transform=noisy)
    a, b, other = data[0, 5]["images"], data[0, 5]["images"], data[0, 6]["images"]
    assert torch.equal(a, b)
    assert (a[:3] != other[:3]).all() and a[3] == other[3]
    assert data[1, 5]["img_paths"] == str(pair[1])


def test_a_seeded_item_leaves_the_generators_alone(pair):
    data = images(*pair, transform=noisy)
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    data[0, 5]
    after = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


def test_an_item_without_seed_draws_on(pair):
    data = images(*pair, transform=noisy)
    assert not torch.equal(data[0]["images"], data[0]["images"])


def test_generators_come_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(3):
        torch.rand(1)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_generators_of_a_gpu_are_left_alone():
    before = torch.cuda.get_rng_state()
    with seeded(3):
        torch.rand(1)
    assert torch.equal(torch.cuda.get_rng_state(), before)
