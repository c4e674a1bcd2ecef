"""Compound batch erasing (section 3.2) against rows written out by hand."""

from collections import Counter

import pytest
import torch

from fastreid_ext.config import get_cfg
from fastreid_ext.data.batch_erasing import erase_rectangles
from fastreid_ext.data.erased_pixels import Fill
from fastreid_ext.engine.checks.config import check_config
from fastreid_ext.engine.loaders import train_loader
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.augmentation_table import augmentations_from_config, sampled_per_batch
from fastreid_ext.occluded.erasing import CompoundBatchErasing, erase_stripe

S = (6, 7, 8)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def parts_of(height, s):
    """The rows of each of s equal parts; a row belongs to the part that its share of the height falls into."""
    parts = [[] for _ in range(s)]
    for row in range(height):
        # part i is [i H / s, (i + 1) H / s), its ends rounded down: row r is in the last i with floor(i H / s) <= r
        parts[max(i for i in range(s) if i * height // s <= row)].append(row)
    return [tuple(part) for part in parts]


def erased_rows(images):
    """The rows that are 0 in all columns of all channels of all images; every other value must not be 0."""
    zero = images == 0
    rows = zero.all(dim=3).all(dim=1).all(dim=0)
    assert torch.equal(zero, rows[:, None].expand_as(zero))
    return tuple(rows.nonzero()[:, 0].tolist())


# ---- the stripe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [384, 128, 64, 61, 13, 8])
@pytest.mark.parametrize("s", S)
def test_the_stripes_are_the_equal_parts(s, height):
    """Every part turns up and nothing else does; together they are all rows, each once; sizes differ by one row."""
    generator, images = seeded(), torch.ones(1, 1, height, 1)
    found = {erased_rows(erase_stripe(images, (s,), generator)) for _ in range(40 * s)}
    parts = parts_of(height, s)
    assert found == set(parts)
    assert sorted(row for part in found for row in part) == list(range(height))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= (0 if height % s == 0 else 1)


def test_every_stripe_is_drawn_as_often():
    """At 168 rows the parts of 6, 7 and 8 are 28, 24 and 21 rows: s and the part can be told apart.

    p = 1/3 * 1/s each; counts of n draws within 5 standard deviations.
    """
    n, generator, images = 3000, seeded(), torch.ones(1, 1, 168, 1)
    counts = Counter(erased_rows(erase_stripe(images, S, generator)) for _ in range(n))
    expected = {part: 1 / 3 / s for s in S for part in parts_of(168, s)}
    assert set(counts) == set(expected)
    for part, p in expected.items():
        assert abs(counts[part] - n * p) < 5 * (n * p * (1 - p)) ** 0.5, part


def test_the_stripe_is_the_same_in_all_images():
    generator = seeded()
    for _ in range(20):
        images = torch.rand(5, 3, 64, 32, generator=generator) + 1
        output = erase_stripe(images, S, generator)
        rows = erased_rows(output)
        assert any(rows in parts_of(64, s) for s in S)
        kept = [row for row in range(64) if row not in rows]
        assert torch.equal(output[:, :, kept], images[:, :, kept])


def test_one_part_is_the_whole_image():
    assert not erase_stripe(torch.ones(2, 3, 5, 4), (1,)).any()


# ---- both copies --------------------------------------------------------------------------------------------------


def test_order_and_labels():
    """[X_re; X_bce], with labels of any type and shape twice."""
    images = torch.rand(4, 3, 64, 32) + 1
    targets, cameras, poses = torch.tensor([7, 7, 2, 2]), torch.tensor([0, 1, 0, 1]), torch.rand(4, 18, 2)
    full, *labels = CompoundBatchErasing(generator=seeded())(images, targets, cameras, poses)
    assert full.shape == (8, 3, 64, 32)
    assert labels[0].tolist() == [7, 7, 2, 2] * 2 and labels[0].dtype == torch.int64
    assert labels[1].tolist() == [0, 1, 0, 1] * 2
    assert torch.equal(labels[2], torch.cat([poses, poses]))
    assert CompoundBatchErasing()(images)[0].shape == (8, 3, 64, 32)  # without a label
    x_re, x_bce = full.chunk(2)
    assert erased_rows(x_bce)  # a stripe, and nothing more: see erased_rows
    assert torch.where(x_bce == 0, images, x_bce).equal(images)
    assert torch.where(x_re == 0, images, x_re).equal(images)


@pytest.mark.parametrize("settings", [{}, {"probability": 1.0, "area": (0.1, 0.2), "ratio": 0.5}])
def test_the_first_copy_is_random_erasing(settings):
    """The same generator, the same rectangles: one an image, and none in the images that are not chosen."""
    images = torch.rand(6, 3, 64, 32) + 1
    full = CompoundBatchErasing(**settings, generator=seeded(3))(images)[0]
    defaults = {"probability": 0.5, "area": (0.02, 0.4), "ratio": 0.3}
    assert torch.equal(full[:6], erase_rectangles(images, **{**defaults, **settings}, generator=seeded(3)))
    assert len({tuple((image == 0).flatten().tolist()) for image in full[:6]}) > 2  # each image has its own
    assert len({tuple((image == 0).flatten().tolist()) for image in full[6:]}) == 1


def test_both_copies_are_filled_alike():
    """With random pixels of [0, 255]: in none of them the mean pixel, and black to white in each copy."""
    fill = Fill("random", (100.0,) * 3, (50.0,) * 3)
    images = torch.full((6, 3, 64, 32), 9.0)
    erasing = CompoundBatchErasing(probability=1.0, generator=seeded(), fill=fill)
    for copy in erasing(images)[0].chunk(2):
        pixels = copy[copy != 9]
        assert -2 <= pixels.min() < -1.9 and 3 < pixels.max() <= 3.1 and (pixels != 0).all()


def test_a_generator_repeats_it():
    images = torch.rand(4, 3, 64, 32) + 1
    first, again, other = (CompoundBatchErasing(generator=seeded(seed))(images)[0] for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    erasing = CompoundBatchErasing(generator=seeded(5))
    calls = [erasing(images)[0] for _ in range(4)]
    assert torch.equal(calls[0], first)
    assert len({erased_rows(call[4:]) for call in calls}) > 1  # drawn anew for every batch
    torch.manual_seed(9)
    free = CompoundBatchErasing()(images)[0]
    torch.manual_seed(9)
    assert torch.equal(CompoundBatchErasing()(images)[0], free)  # without one: torch's own


def test_a_generator_of_its_own_leaves_torchs_alone():
    state = torch.get_rng_state()
    CompoundBatchErasing(generator=seeded())(torch.ones(2, 3, 64, 32))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype):
    images = (torch.rand(4, 3, 64, 32) + 1).to(dtype)
    full = CompoundBatchErasing(generator=seeded(1))(images)[0]
    assert full.dtype == dtype
    same = CompoundBatchErasing(generator=seeded(1))(images.float())[0]
    assert torch.equal(full.float(), same if dtype != torch.float64 else same.float())


def test_the_callers_tensors_are_left_alone():
    images, targets = torch.rand(4, 3, 64, 32), torch.tensor([0, 0, 1, 1])
    before = images.clone(), targets.clone()
    full, _ = CompoundBatchErasing(probability=1.0)(images, targets)
    full.zero_()
    assert torch.equal(images, before[0]) and torch.equal(targets, before[1])


def test_more_stripes_than_rows():
    with pytest.raises(ValueError, match="images of 7 rows can't be cut into 8 stripes: raise INPUT.SIZE_TRAIN"):
        CompoundBatchErasing()(torch.ones(2, 3, 7, 4))
    assert CompoundBatchErasing()(torch.ones(2, 3, 8, 4))[0].shape == (4, 3, 8, 4)


@pytest.mark.parametrize("stripes", [(), (0, 6), (-1,), (6.5,), ("6",)])
def test_bad_numbers_of_stripes(stripes):
    with pytest.raises(ValueError, match="CBE needs whole numbers of stripes of 1 or more, got"):
        CompoundBatchErasing(stripes)


@pytest.mark.parametrize("shapes", [[(4, 3, 64)], [(4, 3, 64, 32), (3,)], [(4, 3, 64, 32), (4,), (8,)]])
def test_bad_shapes(shapes):
    with pytest.raises(ValueError, match=r"expected images \(B, C, H, W\) and labels \(B, ...\), got"):
        CompoundBatchErasing()(*(torch.ones(shape) for shape in shapes))


# ---- through the config -------------------------------------------------------------------------------------------

CBE = "INPUT.BATCH_AUGMENT.CBE."


def config(overrides=None):
    cfg = get_cfg()
    settings = {"INPUT.BATCH_AUGMENT.NAME": ["CompoundBatchErasing"], "INPUT.SIZE_TRAIN": [64, 32], **(overrides or {})}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    return cfg


def test_settings_arrive_and_torchs_numbers_stay_undrawn():
    state = torch.get_rng_state()
    settings = {CBE + "STRIPES": [2, 5], CBE + "PROB": 0.7, CBE + "AREA": [0.1, 0.2], CBE + "RATIO": 0.4}
    settings[CBE + "FILL"] = "random"
    (erasing,) = augmentations_from_config(config(settings))
    assert erasing.stripes == (2, 5) and erasing.generator is None and erasing.fill.kind == "random"
    assert erasing.rectangles == {"probability": 0.7, "area": (0.1, 0.2), "ratio": 0.4}
    assert torch.equal(torch.get_rng_state(), state)
    (default,) = augmentations_from_config(config())
    assert default.stripes == (6, 7, 8)
    assert default.rectangles == {"probability": 0.5, "area": (0.02, 0.4), "ratio": 0.3}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"INPUT.SIZE_TRAIN": [6, 32]},
            r"images of 6 rows can't be cut into 8 stripes: .*BATCH_AUGMENT.CBE.STRIPES",
        ),
        ({CBE + "STRIPES": [6, 65]}, "images of 64 rows can't be cut into 65 stripes"),
        ({CBE + "STRIPES": []}, r"CBE needs whole numbers of stripes of 1 or more, got \[\]"),
        ({CBE + "STRIPES": [0]}, r"CBE needs whole numbers of stripes of 1 or more, got \[0\]"),
        ({CBE + "PROB": 1.5}, r"random erasing needs probability in \[0, 1\]"),
        ({CBE + "AREA": [0.4, 0.02]}, "random erasing needs .* 0 < area <= 1"),
        ({CBE + "RATIO": 0.0}, r"random erasing needs .* ratio in \(0, 1\]"),
        ({"INPUT.REA.ENABLED": True}, "INPUT.REA.ENABLED erases every image before CompoundBatchErasing .*set"),
        (
            {"INPUT.BATCH_AUGMENT.NAME": ["RandomErasing", "CompoundBatchErasing"]},
            r"\['RandomErasing', 'CompoundBatchErasing'\], which all erase the same images: keep one",
        ),
    ],
)
def test_start_up_refuses(overrides, message):
    with pytest.raises(ValueError, match=message):
        augmentations_from_config(config(overrides))


