"""Files that are no photographs of 8 bits give the 8 bits that the rules say, whatever their values, or are refused."""

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from fastreid_ext.data.images import ImageError, read_image
from fastreid_ext.data.pixels.decoding import read_rgb

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 7, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (12, 7), dtype=np.uint8)
IN_THREE = np.repeat(GREY[..., None], 3, axis=2)


def as_16_bits(pixels):
    return pixels.astype(np.uint16) * 257


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
@pytest.mark.parametrize("brightest", [255, 100, 0], ids=["bright", "dark", "black"])
def test_grey_of_16_bits(suffix, brightest, tmp_path):
    """A dark scene stays dark: its values alone, none of them above 255, would look like 8 bits."""
    grey = np.minimum(GREY, brightest)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), as_16_bits(grey))
    assert np.array_equal(read_rgb(str(tmp_path / f"a.{suffix}")), np.repeat(grey[..., None], 3, axis=2))
    faint = np.full((12, 7), 255, np.uint16)
    cv2.imwrite(str(tmp_path / f"b.{suffix}"), faint)
    assert not read_rgb(str(tmp_path / f"b.{suffix}")).any()  # 255 of 65535


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm"])
def test_colour_of_16_bits(suffix, tmp_path):
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), as_16_bits(COLOUR[..., ::-1]))
    assert np.array_equal(read_rgb(str(tmp_path / f"a.{suffix}")), COLOUR)


def test_the_upper_8_bits_count_in_grey_as_in_colour(tmp_path):
    grey = RNG.integers(0, 65536, (12, 7)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    cv2.imwrite(str(tmp_path / "colour.png"), np.repeat(grey[..., None], 3, axis=2))
    grey, colour = (read_rgb(str(tmp_path / f"{name}.png")) for name in ("grey", "colour"))
    assert np.array_equal(grey, colour)


def test_one_pixel_of_16_bits_that_is_transparent(tmp_path):
    Image.fromarray(as_16_bits(GREY)).save(tmp_path / "a.png", transparency=int(GREY[0, 0]) * 257)
    wanted = np.where(IN_THREE == GREY[0, 0], 0, IN_THREE)
    assert np.array_equal(read_rgb(str(tmp_path / "a.png")), wanted) and GREY[0, 0] > 0


def test_tiffs_in_which_white_is_zero(tmp_path):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    Image.fromarray(as_16_bits(GREY)).save(tmp_path / "a.tif", tiffinfo=tags)
    data = (tmp_path / "a.tif").read_bytes()
    entry = (262).to_bytes(2, "little") + (3).to_bytes(2, "little") + (1).to_bytes(4, "little")
    assert data.count(entry + b"\1\0") == 1
    (tmp_path / "b.tif").write_bytes(data.replace(entry + b"\1\0", entry + b"\0\0"))
    assert np.array_equal(read_rgb(str(tmp_path / "b.tif")), 255 - IN_THREE)


@pytest.mark.parametrize(("kind", "said"), [(np.int32, "numbers of 32 bits"), (np.float32, "floats")])
@pytest.mark.parametrize("most", [1, 255, 10000])
def test_what_has_no_white_is_refused(kind, said, most, tmp_path):
    Image.fromarray((GREY / 255 * most).astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=rf"a\.tif can't be read \(its pixels are {said}.*save it with 8 or 16 bits"):
        read_image(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("name", ["rgba.png", "rgba.webp", "rgba.tif", "la.png", "rgba16.png"])
def test_transparency_is_laid_on_black(name, tmp_path):
    colour = IN_THREE if name.startswith("la") else COLOUR
    if name == "rgba16.png":
        cv2.imwrite(str(tmp_path / name), as_16_bits(np.dstack([colour[..., ::-1], ALPHA])))
    elif name == "la.png":
        Image.fromarray(np.dstack([GREY, ALPHA]), "LA").save(tmp_path / name)
    else:
        lossless = {"lossless": True, "exact": True} if name.endswith("webp") else {}
        Image.fromarray(np.dstack([colour, ALPHA])).save(tmp_path / name, **lossless)
    wanted = colour * (ALPHA[..., None] / 255)
    assert np.abs(read_rgb(str(tmp_path / name)) - wanted).max() <= 1


def test_what_is_opaque_keeps_its_pixels(tmp_path):
    Image.fromarray(np.dstack([COLOUR, np.full_like(ALPHA, 255)])).save(tmp_path / "a.png")
    assert np.array_equal(read_rgb(str(tmp_path / "a.png")), COLOUR)


@pytest.mark.parametrize("name", ["palette.png", "palette.gif", "grey.png", "colour.png"])
def test_a_colour_that_is_transparent(name, tmp_path):
    colours = [250, 10, 20, 40, 230, 60, 90, 80, 70]
    index = RNG.integers(0, 3, (12, 7), dtype=np.uint8)
    wanted = np.array(colours, np.uint8).reshape(3, 3)[index]
    if name.startswith("palette"):
        picture = Image.fromarray(index, "P")
        picture.putpalette(colours)
        picture.save(tmp_path / name, transparency=1)
        wanted = np.where((index == 1)[..., None], 0, wanted)
    elif name == "grey.png":
        Image.fromarray(GREY).save(tmp_path / name, transparency=int(GREY[0, 0]))
        wanted = np.where(IN_THREE == GREY[0, 0], 0, IN_THREE)
    else:
        Image.fromarray(wanted).save(tmp_path / name, transparency=(40, 230, 60))
        wanted = np.where((index == 1)[..., None], 0, wanted)
    assert np.array_equal(read_rgb(str(tmp_path / name)), wanted)


def test_one_bit_and_cmyk(tmp_path):
    Image.fromarray(GREY > 127).save(tmp_path / "a.png")
    assert np.array_equal(read_rgb(str(tmp_path / "a.png")), np.where(IN_THREE > 127, 255, 0))
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.tif")
    assert np.array_equal(read_rgb(str(tmp_path / "a.tif")), COLOUR)


def test_deep_pixels_are_turned_upright_too(tmp_path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(as_16_bits(GREY)).save(tmp_path / "a.png", exif=tags)
    assert np.array_equal(read_rgb(str(tmp_path / "a.png")), np.rot90(IN_THREE, -1))
