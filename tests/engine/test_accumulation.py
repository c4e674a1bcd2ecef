"""A batch in parts (SOLVER.ACCUMULATION): the same gradients where the loss is a mean over images.

Tolerance: 1e-6 relative (float32), 1e-12 (float64).
"""

import copy
import json
from contextlib import contextmanager

import pytest
import torch
from fastreid.utils.events import EventStorage
from torch import nn

from fastreid_ext.engine.accumulation import parts_of, share_steps
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.layers import MomentumElimination
from fastreid_ext.losses import CenterLoss

TIGHT = {"rtol": 1e-12, "atol": 1e-12}
IMAGES, IDENTITIES = 8, 4


class Model(nn.Module):
    """A layer, a mean over the images, and the two kinds of state that do not follow the optimiser."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 3)
        self.centers = CenterLoss(IDENTITIES, 3)
        self.mean = MomentumElimination(3)
        self.alone = 0

    def forward(self, batch):
        y = self.layer(batch["images"])
        self.mean.observe(y)
        return {"loss_size": y.square().mean(), "loss_center": self.centers(y, batch["targets"])}

    @contextmanager
    def no_sync(self):
        self.alone += 1
        yield


def batches(count):
    generator = torch.Generator().manual_seed(3)
    targets = torch.arange(IDENTITIES).repeat_interleave(IMAGES // IDENTITIES)
    return [{"images": torch.randn(IMAGES, 5, generator=generator).double(), "targets": targets} for _ in range(count)]


def trained(model, parts, steps=3, **settings):
    """Return the losses of the last step."""
    step = TrainingStep(model, batches(steps), torch.optim.SGD(model.parameters(), lr=0.1), parts=parts, **settings)
    with EventStorage(0) as storage:
        for step.iter in range(steps):
            step.run_step()
            model.mean.after_step()
    return {name: value for name, (value, _) in storage.latest().items() if name.startswith("loss")}


@pytest.mark.parametrize("parts", [2, 4])
def test_equal_to_a_whole_batch(parts):
    """Gradients, losses, the running mean, and the centers, since no identity is in two parts."""
    torch.manual_seed(0)
    model = Model().double()
    reference = copy.deepcopy(model)
    losses, expected = trained(model, parts), trained(reference, 1)
    assert losses == pytest.approx(expected, rel=1e-6)  # they are written in float32
    torch.testing.assert_close(model.state_dict(), reference.state_dict(), **TIGHT)
    assert (model.alone, reference.alone) == ((parts - 1) * 3, 0)  # gradients are exchanged once a step


def test_float16_scales_the_gradients_of_all_parts():
    torch.manual_seed(0)
    model = Model()
    model.mean = model.centers = nn.Identity()
    model.forward = lambda batch: {"loss": model.layer(batch["images"].float()).float().square().mean() * 0.01}
    reference = copy.deepcopy(model)
    reference.forward = lambda batch: {"loss": reference.layer(batch["images"].float()).float().square().mean() * 0.01}
    for each, parts in ((model, 2), (reference, 1)):
        step = TrainingStep(
            each, batches(1), torch.optim.SGD(each.parameters(), lr=0.1), parts=parts, autocast=torch.float16
        )
        with EventStorage(0):
            step.iter = 0
            step.run_step()
    torch.testing.assert_close(model.layer.weight, reference.layer.weight, rtol=1e-3, atol=1e-6)


def test_what_a_module_of_a_user_calls_share_stays():
    """A layer or a switch of this name is no share of a step."""
    model = Model()
    model.share, model.layer.share = nn.Linear(3, 3), False
    share_steps(model, 2)
    assert isinstance(model.share, nn.Linear) and model.layer.share is False
    assert model.centers.step_share == 0.5


def test_losses_of_half_precision_are_averaged_in_float32():
    """1 and 1.0078125 are neighbours in bfloat16, so their mean is no number of it."""
    model = Model()
    model.mean = model.centers = nn.Identity()
    values = torch.tensor([1.0, 1.0078125]).repeat_interleave(IMAGES // 2)
    model.forward = lambda batch: {"loss": (model.layer.weight.sum() * 0 + batch["images"].mean()).bfloat16()}
    step = TrainingStep(model, [{"images": values}], torch.optim.SGD(model.parameters(), lr=0.1), parts=2)
    with EventStorage(0) as storage:
        step.iter = 0
        step.run_step()
    assert storage.latest()["loss"][0] == 1.00390625


def test_parts_of_a_batch():
    batch = {"images": torch.arange(6.0), "img_paths": list("abcdef"), "scale": torch.tensor(2.0), "name": "market"}
    first, second = parts_of(batch, 2)
    assert first["images"].tolist() == [0, 1, 2] and second["images"].tolist() == [3, 4, 5]
    assert (first["img_paths"], second["img_paths"]) == (["a", "b", "c"], ["d", "e", "f"])
    assert first["scale"] is second["scale"] is batch["scale"] and first["name"] == "market"
    assert first["images"].data_ptr() == batch["images"].data_ptr()
    with pytest.raises(ValueError, match="6 images can't be divided into 4 parts"):
        list(parts_of(batch, 4))


def test_a_run(run_main, tmp_path):
    """Deep Miner with all its losses: the numbers of a step are the means of its parts'."""
    settings = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0, "SOLVER__STEPS": "[]", "TEST__EVAL_PERIOD": 0}
    losses = []
    for parts in (1, 2):
        output = tmp_path / str(parts)
        run_main(OUTPUT_DIR=output, SOLVER__ACCUMULATION=parts, **settings)
        losses.append(json.loads((output / "metrics.json").read_text().splitlines()[-1]))
    whole, halves = ({name: value for name, value in each.items() if name.startswith("loss")} for each in losses)
    assert len(whole) == 9 and whole.keys() == halves.keys() and whole != halves
    assert halves == pytest.approx(whole, rel=0.5)  # means of parts, not their sums