@pytest.mark.parametrize(("total", "sampled"), [(False, 16), (True, 8)])
def test_total_batch_says_what_ims_per_batch_counts(total, sampled, make_cfg, synth_tiny):
    overrides = {CBE + "TOTAL_BATCH": total, "SOLVER.IMS_PER_BATCH": 16, "DATASETS.NAMES": ("SynthReIDTiny",)}
    cfg = make_cfg({**overrides, "MODEL.HEADS.NUM_CLASSES": 0, "DATALOADER.NUM_WORKERS": 0})
    assert sampled_per_batch(cfg) == sampled
    loader = train_loader(cfg)
    first = next(iter(loader))
    assert len(first["images"]) == len(first["targets"]) == sampled
    assert Counter(Counter(first["targets"].tolist()).values()) == {4: sampled // 4}
    assert loader.loader.batch_sampler.iters_per_epoch == 72 // sampled


def test_a_total_batch_must_be_even():
    settings = {CBE + "TOTAL_BATCH": True, "SOLVER.IMS_PER_BATCH": 17, "DATASETS.NAMES": ("PKU",)}
    settings |= {"MODEL.META_ARCHITECTURE": "OccludedReID", "MODEL.LOSSES.NAME": ("SmoothedCrossEntropyLoss",)}
    cfg = config({**settings, "DATASETS.TESTS": ("PKU",), "MODEL.DEVICE": "cpu"})
    with pytest.raises(ConfigError, match=r"IMS_PER_BATCH \(17\) is not a multiple of the 2 .* that .*CompoundBatch"):
        check_config(cfg, 1)
    cfg.INPUT.BATCH_AUGMENT.NAME, cfg.INPUT.BATCH_AUGMENT.CBE.TOTAL_BATCH = ["RandomErasing"], False  # which makes none
    check_config(cfg, 1)
