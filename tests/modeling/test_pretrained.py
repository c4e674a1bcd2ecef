"""Pretrained weights: brought to the trunk's names, and loaded whole or not at all."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from fastreid_ext.modeling.pretrained import load_pretrained
from fastreid_ext.modeling.weights import WeightsError


class Trunk(nn.Module):
    """A trunk with a stem, two stages and a non-local block of its own."""

    def __init__(self, blocks=2):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(blocks)))
        self.layer2 = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(2)))
        self.NL_2 = nn.ModuleList([nn.Conv2d(4, 4, 1)])


@pytest.fixture
def file(tmp_path):
    """Return a function that saves values and gives the file."""

    def save(values):
        torch.save(values, tmp_path / "weights.pth")
        return tmp_path / "weights.pth"

    return save


@pytest.fixture
def state():
    """Weights of a trunk as another project publishes them: a classifier, no non-local block."""
    torch.manual_seed(7)
    made = {key: torch.rand(value.shape) for key, value in Trunk().state_dict().items() if "NL" not in key}
    return made | {"fc.weight": torch.rand(10, 4), "fc.bias": torch.rand(10)}


def prefixed(state, prefix):
    return {prefix + key: value for key, value in state.items()}


FORMS = {
    "bare": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.zeros(1)}}}},
    "net": lambda state: {"net": state, "acc": 0.7},
    "two wrappers": lambda state: {"model": {"state_dict": state}},
    "another wrapper": lambda state: {"teacher": state, "args": {"lr": 0.1}},
    "module.": lambda state: prefixed(state, "module."),
    "backbone.": lambda state: prefixed(state, "backbone."),
    "encoder.": lambda state: prefixed(state, "encoder."),
    "wrapper and prefixes": lambda state: {"state_dict": prefixed(state, "module.model.backbone.")},
    "a prefix that nobody knows": lambda state: prefixed(state, "student_42.visual.trunk."),
    "a person model": lambda state: {"model": prefixed(state, "backbone.") | {"heads.weight": torch.zeros(5, 4)}},
    "another order": lambda state: dict(reversed(state.items())),
    "without counters": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "arrays": lambda state: {k: v.numpy() for k, v in state.items()},
    "half precision": lambda state: {k: v.half() for k, v in state.items()},
}


@pytest.mark.parametrize("form", FORMS)
def test_wrappers_and_prefixes_are_taken_off(form, state, file, caplog):
    trunk = Trunk()
    non_local = trunk.NL_2[0].weight.clone()
    with caplog.at_level(logging.INFO):
        load_pretrained(trunk, file(FORMS[form](state)))
    loaded = {k: v for k, v in trunk.state_dict().items() if "NL" not in k and "num_batches" not in k}
    wanted = {key: state[key].half().float() if form == "half precision" else state[key] for key in loaded}
    assert len(loaded) == 14 and all(torch.equal(value, wanted[key]) for key, value in loaded.items())
    assert torch.equal(trunk.NL_2[0].weight, non_local)
    assert "loaded 14 of 16 weights and buffers of the Trunk" in caplog.text
    assert "fc.bias" in caplog.text and "as this trunk adds them: 2 (such as NL_2.0.bias" in caplog.text


REFUSED = {
    "empty": (lambda state: {}, "holds no state dict of tensors"),
    "no tensors": (lambda state: {"state_dict": {"a": 1}}, "holds no state dict of tensors"),
    "a list": (lambda state: [state], "holds no state dict of tensors"),
    "one missing": (
        lambda state: {key: value for key, value in state.items() if key != "layer2.1.bias"},
        r"does not fit the Trunk .*: 1 missing \(such as layer2.1.bias\); MODEL.BACKBONE.PRETRAIN_PARTIAL True",
    ),
    "further blocks": (
        lambda state: state | {"layer1.2.weight": torch.zeros(4, 4, 1, 1), "layer1.2.bias": torch.zeros(4)},
        r"2 unexpected \(such as layer1.2.bias, layer1.2.weight\); it holds 3 blocks in layer1, 2 blocks in layer2,"
        " and this one is 2 blocks in layer1, 2 blocks in layer2",
    ),
    "another shape": (
        lambda state: state | {"conv1.weight": torch.zeros(4, 1, 3, 3)},
        r"1 of another shape \(such as conv1.weight\)",
    ),
    "another network": (
        lambda state: {"patch_embed.weight": torch.zeros(3)},
        r"14 missing \([^()]*\); nothing in it fits",
    ),
    "instance norm": (
        lambda state: state | {"layer1.0.bn1.IN.weight": torch.zeros(2)},
        "it is of a network with what MODEL.BACKBONE.WITH_IBN True builds",
    ),
    "a non-local block": (
        lambda state: state | {"NL_3.0.g.weight": torch.zeros(2)},
        "1 unexpected .*it is of a network with what MODEL.BACKBONE.WITH_NL True builds",
    ),
    "not a number": (
        lambda state: state | {"bn1.running_var": torch.tensor([1.0, float("nan"), 1.0, 1.0])},
        r"NaN or infinite in 1 tensors \(such as bn1.running_var\)",
    ),
    "infinite": (lambda state: state | {"bn1.weight": torch.full((4,), float("inf"))}, "NaN or infinite"),
    "two trunks": (
        lambda state: prefixed(state, "encoder_q.") | prefixed({k: v + 1 for k, v in state.items()}, "encoder_k."),
        "holds the trunk of MODEL.BACKBONE .*, at 'encoder_q.' and 'encoder_k.': save one of them alone",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_of_this_trunk(case, state, file):
    change, said = REFUSED[case]
    trunk = Trunk()
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    with pytest.raises(WeightsError, match=said) as error:
        load_pretrained(trunk, file(change(state)))
    assert "weights.pth" in str(error.value) and "\n" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


def test_all_that_is_missing_is_in_the_log(state, file, caplog):
    part = file({key: value for key, value in state.items() if "layer" not in key})
    with caplog.at_level(logging.INFO), pytest.raises(WeightsError, match="8 missing .*layer1.0.bias, layer1.0.weight"):
        load_pretrained(Trunk(), part)
    listed = [line.split()[1] for line in caplog.text.splitlines() if line.startswith("  missing")]
    assert listed == sorted(key for key in state if "layer" in key)


def test_a_part_is_loaded_if_the_switch_says_so(state, file, caplog):
    part = {key: value for key, value in state.items() if key != "layer2.1.bias"}
    part["conv1.weight"] = torch.zeros(1)
    trunk = Trunk()
    before = trunk.conv1.weight.clone()
    load_pretrained(trunk, file(part), partial=True)
    assert torch.equal(trunk.layer1[0].weight, state["layer1.0.weight"]) and torch.equal(trunk.conv1.weight, before)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "  missing           layer2.1.bias" in warning and "  of another shape  conv1.weight" in warning
    with pytest.raises(WeightsError, match="nothing in it fits"):
        load_pretrained(trunk, file({"a": torch.zeros(1)}), partial=True)


def test_the_same_trunk_twice_is_one(state, file):
    twice = prefixed(state, "student.") | prefixed(state, "teacher.")
    trunk = Trunk()
    load_pretrained(trunk, file(twice | {"queue": torch.zeros(4), "numbers": np.zeros(3)}))
    assert torch.equal(trunk.conv1.weight, state["conv1.weight"])


OTHER_NETWORKS = {
    "deeper": lambda: {key: torch.rand(value.shape) for key, value in Trunk(3).state_dict().items()},
    "wider": lambda: {key: torch.rand([2 * side for side in v.shape]) for key, v in Trunk().state_dict().items()},
}


@pytest.mark.parametrize("other", OTHER_NETWORKS)
@pytest.mark.parametrize("dot", [True, False])
def test_of_a_teacher_and_its_student_it_is_who_fits(other, dot, state, file, caplog):
    """Both have all names of the trunk; the teacher has further blocks, or other shapes."""
    teacher = {key: value for key, value in OTHER_NETWORKS[other]().items() if "NL" not in key}
    both = {"teacher": teacher, "student": state}
    trunk = Trunk()
    load_pretrained(trunk, file(prefixed(teacher, "teacher.") | prefixed(state, "student.") if dot else both))
    assert torch.equal(trunk.conv1.weight, state["conv1.weight"]) and "more than once" not in caplog.text


def test_names_of_a_hostile_file_stay_in_one_line(state, file):
    with pytest.raises(WeightsError, match="1 unexpected") as error:
        load_pretrained(Trunk(), file(state | {"layer1.\n\x1b[2J" + 5000 * "x": torch.zeros(1)}))
    assert len(str(error.value)) < 600 and str(error.value).isprintable()


NO_FLOATS = {
    "whole numbers": lambda value: (100 * value).to(torch.int8),
    "truth values": lambda value: value > 0.5,
    "complex numbers": lambda value: torch.complex(value, value),
    "an array of whole numbers": lambda value: (100 * value).long().numpy(),
}


@pytest.mark.parametrize("kind", NO_FLOATS)
def test_weights_that_are_no_floats(kind, state, file):
    """As of a quantised network, whose scale the file does not tell."""
    trunk = Trunk()
    before = trunk.conv1.weight.clone()
    with pytest.raises(WeightsError, match=r"1 without floats \(such as conv1.weight\)"):
        load_pretrained(trunk, file(state | {"conv1.weight": NO_FLOATS[kind](state["conv1.weight"])}))
    assert torch.equal(trunk.conv1.weight, before)


def test_doubles_beyond_what_floats_hold(state, file):
    with pytest.raises(WeightsError, match=r"NaN or infinite in 1 tensors \(such as bn1.weight\)"):
        load_pretrained(Trunk(), file(state | {"bn1.weight": torch.full((4,), 1e300, dtype=torch.float64)}))


@pytest.mark.parametrize("kind", [torch.float32, torch.float8_e4m3fn])
def test_a_trunk_and_its_average_are_told_apart(kind, state, file, caplog):
    """One of them is taken, and the log names both; nothing is said where they are equal."""
    state = {key: value.to(kind) for key, value in state.items()}
    other = {key: (value.float() + 1).to(kind) for key, value in state.items()}
    said = "holds the trunk more than once, with other values: its 'student' is taken, not its 'teacher'"
    trunk = Trunk()
    load_pretrained(trunk, file({"student": state, "teacher": prefixed(other, "module.")}))
    assert torch.equal(trunk.conv1.weight, state["conv1.weight"].float())
    assert [record.levelname for record in caplog.records if said in record.getMessage()] == ["WARNING"]
    caplog.clear()
    load_pretrained(trunk, file({"student": state, "teacher": state}))
    assert "more than once" not in caplog.text
