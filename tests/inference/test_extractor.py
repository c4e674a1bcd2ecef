"""Features of images of any kind: those of the evaluation, in their order, and nothing of the caller's is changed."""

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms
from PIL import Image

from fastreid_ext import Extractor
from fastreid_ext.data.images import ImageError, ReIDImages
from fastreid_ext.data.loader import build_test_loader
from fastreid_ext.data.loader_faults import batch_bytes
from fastreid_ext.errors import ConfigError, DivergedError, UserError
from fastreid_ext.inference.input_loader import InputImages
from fastreid_ext.inference.inputs import InputError


def expected(trained, files, flip=False):
    """As the evaluation computes them: each image by itself."""
    cfg, model = trained
    data = ReIDImages([(str(file), 0, 0) for file in files], build_transforms(cfg, is_train=False), relabel=False)
    images = torch.stack([torch.as_tensor(data[n]["images"]).float() for n in range(len(files))])
    with torch.no_grad():
        features = model({"images": images.clone()})
        if flip:
            features = (features + model({"images": images.flip(3)})) / 2
    return features.numpy()


def pixels(file):
    return np.asarray(Image.open(file))


def test_files_as_the_evaluation_reads_them(trained, files):
    raw = Extractor.of_model(*trained, normalise=False, batch_size=6)
    assert np.array_equal(raw(files), expected(trained, files)) and raw.dim == raw(files).shape[1]
    mirrored = Extractor.of_model(*trained, normalise=False, batch_size=6, flip=True)
    assert np.array_equal(mirrored(files), expected(trained, files, flip=True))
    assert mirrored.record.flip and not raw.record.flip
    assert np.allclose(np.linalg.norm(Extractor.of_model(*trained)(files), axis=1), 1, atol=1e-6)


def test_every_kind_is_the_same_image(extractor, files):
    wanted = extractor(files)
    arrays = [pixels(file) for file in files]
    tensors = [torch.from_numpy(array.copy()).movedim(-1, 0) for array in arrays]
    for images, options in (
        ([str(file) for file in files], {}),
        (files[0].parent, {}),
        (str(files[0].parent), {}),
        ([Image.open(file) for file in files], {}),
        (arrays, {"order": "RGB"}),
        ([array[..., ::-1] for array in arrays], {"order": "BGR"}),
        ([array.astype(np.float32) for array in arrays], {"order": "RGB", "range": 255}),
        ([array.astype(np.int64) for array in arrays], {"order": "RGB", "range": 255}),
        ([array / 255 for array in arrays], {"order": "RGB", "range": 1}),
        (tensors, {"range": 255}),
        ([tensor / 255 for tensor in tensors], {"range": 1}),
        ([(tensor / 255).half() for tensor in tensors], {"range": 1}),
        ([tensor.flip(0) for tensor in tensors], {"range": 255, "order": "BGR"}),
        ((file for file in files), {}),
        ([files[0], Image.open(files[1]), arrays[2], *files[3:]], {"order": "RGB"}),
    ):
        assert np.array_equal(extractor(images, **options), wanted)


def test_one_image_and_a_batch_of_one_array(extractor, image):
    one = extractor(image, order="RGB")
    assert one.shape == (1, extractor.dim) and one.dtype == np.float32
    several = extractor(np.stack([image] * 5), order="RGB")
    assert several.shape == (5, extractor.dim) and np.allclose(several, one, atol=1e-6)
    batch = torch.from_numpy(np.stack([image, image[::-1]])).permute(0, 3, 1, 2)
    mixed = extractor([batch, batch[0]], range=255)
    assert mixed.shape == (3, extractor.dim) and np.array_equal(mixed[0], mixed[2])
    assert not np.allclose(mixed[0], mixed[1])


def test_nothing_gives_no_row(extractor):
    for nothing in ([], (), iter(()), np.zeros((0, 8, 8, 3), np.uint8), torch.zeros(0, 3, 8, 8)):
        found = extractor(nothing, order="RGB", range=255)
        assert found.shape == (0, extractor.dim) and found.dtype == np.float32


def test_what_is_given_stays_as_it_is(trained, image):
    """Of the size of the test, nothing is resized, so nothing is copied on the way."""
    extractor = Extractor.of_model(*trained, flip=True)
    array = np.ascontiguousarray(image[:64, :32])
    tensor, pil = torch.from_numpy(array.copy()).movedim(-1, 0), Image.fromarray(array)
    floats = tensor / 255
    before = array.copy(), tensor.clone(), floats.clone()
    array.flags.writeable = False
    for given, options in ((array, {"order": "RGB"}), (tensor, {"range": 255}), (floats, {"range": 1}), (pil, {})):
        extractor(given, **options)
    assert np.array_equal(array, before[0]) and np.array_equal(np.asarray(pil), array)
    assert torch.equal(tensor, before[1]) and torch.equal(floats, before[2])


