"""MGRe as a whole: what is built, what is computed, what is refused."""

import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.mgre import location_loss, sample_regions
from fastreid_ext.mgre.extraction import SemanticGuidance
from fastreid_ext.model_zoo import get_config

CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # float32, sums in another order


def keys(*stages):
    metric = {f"loss_{what}_stage{i}" for what in ("cls", "triplet") for i in (*stages, 4)}
    return metric | {f"loss_location_stage{i}" for i in stages}


@pytest.mark.parametrize("stages", [(), (1,), (2,), (3,), (2, 3), (1, 2, 3)])
def test_only_what_a_row_of_table_4_needs_is_built_and_all_of_it_learns(make_model, batch, storage, stages):
    model = make_model({"MODEL.MGRE.STAGES": list(stages)})
    regions = {1: ["head", "left_torso", "right_torso", "legs"], 2: ["upper_body", "lower_body"], 3: ["whole_body"]}
    assert set(model.heads.extract) == {name for i in stages for name in regions[i]} | {"image4"}
    assert set(model.heads.guidance) == {str(i) for i in stages if i < 3}
    assert set(model.heads.locate) == set(map(str, stages))
    if not stages:
        batch.pop("joints")
    losses = model(batch)
    assert set(losses) == keys(*stages)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


EVERYTHING = {
    # (overrides, parts of the test feature, stages with a location loss)
    "single-grained features": ({"MODEL.MGRE.MAPS": "last"}, (1, 2, 3, 4), (1, 2, 3)),
    "single-grained regions": ({"MODEL.MGRE.STAGES": [], "MODEL.MGRE.WHOLE_IMAGE": [1, 2, 3, 4]}, (1, 2, 3, 4), ()),
    "whole image at stage 3": ({"MODEL.MGRE.STAGES": [1, 2], "MODEL.MGRE.WHOLE_IMAGE": [3, 4]}, (1, 2, 3, 4), (1, 2)),
    "baseline + JO": ({"MODEL.MGRE.SAMPLE": False, "MODEL.MGRE.FE.BLOCKS": 0}, (4,), (1, 2, 3)),
    "baseline + JO, fused": ({"MODEL.MGRE.SAMPLE": False, "MODEL.MGRE.LOCATION_INPUT": "fused"}, (4,), (1, 2, 3)),
    "without JO": ({"MODEL.MGRE.BOXES": "labelled"}, (1, 2, 3, 4), ()),
    "without feature extraction": ({"MODEL.MGRE.FE.BLOCKS": 0}, (1, 2, 3, 4), (1, 2, 3)),
}


TINY = {"MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone", "MODEL.BACKBONE.DEPTH": "50x"}


@pytest.mark.parametrize("row", EVERYTHING)
def test_rows_of_tables_5_and_7(make_model, batch, storage, row):
    """Only what the row needs is built, all of it learns, and the test feature has the parts of what is described."""
    overrides, described, located = EVERYTHING[row]
    model = make_model({**TINY, **overrides})
    if not model.labels:
        batch.pop("joints")
    losses = model(batch)
    metric = {f"loss_{what}_stage{i}" for what in ("cls", "triplet") for i in described}
    assert set(losses) == metric | {f"loss_location_stage{i}" for i in located}
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    with torch.no_grad():
        assert model.eval()(batch).shape == (4, 32 * len(described))


def test_single_grained_features_read_the_last_map(make_model, batch):
    model = make_model({"MODEL.MGRE.MAPS": "last"}).eval()
    with torch.no_grad():
        raw, described = model.heads.guide(model.maps(model.preprocess_image(batch)))
    assert all(torch.equal(raw[i], raw[4]) and torch.equal(described[i], raw[4]) for i in (1, 2, 3))
    kinds = {name: type(part[0]) for name, part in model.heads.extract.items()}
    assert set(kinds.values()) == {type(model.backbone.layer4[0])} and not model.heads.guidance
    assert {part[0].conv1.in_channels for part in model.heads.extract.values()} == {512}


