"""MSReID as a whole: what its switches build, its maps, its losses, its test feature and its refusals."""

import itertools

import pytest
import shapes
import torch
from fastreid.modeling import build_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.engine.key_tracking import leaves, track
from fastreid_ext.layers import SoftAttention
from fastreid_ext.losses import batch_hard_triplet_loss, smoothed_cross_entropy
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.branch_modules import module_name
from fastreid_ext.modeling.trunk import run_stem

EXACT = {"rtol": 0, "atol": 0}
SHARED, STRIDE = "MODEL.MSREID.SHARED_CENTERS", "MODEL.BACKBONE.LAST_STRIDE"
# Parameters with K = 751, by part
BACKBONE = 9_536 + 215_808 + 1_219_584 + 7_098_368 + 14_964_736
ATTENTION = 75_062 + 297_558 + 1_184_918 + 4_729_110
MASK, GLOBAL, LOCAL, NECK, CLASSIFIER = 3_413_510, 7_352_320, 2_828_800, 3_072, 1_153_536
COMBINATIONS = ["".join(x for x, on in zip("ALM", flags, strict=True) if on) or "none"
                for flags in itertools.product((True, False), repeat=3)]  # fmt: skip


def full_size(file, *overrides):
    """The shipped ResNet-50 config for 751 identities, without memory."""
    cfg = get_config(file)
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 751])
    cfg.merge_from_list(list(overrides))
    with shapes.OnMeta():
        return build_model(cfg)


def watch(model, seen):
    """Note branch -> outputs of its neck in every forward."""
    for name, neck in model.heads.necks.items():
        neck.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))


def count(module):
    return sum(p.numel() for p in module.parameters())


# ---- what is built ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def all_keys():
    return list(full_size("MSReID/ablation/ALM.yml").state_dict())


@pytest.mark.parametrize("name", COMBINATIONS)
def test_what_a_switch_turns_off_is_not_built(all_keys, name):
    model = full_size(f"MSReID/ablation/{name}.yml")
    a, local, m = ("A" in name), ("L" in name), ("M" in name)
    branches = ["global", "local"] if local else ["global"]
    assert list(model.attention) == (["1", "2", "3", "4"] if a else [])
    assert (model.heads.mask is not None) == m
    assert list(model.heads.reduce) == list(model.heads.necks) == branches
    assert set(model.state_dict()) == {
        key
        for key in all_keys
        if (a or not key.startswith("attention."))
        and (m or not key.startswith("heads.mask."))
        and (local or (not key.startswith(("heads.reduce.local.", "heads.necks.local.")) and "_local" not in key))
    }
    parts = BACKBONE + GLOBAL + NECK + CLASSIFIER + a * ATTENTION + m * MASK + local * (LOCAL + NECK + CLASSIFIER)
    assert count(model) == parts
    if name in ("ALM", "none"):
        assert count(model) == {"ALM": 45_702_526, "none": 32_016_960}[name]


def test_parameters_of_every_part():
    model = full_size("MSReID/Market1501_R50.yml")
    trunk = model.backbone
    stem = count(trunk.conv1) + count(trunk.bn1)
    assert [stem, *(count(getattr(trunk, f"layer{i}")) for i in (1, 2, 3, 4))] == [
        9_536,
        215_808,
        1_219_584,
        7_098_368,
        14_964_736,
    ]
    assert [count(attention) for attention in model.attention.values()] == [75_062, 297_558, 1_184_918, 4_729_110]
    assert count(model.heads.mask) == 3_413_510
    assert {name: count(block) for name, block in model.heads.reduce.items()} == {"global": GLOBAL, "local": LOCAL}
    assert all(count(neck) == NECK + CLASSIFIER for neck in model.heads.necks.values())


@pytest.mark.parametrize(("file", "giga"), [("ALM", 6.734), ("none", 4.994)])
def test_multiply_adds(file, giga):
    """At 256 x 128, to half of the sheet's last digit; the padded stem's map would be as large as the host's."""
    model = full_size(f"MSReID/ablation/{file}.yml").eval()
    with FlopCounterMode(display=False) as counter, shapes.OnMeta():
        features = model(torch.zeros(1, 3, 256, 128))
    classifiers = 751 * features.shape[1]
    assert features.shape == (1, 3072 if file == "ALM" else 1536)
    assert (counter.get_total_flops() / 2 + classifiers) / 1e9 == pytest.approx(giga, abs=5e-4)


