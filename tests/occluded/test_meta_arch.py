"""The occluded model as a whole: its paths (figure 2), its losses (eq. 5), its test feature, and its refusals."""

import logging
import math

import pytest
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checkpoint import training_only_keys
from fastreid_ext.engine.key_tracking import check_all_read, leaves, track
from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import DisentangledNonLocal2d
from fastreid_ext.losses import bounded_exponential_distance_loss
from fastreid_ext.model_zoo import get_config
from fastreid_ext.occluded.erasing import erase_rectangles, erase_stripe

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # float32, sums in another order
RP, ME = "MODEL.OCCLUDED.RP.ENABLED", "MODEL.OCCLUDED.ME.ENABLED"
RP_CLASSIFIER = "MODEL.OCCLUDED.RP.CLASSIFIER"
NAMES, CBE = "INPUT.BATCH_AUGMENT.NAME", "INPUT.BATCH_AUGMENT.CBE."
LOSSES = "MODEL.LOSSES.NAME"
PLAIN = {NAMES: []}  # batches as they come


def maps_and_pooled(model, images):
    """The last map and its generalised mean ((1/n) sum f^p)^(1/p), in float64."""
    maps = model.backbone(images)
    p = model.heads.pool.p.item()
    return maps, maps.double().clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)


def observed(model):
    """Record what momentum elimination is shown."""
    seen, observe = [], model.heads.momentum_elimination.observe

    def recording(features):
        seen.append(features.detach().clone())
        observe(features)

    model.heads.momentum_elimination.observe = recording
    return seen


# ---- table 5 ------------------------------------------------------------------------------------------------------

BED = {"loss_cls_global", "loss_bed_global"}
TRIPLET = {"loss_cls_global", "loss_triplet_global"}
# row -> (loss keys, kind of non-local blocks, RP, ME, heads of the classifier, CBE)
TABLE = {
    "ablation/OccludedDuke_baseline": (TRIPLET, "Non_local", False, False, 1, False),
    "ablation/OccludedDuke_cbe": (TRIPLET, "Non_local", False, False, 1, True),
    "ablation/OccludedDuke_bed": (BED, "Non_local", False, False, 2, True),
    "ablation/OccludedDuke_dnl": (BED, "DisentangledNonLocal2d", False, False, 2, True),
    "ablation/OccludedDuke_rp": (BED | {"loss_bed_rp"}, "DisentangledNonLocal2d", True, False, 2, True),
    "OccludedDuke_R50": (BED | {"loss_bed_rp"}, "DisentangledNonLocal2d", True, True, 2, True),
}


@pytest.mark.parametrize("row", TABLE)
def test_rows_of_table_5(row):
    """The shipped ResNet-50 configs, built without memory."""
    losses, blocks, rp, me, heads, cbe = TABLE[row]
    cfg = get_config(f"OccludedReID/{row}.yml")
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "meta", "MODEL.HEADS.NUM_CLASSES", 702])
    with torch.device("meta"):
        model = build_model(cfg)
    assert set(model.criterion.sources) == losses
    kinds = [type(m).__name__ for m in model.modules() if "NonLocal" in type(m).__name__ or "Non_l" in type(m).__name__]
    assert kinds == [blocks] * 5
    assert (model.heads.reconstructive_pooling is not None, model.heads.momentum_elimination is not None) == (rp, me)
    assert ("heads.reconstructive_pooling.value.weight" in model.state_dict()) is rp
    assert ("heads.momentum_elimination.mu" in model.state_dict()) is me
    assert getattr(model.heads.neck, "settings", {"heads": 1})["heads"] == heads
    assert type(model.heads.neck.cls_layer).__name__ == ("CircleSoftmax" if heads == 1 else "Identity")
    assert [type(a).__name__ for a in model.augmentations] == ["CompoundBatchErasing"] * cbe
    assert cfg.INPUT.REA.ENABLED is not cbe
    assert type(model.heads.pool).__name__ == "GeneralizedMeanPoolingP" and model.heads.neck.dim == 2048
    assert cfg.TEST.METRIC == "cosine" and cfg.SOLVER.IMS_PER_BATCH == 64


ROWS = {
    "triplet": ({RP: False, ME: False, LOSSES: ("SmoothedCrossEntropyLoss", "SoftMarginTripletLoss")}, TRIPLET),
    "bed": ({RP: False, ME: False}, BED),
    "rp": ({ME: False}, BED | {"loss_bed_rp"}),
    "me": ({}, BED | {"loss_bed_rp"}),
}