def test_single_grained_regions_pool_the_guided_maps(make_model, batch):
    model = make_model({"MODEL.MGRE.STAGES": [], "MODEL.MGRE.WHOLE_IMAGE": [1, 2, 3, 4]}).eval()
    with torch.no_grad():
        images = model.preprocess_image(batch)
        _, described = model.heads.guide(model.maps(images))
        branches = model.branches(images, None)
        for i in (1, 2, 3, 4):
            y = model.heads.extract[f"image{i}"](described[i])
            expected = model.heads.necks[f"stage{i}"](y.mean((2, 3)) + y.amax((2, 3)))
            torch.testing.assert_close(branches[f"stage{i}"]["neck"], expected["neck"], **CLOSE)
    assert set(model.heads.guidance) == {"1", "2"}


def described_by(model, batch):
    """Region -> what its feature extraction module was given in a forward pass."""
    given = {}

    def note(name):
        return lambda _, args: given.__setitem__(name, args[0].detach())

    hooks = [module.register_forward_pre_hook(note(name)) for name, module in model.heads.extract.items()]
    with torch.no_grad():
        model(batch)
    for hook in hooks:
        hook.remove()
    return given


def test_without_jo_reads_boxes_off_the_joints(make_model, batch, storage):
    """A region with fewer visible joints than it needs has its prior box."""
    model = make_model({"MODEL.MGRE.BOXES": "labelled"})
    assert not model.heads.locate and model.test_labels == ("joints",)
    batch["joints"][..., 2] = 0.9
    batch["joints"][1, [0, 1, 2, 3], 2] = 0.1  # one joint of the head is left
    given = described_by(model.eval(), batch)
    with torch.no_grad():
        _, maps = model.heads.guide(model.maps(model.preprocess_image(batch)))
    for region in [region for regions in model.heads.layout.regions_of_stage.values() for region in regions]:
        for image in range(4):
            x, y, _ = batch["joints"][image, [j for j in region.joints if batch["joints"][image, j, 2] > 0.2]].T
            box = [x.min() - 0.05, y.min() - 0.05, x.max() + 0.05, y.max() + 0.05]
            if (image, region.name) == (1, "head"):
                box = [0.5 - 0.125, 1 / 12 - 0.0625, 0.5 + 0.125, 1 / 12 + 0.0625]  # table 1: 8 x 8 of 64 x 32
            expected = sample_regions(maps[region.stage][[image]], torch.tensor([[*map(float, box)]]), region.sampled)
            torch.testing.assert_close(given[region.name][[image]], expected, **CLOSE)


def test_without_jo_trains_on_the_boxes_of_the_joints(make_model, batch, storage):
    model = make_model({"MODEL.MGRE.BOXES": "labelled"})
    first, again = described_by(model, batch)["legs"], described_by(model, batch)["legs"]
    batch["joints"][..., :2] += 0.1
    assert torch.equal(first, again) and not torch.equal(first, described_by(model, batch)["legs"])


def test_without_jo_needs_joints_at_the_test(make_model, batch):
    model = make_model({"MODEL.MGRE.BOXES": "labelled"}).eval()
    with pytest.raises(ValueError, match="MGRe tests with joints, but the batch has none: set INPUT.JOINTS.TEST True"):
        model(batch["images"])
    with torch.no_grad():
        one = model(batch)
        batch["joints"][..., :2] += 0.1
        assert not torch.equal(one, model(batch))


def test_boxes_of_joints_are_the_boxes_that_are_shown(make_model, batch):
    model = make_model({"MODEL.MGRE.BOXES": "labelled"}).eval()
    for region in model.locate_regions(model.preprocess_image(batch), batch["joints"]).values():
        assert region.known.all() and torch.equal(region.predicted, region.pseudo)
    with pytest.raises(ValueError, match="BOXES labelled.: give it joints"):
        model.locate_regions(model.preprocess_image(batch))