def test_maps_of_section_4_2():
    """Before every stage's attention and behind it: 64 x 32, 32 x 16, 16 x 8, 16 x 8."""
    model = full_size("MSReID/Market1501_R50.yml").eval()
    with shapes.OnMeta():
        maps = model.maps(torch.zeros(1, 3, 256, 128))
    assert {stage: tuple(y.shape[1:]) for stage, y in maps.items()} == {
        1: (256, 64, 32),
        2: (512, 32, 16),
        3: (1024, 16, 8),
        4: (2048, 16, 8),
    }


@pytest.mark.parametrize("switches", list(itertools.product((True, False), repeat=3)))
def test_no_parameter_is_unused(make_model, batch, storage, switches):
    """Under DDP every parameter needs a gradient in every step."""
    names = [f"MODEL.MSREID.{name}" for name in ("ATTENTION", "LOCAL", "MASK")]
    model = make_model(dict(zip(names, switches, strict=True)))
    losses = model(batch)
    sum(losses.values()).backward()
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_every_key_of_msreid_is_read(make_cfg):
    cfg, reads = track(make_cfg({"MODEL.DEVICE": "meta"}))
    with shapes.OnMeta():
        build_model(cfg)
    assert {f"MODEL.MSREID.{key}" for key, _ in leaves(cfg.MODEL.MSREID)} <= reads


@pytest.mark.parametrize(
    ("off", "unread"),
    [
        ({"MODEL.MSREID.MASK": False}, "MASK_BEFORE_REDUCE"),
        ({"MODEL.MSREID.LOCAL": False}, "SHARED_CENTERS"),
        ({"MODEL.LOSSES.NAME": ("SmoothedCrossEntropyLoss",)}, "SHARED_CENTERS"),
    ],
)
def test_a_key_without_effect_is_not_read(make_cfg, off, unread):
    cfg, reads = track(make_cfg({"MODEL.DEVICE": "meta", **off}))
    with shapes.OnMeta():
        build_model(cfg)
    assert f"MODEL.MSREID.{unread}" not in reads


# ---- the way through the model (figure 2) -------------------------------------------------------------------------


@pytest.mark.parametrize("attention", [True, False])
def test_attention_stands_behind_every_stage(make_model, batch, attention):
    model = make_model({"MODEL.MSREID.ATTENTION": attention}).eval()
    images, trunk = model.preprocess_image(batch), model.backbone
    y, seen = run_stem(trunk, images), {}
    for stage in (1, 2, 3, 4):
        y = getattr(trunk, f"layer{stage}")(y)
        y = seen[stage] = model.attention[str(stage)](y) if attention else y
    maps = model.maps(images)
    assert maps.keys() == seen.keys()
    for stage in maps:
        torch.testing.assert_close(maps[stage], seen[stage], **EXACT)
    assert all(type(block) is SoftAttention for block in model.attention.values())
    outputs = model.heads(seen)  # the local feature comes from layer3 behind its attention
    for name, output in model.branches(images, None).items():
        torch.testing.assert_close(output["feature"], outputs[name]["feature"], **EXACT)


def test_the_stem_of_the_config(make_model):
    y = torch.randn(1, 3, 30, 17)  # sizes at which the two round differently
    host, other = (make_model({"MODEL.MSREID.STEM_POOL": pool}).eval() for pool in ("host", "torchvision"))
    other.load_state_dict(host.state_dict())
    trunk = host.backbone
    before = trunk.relu(trunk.bn1(trunk.conv1(y)))
    assert torch.equal(run_stem(host.backbone, y), nn.functional.max_pool2d(before, 3, 2, ceil_mode=True))
    assert torch.equal(run_stem(other.backbone, y), nn.functional.max_pool2d(before, 3, 2, padding=1))


@pytest.mark.parametrize("order", [False, True])
def test_settings_of_the_config_reach_the_head(make_shape, order):
    head = make_shape({"MODEL.MSREID.POOL": "concat", "MODEL.MSREID.MASK_BEFORE_REDUCE": order}).heads
    assert (head.pool, head.mask_before_reduce, head.dims) == ("concat", order, {"global": 48, "local": 48})


