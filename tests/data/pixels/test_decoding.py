"""Files are read to FastReID's pixels, and fail where FastReID fails."""

import io

import numpy as np
import pytest
from fastreid.data.data_utils import read_image
from PIL import Image

from fastreid_ext.data.pixels import decoding
from fastreid_ext.data.pixels.decoding import plain_jpeg_size, read_rgb


def photograph(height=61, width=35, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image=None, **options):
    file = io.BytesIO()
    (image or photograph()).save(file, "JPEG", **options)
    return file.getvalue()


def hosts(path):
    return np.asarray(read_image(str(path), format="RGB"))


def outcome(read, path):
    try:
        return read(str(path))
    except Exception as error:  # whatever PIL raises
        return type(error)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [20, 95])
@pytest.mark.parametrize("size", [(128, 64), (1, 1), (17, 255)])
def test_plain_photographs(subsampling, progressive, quality, size, tmp_path):
    path = tmp_path / "a.jpg"
    data = jpeg(photograph(*size), subsampling=subsampling, progressive=progressive, quality=quality)
    path.write_bytes(data)
    assert plain_jpeg_size(data) == size
    assert np.array_equal(read_rgb(str(path)), hosts(path))


def test_opencv_is_in_use_here(tmp_path, monkeypatch):
    """Else the other tests would compare PIL with itself."""
    assert decoding.decoders_agree()
    (tmp_path / "a.jpg").write_bytes(jpeg())
    monkeypatch.setattr(decoding, "opened_image", lambda *args, **kwargs: pytest.fail("PIL was asked"))
    read_rgb(str(tmp_path / "a.jpg"))


def test_pil_reads_where_opencv_differs(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    monkeypatch.setattr(decoding, "_decode", lambda data: np.zeros((61, 35, 3), np.uint8))
    decoding.decoders_agree.cache_clear()
    try:
        assert not decoding.decoders_agree()
        assert np.array_equal(read_rgb(str(tmp_path / "a.jpg")), hosts(tmp_path / "a.jpg"))
    finally:
        decoding.decoders_agree.cache_clear()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


NOT_PLAIN = {
    "exif": lambda: jpeg(exif=exif(6)),
    "colour profile": lambda: jpeg(icc_profile=b"profile" * 10),
    "grey": lambda: jpeg(photograph().convert("L")),
    "cmyk": lambda: jpeg(photograph().convert("CMYK")),
    "bytes after the end": lambda: jpeg() + b"\0\0",
    "cut": lambda: jpeg()[:-40],
    "not jfif": lambda: jpeg().replace(b"JFIF\0", b"JFXX\0", 1),
    "empty": lambda: b"",
    "start and end": lambda: b"\xff\xd8\xff\xd9",
    "header alone": lambda: jpeg()[:60] + b"\xff\xd9",
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_anything_else_is_left_to_pil(name, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(NOT_PLAIN[name]())
    assert plain_jpeg_size(path.read_bytes()) is None
    found, wanted = outcome(read_rgb, path), outcome(hosts, path)
    assert found is wanted if isinstance(wanted, type) else np.array_equal(found, wanted)


def test_a_comment_does_no_harm(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(comment=b"x" * 300))
    assert plain_jpeg_size(path.read_bytes()) == (61, 35)
    assert np.array_equal(read_rgb(str(path)), hosts(path))


def test_damaged_files_fare_as_with_fastreid(tmp_path):
    """Bytes changed, bytes missing, the end missing but for its mark: the same pixels, or an error from both."""
    rng, path = np.random.default_rng(0), tmp_path / "a.jpg"
    sources = [jpeg(photograph(24, 24), subsampling=s, progressive=p) for s in (0, 2) for p in (False, True)]
    plain = {"image": 0, "error": 0}
    for number in range(160):
        data = bytearray(sources[number % 4])
        kind, place = number // 4 % 3, int(rng.integers(2, len(data) - 2))
        if kind == 0:
            data[place] = rng.integers(256)
        else:
            data = data[:place] + (data[place + 9 : -2] if kind == 1 else b"") + b"\xff\xd9"
        path.write_bytes(bytes(data))
        found, wanted = outcome(read_rgb, path), outcome(hosts, path)
        assert found is wanted if isinstance(wanted, type) else np.array_equal(found, wanted), number
        if plain_jpeg_size(bytes(data)):
            plain["error" if isinstance(wanted, type) else "image"] += 1
    assert plain["image"] > 40 and plain["error"] > 0


def test_what_is_no_image_is_told_without_an_address(tmp_path):
    (tmp_path / "a.jpg").write_text("text")
    with pytest.raises(OSError, match="^cannot identify image file$"):
        read_rgb(str(tmp_path / "a.jpg"))