def test_granularities_name_the_maps_that_are_pooled(make_shape):
    whole = make_shape({"MODEL.MGRE.STAGES": [2], "MODEL.MGRE.WHOLE_IMAGE": [1, 4], "MODEL.MGRE.FE.BLOCKS": 0})
    assert {name: (one.branch, dict(one.layers)) for name, one in whole.granularities().items()} == {
        "stage 1": ("stage1", {"heads.extract.image1": None}),
        "stage 2": ("stage2", {"heads.extract.upper_body": "upper_body", "heads.extract.lower_body": "lower_body"}),
        "stage 4": ("stage4", {"heads.extract.image4": None}),
    }
    assert set(make_shape({"MODEL.MGRE.SAMPLE": False}).granularities()) == {"stage 4"}


def test_baseline_with_jo_is_the_baseline_at_the_test(make_model, batch, storage):
    """Its location modules move the backbone in training, nothing else, and the test does without them."""
    model = make_model({"MODEL.MGRE.SAMPLE": False, "MODEL.MGRE.FE.BLOCKS": 0})
    baseline = make_model({"MODEL.MGRE.STAGES": [], "MODEL.MGRE.FE.BLOCKS": 0}).eval()
    assert "locate" in model.heads.training_only and "locate" not in make_model().heads.training_only
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith("heads.locate.")}
    baseline.load_state_dict(weights, strict=True)
    with torch.no_grad():
        for one, other in zip(baseline(batch["images"]), model.eval()(batch["images"]), strict=True):
            torch.testing.assert_close(F.normalize(one, dim=0), F.normalize(other, dim=0), **CLOSE)


def test_precise_bn_reaches_location_modules_that_only_train(make_model, batch, storage):
    model = make_model({"MODEL.MGRE.SAMPLE": False})
    batch["targets"] = torch.full((4,), -1)
    norm = model.heads.locate["1"].features[2]
    before = norm.running_mean.clone()
    assert model(batch) == {} and not torch.equal(norm.running_mean, before)


def test_test_feature_is_equation_6(make_model, batch):
    weights = [0.2, 0.4, 0.6, 0.9]
    model = make_model({"MODEL.MGRE.TEST_WEIGHTS": weights}).eval()
    with torch.no_grad():
        feature = model(batch["images"])
        branches = model.branches(model.preprocess_image(batch["images"]), None)
    assert feature.shape == (4, 4 * 32)
    for part, weight, name in zip(
        feature.split(32, dim=1), weights, ("stage1", "stage2", "stage3", "stage4"), strict=True
    ):
        torch.testing.assert_close(part, weight * F.normalize(branches[name]["neck"]), **CLOSE)
        torch.testing.assert_close(part.norm(dim=1), torch.full((4,), weight), **CLOSE)


def test_loss_is_equation_9(make_model, batch, storage):
    """lambda multiplies everything of stages 1 to 3 and nothing of stage 4; the location loss is that of the boxes."""
    torch.manual_seed(1)
    plain = make_model({"MODEL.MGRE.LAMBDA": 1.0, "MODEL.MGRE.LOCATION.WEIGHT": 1.0})
    torch.manual_seed(1)
    weighted = make_model({"MODEL.MGRE.LAMBDA": 0.25, "MODEL.MGRE.LOCATION.WEIGHT": 40.0})
    expected, losses = plain(batch), weighted(batch)
    for key, loss in losses.items():
        factor = 1.0 if key.endswith("stage4") else 0.25 * (40.0 if "location" in key else 1.0)
        torch.testing.assert_close(loss, factor * expected[key], **CLOSE)
    plain.eval()  # no batch statistics, so that a second forward has the same maps
    boxes = plain.heads.boxes(*plain.heads.guide(plain.maps(plain.preprocess_image(batch))))
    branches = plain.branches(plain.preprocess_image(batch), batch["targets"], joints=batch["joints"])
    for i, regions in plain.heads.layout.regions_of_stage.items():
        sets, size = [region.joints for region in regions], plain.maps(batch["images"])[i].shape[2:]
        by_hand = location_loss(boxes[i], batch["joints"], sets, size=tuple(size))
        torch.testing.assert_close(branches[f"stage{i}"]["location"], by_hand, **CLOSE)


