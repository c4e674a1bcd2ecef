"""The table of earlier names: what it touches and what it leaves alone."""

import torch
from torch import nn

from fastreid_ext.modeling.renamed import renamed_state


class Model(nn.Module):
    renamed = ((r"old\.(weight|bias)", r"new.\1"), (r"old", "never.reached"), (r"gone\.", "new."))

    def __init__(self):
        super().__init__()
        self.new = nn.Linear(2, 1)


def state(*names):
    return {name: torch.tensor(float(i)) for i, name in enumerate(names)}


def test_the_first_pattern_that_fits_counts():
    found, count = renamed_state(state("old.weight", "old.bias"), Model())
    assert {name: value.item() for name, value in found.items()} == {"new.weight": 0.0, "new.bias": 1.0} and count == 2


def test_names_of_the_model_stay():
    found, count = renamed_state(state("new.weight", "new.bias"), Model())
    assert list(found) == ["new.weight", "new.bias"] and count == 0


def test_a_name_is_not_taken_twice():
    """A file with both has the new one."""
    found, count = renamed_state(state("old.weight", "new.weight"), Model())
    assert found["new.weight"].item() == 1.0 and "old.weight" in found and count == 0


def test_what_the_model_has_not_keeps_its_name():
    found, count = renamed_state(state("gone.scale", "other.weight", "an.old.weight"), Model())
    assert list(found) == ["gone.scale", "other.weight", "an.old.weight"] and count == 0


def test_the_prefix_of_ddp_is_taken_off():
    found, count = renamed_state(state("module.old.weight", "module.new.bias"), Model())
    assert list(found) == ["new.weight", "new.bias"] and count == 1


def test_a_model_without_a_table():
    found, count = renamed_state(state("old.weight"), nn.Linear(1, 1))
    assert list(found) == ["old.weight"] and count == 0