@pytest.mark.parametrize(
    ("stride", "size"), [(1, (64, 32)), (2, (64, 32)), (2, (100, 60)), (1, (36, 84)), (2, (33, 47))]
)
def test_any_size_and_aspect_ratio(make_model, storage, stride, size):
    model = make_model({STRIDE: stride})
    batch = {"images": torch.rand(4, 3, *size) * 255, "targets": torch.tensor([0, 0, 1, 1])}
    losses = model(batch)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    maps = model.eval().maps(model.preprocess_image(batch))
    assert (maps[3].shape[2:] == maps[4].shape[2:]) == (stride == 1)
    masks = model.spatial_masks(model.preprocess_image(batch))
    assert list(masks) == ["global mask", "local mask"]
    assert masks["global mask"].shape == (4, 1, *maps[4].shape[2:])
    assert masks["local mask"].shape == (4, 1, *maps[3].shape[2:])
    assert model(batch).isfinite().all()


def test_only_what_a_branch_sees_is_shown(make_model, batch):
    """Without the local branch nobody sees 1 - m."""
    model = make_model({"MODEL.MSREID.LOCAL": False}).eval()
    assert list(model.spatial_masks(batch["images"])) == ["global mask"]


def test_every_branch_trains_what_it_is_made_of(make_model, batch):
    """Without the mask the local feature comes from layer3 alone, and the global one from all."""
    model = make_model({"MODEL.MSREID.MASK": False})
    images = model.preprocess_image(batch)
    for branch, untouched in (("local", {"backbone.layer4", "attention.4", "heads.reduce.global_"}), ("global", set())):
        model.zero_grad()
        model.branches(images, None)[branch]["feature"].square().sum().backward()
        stages = {f"{part}{i}" for part in ("backbone.layer", "attention.") for i in (1, 2, 3, 4)}
        for name in sorted(stages | {f"heads.reduce.{module_name(branch)}"} | untouched):
            reached = any(p.grad is not None and p.grad.any() for p in model.get_submodule(name).parameters())
            assert reached == (name not in untouched), (branch, name)


def test_no_masks_without_the_mask(make_model, batch):
    model = make_model({"MODEL.MSREID.MASK": False})
    with pytest.raises(ValueError, match=r"this model has no mask \(MODEL.MSREID.MASK False\)"):
        model.spatial_masks(batch["images"])


# ---- features and losses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "dim"),
    [({}, 48), ({"MODEL.MSREID.LOCAL": False}, 24), ({"MODEL.MSREID.POOL": "concat"}, 96)],
)
def test_the_test_feature_is_before_bnneck_and_not_normalised(make_model, batch, overrides, dim):
    model = make_model(overrides).eval()
    for neck in model.heads.necks.values():
        neck.bnneck.running_mean.normal_()
    with torch.no_grad():
        feature = model(batch)
        outputs = model.branches(model.preprocess_image(batch), None)
    assert feature.shape == (4, dim) and feature.dtype == torch.float32
    torch.testing.assert_close(feature, torch.cat([o["feature"] for o in outputs.values()], dim=1), **EXACT)
    assert list(outputs)[0] == "global" and all("logits" not in o for o in outputs.values())
    lengths = torch.cat([o["feature"].norm(dim=1) for o in outputs.values()])
    assert (lengths - 1).abs().max() > 0.05


def test_losses_are_those_of_equation_4(make_model, batch, storage):
    """CENTER.SCALE of 0.001 on half a mean is 5e-4 on the mean squared distance."""
    model = make_model({"MODEL.LOSSES.CENTER.SCALE": 0.001, "MODEL.LOSSES.HARD_TRIPLET.MARGIN": 1.2})
    centers = {k.split("_")[-1].split(".")[0]: v.clone() for k, v in model.state_dict().items() if "centers" in k}
    seen = {}
    watch(model, seen)
    losses = model(batch)
    assert set(losses) == {f"loss_{what}_{b}" for what in ("cls", "triplet", "center") for b in ("global", "local")}
    close, targets = {"rtol": 1e-5, "atol": 1e-6}, batch["targets"]
    for name, output in seen.items():
        distance = sum(
            ((x - centers[name][t]) ** 2).sum() for x, t in zip(output["feature"], targets.tolist(), strict=True)
        )
        torch.testing.assert_close(losses[f"loss_center_{name}"], 5e-4 * distance / 4, **close)
        triplet = batch_hard_triplet_loss(output["feature"], targets, 1.2)
        torch.testing.assert_close(losses[f"loss_triplet_{name}"], triplet, **close)
        logits = output["neck"] @ model.heads.necks[name].weight.T
        torch.testing.assert_close(losses[f"loss_cls_{name}"], smoothed_cross_entropy(logits, targets, 0.1), **close)
    assert set(storage.latest()) == {"accuracy/global", "accuracy/local"}