@pytest.mark.parametrize("units", ["pixels", "shares"])
def test_units_of_the_location_loss(make_model, batch, storage, units):
    """64x32 images have maps of 16x8, 8x4 and 4x2 pixels here; eq. 2 multiplies shares by W and H."""
    model = make_model({"MODEL.MGRE.LOCATION.UNITS": units}).eval()
    images = model.preprocess_image(batch)
    losses = {
        i: model.branches(images, batch["targets"], joints=batch["joints"])[f"stage{i}"]["location"] for i in (1, 2, 3)
    }
    located = model.locate_regions(images, batch["joints"])
    for i, (height, width) in {1: (16, 8), 2: (8, 4), 3: (4, 2)}.items():
        names = [region.name for region in model.heads.layout.regions_of_stage[i]]
        factor = torch.tensor([width, height] * 2 if units == "pixels" else [1] * 4)
        errors = [
            ((located[name].predicted - located[name].pseudo) * factor).square().sum(1)[located[name].known]
            for name in names
        ]
        torch.testing.assert_close(losses[i], torch.cat(errors).mean(), **CLOSE)


def test_location_learns_through_the_backbone(make_model, batch, storage):
    """Baseline + JO of table 7 relies on it."""
    model = make_model()
    model(batch)["loss_location_stage3"].backward()
    assert model.backbone.conv1.weight.grad.any() and model.heads.locate["3"].predict.weight.grad.any()
    assert model.heads.necks["stage4"].weight.grad is None


def test_location_input(make_model, batch):
    for choice, index in (("raw", 0), ("fused", 1)):
        model = make_model({"MODEL.MGRE.LOCATION_INPUT": choice}).eval()
        with torch.no_grad():
            maps = model.heads.guide(model.maps(model.preprocess_image(batch)))
            assert torch.equal(model.heads.boxes(*maps)[1], model.heads.locate["1"](maps[index][1]))


def test_guidance_convolved_first_is_guidance_enlarged_first():
    guidance = SemanticGuidance(8, 4).double()
    fine, coarse = torch.randn(2, 4, 9, 7, dtype=torch.float64), torch.randn(2, 8, 3, 2, dtype=torch.float64)
    enlarged = F.interpolate(coarse, size=(9, 7), mode="bilinear", align_corners=False)
    torch.testing.assert_close(guidance(fine, coarse), fine + guidance.match(enlarged), rtol=1e-12, atol=1e-12)


def test_images_alone_are_enough_at_the_test(make_model, batch):
    model = make_model().eval()
    with torch.no_grad():
        assert torch.equal(model(batch["images"]), model({"images": batch["images"]}))


@pytest.mark.parametrize("size", [(64, 32), (80, 48), (61, 35)])
def test_other_sizes(make_model, size):
    model = make_model().eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, *size) * 255).isfinite().all()


def test_without_any_visible_joint(make_model, batch, storage):
    batch["joints"][..., 2] = 0.0
    losses = make_model()(batch)
    assert all(losses[f"loss_location_stage{i}"].item() == 0 for i in (1, 2, 3))
    assert all(loss.isfinite() for loss in losses.values())


