"""The hook that moves mu where our trainer does not."""

import pytest
import torch
from fastreid.engine.train_loop import HookBase
from torch import nn

from fastreid_ext.layers import MomentumElimination
from fastreid_ext.occluded import MomentumEliminationHook


def test_it_moves_every_mu_after_a_step():
    model = nn.Sequential(MomentumElimination(3, 0.5), nn.Sequential(MomentumElimination(3, 0.5)))
    hook = MomentumEliminationHook(model)
    assert isinstance(hook, HookBase)
    parts = [model[0], model[1][0]]
    for part, x in zip(parts, (1.0, -1.0), strict=True):
        part.observe(torch.tensor([[x, 0.0, 0.0]]))
    hook.after_step()
    assert [part.mu.tolist() for part in parts] == [[0.5, 0, 0], [-0.5, 0, 0]]
    hook.after_step()  # no features since: beside our own hook it does nothing more
    assert [part.mu.tolist() for part in parts] == [[0.5, 0, 0], [-0.5, 0, 0]]


def test_a_model_without_it():
    with pytest.raises(ValueError, match="no momentum elimination: set MODEL.HEADS.NAME OccludedHead"):
        MomentumEliminationHook(nn.Linear(1, 1))
