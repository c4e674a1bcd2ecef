"""Checkpoints load without full pickle, those of the host's model zoo among them."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import Checkpointer


class Payload:
    """What an attacker's file would call."""

    def __reduce__(self):
        return (print, ("executed",))


@pytest.fixture
def linear():
    return torch.nn.Linear(2, 2)


def test_numpy_values_load(linear, tmp_path):
    path = str(tmp_path / "numpy.pth")
    extra = {
        "metric": np.float64(0.5),
        "rank1": np.float32(0.25),
        "epoch": np.int64(3),
        "flag": np.bool_(True),
        "curve": np.arange(3.0),
        "half": np.ones(2, np.float16),
    }
    weights = {key: value.numpy() for key, value in linear.state_dict().items()}
    torch.save({"model": weights, **extra}, path)
    loaded = Checkpointer(torch.nn.Linear(2, 2)).load(path)
    for key, value in extra.items():
        np.testing.assert_array_equal(loaded[key], value)


def test_numpy_1_names_load(tmp_path):
    """Files of NumPy 1 name numpy.core, those of NumPy 2 numpy._core."""
    path = tmp_path / "names.pth"
    torch.save({"model": {}, "metric": np.float64(0.5)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    new, old = b"numpy._core.multiarray", b"numpy.core.multiarray"
    other = content.replace(new, old) if new in content else content.replace(old, new)
    assert other != content
    path.write_bytes(other)
    assert Checkpointer(torch.nn.Linear(2, 2))._load_file(str(path))["metric"] == 0.5


@pytest.mark.parametrize("payload", [Payload(), np.array([Payload()], dtype=object)], ids=["call", "object-array"])
def test_code_is_never_loaded(linear, tmp_path, capsys, payload):
    path = str(tmp_path / "evil.pth")
    torch.save({"model": linear.state_dict(), "metric": payload}, path)
    with pytest.raises(pickle.UnpicklingError, match="evil.pth is damaged or holds more than tensors"):
        Checkpointer(linear).load(path)
    assert "executed" not in capsys.readouterr().out


def test_model_zoo_layout(host_cfg, r18, tmp_path):
    """As the host's published files: weights in "model", a head of another size, optimiser, epoch, metric."""
    cfg = host_cfg(overrides={**r18, "MODEL.HEADS.NUM_CLASSES": 8})
    torch.manual_seed(0)
    model, trained = build_model(cfg), build_model(cfg)
    weights = OrderedDict(trained.state_dict())
    weights["heads.weight"] = torch.zeros(751, 512)  # Market1501's classes
    weights["heads.classifier.weight"] = torch.zeros(751, 512)  # FastReID before 1.0
    weights["pixel_mean"] = torch.zeros(1, 3, 1, 1)  # a buffer that was saved once
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    path = str(tmp_path / "market_bot_R18.pth")
    zoo = {
        "model": OrderedDict((f"module.{key}", value) for key, value in weights.items()),
        "optimizer": optimizer.state_dict(),
        "lr_sched": torch.optim.lr_scheduler.MultiStepLR(optimizer, [40, 90]).state_dict(),
        "epoch": 119,
        "metric": np.float64(90.2),
    }
    torch.save(zoo, path)

    before = model.heads.weight.detach().clone()
    rest = Checkpointer(model).load(path)

    assert rest["epoch"] == 119 and rest["metric"] == 90.2
    assert torch.equal(model.heads.weight, before)  # another number of classes: left as it was
    for key, value in trained.state_dict().items():
        if key != "heads.weight":
            assert torch.equal(model.state_dict()[key], value), key
