"""What only a GPU can show."""

import pytest
import torch
from fastreid.engine import DefaultTrainer

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_baseline(device, market, host_cfg, r18):
    settings = {**r18, "MODEL.DEVICE": device}
    trainer = DefaultTrainer(host_cfg(overrides=settings))
    before = trainer.model.heads.weight.detach().clone()
    assert "mAP" in trainer.train()
    assert not torch.equal(before, trainer.model.heads.weight)
    assert trainer.grad_scaler.is_enabled() == (device == "cuda")

    resumed = DefaultTrainer(host_cfg(overrides={**settings, "SOLVER.MAX_EPOCH": 2}))
    resumed.resume_or_load(resume=True)
    assert resumed.grad_scaler.get_scale() == trainer.grad_scaler.get_scale()
    assert "mAP" in resumed.train()


def test_an_unreadable_image_is_an_error(market, host_cfg, monkeypatch):
    from fastreid.data import build_reid_train_loader
    from fastreid.data.common import CommDataset

    def broken(self, index):
        raise OSError("cannot identify image file")

    monkeypatch.setattr(CommDataset, "__getitem__", broken)
    loader = build_reid_train_loader(host_cfg(overrides={"MODEL.DEVICE": "cuda"}), combineall=False)
    with pytest.raises(OSError, match="cannot identify"):
        next(iter(loader))