@pytest.mark.parametrize("row", ROWS)
def test_loss_keys(row, make_model, batch, storage):
    overrides, keys = ROWS[row]
    losses = make_model(overrides)(batch)
    assert set(losses) == keys
    assert all(loss.shape == () and loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert set(storage.latest()) == {"accuracy/global"}


def test_every_key_of_the_project_is_read(make_cfg):
    cfg, reads = track(make_cfg({"MODEL.DEVICE": "meta", NAMES: ["CompoundBatchErasing"]}))
    with torch.device("meta"):
        build_model(cfg)
    keys = {f"MODEL.OCCLUDED.{key}" for key, _ in leaves(cfg.MODEL.OCCLUDED)}
    keys |= {f"MODEL.BACKBONE.DNL.{key}" for key, _ in leaves(cfg.MODEL.BACKBONE.DNL)}
    keys |= {CBE + key for key, _ in leaves(cfg.INPUT.BATCH_AUGMENT.CBE)}
    # The loaders read the second, and build_dnl_backbone the third; a test feature other than mu's is not read with it
    assert keys - reads == {"MODEL.OCCLUDED.TEST_FEATURE", CBE + "TOTAL_BATCH", "MODEL.BACKBONE.DNL.TRUNK"}


# ---- the losses by hand -------------------------------------------------------------------------------------------


def entropy(logits, targets, epsilon=0.1):
    return F.cross_entropy(logits, targets, label_smoothing=epsilon)


def multi_head(neck, weight, heads, scale, gamma):
    parts = [
        (F.normalize(x) @ (w / (w.norm(dim=1, keepdim=True) + gamma)).T) * scale / heads
        for x, w in zip(neck.chunk(heads, 1), weight.chunk(heads, 1), strict=True)
    ]
    return torch.stack(parts, dim=1)


def losses_by_hand(model, images, targets):
    """Eq. 5 from the last map on."""
    with torch.no_grad():
        maps, pooled = maps_and_pooled(model, images)
        pooled = pooled.float()
        bn, rp = model.heads.neck.bnneck, model.heads.reconstructive_pooling
        neck = (pooled - pooled.mean(dim=0)) / (pooled.var(dim=0, unbiased=False) + bn.eps).sqrt() * bn.weight
        logits = multi_head(neck, model.heads.neck.weight, 2, 16.0, 1 / 32)
        weights = torch.einsum("c,bcn->bn", rp.mask.weight[0, :, 0, 0], maps.flatten(2)).softmax(dim=1)
        reconstructed = torch.einsum("dc,bcn,bn->bd", rp.value.weight, maps.flatten(2), weights)
        return {
            "loss_cls_global": entropy(logits[:, 0], targets) + entropy(logits[:, 1], targets),
            "loss_bed_global": bounded_exponential_distance_loss(pooled, targets, 0.3),
            "loss_bed_rp": bounded_exponential_distance_loss(reconstructed, targets, 0.3),
        }


def check_losses(losses, expected):
    assert losses.keys() == expected.keys()
    for key in losses:
        torch.testing.assert_close(losses[key].detach(), expected[key], rtol=1e-4, atol=1e-5, msg=key)


def test_losses_are_those_of_eq_5(make_model, batch, storage):
    model = make_model(PLAIN)
    torch.nn.init.normal_(model.heads.reconstructive_pooling.mask.weight, std=0.5)
    check_losses(model(batch), losses_by_hand(model, model.preprocess_image(batch), batch["targets"]))


def test_the_identity_loss_on_both_features(make_model, batch, storage):
    """The caption of figure 2: RP's feature has a BNNeck and a classifier of its own, in training alone."""
    model = make_model({**PLAIN, RP_CLASSIFIER: True, "MODEL.HEADS.EMBEDDING_DIM": 16})
    own = model.heads.reconstructed_neck
    seen = {}
    own.register_forward_hook(lambda module, inputs, output: seen.update(output, pooled=inputs[0]))
    losses = model(batch)
    assert set(losses) == BED | {"loss_bed_rp", "loss_cls_rp"}
    assert set(storage.latest()) == {"accuracy/global", "accuracy/rp"}
    with torch.no_grad():
        feature = seen["pooled"] @ own.reduce.weight[:, :, 0, 0].T
        bn = own.bnneck
        neck = (feature - feature.mean(dim=0)) / (feature.var(dim=0, unbiased=False) + bn.eps).sqrt() * bn.weight
        logits = multi_head(neck, own.weight, 2, 16.0, 1 / 32)
        cls = entropy(logits[:, 0], batch["targets"]) + entropy(logits[:, 1], batch["targets"])
        torch.testing.assert_close(losses["loss_cls_rp"].detach(), cls, rtol=1e-4, atol=1e-5)
        bed = bounded_exponential_distance_loss(feature, batch["targets"], 0.3)
        torch.testing.assert_close(losses["loss_bed_rp"].detach(), bed, rtol=1e-4, atol=1e-5)
    assert all(
        p.data_ptr() != q.data_ptr() for p, q in zip(own.parameters(), model.heads.neck.parameters(), strict=True)
    )
    before = model.eval()(batch)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.fill_(math.nan)
    assert torch.equal(model(batch), before)
    assert all(key.startswith("heads.rec") for key in training_only_keys(model) if "reconstructed" in key)
    assert {f"heads.reconstructed_neck.{key}" for key in own.state_dict()} <= training_only_keys(model)


def test_cbe_doubles_the_batch_and_its_targets(make_model, batch, storage):
    """The network sees [X_re; X_bce], and the losses are those of 2B images with their targets twice."""
    model = make_model()
    seen = []
    model.backbone.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.manual_seed(5)
    losses = model(batch)
    torch.manual_seed(5)
    images = model.preprocess_image(batch)
    doubled = torch.cat([erase_rectangles(images), erase_stripe(images)])
    assert len(seen) == 1 and torch.equal(seen[0], doubled) and len(doubled) == 12
    assert (doubled[6:] == 0).all(dim=3).all(dim=1).any(dim=1).all()  # a stripe in each
    check_losses(losses, losses_by_hand(model, doubled, torch.cat([batch["targets"]] * 2)))
    model.eval()(batch)
    assert torch.equal(seen[-1], images)  # nothing is erased in a test


def test_modes_of_the_classifier(make_model, batch, storage):
    keys = {f"MODEL.OCCLUDED.CLASSIFIER.{k}": v for k, v in {"HEADS": 4, "SCALE": 8.0, "GAMMA": 0.5}.items()}
    per_head = make_model({**PLAIN, **keys})
    summed = make_model({**PLAIN, **keys, "MODEL.OCCLUDED.CLASSIFIER.MODE": "summed"})
    summed.load_state_dict(per_head.state_dict())
    targets = batch["targets"]
    necks = []
    per_head.heads.neck.bnneck.register_forward_hook(lambda module, inputs, output: necks.append(output[:, :, 0, 0]))
    losses = [model(batch)["loss_cls_global"] for model in (per_head, summed)]
    logits = multi_head(necks[0], per_head.heads.neck.weight, 4, 8.0, 0.5)
    torch.testing.assert_close(losses[0], sum(entropy(logits[:, h], targets) for h in range(4)), **CLOSE)
    torch.testing.assert_close(losses[1], entropy(logits.sum(dim=1), targets), **CLOSE)
    bed = [model(batch)["loss_bed_global"] for model in (per_head, summed)]
    torch.testing.assert_close(*bed, **EXACT)


def test_the_logged_accuracy_is_that_of_the_heads_together(make_model, batch, storage):
    """One head names all six targets, the other more firmly a wrong one for two of them: four sixths."""
    model = make_model(PLAIN)
    logits = torch.zeros(6, 2, 10)
    logits[range(6), 0, batch["targets"]] = 1.0
    logits[:2, 1, 0] = 3.0
    model.heads.neck._classify = lambda neck, targets: logits
    model(batch)
    assert storage.latest()["accuracy/global"][0] == pytest.approx(4 / 6)


@pytest.mark.parametrize("neck_feat", ["before", "after"])
def test_metric_losses_read_before_or_after_bnneck(neck_feat, make_model, batch, storage):
    model = make_model({**PLAIN, "MODEL.HEADS.NECK_FEAT": neck_feat})
    seen, outputs = observed(model), []
    model.heads.neck.register_forward_hook(lambda module, inputs, output: outputs.append(dict(output)))
    losses = model(batch)
    read = outputs[0]["feature" if neck_feat == "before" else "neck"]
    expected = bounded_exponential_distance_loss(read, batch["targets"], 0.3)
    torch.testing.assert_close(losses["loss_bed_global"], expected, **CLOSE)
    assert torch.equal(seen[0], outputs[0]["feature"])  # mu is that of the feature before BNNeck in both


def test_settings_of_bed_arrive(make_model, batch, storage):
    keys = {"ALPHA": 0.9, "NORM": False, "REDUCTION": "hard", "SCALE": 0.5}
    model = make_model({**PLAIN, **{f"MODEL.LOSSES.BED.{key}": value for key, value in keys.items()}})
    losses = model(batch)
    _, pooled = maps_and_pooled(model, model.preprocess_image(batch))
    expected = 0.5 * bounded_exponential_distance_loss(pooled.float(), batch["targets"], 0.9, False, "hard")
    torch.testing.assert_close(losses["loss_bed_global"], expected, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient(make_model, batch, storage):
    """DistributedDataParallel is not told to look for unused ones."""
    model = make_model()
    sum(model(batch).values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_every_loss_trains_the_backbone(make_model, batch, storage):
    model = make_model()
    for name, loss in model(batch).items():
        (gradient,) = torch.autograd.grad(loss, model.backbone.conv1.weight, retain_graph=True)
        assert gradient.isfinite().all() and gradient.any(), name


# ---- FastReID's strong baseline -----------------------------------------------------------------------------------

SBS = {  # what both have from Base-SBS.yml
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.HEADS.NECK_FEAT": "after",
    "MODEL.HEADS.CLS_LAYER": "CircleSoftmax",
    "MODEL.HEADS.SCALE": 64,
    "MODEL.HEADS.MARGIN": 0.35,
}
HOST = {
    **SBS,
    "MODEL.META_ARCHITECTURE": "Baseline",
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.BACKBONE.FEAT_DIM": 64,
    "MODEL.HEADS.NUM_CLASSES": 10,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.POOL_LAYER": "GeneralizedMeanPoolingP",
    "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
    "MODEL.LOSSES.CE.EPSILON": 0.0,
    "MODEL.LOSSES.TRI.MARGIN": 0.0,
    "MODEL.LOSSES.TRI.HARD_MINING": True,
    "MODEL.LOSSES.TRI.NORM_FEAT": False,
}
OFF = {
    **SBS,
    RP: False,
    ME: False,
    NAMES: [],
    "MODEL.OCCLUDED.CLASSIFIER.MODE": "circle",
    LOSSES: ("SmoothedCrossEntropyLoss", "SoftMarginTripletLoss"),
    "MODEL.LOSSES.SMOOTHED_CE.EPSILON": 0.0,
}


def test_with_all_parts_off_it_is_fastreids_strong_baseline(make_model, batch, storage):
    """Copied weights: the same losses, gradients and test feature. Tolerance 1e-5; FastReID's triplet loss takes
    distances from a matrix product, which costs digits: 1e-4."""
    cfg = get_cfg()
    cfg.merge_from_list([item for pair in HOST.items() for item in pair])
    host, model = build_model(cfg), make_model(OFF)
    host.heads.weight.data.normal_(std=0.3)
    names = {"heads.bottleneck.0.": "heads.neck.bnneck.", "heads.pool_layer.": "heads.pool."}
    names["heads.weight"] = "heads.neck.weight"
    state = {}
    for name, value in host.state_dict().items():
        for old, new in names.items():
            name = name.replace(old, new)
        state[name] = value.clone()
    model.load_state_dict(state, strict=True)  # the same parts, and no more

    copies = [{key: value.clone() for key, value in batch.items()} for _ in range(4)]  # FastReID's writes into its own
    theirs, ours = host(copies[0]), model(copies[1])
    assert set(theirs) == {"loss_cls", "loss_triplet"} and set(ours) == TRIPLET
    torch.testing.assert_close(ours["loss_cls_global"], theirs["loss_cls"], **CLOSE)
    torch.testing.assert_close(ours["loss_triplet_global"], theirs["loss_triplet"], rtol=1e-4, atol=1e-5)
    for losses in (theirs, ours):
        sum(losses.values()).backward()
    for here, there in [("conv1.weight", "conv1.weight"), ("layer4.0.conv2.weight", "layer4.0.conv2.weight")]:
        a, b = model.backbone.get_parameter(here).grad, host.backbone.get_parameter(there).grad
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * b.abs().max().item())
    torch.testing.assert_close(model.heads.neck.weight.grad, host.heads.weight.grad, rtol=1e-4, atol=1e-5)
    with torch.no_grad():  # after the step both have moved their running statistics alike
        torch.testing.assert_close(model.eval()(copies[2]), host.eval()(copies[3]), **CLOSE)


# ---- the test feature ---------------------------------------------------------------------------------------------


def test_the_test_feature_is_the_normalised_pooled_one_minus_mu(make_model, batch):
    model = make_model().eval()
    model.heads.momentum_elimination.mu.normal_(std=0.1)
    model.heads.neck.bnneck.running_mean.normal_()  # the feature is the one before it
    with torch.no_grad():
        feature = model(batch)
        _, pooled = maps_and_pooled(model, model.preprocess_image(batch))
    lengths = pooled.square().sum(dim=1, keepdim=True).sqrt()
    assert feature.shape == (6, 64) and feature.dtype == torch.float32
    mu = model.heads.momentum_elimination.mu.double()
    torch.testing.assert_close(feature.double(), pooled / lengths - mu, **CLOSE)


@pytest.mark.parametrize("which", ["neck", "pooled"])
def test_the_test_feature_without_mu(which, make_model, batch):
    model = make_model({ME: False, "MODEL.OCCLUDED.TEST_FEATURE": which}).eval()
    bn = model.heads.neck.bnneck
    bn.running_mean.normal_()
    bn.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        feature = model(batch)
        _, pooled = maps_and_pooled(model, model.preprocess_image(batch))
    neck = (pooled - bn.running_mean) / (bn.running_var + bn.eps).sqrt()
    torch.testing.assert_close(feature.double(), neck if which == "neck" else pooled, rtol=1e-4, atol=1e-5)


def test_with_an_embedding_the_feature_is_that(make_model, batch, storage):
    model = make_model({"MODEL.HEADS.EMBEDDING_DIM": 16})
    seen = observed(model)
    assert set(model(batch)) == BED | {"loss_bed_rp"}  # RP keeps the last map's channels
    assert seen[0].shape == (12, 16) and model.heads.momentum_elimination.mu.shape == (16,)
    assert model.heads.reconstructive_pooling.value.weight.shape == (64, 64)
    with torch.no_grad():
        assert model.eval()(batch).shape == (6, 16)


def test_a_test_needs_neither_rp_nor_classifier(make_model, batch):
    """Both full of NaN: the features do not change in a bit."""
    model = make_model().eval()
    with torch.no_grad():
        before = model(batch)
        for parameter in [model.heads.neck.weight, *model.heads.reconstructive_pooling.parameters()]:
            parameter.fill_(math.nan)
        calls = []
        model.heads.reconstructive_pooling.register_forward_hook(lambda *_: calls.append(1))
        assert torch.equal(model(batch), before) and not calls


def test_a_test_costs_what_the_plain_backbone_costs(make_model, batch):
    """Counted operations of the full model and of backbone, pooling and BNNeck alone: the same number."""
    counts = []
    for overrides in ({}, {RP: False, ME: False}):
        model = make_model(overrides).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(batch)
        counts.append(counter.get_total_flops())
    model = make_model().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.backbone(model.preprocess_image(batch))
    assert counts[0] == counts[1] == counter.get_total_flops() > 0


def test_the_exported_model_is_the_model_without_rp(make_model, batch):
    """No node of the exported graph reads RP or the classifier. Tolerance: float32, operations fused or not."""
    model = make_model().eval()
    model.heads.momentum_elimination.mu.normal_(std=0.1)
    images = batch["images"]
    with torch.no_grad():
        expected = model(images)
        program = torch.export.export(model, (images,))
        torch.testing.assert_close(program.module()(images), expected, **CLOSE)
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    used = {names[n.name] for n in program.graph.nodes if n.op == "placeholder" and n.users and n.name in names}
    assert {"backbone.conv1.weight", "heads.pool.p", "heads.momentum_elimination.mu"} <= used
    assert not {name for name in used if name.startswith("heads.reconstructive_pooling") or name == "heads.neck.weight"}


# ---- mu -----------------------------------------------------------------------------------------------------------


def test_mu_is_shown_the_features_of_training_steps_alone(make_model, batch, storage):
    model = make_model()
    seen = observed(model)
    model(batch)
    assert [x.shape for x in seen] == [(12, 64)]  # both halves of CBE
    assert not model.heads.momentum_elimination.mu.any()  # the step has not come yet
    model.heads.momentum_elimination.after_step()
    mu = model.heads.momentum_elimination.mu.clone()
    torch.testing.assert_close(mu, 0.1 * F.normalize(seen[0]).mean(dim=0), **CLOSE)
    with torch.no_grad():
        model.eval()(batch)
        model.train()({**batch, "targets": torch.full((6,), -1)})  # PreciseBN
    model.heads.momentum_elimination.after_step()
    assert len(seen) == 1 and torch.equal(model.heads.momentum_elimination.mu, mu)


def test_precise_bn_sees_whole_images(make_model, batch, storage):
    model, seen = make_model(), []
    model.backbone.conv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    assert model({**batch, "targets": torch.full((6,), -1)}) == {}
    assert torch.equal(seen[0], model.preprocess_image(batch))


def test_beta_of_the_config(make_model):
    assert make_model({"MODEL.OCCLUDED.ME.BETA": 0.5}).heads.momentum_elimination.beta == 0.5
    assert make_model().heads.momentum_elimination.beta == 0.9


def test_mu_under_euclidean_distance_is_a_warning(make_cfg, caplog):
    def warnings(overrides):
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="fastreid_ext"), torch.device("meta"):
            build_model(make_cfg({"MODEL.DEVICE": "meta", **overrides}))
        return [record.getMessage() for record in caplog.records if "ME" in record.getMessage()]

    logging.getLogger("fastreid_ext").propagate = True
    (message,) = set(warnings({"TEST.METRIC": "euclidean"}))  # a log that other tests opened may see it twice
    assert message.startswith("MODEL.OCCLUDED.ME subtracts one vector from every test feature, which leaves euclidean")
    assert message.endswith("set TEST.METRIC cosine")
    assert warnings({"TEST.METRIC": "cosine"}) == []
    assert warnings({"TEST.METRIC": "euclidean", ME: False}) == []


# ---- precision ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mu_is_float32_under_autocast(dtype, make_model, batch, storage):
    model = make_model()
    seen = observed(model)
    with torch.autocast("cpu", dtype=dtype):
        model(batch)
    assert seen[0].isfinite().all()
    model.heads.momentum_elimination.after_step()
    assert model.heads.momentum_elimination.mu.dtype == torch.float32


@pytest.mark.parametrize("pool", ["GeneralizedMeanPoolingP", "GeneralizedMeanPooling"])
def test_pooling_does_not_leave_a_half_types_range(pool, make_model):
    """GeM takes third powers: 100^3 = 1e6 is past float16. Tolerance: one rounding of the maps."""
    model = make_model({ME: False, "MODEL.OCCLUDED.TEST_FEATURE": "pooled", "MODEL.HEADS.POOL_LAYER": pool}).eval()
    maps = torch.rand(2, 64, 4, 2) * 100 + 50
    model.backbone.forward = lambda images: maps.half()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        feature = model(torch.zeros(2, 3, 64, 32))
    expected = maps.double().pow(3).mean(dim=(2, 3)).pow(1 / 3)
    torch.testing.assert_close(feature.double(), expected, rtol=1e-3, atol=0)


# ---- behaviour ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_callers_batch_is_left_alone(make_model, batch, storage, training):
    before = {key: value.clone() for key, value in batch.items()}
    make_model().train(training)(batch)
    assert batch.keys() == before.keys() and all(torch.equal(batch[key], before[key]) for key in before)


def test_eval_is_deterministic(make_model, batch):
    model = make_model().eval()
    with torch.no_grad():
        first = model(batch)
        assert torch.equal(first, model(batch)) and torch.equal(first, model(batch["images"]))
        torch.testing.assert_close(model(batch["images"][:1]), first[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([4] * 6, "there are no images of two identities in this batch of 12: check the sampler and"),
        ([0, 1, 2, 3, 4, 5], None),  # with CBE every image has a positive: its other half
    ],
)
def test_a_batch_without_pairs(targets, message, make_model, batch, storage):
    model, batch = make_model(), {**batch, "targets": torch.tensor(targets)}
    if message is None:
        assert all(loss.isfinite() for loss in model(batch).values())
        model, message = make_model(PLAIN), "there are no two images of one identity in this batch of 6"
    with pytest.raises(ValueError, match=message):
        model(batch)


CLASSIFIER = "MODEL.OCCLUDED.CLASSIFIER."


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL.HEADS.POOL_LAYER": "MaxPool"}, "POOL_LAYER must be one of .*GeneralizedMeanPoolingP.* got 'MaxPool'"),
        ({"MODEL.HEADS.NECK_FEAT": "both"}, r"NECK_FEAT must be one of \('before', 'after'\), got 'both'"),
        (
            {ME: False, "MODEL.OCCLUDED.TEST_FEATURE": "rp"},
            r"OCCLUDED.TEST_FEATURE must be one of \('neck', 'pooled'\), got 'rp'",
        ),
        ({"MODEL.OCCLUDED.ME.BETA": 1.0}, r"needs beta in \[0, 1\) .* got 1.0"),
        ({"MODEL.OCCLUDED.ME.BETA": -0.1}, r"needs beta in \[0, 1\) .* got -0.1"),
        (
            {CLASSIFIER + "MODE": "single"},
            r"CLASSIFIER.MODE must be one of \('per_head', 'summed', 'circle'\), got 'single'",
        ),
        ({CLASSIFIER + "HEADS": 3}, r"3 heads \(MODEL.OCCLUDED.CLASSIFIER.HEADS\) needs .* divide, got 64"),
        ({CLASSIFIER + "HEADS": 0}, "0 heads"),
        ({CLASSIFIER + "SCALE": -1.0}, "scale > 0 and gamma > 0, got -1.0"),
        ({CLASSIFIER + "GAMMA": -1.0}, "scale > 0 and gamma > 0, got 16.0 and -1.0"),
        ({CLASSIFIER + "MODE": "circle", "MODEL.HEADS.CLS_LAYER": "Softmax"}, "CLS_LAYER must be one of"),
        ({LOSSES: ("SmoothedCrossEntropyLoss",)}, "OCCLUDED.RP is trained by a metric loss, and .* has none: add"),
        ({LOSSES: ("HingeLoss",)}, "'HingeLoss', which OccludedReID does not know"),
        ({"MODEL.BACKBONE.DNL.BLOCKS": [0, 2, 0, 0]}, r"DNL.BLOCKS must say .* at most \[1, 1, 1, 1\]"),
        ({CBE + "STRIPES": [65]}, "images of 64 rows can't be cut into 65 stripes"),
        ({"INPUT.REA.ENABLED": True}, "INPUT.REA.ENABLED erases every image before CompoundBatchErasing"),
    ],
)
def test_bad_config_values(overrides, message, make_cfg):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        build_model(make_cfg({"MODEL.DEVICE": "meta", **overrides}))