def test_arrays_of_any_layout(extractor, image):
    wanted = extractor(image, order="RGB")
    wide = np.zeros((180, 80, 3), np.uint8)
    wide[::2, ::2] = image
    shared = torch.from_numpy(image.copy()).movedim(-1, 0).requires_grad_(False)
    for array in (np.asfortranarray(image), wide[::2, ::2], image[::-1, ::-1][::-1, ::-1]):
        assert np.array_equal(extractor(array, order="RGB"), wanted)
    assert np.array_equal(extractor(shared.expand(1, -1, -1, -1), range=255), wanted)
    assert np.array_equal(extractor((shared / 255).requires_grad_(), range=1), wanted)


def test_a_frame_that_is_overwritten_is_not_mixed_up(extractor, image):
    """A video reader may hand out one buffer again and again."""

    def frames():
        buffer = np.empty_like(image)
        for step in range(6):
            buffer[:] = np.roll(image, 5 * step, axis=1)
            yield buffer

    wanted = extractor([np.roll(image, 5 * step, axis=1) for step in range(6)], order="RGB")
    assert np.array_equal(extractor(frames(), order="RGB"), wanted)


def test_a_generator_is_read_batch_by_batch(trained, image):
    extractor, asked, done = Extractor.of_model(*trained, batch_size=4), [], []
    features = extractor.features

    def images():
        for number in range(10):
            asked.append(number)
            yield image

    def noted(batch):
        done.append(len(asked))
        return features(batch)

    extractor.features = noted
    assert len(extractor(images(), order="RGB")) == 10
    assert done == [4, 8, 10]


