"""Deep Miner as a whole: its branches, their paths, what it shares and what not, its outputs and its refusals."""

import pytest
import shapes
import torch
from fastreid.modeling import build_model
from fastreid.modeling.backbones import resnest, resnet, resnext

from fastreid_ext.deepminer.attention import ChannelAttention, SpatialAttention
from fastreid_ext.deepminer.erasing import erase
from fastreid_ext.engine.key_tracking import leaves, track
from fastreid_ext.losses import smoothed_cross_entropy, soft_margin_triplet_loss
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.trunk import run_stem

EXACT = {"rtol": 0, "atol": 0}
LOSS_NAMES = ("cls", "triplet", "center")


def images_of(model, batch):
    return model.preprocess_image(batch)


def copies(model):
    """Side branch -> its copies of the later stages, behind the erasing or not."""
    return {name: getattr(branch, "blocks", branch) for name, branch in model.side_branches.items()}


def wake_attention(model):
    """SAM starts as the identity: give it something to say."""
    for module in model.modules():
        if isinstance(module, SpatialAttention):
            torch.nn.init.constant_(module.gamma, 0.5)
    return model


# ---- what is built ------------------------------------------------------------------------------------------------

BOTH, SAM, CHAM = [SpatialAttention, ChannelAttention], [SpatialAttention], [ChannelAttention]
# config -> (branches, attention behind blocks 2 and 3), as tables 1 to 4 and section 4.4 have them
TABLE = {
    "table1_baseline": ({"global"}, None),
    "table1_ie1": ({"global", "ie1"}, None),
    "table1_ie2": ({"global", "ie2"}, None),
    "table1_ie3": ({"global", "ie3"}, None),
    "table2_ie23": ({"global", "ie2", "ie3"}, None),
    "table2_ie13": ({"global", "ie1", "ie3"}, None),
    "table2_ie123": ({"global", "ie1", "ie2", "ie3"}, None),
    "table3_ie23_local": ({"global", "ie2", "ie3", "local"}, None),
    "table4_sam": ({"global", "ie2", "ie3", "local"}, SAM),
    "table4_cham": ({"global", "ie2", "ie3", "local"}, CHAM),
    "table4_cham_printed": ({"global", "ie2", "ie3", "local"}, CHAM),
    "table4_sam_cham": ({"global", "ie2", "ie3", "local"}, BOTH),
    "fig7_tau03": ({"global", "ie3"}, None),
}
COPIED = {"ie1": {"layer2", "layer3", "layer4"}, "ie2": {"layer3", "layer4"}, "ie3": {"layer4"}, "local": {"layer4"}}


@pytest.mark.parametrize("name", TABLE)
def test_branches_of_the_papers_tables(name):
    """The shipped ResNet-50 configs, built without memory."""
    branches, attention = TABLE[name]
    cfg = get_config(f"DeepMiner/ablation/{name}.yml")
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 751])
    with shapes.OnMeta():
        model = build_model(cfg)
    assert list(model.heads.necks) == list(model.heads.pools) == list(model.heads.dims)
    assert set(model.heads.dims) == branches
    assert set(model.side_branches) == branches - {"global"}
    for branch in branches:
        assert model.heads.dims[branch] == (4 * 2048 if branch == "local" else 2048)
    for branch, side in copies(model).items():
        assert {child for child, _ in side.trunk.named_children()} == COPIED[branch]
    expected = {"2": attention, "3": attention} if attention else {}
    assert {key: [type(m) for m in module] for key, module in model.attention.items()} == expected
    rescaled = {m.rescale for m in model.modules() if isinstance(m, ChannelAttention)}
    assert rescaled == ({name != "table4_cham_printed"} if attention and ChannelAttention in attention else set())
    for branch, side in copies(model).items():  # a copy of every ATT behind a block of its own
        own = {key: kinds for key, kinds in expected.items() if f"layer{key}" in COPIED[branch]}
        assert {key: [type(m) for m in module] for key, module in side.attention.items()} == own
    thresholds = {side.threshold for name, side in model.side_branches.items() if name != "local"}
    assert thresholds <= {0.3 if name == "fig7_tau03" else 0.8}