@pytest.mark.parametrize(
    ("file", "margin"),
    [("Market1501", 0.3), ("DukeMTMC", 0.3), ("MSMT17", 0.3), ("CUHK03Labeled", 1.2), ("CUHK03Detected", 1.2)],
)
def test_recipe_of_section_4_2(file, margin):
    cfg = get_config(f"MSReID/{file}_R50.yml")
    solver = cfg.SOLVER
    trained = "MSMT17TrainVal" if file == "MSMT17" else file  # papers train on list_val too
    assert (cfg.DATASETS.NAMES, cfg.DATASETS.TESTS) == ((trained,), (file,))
    assert cfg.MODEL.LOSSES.HARD_TRIPLET.MARGIN == margin
    assert cfg.MODEL.LOSSES.CENTER.SCALE / 2 == 5e-4 and cfg.MODEL.LOSSES.CENTER.RATE == 0.5
    assert cfg.MODEL.LOSSES.SMOOTHED_CE.EPSILON == 0.1
    assert solver.IMS_PER_BATCH == 32 * 3 and cfg.DATALOADER.NUM_INSTANCE == 3
    assert (solver.OPT, solver.BASE_LR, solver.AMP.ENABLED) == ("Adam", 1.5e-3, True)
    assert solver.WEIGHT_DECAY == solver.WEIGHT_DECAY_BIAS == solver.WEIGHT_DECAY_NORM == 5e-4
    assert solver.BIAS_LR_FACTOR == solver.HEADS_LR_FACTOR == 1 and not solver.LR_FACTORS
    assert (solver.WARMUP_EPOCHS, solver.WARMUP_FACTOR, solver.MAX_EPOCH) == (10, 0.1, 180)
    assert (solver.SCHED, list(solver.STEPS), solver.GAMMA) == ("MultiStepLR", [60, 120], 0.1)
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [256, 128]
    assert (cfg.INPUT.FLIP.ENABLED, cfg.INPUT.FLIP.PROB) == (True, 0.5)
    assert (cfg.INPUT.PADDING.ENABLED, cfg.INPUT.PADDING.SIZE) == (True, 10)
    assert not cfg.INPUT.REA.ENABLED and list(cfg.INPUT.BATCH_AUGMENT.NAME) == ["RandomErasing"]
    assert (cfg.INPUT.BATCH_AUGMENT.REA.PROB, list(cfg.INPUT.BATCH_AUGMENT.REA.AREA)) == (0.5, [0.02, 0.4])
    assert cfg.TEST.METRIC == "euclidean" and cfg.MODEL.BACKBONE.LAST_STRIDE == 1


# ---- one set of centers, or two -----------------------------------------------------------------------------------


def center_keys(model):
    return sorted(key for key in model.state_dict() if key.endswith("centers"))


def test_every_branch_has_its_own_centers(make_model):
    model = make_model()
    one, other = (model.get_buffer(key) for key in center_keys(model))
    assert one is not other and one.data_ptr() != other.data_ptr() and not torch.equal(one, other)


def test_shared_centers_are_one_buffer(make_model, batch, storage):
    model = make_model({SHARED: True})
    one, other = (model.get_buffer(key) for key in center_keys(model))
    assert one is other and one.shape == (10, 24)
    before = one.clone()
    losses = model(batch)
    assert {"loss_center_global", "loss_center_local"} < set(losses)
    assert set((one != before).any(dim=1).nonzero()[:, 0].tolist()) == {3, 9}  # those of the batch's identities
    assert model.get_buffer(center_keys(model)[1]) is one
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_shared_centers_are_moved_by_both_branches(make_model, batch, storage):
    """With rate 1/2 and two of four images an identity: c += 1/4 (x1 + x2 - 2 c), for one branch and then the other."""
    model = make_model({SHARED: True})
    center = model.get_buffer(center_keys(model)[0])
    expected, seen = center.clone(), {}
    watch(model, seen)
    model(batch)
    for name in ("global", "local"):
        x = seen[name]["feature"].detach()
        for pid, rows in ((3, x[:2]), (9, x[2:])):
            expected[pid] += 0.25 * (rows - expected[pid]).sum(dim=0)
    torch.testing.assert_close(center, expected, rtol=1e-5, atol=1e-5)


def test_shared_centers_survive_saving(make_model, batch, storage, tmp_path):
    model, other = make_model({SHARED: True}), make_model({SHARED: True})
    model(batch)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    other.load_state_dict(torch.load(tmp_path / "model.pth"), strict=True)
    one, two = (other.get_buffer(key) for key in center_keys(other))
    assert one is two and torch.equal(one, model.get_buffer(center_keys(model)[0]))


