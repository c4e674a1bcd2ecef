"""Our bicubic resize is PIL's, bit for bit: this PIL's, whose order of its two passes is found out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid_ext.data.pixels import resampling


def pils(image, height, width):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def picture(kind, height, width):
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "extremes":  # overshoots on every edge, so that both ends of the range are cut
        return 255 * (image > 127).astype(np.uint8)
    return np.full_like(image, 255) if kind == "white" else image


@pytest.fixture
def no_pil(monkeypatch):
    """Without it the tests might compare PIL with itself."""
    resampling.pils_order()
    monkeypatch.setattr(resampling, "by_pil", lambda *_: pytest.fail("PIL was asked"))


@pytest.fixture
def found_anew():
    """The order, and the taps, are looked for again; afterwards too."""
    caches = resampling.pils_order, resampling.taps_of
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("no_pil")
@pytest.mark.parametrize("kind", ["noise", "extremes", "white"])
@pytest.mark.parametrize("size", [(260, 110), (128, 64), (500, 190), (97, 41), (8, 8), (7, 3), (1, 1), (3, 120)])
def test_it_is_pils(kind, size):
    image = picture(kind, *size)
    before = image.copy()
    doubled = (2 * size[0], 2 * size[1])
    for height, width in [(256, 128), (128, 64), (384, 128), (33, 77), size, doubled, (size[0], 50), (40, size[1])]:
        if resampling.is_suited(*size, height, width):
            assert np.array_equal(resampling.resize(image, height, width), pils(image, height, width)), (height, width)
    assert np.array_equal(image, before)


@pytest.mark.usefixtures("no_pil")
def test_any_sizes():
    rng = np.random.default_rng(7)
    tried = 0
    for height, width, *wanted in rng.integers(1, 200, (400, 4)).tolist():
        if resampling.is_suited(height, width, *wanted):
            image = picture("extremes" if tried % 2 else "noise", height, width)
            assert np.array_equal(resampling.resize(image, *wanted), pils(image, *wanted)), (height, width, wanted)
            tried += 1
    assert tried > 300


@pytest.mark.usefixtures("no_pil")
def test_sums_are_exact_up_to_the_smallest_scale():
    """The sums of rests are the largest where most inputs make an output; white makes them as large as can be."""
    for kind in ("noise", "extremes", "white"):
        image = picture(kind, 60 * 15, 40)
        assert np.array_equal(resampling.resize(image, 60, 40), pils(image, 60, 40))
    for count, wanted in ((900, 60), (1500, 100), (15, 1), (247, 17), (327, 25)):
        _, starts, weights = resampling.taps_of(count, wanted)
        ends = starts.tolist()
        sums = [weights[a:b].double().abs().sum().item() for a, b in zip(ends, ends[1:], strict=False)]
        # In their own units, 1 and 2^-11.
        assert 255 * max(sums[:wanted]) < 2**24 and 255 * max(sums[wanted:]) * 2**11 < 2**24
        assert weights[ends[wanted] :].abs().max() <= 0.5  # the nearest multiple


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((61, 1), (64, 32)), ((1, 61), (64, 32)), ((1100, 1000), (900, 800)), ((100, 40), (6, 6)), ((40, 100), (6, 6))],
)
def test_pil_does_what_is_too_large_too_lengthy_or_made_too_small(size, wanted, monkeypatch):
    assert not resampling.is_suited(*size, *wanted)
    monkeypatch.setattr(resampling, "resized", lambda *_: pytest.fail("PIL was not asked"))
    image = picture("noise", *size)
    assert np.array_equal(resampling.resize(image, *wanted), pils(image, *wanted))


def test_views_and_read_only_images():
    image = picture("noise", 40, 80)
    image.flags.writeable = False
    for view in (image, image[:, :24], image[4:, 8:40], image[::2, ::-1]):
        wanted = pils(np.ascontiguousarray(view), 51, 27)
        assert np.array_equal(resampling.resize(view, 51, 27), wanted)
    assert resampling.resize(image, 40, 80) is image


def test_weights_are_those_of_the_definition():
    """Cubic convolution in whole numbers, written from its definition, one output at a time."""
    for count, wanted in ((110, 128), (260, 256), (9, 4), (4, 9), (3, 3), (1, 5), (60, 4)):
        first, weights = resampling.pils_weights(count, wanted)
        stretch = max(1.0, count / wanted)
        for output in range(wanted):
            center = (output + 0.5) * count / wanted
            near = [i for i in range(count) if abs(i + 0.5 - center) < 2 * stretch]
            kernel = [cubic((i + 0.5 - center) / stretch) for i in near]
            mine = np.zeros(count)
            mine[near] = np.array(kernel) / sum(kernel) * 2**22
            found = np.zeros(count)
            for tap, weight in enumerate(weights[output]):
                if weight:
                    found[first[output] + tap] = weight
            assert np.abs(found - mine).max() <= 0.5 + 1e-6


def cubic(x):
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def test_the_order_is_this_pils():
    """The image is rounded, and cut to bytes, between the two passes: the order can be seen."""
    orders = set()
    for height, width, *wanted in [(130, 55, 128, 96), (55, 130, 96, 128), (90, 90, 30, 60), (90, 90, 30, 50)]:
        image = picture("extremes", height, width)
        sides = resampling.pils_order()(height, width, *wanted)
        other = resampling.resized(image, *wanted, lambda *_, sides=sides: sides[::-1])
        assert np.array_equal(resampling.resize(image, *wanted), pils(image, *wanted))
        assert not np.array_equal(other, pils(image, *wanted))
        orders.add(sides)
    assert ("width", "height") in orders


@pytest.mark.usefixtures("found_anew")
@pytest.mark.parametrize("broken", ["weights", "order", "operator", "kernel", "doubling"])
def test_pil_does_it_where_anything_differs(broken, monkeypatch):
    image = picture("noise", 90, 40)
    if broken == "weights":
        monkeypatch.setattr(resampling, "pils_weights", lambda *sizes, f=resampling.pils_weights: shifted(f(*sizes)))
    elif broken == "order":
        for name in ("width_first", "larger_loss_first"):
            monkeypatch.setattr(resampling, name, lambda *_: ("height", "width"))
    elif broken == "operator":
        monkeypatch.setattr(torch.ops, "quantized", object())
    elif broken == "kernel":
        operators = SimpleNamespace(embedding_bag_byte_rowwise_offsets=without_kernel)
        monkeypatch.setattr(torch.ops, "quantized", operators)
    else:
        monkeypatch.setattr(resampling.doubling, "EVEN", resampling.doubling.EVEN * 1.01)
    assert resampling.pils_order() is None
    assert np.array_equal(resampling.resize(image, 128, 64), pils(image, 128, 64))


def without_kernel(*args, **kwargs):
    raise RuntimeError("no kernel")


def shifted(taps):
    first, weights = taps
    return first, weights + (1 << 13) * (weights != 0)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_half_precision_around_it_change_nothing(threads):
    image = picture("extremes", 260, 110)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            found = resampling.resize(image, 256, 128)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found, pils(image, 256, 128))