def test_copies_start_equal_and_share_nothing(make_model):
    model = make_model({"MODEL.DEEPMINER.IE_BLOCKS": [1, 2, 3], "MODEL.DEEPMINER.ATTENTION_BLOCKS": [1, 2, 3]})
    for side in copies(model).values():
        for copied, original in [(side.trunk, model.backbone), (side.attention, model.attention)]:
            state = original.state_dict()
            assert copied.state_dict().keys() <= state.keys()
            for name, tensor in copied.state_dict().items():
                assert torch.equal(tensor, state[name]), name
    tensors = model.state_dict().values()  # parameters() would leave out what is shared
    assert len({t.data_ptr() for t in tensors}) == len(tensors)


def test_ie1_has_copies_of_all_blocks_and_attention_behind_it(make_shape):
    model = make_shape({"MODEL.DEEPMINER.IE_BLOCKS": [1], "MODEL.DEEPMINER.ATTENTION_BLOCKS": [1, 2, 3, 4]})
    branch = copies(model)["ie1"]
    assert branch.stages == [2, 3, 4]
    assert list(branch.attention) == ["2", "3", "4"]  # ATT behind B1 is passed before the erasing: it is not copied
    assert list(copies(model)["local"].attention) == ["4"]


def test_every_setting_of_the_config_arrives(make_shape):
    """Each key of MODEL.DEEPMINER and of the head away from its default."""
    model = make_shape(
        {
            "MODEL.DEEPMINER.ERASE_THRESHOLD": 0.6,
            "MODEL.DEEPMINER.ATTENTION_BLOCKS": [3],
            "MODEL.DEEPMINER.SAM.REDUCTION": 4,
            "MODEL.DEEPMINER.CHAM.REDUCTION": 2,
            "MODEL.DEEPMINER.CHAM.ACTIVATION": "softmax_spatial",
            "MODEL.DEEPMINER.CHAM.RESCALE": False,
            "MODEL.DEEPMINER.TEST_BRANCH_NORM": True,
            "MODEL.HEADS.CLS_LAYER": "CosSoftmax",
            "MODEL.HEADS.SCALE": 30,
            "MODEL.HEADS.MARGIN": 0.35,
            "MODEL.HEADS.POOL_LAYER": "GlobalAvgPool",
        }
    )
    assert model.side_branches["ie2"].threshold == 0.6 and model.test_branch_norm is True
    for attention in (model.attention, copies(model)["ie2"].attention):
        sam, cham = attention["3"]
        assert sam.query.out_channels == sam.key.out_channels == 256 // 4
        assert cham.squeeze.out_channels == 256 // 2
        assert cham.activation == "softmax_spatial" and cham.rescale is False
    for head in model.heads.necks.values():
        assert type(head.cls_layer).__name__ == "CosSoftmax" and (head.cls_layer.s, head.cls_layer.m) == (30, 0.35)
    pools = model.heads.pools
    assert type(pools["global"][0]).__name__ == type(pools["ie3"][0]).__name__ == "GlobalAvgPool"


def test_every_key_of_deepminer_is_read(make_cfg):
    cfg, reads = track(make_cfg({"MODEL.DEVICE": "meta"}))
    with shapes.OnMeta():
        build_model(cfg)
    assert {f"MODEL.DEEPMINER.{key}" for key, _ in leaves(cfg.MODEL.DEEPMINER)} <= reads


# ---- the paths (figure 1) -----------------------------------------------------------------------------------------


def test_every_branch_takes_the_papers_path(make_model, batch):
    model = wake_attention(make_model({"MODEL.DEEPMINER.IE_BLOCKS": [1, 2, 3]})).eval()
    for branch in model.side_branches.values():  # tell them apart from the global branch
        for parameter in branch.parameters():
            parameter.data += 0.01 * torch.randn_like(parameter)
    images = images_of(model, batch)
    g, att = model.backbone, model.attention
    y1 = g.layer1(run_stem(g, images))
    y2 = att["2"](g.layer2(y1))
    y3 = att["3"](g.layer3(y2))
    side = copies(model)
    ie1, ie2 = side["ie1"], side["ie2"]
    expected = {
        "global": g.layer4(y3),
        "ie1": ie1.trunk.layer4(
            ie1.attention["3"](ie1.trunk.layer3(ie1.attention["2"](ie1.trunk.layer2(erase(y1, 0.8)))))
        ),
        "ie2": ie2.trunk.layer4(ie2.attention["3"](ie2.trunk.layer3(erase(y2, 0.8)))),
        "ie3": side["ie3"].trunk.layer4(erase(y3, 0.8)),
        "local": side["local"].trunk.layer4(y3),
    }
    maps = model.maps(images)
    assert maps.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(maps[name], expected[name], **EXACT)
        assert name == "global" or not torch.equal(maps[name], maps["global"])


