"""Res2NetMultiTask: what its switches build, its losses, its test feature, verify() and its refusals."""

import pytest
import shapes
import torch
import torch.nn.functional as F
from fastreid.modeling import build_model

from fastreid_ext.engine.key_tracking import leaves, track
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.model_zoo import get_config

DESCRIPTORS = {"linear4096": 4096, "linear24": 24, "none": 512, "avgmax": 1024}
NODE = "MODEL.MULTITASK"
WITHOUT_DROPOUT = {f"{NODE}.DROPOUT": 0.0}


def naive(model, batch):
    """Eq. 1 to 5 in float64 on the model's own last maps, pair by pair."""
    with torch.no_grad():
        maps = model.backbone(model.preprocess_image(batch)).double()
        head, theta = model.heads.double(), model.heads.verification.linear.double()
        f = [head.embedding(m.mean(dim=(1, 2))) for m in maps]
        identify = verify = 0.0
        targets = batch["targets"].tolist()
        count = len(f) // 2
        for i in range(count):
            first, second = 2 * i, 2 * i + 1
            for n in (first, second):
                p_hat = torch.softmax(head.classifier.weight @ f[n] + head.classifier.bias, 0)
                identify += 0.5 * -p_hat[targets[n]].log() / count
            q_hat = torch.softmax(theta.weight @ (f[first] - f[second]) ** 2 + theta.bias, 0)
            verify += -q_hat[0 if targets[first] == targets[second] else 1].log() / count
        model.float()
        return identify.item(), verify.item()


@pytest.mark.parametrize("targets", [[3, 3, 9, 4, 7, 7], [1, 1, 2, 2, 1, 1], [1, 2, 3, 4, 5, 6], [1, 2, 2, 1, 1, 1]])
def test_losses(make_model, batch, storage, targets):
    """Relative 1e-4 (maps of float32 through eq. 1 to 5), with pairs of both kinds and of one."""
    model = make_model(WITHOUT_DROPOUT | {f"{NODE}.VERIFICATION_WEIGHT": 0.7}).train()
    torch.nn.init.normal_(model.heads.verification.linear.weight, std=0.5)
    torch.nn.init.normal_(model.heads.classifier.weight, std=0.5)
    batch["targets"] = torch.tensor(targets)
    losses = model(batch)
    identify, verify = naive(model, batch)
    assert list(losses) == ["loss_cls_global", "loss_verification_global"]
    assert losses["loss_cls_global"].item() == pytest.approx(identify, rel=1e-4)
    assert losses["loss_verification_global"].item() == pytest.approx(0.7 * verify, rel=1e-4)
    assert abs(verify - 0.6931) > 1e-3  # not what any undecided head gives
    # Verification teaches the trunk and f too, which is what the second task is for; not the classifier.
    losses["loss_verification_global"].backward(retain_graph=True)
    taught = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert taught == {name for name, _ in model.named_parameters() if not name.startswith("heads.classifier.")}
    losses["loss_cls_global"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_the_accuracy_of_verification(make_model, batch, storage):
    """Log odds of 3 minus the sum of squares: of the model's own features, counted by hand."""
    model = make_model(WITHOUT_DROPOUT | {f"{NODE}.DESCRIPTOR": "linear2"})
    features = torch.tensor([[0.0, 0], [1, 1], [0, 0], [1, 0], [0, 0], [2, 1]])  # distances 2, 1, 5: same, same, not
    model.heads.verification.linear.weight.data = torch.tensor([[-1.0, -1.0], [0.0, 0.0]])
    model.heads.verification.linear.bias.data = torch.tensor([3.0, 0.0])
    for targets, share in (([3, 3, 9, 4, 7, 8], 2 / 3), ([3, 3, 9, 9, 7, 8], 1.0), ([3, 4, 9, 4, 7, 7], 0.0)):
        targets = torch.tensor(targets)
        model.losses({"global": {"feature": features, "logits": torch.zeros(6, 10)}}, targets)
        assert storage.latest()["accuracy/verification"][0] == pytest.approx(share)


def test_the_batch_goes_through_the_trunk_once(make_model, batch, storage, monkeypatch):
    model, seen = make_model(), []
    monkeypatch.setattr(model.backbone, "forward", lambda x, run=model.backbone.forward: seen.append(len(x)) or run(x))
    model(batch)
    assert seen == [6]


def test_dropout_is_of_the_classifier_alone(make_model, batch, storage):
    """Eq. 3 reads f itself: equal images have a distance of 0 in training too."""
    model = make_model({f"{NODE}.DROPOUT": 0.9}).train()
    batch["images"][1::2] = batch["images"][0::2]
    torch.nn.init.normal_(model.heads.verification.linear.weight)
    model(batch)
    assert model.losses(model.branches(model.preprocess_image(batch), batch["targets"]), batch["targets"])[
        "loss_verification_global"
    ].item() == pytest.approx(0.6931472, abs=1e-6)  # ln 2: only the bias, which is 0
    outputs = model.branches(model.preprocess_image(batch), batch["targets"])["global"]
    assert torch.equal(outputs["feature"][0::2], outputs["feature"][1::2])
    assert not torch.equal(outputs["logits"][0::2], outputs["logits"][1::2])


@pytest.mark.parametrize("descriptor", DESCRIPTORS)
def test_descriptors(make_model, batch, descriptor):
    model = make_model({f"{NODE}.DESCRIPTOR": descriptor}).eval()
    with torch.no_grad():
        feature = model(batch)
        maps = model.backbone(model.preprocess_image(batch))
    assert feature.shape == (6, DESCRIPTORS[descriptor]) and feature.dtype == torch.float32
    average, largest = (pool(maps, 1).flatten(1) for pool in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d))
    expected = {"none": average, "avgmax": torch.cat([average, largest], dim=1)}.get(descriptor)
    if expected is None:
        expected = average @ model.heads.embedding.weight.T + model.heads.embedding.bias
    torch.testing.assert_close(feature, expected, rtol=1e-5, atol=1e-5)
    assert model.heads.verification.linear.in_features == model.heads.classifier.in_features == feature.shape[1]