# ---- behaviour ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_callers_batch_is_left_alone(make_model, batch, storage, training):
    before = {key: value.clone() for key, value in batch.items()}
    make_model().train(training)(batch)
    assert batch.keys() == before.keys() and all(torch.equal(batch[key], before[key]) for key in before)


@pytest.mark.parametrize("attention", [True, False])
def test_one_image_in_training(make_model, storage, attention):
    model = make_model({"MODEL.MSREID.ATTENTION": attention})
    one = {"images": torch.zeros(1, 3, 64, 32), "targets": torch.tensor([0])}
    with pytest.raises(ValueError, match="at least two images in a training batch, got one"):
        model(one)
    assert model.eval()(one).shape == (1, 48)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_type(make_model, batch, dtype):
    model = make_model().eval()
    with torch.no_grad():
        expected, output = model(batch), model.to(dtype)(batch)
    assert output.dtype == torch.float32
    tolerance = 0.2 if dtype == torch.bfloat16 else 0.03  # of a length of order 1, through some fifty layers
    torch.testing.assert_close(output, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MSREID.POOL", "max", r"MODEL.MSREID.POOL must be one of \('sum', 'concat'\), got 'max'"),
        ("MSREID.DIM", 0, "MODEL.MSREID.DIM must be 1 or more, got 0"),
        (
            "MSREID.STEM_POOL",
            "padded",
            r"MODEL.MSREID.STEM_POOL must be one of \('host', 'torchvision'\), got 'padded'",
        ),
        ("LOSSES.NAME", ("TripletLoss",), "'TripletLoss', which MSReID does not know"),
        ("LOSSES.CENTER.RATE", 2.0, r"rate of the centers must lie in \[0, 1\], got 2.0"),
    ],
)
def test_bad_config_values(make_shape, key, value, message):
    with pytest.raises(ValueError, match=message):
        make_shape({f"MODEL.{key}": value})


@pytest.mark.parametrize("key", ["ATTENTION", "LOCAL", "MASK", "MASK_BEFORE_REDUCE", "SHARED_CENTERS"])
def test_switches_are_booleans(make_cfg, key):
    with pytest.raises(ValueError, match="Type mismatch"):
        make_cfg({f"MODEL.MSREID.{key}": "maybe"})


def test_a_stem_without_pooling_has_no_other_one(make_shape):
    trunk = {"MODEL.BACKBONE.NAME": "build_repvgg_backbone", "MODEL.BACKBONE.DEPTH": "A0"}
    with pytest.raises(ValueError, match="the stem of RepVGG has no max pooling that another could replace"):
        make_shape({**trunk, "MODEL.MSREID.STEM_POOL": "torchvision"})


def test_attention_of_channels_that_16_does_not_divide(make_shape):
    """The first stage of a MobileNetV2 has 24 channels: 3 inside, as many as 8 parts leave."""
    model = make_shape({"MODEL.BACKBONE.NAME": "build_mobilenetv2_backbone", "MODEL.BACKBONE.DEPTH": "1.0x"})
    inner = [model.attention[str(i)].squeeze[0].out_channels for i in (1, 2, 3, 4)]
    assert inner == [24 // 8, 32 // 16, 96 // 16, 1280 // 16]


@pytest.mark.parametrize(
    "overrides",
    [
        {"MODEL.BACKBONE.NAME": "build_resnext_backbone", "MODEL.BACKBONE.DEPTH": "50x"},
        {"MODEL.BACKBONE.NAME": "build_resnest_backbone", "MODEL.BACKBONE.DEPTH": "50x"},
        {"MODEL.BACKBONE.DEPTH": "50x", "MODEL.BACKBONE.WITH_IBN": True, "MODEL.BACKBONE.WITH_SE": True},
        {"MODEL.BACKBONE.DEPTH": "34x", "MODEL.BACKBONE.WITH_IBN": True},
    ],
)
def test_every_resnet_of_the_host(make_shape, overrides):
    model = make_shape({**overrides, "MODEL.MSREID.STEM_POOL": "torchvision"}).eval()
    with shapes.OnMeta():
        assert model(torch.zeros(2, 3, 64, 32)).shape == (2, 48)
        assert run_stem(model.backbone, torch.zeros(1, 3, 64, 32)).shape[2:] == (16, 8)