@pytest.mark.parametrize("training", [False, True])
def test_ie_reads_the_erased_map_and_local_the_whole_one(make_model, batch, training):
    model = wake_attention(make_model()).train(training)
    seen = {}
    for name, after in [("ie2", 3), ("ie3", 4), ("local", 4)]:
        block = getattr(copies(model)[name].trunk, f"layer{after}")[0]
        block.register_forward_pre_hook(lambda module, inputs, name=name: seen.update({name: inputs[0]}))
    for key, module in model.attention.items():
        module.register_forward_hook(lambda module, inputs, output, key=key: seen.update({key: output}))
    model.maps(images_of(model, batch))
    assert torch.equal(seen["ie2"], erase(seen["2"], 0.8)) and not torch.equal(seen["ie2"], seen["2"])
    assert torch.equal(seen["ie3"], erase(seen["3"], 0.8)) and not torch.equal(seen["ie3"], seen["3"])
    assert torch.equal(seen["local"], seen["3"])


def test_without_erasing_the_branches_start_as_the_global_one(make_model, batch):
    model = make_model({"MODEL.DEEPMINER.ERASE_THRESHOLD": 1.0}).eval()
    maps = model.maps(images_of(model, batch))
    for name in ("ie2", "ie3", "local"):
        assert torch.equal(maps[name], maps["global"])


def test_the_threshold_of_the_config_is_used(make_model, batch):
    one, other = (make_model({"MODEL.DEEPMINER.ERASE_THRESHOLD": tau}).eval() for tau in (0.8, 0.3))
    other.load_state_dict(one.state_dict())
    with torch.no_grad():
        a, b = (model.maps(images_of(model, batch)) for model in (one, other))
    assert torch.equal(a["global"], b["global"]) and not torch.equal(a["ie3"], b["ie3"])


# ---- features -----------------------------------------------------------------------------------------------------


def test_pooling(make_model):
    model, y = make_model(), torch.randn(2, 512, 4, 2)
    for name in ("global", "ie2", "ie3"):
        torch.testing.assert_close(model.heads.pools[name](y), y.amax(dim=(2, 3)), **EXACT)
    stripes = torch.cat([y[:, :, row].mean(dim=2) for row in range(4)], dim=1)
    torch.testing.assert_close(model.heads.pools["local"](y), stripes, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "dim"),
    [
        ({}, 512 * (3 + 4)),
        ({"MODEL.DEEPMINER.IE_BLOCKS": []}, 512 * (1 + 4)),
        ({"MODEL.DEEPMINER.LOCAL_STRIPES": 2}, 512 * (3 + 2)),
        ({"MODEL.DEEPMINER.LOCAL_STRIPES": 0}, 512 * 3),
        ({"MODEL.HEADS.EMBEDDING_DIM": 64}, 64 * 4),
    ],
)
def test_the_test_feature_is_every_branch_after_bnneck(make_model, batch, overrides, dim):
    model = make_model(overrides)
    for head in model.heads.necks.values():
        head.bnneck.running_mean.normal_()
        head.bnneck.running_var.uniform_(0.5, 2)
    model.eval()
    with torch.no_grad():
        feature = model(batch)
        outputs = model.branches(images_of(model, batch), None)
    assert feature.shape == (4, dim) and feature.dtype == torch.float32
    torch.testing.assert_close(feature, torch.cat([o["neck"] for o in outputs.values()], dim=1), **EXACT)
    assert list(outputs)[0] == "global" and all("logits" not in o for o in outputs.values())
    for name, o in outputs.items():
        bn = model.heads.necks[name].bnneck
        by_hand = (o["feature"] - bn.running_mean) / (bn.running_var + bn.eps).sqrt()  # weight 1, bias 0 at the start
        torch.testing.assert_close(o["neck"], by_hand, rtol=1e-4, atol=1e-5)


