"""Modules by the names of branches, also of those that are Python keywords."""

import copy
import keyword

import pytest
import torch
from torch import nn

from fastreid_ext.modeling.branch_modules import BranchModules, module_name

NAMES = ["global", "ie2", "class", "local"]


@pytest.fixture
def modules():
    return BranchModules({name: nn.Linear(2, i + 1) for i, name in enumerate(NAMES)})


def test_keys_are_branches(modules):
    assert list(modules) == list(modules.keys()) == [name for name, _ in modules.items()] == NAMES
    assert set(modules.keys()) == set(NAMES) and len(modules) == 4
    for i, name in enumerate(NAMES):
        assert name in modules and modules[name].out_features == i + 1
    assert dict(modules.items())["class"] is modules["class"]
    assert "other" not in modules
    with pytest.raises(KeyError):
        modules["other"]


def test_names_of_modules_are_no_keywords(modules):
    names = [name for name, _ in modules.named_children()]
    assert names == ["global_", "ie2", "class_", "local"] == [module_name(name) for name in NAMES]
    assert not any(keyword.iskeyword(part) for key in modules.state_dict() for part in key.split("."))
    assert modules.get_submodule("global_") is modules["global"]


def test_it_changes_as_a_dict_does(modules):
    modules["global"] = nn.Linear(2, 9)
    assert modules["global"].out_features == 9 and len(modules) == 4
    del modules["class"]
    assert modules.pop("ie2").out_features == 2
    assert list(modules) == ["global", "local"]
    other = copy.deepcopy(modules)
    other.load_state_dict(modules.state_dict())
    assert list(other) == ["global", "local"] and torch.equal(other["global"].weight, modules["global"].weight)