@pytest.mark.parametrize(
    ("overrides", "unread"),
    [
        ({"MODEL.OCCLUDED.TEST_FEATURE": "pooled"}, "MODEL.OCCLUDED.TEST_FEATURE"),  # mu decides it
        ({ME: False, "MODEL.OCCLUDED.ME.BETA": 0.5}, "MODEL.OCCLUDED.ME.BETA"),
        ({CLASSIFIER + "MODE": "circle", CLASSIFIER + "HEADS": 4}, CLASSIFIER + "HEADS"),
        ({"MODEL.HEADS.CLS_LAYER": "CircleSoftmax"}, "MODEL.HEADS.CLS_LAYER"),
        ({"MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone"}, "MODEL.BACKBONE.DNL.BLOCKS"),
        ({RP: False, RP_CLASSIFIER: True}, RP_CLASSIFIER),
    ],
)
def test_keys_without_effect(overrides, unread, make_cfg):
    cfg, reads = track(make_cfg({"MODEL.DEVICE": "meta", **overrides}))
    with torch.device("meta"):
        build_model(cfg)
    with pytest.raises(ConfigError, match=f"{unread} has no effect here: no part reads it"):
        check_all_read(cfg, get_cfg(), reads | {"MODEL.FREEZE_LAYERS"}, nodes=("MODEL",))


def test_other_backbones_and_their_channels(make_model, batch, storage):
    """Without non-local blocks any backbone of FastReID will do."""
    model = make_model({"MODEL.BACKBONE.NAME": "build_osnet_backbone", "MODEL.BACKBONE.DEPTH": "x0_25"})
    assert not any(isinstance(module, DisentangledNonLocal2d) for module in model.modules())
    assert all(loss.isfinite() for loss in model(batch).values())
    assert model.heads.neck.dim == model.heads.reconstructive_pooling.value.in_features == 128