def test_branch_norm_gives_every_branch_length_one(make_model, batch):
    model = make_model({"MODEL.DEEPMINER.TEST_BRANCH_NORM": True}).eval()
    plain = make_model().eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        parts = model(batch).split([512, 512, 512, 2048], dim=1)
        raw = plain(batch).split([512, 512, 512, 2048], dim=1)
    for part, unscaled in zip(parts, raw, strict=True):
        torch.testing.assert_close(part.norm(dim=1), torch.ones(4), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(part, unscaled / unscaled.norm(dim=1, keepdim=True), rtol=1e-5, atol=1e-6)


def test_metric_losses_read_the_feature_before_bnneck(make_model, batch, storage):
    model = make_model()
    outputs = {}
    for name, head in model.heads.necks.items():
        head.register_forward_hook(lambda module, inputs, output, name=name: outputs.update({name: output}))
    losses = model(batch)
    for name, o in outputs.items():
        logits = o["neck"] @ model.heads.necks[name].weight.T
        expected = soft_margin_triplet_loss(o["feature"], batch["targets"])
        torch.testing.assert_close(losses[f"loss_triplet_{name}"], expected, rtol=1e-5, atol=1e-6)
        expected = smoothed_cross_entropy(logits, batch["targets"], 0.1)
        torch.testing.assert_close(losses[f"loss_cls_{name}"], expected, rtol=1e-5, atol=1e-6)


def test_loss_keys_and_logged_accuracy(make_model, batch, storage):
    losses = make_model()(batch)
    branches = ("global", "ie2", "ie3", "local")
    assert set(losses) == {f"loss_{what}_{branch}" for what in LOSS_NAMES for branch in branches}
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    assert set(storage.latest()) == {f"accuracy/{branch}" for branch in branches}


def test_center_loss_has_its_own_centers_for_every_branch(make_model):
    centers = {k: v for k, v in make_model().state_dict().items() if k.endswith("centers")}
    assert {k.split(".")[-2]: tuple(v.shape) for k, v in centers.items()} == {
        "loss_center_global": (10, 512),
        "loss_center_ie2": (10, 512),
        "loss_center_ie3": (10, 512),
        "loss_center_local": (10, 2048),
    }
    assert len({v.data_ptr() for v in centers.values()}) == 4


# ---- every ResNet-like backbone of the host -----------------------------------------------------------------------

NAME, DEPTH = "MODEL.BACKBONE.NAME", "MODEL.BACKBONE.DEPTH"
IBN, SE, NL = "MODEL.BACKBONE.WITH_IBN", "MODEL.BACKBONE.WITH_SE", "MODEL.BACKBONE.WITH_NL"
BACKBONES = {
    "R18": ({DEPTH: "18x"}, 512),
    "R18-SE": ({DEPTH: "18x", SE: True}, 512),
    "R18-stride2": ({DEPTH: "18x", "MODEL.BACKBONE.LAST_STRIDE": 2, "MODEL.DEEPMINER.LOCAL_STRIPES": 2}, 512),
    "R34-IBN": ({DEPTH: "34x", IBN: True}, 512),
    "R50-NL": ({DEPTH: "50x", NL: True}, 2048),
    "R50-SE-IBN": ({DEPTH: "50x", SE: True, IBN: True}, 2048),
    "ResNeXt50-IBN": ({NAME: "build_resnext_backbone", DEPTH: "50x", IBN: True}, 2048),
    "ResNeSt50": ({NAME: "build_resnest_backbone", DEPTH: "50x"}, 2048),
}


WIDE = "R18", "R50-NL"  # the non-local blocks are of FastReID's own widths


@pytest.fixture
def quarter(monkeypatch):
    """The planes of every ResNet-like backbone are a quarter: they have 100 M weights with all branches."""
    for kind in (resnet.ResNet, resnext.ResNeXt, resnest.ResNeSt):
        make = kind._make_layer
        thin = lambda self, block, planes, *args, make=make, **kw: make(self, block, planes // 4, *args, **kw)  # noqa: E731
        monkeypatch.setattr(kind, "_make_layer", thin)


@pytest.mark.parametrize("name", [pytest.param(k, marks=[] if "R18" in k else [pytest.mark.slow]) for k in BACKBONES])
def test_backbones(make_model, batch, storage, name, request):
    overrides, channels = BACKBONES[name]
    if name not in WIDE:
        request.getfixturevalue("quarter")
        channels //= 4
    model = make_model(overrides)
    losses = model(batch)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    stripes = overrides.get("MODEL.DEEPMINER.LOCAL_STRIPES", 4)
    with torch.no_grad():
        assert model.eval()(batch).shape == (4, channels * (3 + stripes))


# ---- behaviour ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_callers_batch_is_left_alone(make_model, batch, storage, training):
    before = {key: value.clone() for key, value in batch.items()}
    make_model().train(training)(batch)
    assert batch.keys() == before.keys()
    assert all(torch.equal(batch[key], before[key]) for key in before)


def test_eval_is_deterministic(make_model, batch):
    model = make_model().eval()
    with torch.no_grad():
        first = model(batch)
        assert torch.equal(first, model(batch))
        assert torch.equal(first, model(batch["images"]))  # a bare tensor is a batch too
        # Alone or in company, and as bytes: float32 sums in another order, 1e-4 on features of order 1
        torch.testing.assert_close(model(batch["images"][:1]), first[:1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(batch["images"].to(torch.uint8)), first, rtol=1e-4, atol=1e-4)


def test_normalisation(make_model, batch):
    model = make_model({"MODEL.PIXEL_MEAN": [1.0, 2.0, 3.0], "MODEL.PIXEL_STD": [2.0, 4.0, 8.0]})
    images = model.preprocess_image(batch)
    for channel, (mean, std) in enumerate([(1, 2), (2, 4), (3, 8)]):
        torch.testing.assert_close(images[:, channel], (batch["images"][:, channel] - mean) / std, **EXACT)


def test_one_image_in_training(make_model, storage):
    with pytest.raises(ValueError, match="at least two images in a training batch, got one"):
        make_model()({"images": torch.zeros(1, 3, 64, 32), "targets": torch.tensor([0])})


@pytest.mark.parametrize("batch", [torch.zeros(2, 3, 64, 32), {"images": torch.zeros(2, 3, 64, 32)}])
def test_training_without_targets(make_model, batch):
    with pytest.raises(ValueError, match="'images' and 'targets'.*eval"):
        make_model()(batch)


def test_too_many_stripes_for_the_image(make_model, batch):
    with pytest.raises(ValueError, match="5 stripes need a map of at least 5 rows, got 4.*LOCAL_STRIPES"):
        make_model({"MODEL.DEEPMINER.LOCAL_STRIPES": 5}).eval()(batch)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DEEPMINER.IE_BLOCKS", [4], r"IE_BLOCKS must name each block once, out of \[1, 2, 3\]; got \[4\]"),
        ("DEEPMINER.IE_BLOCKS", [0, 2], r"IE_BLOCKS must name each block once"),
        ("DEEPMINER.IE_BLOCKS", [2, 2], r"IE_BLOCKS must name each block once"),
        ("DEEPMINER.ATTENTION_BLOCKS", [5], r"ATTENTION_BLOCKS must name .* out of \[1, 2, 3, 4\]; got \[5\]"),
        ("DEEPMINER.ERASE_THRESHOLD", 1.5, r"ERASE_THRESHOLD must lie in \[0, 1\], got 1.5"),
        ("DEEPMINER.LOCAL_STRIPES", -1, "LOCAL_STRIPES must be 0 or more, got -1"),
        ("DEEPMINER.CHAM.ACTIVATION", "relu", "CHAM's activation must be one of .* got 'relu'"),
        ("HEADS.POOL_LAYER", "MaxPool", "POOL_LAYER must be one of .*GlobalMaxPool.* got 'MaxPool'"),
        ("HEADS.CLS_LAYER", "Softmax", "CLS_LAYER must be one of .*CosSoftmax.* got 'Softmax'"),
        ("LOSSES.NAME", ("TripletLoss",), "'TripletLoss', which DeepMiner does not know"),
        ("LOSSES.CENTER.RATE", 2.0, r"rate of the centers must lie in \[0, 1\], got 2.0"),
    ],
)
def test_bad_config_values(make_shape, key, value, message):
    with pytest.raises(ValueError, match=message):
        make_shape({f"MODEL.{key}": value})


def test_attention_without_a_module(make_shape):
    off = {"MODEL.DEEPMINER.SAM.ENABLED": False, "MODEL.DEEPMINER.CHAM.ENABLED": False}
    with pytest.raises(ValueError, match="SAM and CHAM are both off"):
        make_shape(off)
    assert not make_shape({**off, "MODEL.DEEPMINER.ATTENTION_BLOCKS": []}).attention


def test_stages_are_the_hosts(make_model, batch):
    """Without attention the global branch is the host's backbone."""
    model = make_model({"MODEL.DEEPMINER.ATTENTION_BLOCKS": []}).eval()
    images = images_of(model, batch)
    assert torch.equal(model.maps(images)["global"], model.backbone(images))