def test_grey_and_transparent_images_are_as_their_files(extractor, image, tmp_path):
    grey, alpha = image[..., 0], np.dstack([image, image[..., :1]])
    for name, array in (("grey", grey), ("alpha", alpha)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
        wanted = extractor(tmp_path / f"{name}.png")
        assert np.array_equal(extractor(array, order="RGB"), wanted)
        assert np.array_equal(extractor(Image.fromarray(array)), wanted)
    assert np.array_equal(extractor(grey), extractor(grey[..., None]))  # one channel has no order
    assert np.array_equal(extractor(alpha[..., [2, 1, 0, 3]], order="BGR"), extractor(alpha, order="RGB"))
    tensor = torch.from_numpy(grey.copy())[None]
    assert np.array_equal(extractor(tensor, range=255), extractor(grey))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I;16"])
def test_pil_images_of_any_mode(extractor, image, mode, tmp_path):
    if mode == "I;16":
        picture = Image.fromarray(image[..., 0].astype(np.uint16) * 257)
        wanted = extractor(image[..., 0])
    else:
        alpha = mode in ("LA", "PA", "RGBA")
        picture = Image.fromarray(np.dstack([image, image[..., :1]]) if alpha else image)
        picture = picture.convert("LA").convert("PA") if mode == "PA" else picture.convert(mode)
        wanted = None
    found = extractor(picture)
    assert found.shape == (1, extractor.dim)
    if mode in ("L", "LA", "P", "RGBA", "1"):  # those that PNG keeps
        picture.save(tmp_path / "x.png")
        wanted = extractor(tmp_path / "x.png")
    assert wanted is None or np.array_equal(found, wanted)


def test_a_pil_image_is_turned_as_its_file(extractor, image, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(image).save(tmp_path / "x.png", exif=exif)
    opened = Image.open(tmp_path / "x.png")
    assert np.array_equal(extractor(opened), extractor(tmp_path / "x.png"))
    assert opened.size == (40, 90)


def test_workers_give_the_same(trained, files):
    extractor = Extractor.of_model(*trained)
    mixed = [files[0], pixels(files[1]), *files[2:]]
    both = Extractor.of_model(*trained, workers=2)
    assert np.array_equal(both(mixed, order="RGB"), extractor(files))
    with pytest.raises(ImageError, match="nowhere.png can't be read"):
        both([*files, "nowhere.png"])


def test_how_large_a_batch_is_where_sources_are_no_numbers(extractor):
    """Which is said where shared memory does not suffice for the workers."""
    images = InputImages(extractor.model.transform)
    loader = build_test_loader(images, ["missing.jpg"] * 5, 4, 2, torch.device("cpu"))
    assert batch_bytes(loader) == 4 * 3 * 64 * 32


def test_images_of_several_sizes_without_resizing(trained, image):
    cfg, model = trained[0].clone(), trained[1]
    cfg.INPUT.SIZE_TEST = [0, 0]
    extractor = Extractor.of_model(cfg, model)
    together = extractor([image, image[:70], image], order="RGB")
    assert np.array_equal(together[0], together[2])
    assert np.array_equal(together[1], extractor(image[:70], order="RGB")[0])


def test_torch_comes_out_too(extractor, image):
    found = extractor(image, order="RGB", as_torch=True)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float32 and found.device.type == "cpu"
    assert np.array_equal(found.numpy(), extractor(image, order="RGB"))


# ---- crops ----------------------------------------------------------------------------------------------------------


def test_crops_are_what_is_in_the_boxes(extractor, image):
    boxes = np.array([[0, 0, 40, 90], [-5, -7, 12, 200], [10.2, 20.7, 30.1, 60], [39.5, 89.5, 40, 90]])
    wanted = [image, image[:, :12], image[20:60, 10:31], image[89:, 39:]]
    found = extractor.crops(image, boxes, order="RGB")
    assert np.array_equal(found, extractor(wanted, order="RGB"))
    assert np.array_equal(extractor.crops(image[..., ::-1], torch.from_numpy(boxes), order="BGR"), found)
    assert np.array_equal(extractor.crops(Image.fromarray(image), boxes.tolist()), found)
    for nothing in ([], np.zeros((0, 4)), torch.zeros(0, 4)):
        assert extractor.crops(image, nothing, order="RGB").shape == (0, extractor.dim)
    assert isinstance(extractor.crops(image, boxes, order="RGB", as_torch=True), torch.Tensor)


GOOD = [0, 0, 10, 10]


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ([GOOD, [5, 5, 5, 9]], r"box 1 \(5.0, 5.0, 5.0, 9.0\) is empty"),
        ([GOOD, GOOD, [9, 5, 5, 9]], r"box 2 .* is inverted: .* not x, y, width, height"),
        ([[5, 9, 9, 5]], "box 0 .* is inverted"),
        ([[float("nan"), 0, 1, 1]], "box 0 .* not finite"),
        ([[0, 0, float("inf"), 1]], "box 0 .* not finite"),
        ([[40, 0, 50, 10]], "box 0 .* lies outside of the frame, which is 40 wide and 90 high"),
        ([[-9, -9, 0, 5], GOOD, [0, 90, 5, 95]], "box 0 .* outside.*; so are 1 more of the 3 boxes unusable"),
        (GOOD, r"boxes must be \(N, 4\).* for one box, give \[box\]"),
        ([[0, 0, 1]], r"boxes must be \(N, 4\)"),
        ([GOOD, [1, 2]], "rows of several lengths"),
        ([["a", "b", "c", "d"]], "boxes must be"),
        ([[True, False, True, True]], "boxes must be"),
        (None, "boxes must be"),
        (np.zeros((0, 5)), "boxes must be"),
    ],
)
def test_boxes_that_cannot_be(extractor, image, boxes, sentence):
    with pytest.raises(InputError, match=sentence):
        extractor.crops(image, boxes, order="RGB")


def test_frames_that_cannot_be(extractor, image):
    for frame, sentence in (
        (image, "the frame is an array, which does not say in which order"),
        ([image], "the frame is list and must be"),
        (np.stack([image] * 2), "in which order"),
        (None, "the frame is NoneType"),
    ):
        with pytest.raises(InputError, match=sentence):
            extractor.crops(frame, [GOOD])
    with pytest.raises(InputError, match="is 2 images, and one is expected"):
        extractor.crops(np.stack([image] * 2), [GOOD], order="RGB")
    with pytest.raises(ImageError, match="nowhere.png"):
        extractor.crops("nowhere.png", [GOOD])


# ---- mistakes -------------------------------------------------------------------------------------------------------

PLAIN = np.full((6, 4, 3), 7, np.uint8)
PLANES = np.zeros((3, 6, 9), np.uint8)
TENSOR = torch.full((3, 6, 4), 0.5)


