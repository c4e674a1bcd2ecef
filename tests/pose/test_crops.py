"""The model's view of an image, against loops that are written from the definition."""

import math

import numpy as np
import pytest
from PIL import Image

from fastreid_ext.data.poses import PoseError
from fastreid_ext.pose.crops import Crop, normalise, read_pose_image

SIZES = [((64, 128), (192, 256)), ((128, 64), (192, 256)), ((7, 9), (12, 20)), ((300, 500), (24, 32)), ((1, 1), (4, 6))]


def view_of(size, input_size, padding):
    """Return first corner and step of the crop, in edge coordinates: pixel 0 goes from 0 to 1, as boxes count."""
    width, height = size[0] * padding, size[1] * padding
    aspect = input_size[0] / input_size[1]
    if width / height > aspect:
        height = width / aspect
    else:
        width = height * aspect
    corner = size[0] / 2 - width / 2, size[1] / 2 - height / 2
    return corner, (width / input_size[0], height / input_size[1])


@pytest.mark.parametrize(("size", "input_size"), SIZES)
@pytest.mark.parametrize("padding", [1, 1.25])
def test_places_by_the_edges_of_boxes(size, input_size, padding):
    """An independent derivation: widen the box, fix its aspect ratio, and go by the middles of the pixels."""
    corner, step = view_of(size, input_size, padding)
    assert step[0] == pytest.approx(step[1], rel=1e-12)
    crop = Crop(size, input_size, padding)
    places = np.array([[0, 0], [input_size[0] - 1, input_size[1] - 1], [3.25, 1.5]])
    expected = np.array(corner) + (places + 0.5) * step - 0.5
    np.testing.assert_allclose(crop.to_image(places), expected, rtol=0, atol=1e-9)
    middle = (np.array(input_size) - 1) / 2
    np.testing.assert_allclose(crop.to_image(middle), (np.array(size) - 1) / 2, rtol=0, atol=1e-9)


def test_places_by_hand():
    # 64x128 into 192x256: 1.25 x 128 = 160 rows of the image make 256 of the model's, 0.625 each; 1.25 x 64 = 80
    # columns would make 128 of 192, so the width is what fits the height: 192 x 0.625 = 120.
    crop = Crop((64, 128), (192, 256))
    assert crop.step == 0.625
    # the first pixel is 95.5 x 0.625 = 59.6875 left of the middle 31.5, and 127.5 x 0.625 = 79.6875 above 63.5
    assert crop.to_image(np.array([[0, 0]])).tolist() == [[-28.1875, -16.1875]]
    assert Crop((48, 96), (48, 96), 1).to_image(np.array([5, 7])).tolist() == [5, 7]


def naive_cut(image, input_size, padding):
    """Bilinear interpolation, black outside, pixel by pixel."""
    size = image.shape[1::-1]
    corner, step = view_of(size, input_size, padding)
    result = np.zeros((input_size[1], input_size[0], 3))
    for v in range(input_size[1]):
        for u in range(input_size[0]):
            x = corner[0] + (u + 0.5) * step[0] - 0.5
            y = corner[1] + (v + 0.5) * step[1] - 0.5
            left, top = math.floor(x), math.floor(y)
            for column, row in ((left, top), (left + 1, top), (left, top + 1), (left + 1, top + 1)):
                if 0 <= column < size[0] and 0 <= row < size[1]:
                    result[v, u] += (1 - abs(x - column)) * (1 - abs(y - row)) * image[row, column]
    return result


@pytest.mark.parametrize(("size", "input_size"), [((16, 40), (24, 32)), ((40, 16), (24, 32)), ((9, 7), (20, 12))])
@pytest.mark.parametrize("padding", [1, 1.25])
def test_cut_against_a_loop(size, input_size, padding):
    image = np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    cut = Crop(size, input_size, padding).cut(image)
    assert cut.shape == (input_size[1], input_size[0], 3) and cut.dtype == np.uint8
    # OpenCV may round places to 1/32 of a pixel: at most 1/64 each way, of neighbours that differ by up to 255
    assert np.abs(cut - naive_cut(image, input_size, padding)).max() < 2 * 255 / 64 + 1


def test_an_image_of_the_models_size_is_itself():
    image = np.random.RandomState(0).randint(0, 256, (20, 10, 3)).astype(np.uint8)
    assert np.array_equal(Crop((10, 20), (10, 20), 1).cut(image), image)


def test_normalise_by_hand():
    crops = np.zeros((1, 2, 1, 3), np.uint8)
    crops[0, 1, 0] = 10, 20, 30
    values = normalise(crops, (1, 2, 3), (1, 2, 4))
    assert values.shape == (1, 3, 2, 1) and values.dtype == np.float32 and values.flags["C_CONTIGUOUS"]
    assert values[0, :, 1, 0].tolist() == [9, 9, 6.75] and values[0, :, 0, 0].tolist() == [-1, -1, -0.75]
    assert normalise(crops, (1, 2, 3), (1, 2, 4), "bgr")[0, :, 1, 0].tolist() == [6.75, 9, 9]
    # ImageNet's numbers as shares, which other libraries write them as; to 1e-3 of a deviation
    expected = (np.array([10, 20, 30]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(normalise(crops)[0, :, 1, 0], expected, rtol=0, atol=1e-3)


def test_images_are_read_as_the_host_reads_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[0, 0, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    read = read_pose_image(tmp_path / "turned.png")
    assert read.shape == (8, 4, 3) and read[0, 3].tolist() == [255, 0, 0]
    Image.new("L", (3, 5), 7).save(tmp_path / "grey.png")
    assert (read_pose_image(tmp_path / "grey.png") == np.full((5, 3, 3), 7)).all()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    for content in (b"no image", whole[: len(whole) // 2], b""):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(PoseError, match="a.jpg can't be read as an image .*: repair or remove it"):
            read_pose_image(tmp_path / "a.jpg")
