"""Mixed precision without CUDA, and a scaler that survives a resume."""

import copy

import pytest
import torch
from fastreid.engine import DefaultTrainer
from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer
from fastreid.utils.events import EventStorage

from fastreid_ext.compat import amp


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, data):
        out = self.layer(data)
        self.dtype = out.dtype
        return {"loss": out.float().square().mean()}


def one_step(trainer_class, model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = trainer_class(model, [torch.ones(2, 4)], optimizer, None)
    trainer.iter = 0
    with EventStorage(0):
        trainer.run_step()
    return trainer


def test_bf16_on_a_cpu_that_has_it(monkeypatch):
    monkeypatch.setattr(amp, "cpu_has_bf16", lambda: True)
    model = Model()
    trainer = one_step(AMPTrainer, model)
    assert model.dtype == torch.bfloat16 and not trainer.grad_scaler.is_enabled()


def test_float32_on_a_cpu_that_has_not(monkeypatch):
    monkeypatch.setattr(amp, "cpu_has_bf16", lambda: False)
    a = Model()
    b = copy.deepcopy(a)
    one_step(AMPTrainer, a)
    one_step(SimpleTrainer, b)
    assert a.dtype == torch.float32
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_types(monkeypatch):
    monkeypatch.setattr(amp, "cpu_has_bf16", lambda: True)
    assert amp.amp_dtype("cuda") is torch.float16
    assert amp.amp_dtype("cpu") is torch.bfloat16
    assert amp.amp_dtype("mps") is None


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_bf16", True), ("Features : fp asimd bf16", True), ("fpu avx2 avx512f", False)],
)
def test_flags(flags, expected, monkeypatch):
    monkeypatch.setattr(amp.Path, "read_text", lambda *args, **kwargs: flags)
    assert amp.cpu_has_bf16.__wrapped__() is expected


def test_without_a_list_of_flags(monkeypatch):
    def missing(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(amp.Path, "read_text", missing)
    assert amp.cpu_has_bf16.__wrapped__() is False


def test_the_scaler_is_saved(market, host_cfg, r18, monkeypatch):
    monkeypatch.setattr(amp, "amp_dtype", lambda device: torch.float16)
    trainer = DefaultTrainer(host_cfg(overrides=r18))
    trainer.grad_scaler._init_scale = 128.0
    trainer.checkpointer.save("model_0000", epoch=0)
    resumed = DefaultTrainer(host_cfg(overrides=r18))
    assert resumed.grad_scaler.get_scale() == 65536.0
    resumed.resume_or_load(resume=True)
    assert resumed.grad_scaler.get_scale() == 128.0

    monkeypatch.setattr(amp, "amp_dtype", lambda device: None)  # moved to a machine that needs no scaler
    resumed = DefaultTrainer(host_cfg(overrides=r18))
    resumed.resume_or_load(resume=True)
    assert resumed.start_epoch == 1