@pytest.mark.slow
def test_multiply_adds_of_table_8():
    """The paper: 7.89 G. Ours has to be within 2 %; it decides how deep the feature extraction is."""
    cfg = get_config("MGRe/Market1501_R50.yml")
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 751])
    from fastreid.modeling import build_model

    model = build_model(cfg).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        feature = model(torch.zeros(1, 3, 256, 128))
    assert feature.shape == (1, 2048)
    assert counter.get_total_flops() / 2e9 == pytest.approx(7.89, rel=0.02)
    assert {name: len(part) for name, part in model.heads.extract.items()} == {
        "head": 3,
        "left_torso": 3,
        "right_torso": 3,
        "legs": 3,
        "upper_body": 4,
        "lower_body": 4,
        "whole_body": 6,
        "image4": 3,
    }


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("STAGES", [4], r"STAGES must name each stage once, out of \(1, 2, 3\); got \[4\]"),
        ("STAGES", [2, 2], "STAGES must name each stage once"),
        ("REGIONS", [["trunk", 2, 0.5, 0.4, 4, 4, 0.5, 0.5, [5, 6]]], r"STAGES has \[1, 3\], for which .* no region"),
        ("REGIONS", [["trunk", 2]], "nine entries; got 2"),
        (
            "WHOLE_IMAGE",
            [1, 4],
            r"may name each stage that MODEL.MGRE.STAGES leaves; got \[1, 4\] beside STAGES \[1, 2, 3\]",
        ),
        ("WHOLE_IMAGE", [], "WHOLE_IMAGE must name stage 4"),
        ("MAPS", "first", r"MAPS must be one of \('own', 'last'\), got 'first'"),
        ("BOXES", "drawn", r"BOXES must be one of \('located', 'labelled'\), got 'drawn'"),
        ("LOCATION_INPUT", "both", r"LOCATION_INPUT must be one of \('raw', 'fused'\), got 'both'"),
        ("LAMBDA", 0.0, "LAMBDA must be positive, got 0.0"),
        ("LOCATION.UNITS", "inches", r"LOCATION.UNITS must be one of \('pixels', 'shares'\), got 'inches'"),
        ("LOCATION.WEIGHT", 0.0, "LOCATION.WEIGHT must be positive, got 0.0"),
        ("TEST_WEIGHTS", [1.0, 1.0], "TEST_WEIGHTS must be four positive numbers"),
        ("FE.BLOCKS", -2, r"FE.BLOCKS must be -1 \(as the stage\), 0 \(none\) or more, got -2"),
    ],
)
def test_bad_config_values(make_shape, key, value, message):
    with pytest.raises(ValueError, match=message):
        make_shape({f"MODEL.MGRE.{key}": value})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"STAGES": [], "SAMPLE": False}, "are about regions, and MODEL.MGRE.STAGES is empty"),
        ({"STAGES": [], "MAPS": "last"}, "are about regions, and MODEL.MGRE.STAGES is empty"),
        ({"SAMPLE": False, "BOXES": "labelled"}, "BOXES labelled would do nothing"),
        ({"STAGES": [1], "MAPS": "last", "WHOLE_IMAGE": [2, 4]}, r"WHOLE_IMAGE must be \[4\], not \[2, 4\]"),
    ],
)
def test_combinations_that_cannot_work(make_shape, overrides, message):
    with pytest.raises(ValueError, match=message):
        make_shape({f"MODEL.MGRE.{key}": value for key, value in overrides.items()})


def test_another_region_table(make_model, batch, storage):
    """Other regions and joints are config data, also a region whose name is a Python keyword."""
    rows = [
        ["trunk", 2, 0.5, 0.4, 6, 4, 0.5, 0.6, [5, 6, 11, 12]],
        ["class", 3, 0.5, 0.5, 4, 2, 1.0, 1.0, list(range(17))],
    ]
    model = make_model({"MODEL.MGRE.REGIONS": rows, "MODEL.MGRE.STAGES": [2, 3]})
    assert set(model(batch)) == keys(2, 3) and set(model.heads.extract) == {"trunk", "class", "image4"}
    (layer,) = model.granularities()["stage 3"].layers
    assert model.get_submodule(layer) is model.heads.extract["class"] and layer == "heads.extract.class_"


def test_the_region_table_survives_a_config_file(tmp_path):
    cfg, again = get_config("MGRe/Market1501_R50.yml"), get_config("MGRe/Market1501_R50.yml")
    (tmp_path / "config.yaml").write_text(cfg.dump())
    again.merge_from_file(str(tmp_path / "config.yaml"))
    assert again.MODEL.MGRE.REGIONS == cfg.MODEL.MGRE.REGIONS


def test_parts_are_what_embed_weighs(make_model, batch):
    model = make_model({"MODEL.MGRE.TEST_WEIGHTS": [0.2, 0.4, 0.6, 0.9]}).eval()
    with torch.no_grad():
        branches = model.branches(model.preprocess_image(batch), None)
    parts = model.test_parts(branches)
    assert list(parts) == list(model.test_weights)
    for name, part in parts.items():
        torch.testing.assert_close(part, F.normalize(branches[name]["neck"]))
    assert model.test_weights_option(model.test_weights) == ("MODEL.MGRE.TEST_WEIGHTS", [0.2, 0.4, 0.6, 0.9])
