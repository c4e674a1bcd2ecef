"""One step of training: precision, finite losses, clipping, frozen layers."""

import copy
from types import SimpleNamespace

import pytest
import torch
from fastreid.utils.events import EventStorage
from torch import nn

from fastreid_ext.engine import precision
from fastreid_ext.engine.accumulation import parts_of
from fastreid_ext.engine.hooks import FiniteWeights, layer_freeze
from fastreid_ext.engine.precision import autocast_dtype, losses_in_float32
from fastreid_ext.engine.step import TrainingStep, gradient_clipper, step_settings
from fastreid_ext.errors import ConfigError
from fastreid_ext.modeling.scalars import log_scalars

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


# ---- what to autocast to --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, torch.bfloat16), (False, None)])
def test_auto_on_a_cpu(has_bf16, expected, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has_bf16)
    assert autocast_dtype(CPU, True, "auto") is expected


@pytest.mark.parametrize(("major", "expected"), [(7, torch.float16), (8, torch.bfloat16), (9, torch.bfloat16)])
def test_auto_on_a_gpu(major, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))
    assert autocast_dtype(CUDA, True, "auto") is expected


def test_named_precisions(monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    for device in (CPU, CUDA):
        assert autocast_dtype(device, True, "bf16") is torch.bfloat16
        assert autocast_dtype(device, True, "fp16") is torch.float16
        for name in ("auto", "bf16", "fp16"):
            assert autocast_dtype(device, False, name) is None
    with pytest.raises(ValueError, match="'fp32'"):
        autocast_dtype(CPU, True, "fp32")


# ---- the step -------------------------------------------------------------------------------------------------------


class Model(nn.Module):
    """Two layers and two losses; notes the precision it computed in."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.body_head = nn.Linear(8, 1)
        self.factors = {"loss_a": 1.0, "loss_b": 0.5}

    def forward(self, data):
        y = self.body_head(self.body(data["images"]))
        self.dtype = y.dtype
        return {name: factor * y.float().square().mean() for name, factor in self.factors.items()}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


def batches(count=4):
    generator = torch.Generator().manual_seed(1)
    return [{"images": torch.randn(4, 8, generator=generator)} for _ in range(count)]


def train(model, steps=1, rate=0.1, optimizer=torch.optim.SGD, loader=None, **kwargs):
    """Run some steps and return the step object and the storage."""
    step = TrainingStep(model, loader or batches(), optimizer(model.parameters(), lr=rate), **kwargs)
    with EventStorage(0) as storage:
        for step.iter in range(steps):
            step.run_step()
    return step, storage


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_precision_of_a_step(dtype, model):
    model.factors = {"loss_a": 0.02, "loss_b": 0.01}  # times the first scale of 2 ** 16 float16 still holds them
    before = weights(model)
    step, storage = train(model, autocast=dtype)
    assert model.dtype is (dtype or torch.float32)
    assert step.grad_scaler.is_enabled() == (dtype is torch.float16)
    assert all(value.dtype is torch.float32 for value in model.state_dict().values())
    assert not torch.equal(before["body.weight"], model.body.weight)
    latest = storage.latest()
    assert latest["total_loss"][0] == pytest.approx(latest["loss_a"][0] + latest["loss_b"][0])
    assert latest["data_time"][0] >= 0.0


class Telling(Model):
    """Also logs two numbers for each forward."""

    def forward(self, data):
        log_scalars(["accuracy/a", "accuracy/b"], torch.stack([data["images"].mean(), data["images"].max()]))
        return super().forward(data)


def test_what_the_model_logs_is_read_with_the_losses(monkeypatch):
    reads, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(len(self)) or tolist(self))
    (data,) = batches(1)
    _, storage = train(Telling(), loader=[data], parts=2)
    assert reads == [len(Telling().factors) + 1 + 2 * 2]  # losses and the time that was waited; two parts
    means = [half["images"].mean().item() for half in parts_of(data, 2)]
    assert [value for value, _ in storage.history("accuracy/a").values()] == means
    assert storage.latest()["accuracy/b"][0] == data["images"][2:].max().item()


def test_losses_of_deep_miner_are_float32(run_main, monkeypatch):
    seen = {}
    write = TrainingStep._write

    def note(self, losses, data_time):
        seen.update({name: loss.dtype for name, loss in losses.items()})
        write(self, losses, data_time)

    monkeypatch.setattr(TrainingStep, "_write", note)
    overrides = {"SOLVER__AMP__ENABLED": True, "SOLVER__AMP__DTYPE": "bf16", "TEST__EVAL_PERIOD": 0}
    run_main(SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0, SOLVER__STEPS="[]", **overrides)
    assert len(seen) == 9 and set(seen.values()) == {torch.float32}


def test_float16_overflow_skips_the_step_and_lowers_the_scale(model):
    model.factors = {"loss": 1e6}
    before = weights(model)
    step, _ = train(model, autocast=torch.float16)
    assert step.grad_scaler.get_scale() == 2.0**15
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_infinite_loss_stops_before_the_weights_move(bad, dtype, model):
    model.factors = {"loss_good": 1.0, "loss_bad": bad, "loss_worse": bad}
    before = weights(model)
    with pytest.raises(FloatingPointError, match=r"iteration 0: loss_bad is [-a-z]+, loss_worse is [-a-z]+;"):
        train(model, autocast=dtype)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_nan_keeps_the_last_checkpoint(fails, monkeypatch, tmp_path):
    from fastreid_ext.losses import CenterLoss

    forward, calls = CenterLoss.forward, iter(range(10**6))

    def break_down(self, features, targets):
        loss = forward(self, features, targets)
        return loss * float("nan") if next(calls) >= 3 * 4 + 1 else loss  # 3 branches, 4 iterations an epoch

    monkeypatch.setattr(CenterLoss, "forward", break_down)
    sentence = fails()
    assert "iteration 4: loss_center_ie3 is nan, loss_center_local is nan; the weights were not touched" in sentence
    assert "SOLVER.BASE_LR" in sentence and "\n" not in sentence
    last = (tmp_path / "out" / "last_checkpoint").read_text()
    kept = torch.load(tmp_path / "out" / last, weights_only=True)
    assert last == "model_latest.pth" and kept["epoch"] == 0
    assert all(value.isfinite().all() for value in kept["model"].values())


# ---- clipping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["norm", "value"])
@pytest.mark.parametrize("dtype", [None, torch.float16])
@pytest.mark.parametrize("optimizer", ["SGD", "fused Adam"])
def test_clipping_is_that_of_the_unscaled_gradients(kind, dtype, optimizer, model):
    model.factors = {"loss_a": 0.02, "loss_b": 0.01}  # times the first scale of 2 ** 16 float16 still holds them
    reference, start = copy.deepcopy(model), weights(model)
    make = torch.optim.SGD if optimizer == "SGD" else lambda p, lr: torch.optim.Adam(p, lr=lr, fused=True)
    limit = 1e-3
    train(model, steps=3, optimizer=make, autocast=dtype, clip=gradient_clipper(kind, limit, 2.0))

    plain = make(reference.parameters(), lr=0.1)
    for batch in batches()[:3]:
        plain.zero_grad()
        with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
            losses = reference(batch)
        sum(losses.values()).backward()
        for parameter in reference.parameters():
            assert parameter.grad.norm() > limit  # the limit is felt
            if kind == "norm":
                parameter.grad *= limit / (parameter.grad.norm() + 1e-6)
            else:
                parameter.grad.clamp_(-limit, limit)
        plain.step()
    for key, value in model.named_parameters():
        moved, expected = value - start[key], reference.get_parameter(key) - start[key]
        # float16 gradients are rounded at another scale
        assert (moved - expected).norm() < (1e-4 if dtype is None else 0.03) * expected.norm(), key


def test_unknown_clipping():
    with pytest.raises(ValueError, match="CLIP_TYPE must be 'norm' or 'value', got 'full_model'"):
        gradient_clipper("full_model", 1.0, 2.0)


# ---- frozen layers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, gradient_clipper("value", 1.0, 2.0)])
@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_frozen_parameters(clip, dtype, model):
    before = weights(model)
    kwargs = {"clip": clip, "autocast": dtype, "frozen": list(model.body.parameters())}
    train(model, steps=2, freeze_iters=2, **kwargs)
    assert torch.equal(before["body.weight"], model.body.weight)
    assert not torch.equal(before["body_head.weight"], model.body_head.weight)
    train(model, steps=3, freeze_iters=2, **kwargs)
    assert not torch.equal(before["body.weight"], model.body.weight)


def test_names_of_frozen_layers_are_whole(model):
    from fastreid_ext import get_cfg

    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.SOLVER.FREEZE_ITERS = 5

    def frozen(*layers):
        cfg.MODEL.FREEZE_LAYERS = list(layers)
        names = {parameter: name for name, parameter in model.named_parameters()}
        return {names[parameter] for parameter in step_settings(cfg, model).get("frozen", [])}

    assert frozen("body") == {"body.weight", "body.bias"}
    assert frozen("body_head.bias") == {"body_head.bias"}
    assert frozen() == set()
    with pytest.raises(ConfigError, match=r"FREEZE_LAYERS names \['bod'\], but no parameter has such a name"):
        frozen("bod")


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
        self.head = nn.BatchNorm1d(8)

    def forward(self, images):
        return self.head(self.body(images))


@pytest.mark.parametrize("layer", ["body", "body.1"])
def test_norms_of_frozen_layers_are_frozen(layer):
    """Also those of a part of a trunk, and behind an evaluation, which puts all of a model in training mode again."""
    from fastreid_ext import get_cfg

    cfg, model = get_cfg(), Normed()
    cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS = [layer], 4
    hook = layer_freeze(cfg, model)
    means = {}
    for step in range(6):
        hook.trainer = SimpleNamespace(iter=step)
        hook.before_step()
        model(batches()[0]["images"])
        means[step] = (model.body[1].running_mean.clone(), model.head.running_mean.clone())
        assert (
            model.body[1].training is (step >= 4)
            and model.head.training
            and model.body[0].training is (layer == "body.1" or step >= 4)
        )
        model.eval().train()
    assert not means[3][0].any() and means[5][0].any() and means[0][1].any()


def test_a_frozen_head_of_the_host_gives_losses():
    """In eval mode it gives features alone, and FastReID's Baseline ended in a traceback."""
    from fastreid.modeling.heads import EmbeddingHead

    from fastreid_ext import get_cfg

    cfg, model = get_cfg(), nn.Module()
    cfg.MODEL.HEADS.WITH_BNNECK, cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.BACKBONE.FEAT_DIM = True, 4, 8
    model.heads = EmbeddingHead(cfg)
    cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS = ["heads"], 1
    hook = layer_freeze(cfg, model)
    hook.trainer = SimpleNamespace(iter=0)
    hook.before_step()
    outputs = model.heads(torch.rand(4, 8, 2, 1), torch.tensor([0, 0, 1, 1]))
    assert outputs["cls_outputs"].shape == (4, 4)
    (norm,) = (module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    assert not norm.training and not norm.running_mean.any()


# ---- the host's models ----------------------------------------------------------------------------------------------


def test_losses_of_a_host_model_are_computed_in_float32():
    """Also inside nested outputs; in bfloat16 the sum would be off by parts in a hundred."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(8, 512, generator=generator).bfloat16()
    targets = torch.arange(8) // 4

    class Host(nn.Module):
        def losses(self, student, teachers, targets):  # as many outputs as the host's Distiller or MGN has
            product = student["features"] @ teachers[0]["features"].t()
            return {"loss_product": product.sum(), "loss_names": student["names"]}

    model = Host()
    losses_in_float32(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model.losses({"features": features, "names": 3}, [{"features": features}], targets)
    expected = (features.double() @ features.double().t()).sum()
    assert losses["loss_product"].dtype is torch.float32
    torch.testing.assert_close(losses["loss_product"].double(), expected, rtol=1e-5, atol=0)
    assert losses["loss_names"] == 3


def test_baseline_is_wrapped_and_deep_miner_is_not(run_main, monkeypatch):
    wrapped = []
    monkeypatch.setattr("fastreid_ext.engine.model.losses_in_float32", wrapped.append)
    run_main(SOLVER__MAX_EPOCH=1, SOLVER__WARMUP_EPOCHS=0)
    assert wrapped == []


def test_weights_that_are_no_numbers_are_not_saved(model):
    """The sentence speaks of a good checkpoint only where there can be one."""
    hook = FiniteWeights(model)
    hook.trainer = SimpleNamespace(epoch=2)
    hook.after_epoch()
    next(model.parameters()).data.view(-1)[0] = float("nan")
    for epoch, saved in ((2, "the checkpoint of the epoch before is good"), (0, "no epoch was saved")):
        hook.trainer = SimpleNamespace(epoch=epoch)
        with pytest.raises(FloatingPointError, match=f"epoch {epoch}: 1 weights are not finite.*; {saved}"):
            hook.after_epoch()
