"""The stress test: what is erased, that it is the same every time, and with what it is filled."""

import pytest
import torch
from torch.utils.data import SequentialSampler

from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.data.erased_images import ImageEraser, WithErased
from fastreid_ext.data.erased_pixels import Fill
from fastreid_ext.data.images import QueryGalleryImages
from fastreid_ext.data.loader import build_test_loader

FILL = (10.5, 20.25, 30.0)
MEAN = Fill("mean", FILL, (1.0, 1.0, 1.0), normalised=False)
PATHS = [f"{number}.jpg" for number in range(200)]
CPU = torch.device("cpu")


def eraser(paths=PATHS, **settings):
    return ImageEraser(paths, MEAN, **settings)


def white(count, height=32, width=16):
    return torch.full((count, 3, height, width), 255.0)


def holes(images):
    """(B, H, W): where an image has the fill, in all its channels."""
    fill = torch.tensor(FILL)[:, None, None]
    assert torch.equal((images == fill).all(1), (images != 255).any(1))
    return (images == fill).all(1)


def test_one_rectangle_of_the_mean_pixel():
    erased = holes(eraser(probability=1.0, area=(0.1, 0.2), ratio=0.5)(white(200), PATHS))
    for hole in erased:
        rows, columns = hole.any(1).sum(), hole.any(0).sum()
        assert hole.sum() == rows * columns  # a rectangle, if there are no gaps:
        assert hole.any(1).int().diff().abs().sum() <= 2 and hole.any(0).int().diff().abs().sum() <= 2
        assert 0.07 < rows * columns / (32 * 16) < 0.24  # a side is rounded by half a pixel


def test_share_of_the_images():
    none, some, all_ = (holes(eraser(probability=p)(white(200), PATHS)).flatten(1).any(1) for p in (0.0, 0.5, 1.0))
    assert not none.any() and all_.all()
    assert 0.38 < some.float().mean() < 0.62  # three standard errors
    assert not torch.equal(some, holes(eraser(seed=1)(white(200), PATHS)).flatten(1).any(1))


def test_images_differ_and_seeds_differ():
    first, second = (holes(eraser(probability=1.0, seed=seed)(white(200), PATHS)) for seed in (0, 1))
    assert len({tuple(hole.flatten().tolist()) for hole in first}) > 190
    assert (first != second).flatten(1).any(1).sum() > 190


def test_what_is_erased_depends_on_the_image_alone():
    erase = eraser()
    whole = erase(white(200), PATHS)
    order = torch.randperm(200)
    assert torch.equal(erase(white(200), [PATHS[i] for i in order]), whole[order])
    parts = [erase(white(len(part)), part) for part in (PATHS[:7], PATHS[7:50], PATHS[50:])]
    assert torch.equal(torch.cat(parts), whole)
    twice = ImageEraser([*PATHS, *PATHS[50:], *PATHS[:50]], MEAN)
    assert torch.equal(twice(white(200), PATHS), whole) and list(twice.indices) == PATHS  # by the first index
    elsewhere = ImageEraser([f"/other/root/{path}" for path in PATHS], MEAN)
    assert torch.equal(elsewhere(white(200), list(elsewhere.indices)), whole)  # the index in the set, not the folder


def test_random_pixels_follow_from_the_image_too():
    random = ImageEraser(PATHS, Fill("random", FILL, (1.0, 1.0, 1.0), normalised=False))
    whole, mean = random(white(200), PATHS), eraser()(white(200), PATHS)
    assert torch.equal((whole != 255).any(1), (mean != 255).any(1))  # the same rectangles
    parts = [random(white(len(part)), part) for part in (PATHS[150:], PATHS[:150])]
    assert torch.equal(torch.cat(parts[::-1]), whole) and whole.min() >= 0
    assert whole[whole != 255].unique().numel() > 10_000


def test_an_image_that_is_listed_twice():
    erase = eraser(PATHS[:20] * 2, probability=1.0)
    both = erase(white(40), PATHS[:20] * 2)
    assert torch.equal(both[:20], both[20:])


def test_the_global_generator_and_the_input_are_left_alone():
    images, state = white(8), torch.get_rng_state()
    erased = eraser(probability=1.0)(images, PATHS[:8])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, white(8)) and erased.data_ptr() != images.data_ptr()


def test_pixels_beside_the_rectangle_stay():
    images = torch.rand(8, 3, 32, 16) * 255
    erased = eraser(probability=1.0)(images, PATHS[:8])
    inside = (erased == torch.tensor(FILL)[:, None, None]).all(1, keepdim=True)
    assert torch.equal(erased, torch.where(inside, erased, images)) and inside.any()


def test_an_image_of_another_set():
    with pytest.raises(KeyError):
        eraser()(white(1), ["elsewhere.jpg"])


def test_batch_size_and_workers_change_nothing(synth_tiny):
    from fastreid.data.transforms import ToTensor

    data = load_dataset("SynthReIDTiny", ("query", "gallery"))
    images = QueryGalleryImages(sorted(data.query), sorted(data.gallery), ToTensor())
    paths = [item[0] for item in images.img_items]

    def loaded(batch_size, workers):
        loader = build_test_loader(images, SequentialSampler(images), batch_size, workers, CPU)
        both = WithErased(loader, eraser(paths))
        assert len(both) == 2 * len(loader) and both.dataset is images
        pixels = {False: [], True: []}
        for batch in both:
            pixels[batch["erased"]].append(batch["images"].clone())
            batch["images"].zero_()  # as FastReID's models write into what they are given
        assert torch.equal(torch.cat(pixels[False]), plain)
        return torch.cat(pixels[True])

    plain = torch.cat([b["images"] for b in build_test_loader(images, SequentialSampler(images), 50, 0, CPU)])
    once = loaded(16, 0)
    assert torch.equal(once, loaded(104, 0)) and torch.equal(once, loaded(9, 2))
    changed = (once != plain).flatten(1).any(1).float().mean()
    assert 0.3 < changed < 0.7