@pytest.mark.parametrize(
    ("images", "options", "sentence"),
    [
        (PLAIN, {}, 'pass order="RGB", or order="BGR" for what OpenCV reads'),
        ([PLAIN], {}, "image 0 of the input is an array, which does not say"),
        (PLAIN, {"order": "rgb"}, "order is 'rgb' and must be"),
        (
            PLANES,
            {"order": "RGB"},
            r"put the channels last with array.transpose\(1, 2, 0\)",
        ),
        (PLAIN / 255, {"order": "RGB"}, "an array of float64, not of uint8: pass range=255 or range=1"),
        (PLAIN, {"order": "RGB", "range": 1}, "whose white is 255: pass range=255"),
        (PLAIN[..., :2], {"order": "RGB"}, "must be"),
        (PLAIN[:0], {"order": "RGB"}, "0 high and 4 wide: it has no pixel"),
        (PLAIN[0, 0], {"order": "RGB"}, "must be"),
        (np.array(["a.png"]), {}, "give paths as a list"),
        (PLAIN.astype(object), {"order": "RGB", "range": 255}, "is of object: give bytes"),
        (PLAIN.astype(complex), {"order": "RGB", "range": 255}, "is of complex128"),
        (PLAIN > 3, {"order": "RGB", "range": 1}, "is of bool"),
        (PLAIN.astype(np.uint16) * 257, {"order": "RGB", "range": 255}, "values from 1799 to 1799"),
        (TENSOR, {}, "is a tensor, which does not say what white is: pass range=255, or range=1"),
        (TENSOR, {"range": 2}, "range is 2 and must be 255 or 1"),
        (TENSOR, {"range": True}, "range is True"),
        (TENSOR, {"range": 255}, "all black of 255: pass range=1"),
        (TENSOR * 400, {"range": 1}, "range=1 is 0 to 1: pass range=255"),
        (TENSOR - 1, {"range": 1}, "a normalised image has to be brought back first"),
        (TENSOR * float("nan"), {"range": 1}, "not finite"),
        (TENSOR.movedim(0, -1), {"range": 1}, r"put the channels first with tensor.movedim\(-1, -3\)"),
        (TENSOR[0], {"range": 1}, r"must be \(3, H, W\) or \(B, 3, H, W\)"),
        (TENSOR.to_sparse(), {"range": 1}, "without plain numbers"),
        (TENSOR.to("meta"), {"range": 1}, "without plain numbers"),
        (TENSOR.to(torch.complex64), {"range": 1}, "is of complex64"),
        (None, {}, "the input is NoneType and must be"),
        (7, {}, "the input is int and must be"),
        ([7], {}, "image 0 of the input is int"),
        ([[PLAIN]], {"order": "RGB"}, "image 0 of the input is list .* one list that has no lists in it"),
        ({"a": PLAIN}, {"order": "RGB"}, "the input is dict"),
        (b"\xff\xd8", {}, r"of an encoded file make a PIL image: Image.open\(io.BytesIO"),
        ([b"\xff\xd8"], {}, "image 0 of the input is bytes"),
        ("https://example.org/a.jpg", {}, "nothing is downloaded"),
        ("a\0b.jpg", {}, "a character of value 0"),
        (Image.new("F", (4, 4)), {}, "pixels are floats"),
    ],
)
def test_inputs_that_cannot_be(extractor, images, options, sentence):
    with pytest.raises(InputError, match=sentence):
        extractor(images, **options)


def test_files_that_cannot_be(extractor, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nabc")
    with pytest.raises(ImageError, match="broken.png can't be read"):
        extractor([tmp_path / "broken.png"])
    with pytest.raises(ImageError, match="nowhere.jpg can't be read"):
        extractor("nowhere.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no image"):
        extractor(tmp_path / "empty")
    Image.effect_noise((50, 50), 50).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    with pytest.raises(InputError, match="image 0 of the input can't be read"):
        extractor([Image.open(tmp_path / "cut.jpg")])


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"workers": -1}, {"batch_size": 2.0}, {"dim": 0}, {"dim": True}]
)
def test_options_that_cannot_be(trained, options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))} is .* and must be a whole number"):
        Extractor.of_model(*trained, **options)


def test_a_model_in_training_mode_is_refused(trained):
    cfg, model = trained
    model.train()
    try:
        with pytest.raises(UserError, match="in training mode"):
            Extractor.of_model(cfg, model)
    finally:
        model.eval()


def test_features_that_are_not_finite(trained, image):
    extractor = Extractor.of_model(*trained)
    extractor.model.features = lambda images: torch.full((len(images), 3), float("nan"))
    with pytest.raises(DivergedError, match="the features of 2 of 2 images are not finite, the first is image 0"):
        extractor([image, image], order="RGB")