def test_verify_is_the_softmax_of_the_head_and_symmetric(make_model, batch):
    model = make_model().eval()
    torch.nn.init.normal_(model.heads.verification.linear.weight, std=0.5)
    a, b = batch["images"][0::2], batch["images"][1::2]
    before = batch["images"].clone()
    found = model.verify(a, b)
    assert torch.equal(found, model.verify(b, a)) and torch.equal(batch["images"], before)
    with torch.no_grad():
        f1, f2 = model(a), model(b)
    theta = model.heads.verification.linear
    expected = torch.softmax((f1 - f2) ** 2 @ theta.weight.T + theta.bias, dim=1)[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found.std() > 1e-3 and not found.requires_grad
    same = model.verify(a, a)
    torch.testing.assert_close(same, theta.bias.softmax(0)[:1].expand(3).detach())


def test_identification_alone(make_model, make_cfg, batch, storage):
    off = {f"{NODE}.VERIFICATION": False, "DATALOADER.SAMPLER_TRAIN": "TrainingSampler"}
    model = make_model(off)
    batch = {key: value[:5] for key, value in batch.items()}  # no pairs, no even number
    assert list(model(batch)) == ["loss_cls_global"]
    assert not any(name.startswith("heads.verification") for name in model.state_dict())
    with pytest.raises(ValueError, match="this Res2NetMultiTask has no verification task"):
        model.eval().verify(batch["images"], batch["images"])
    cfg, reads = track(make_cfg({"MODEL.DEVICE": "meta", **off}))
    with shapes.OnMeta():
        build_model(cfg)
    assert f"{NODE}.VERIFICATION_WEIGHT" not in reads


def test_every_key_is_read(make_cfg):
    cfg, reads = track(make_cfg({"MODEL.DEVICE": "meta"}))
    with shapes.OnMeta():
        build_model(cfg)
    assert {f"{NODE}.{key}" for key, _ in leaves(cfg.MODEL.MULTITASK)} <= reads


def test_refusals(make_shape, make_model, batch, storage):
    for key, value, sentence in (
        ("DESCRIPTOR", "linear", "DESCRIPTOR must be linear4096 .* got 'linear'"),
        ("DESCRIPTOR", "linear0", "DESCRIPTOR must be linear4096"),
        ("DROPOUT", 1.0, r"DROPOUT must lie in \[0, 1\), got 1.0"),
        ("VERIFICATION_WEIGHT", 0.0, "VERIFICATION_WEIGHT must be positive, got 0.0; VERIFICATION False"),
    ):
        with pytest.raises(ValueError, match=sentence):
            make_shape({f"{NODE}.{key}": value})
    with pytest.raises(ValueError, match="SAMPLER_TRAIN is NaiveIdentitySampler: set it to PairSampler, or VERIFICA"):
        make_shape({"DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler"})
    model = make_model()
    with pytest.raises(ValueError, match=r"pairs, images 2i and 2i \+ 1, but this one has 5 images"):
        model({key: value[:5] for key, value in batch.items()})
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        model.verify(batch["images"], batch["images"])


def test_batch_statistics_alone(make_model, batch):
    """FastReID's PreciseBN marks its batches with -1, and they may be odd."""
    model = make_model()
    assert model({"images": batch["images"][:5], "targets": -torch.ones(5, dtype=torch.long)}) == {}


def test_the_recipe():
    """Sections III.B and C."""
    cfg = get_config("Res2NetMultiTask/ablation/table2_er05.yml")
    cfg.merge_from_list(["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 751])
    with shapes.OnMeta():
        model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {round(rates[id(p)], 6) for p in model.backbone.parameters()} == {0.005}
    assert {round(rates[id(p)], 6) for p in model.heads.verification.parameters()} == {0.005}  # ours
    own = [p for part in (model.heads.embedding, model.heads.classifier) for p in part.parameters()]
    assert {rates[id(p)] for p in own} == {0.05}
    assert {(g["momentum"], g["nesterov"], g["weight_decay"]) for g in optimizer.param_groups} == {(0.9, True, 5e-4)}
    assert model.heads.embedding.weight.shape == (4096, 2048) and model.heads.classifier.weight.shape == (751, 4096)
