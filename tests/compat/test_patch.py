"""The registry: patches are applied once, leave other libraries alone, and say when the host differs."""

import collections
import sys
import warnings

import pytest

from fastreid_ext.compat import heal, patch
from fastreid_ext.compat.imports import what_is_missing

BLOCK = """
import sys

for name in [name for name in sys.modules if name.partition(".")[0] == {package!r}]:
    del sys.modules[name]


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Blocker())
import fastreid_ext
{touch}
"""


def test_every_patch_says_what_it_heals():
    assert len({each.name for each in patch.PATCHES}) == len(patch.PATCHES) > 15
    for each in patch.PATCHES:
        assert each.heals.partition(":")[0].endswith(".py") and each.needed_by and each.targets, each.name
        assert each.apply.__doc__ and each.if_skipped and not each.if_skipped.endswith("."), each.name


def test_healing_twice_changes_nothing():
    targets = [target for each in patch.PATCHES for target in each.targets]
    before = [patch.resolve(target)[2] for target in targets]
    heal()
    after = [patch.resolve(target)[2] for target in targets]
    assert all(a is b for a, b in zip(before, after, strict=True))


def test_aliases_are_withdrawn():
    assert "torch._six" not in sys.modules
    assert not hasattr(collections, "Mapping")


def test_functions_imported_by_name_are_replaced_too():
    import fastreid.data
    import fastreid.engine
    import fastreid.solver
    from fastreid.engine import defaults

    assert fastreid.solver.build_optimizer is defaults.build_optimizer is fastreid.solver.build.build_optimizer
    assert fastreid.data.build_reid_test_loader is defaults.build_reid_test_loader
    assert fastreid.engine.launch is sys.modules["fastreid.engine.launch"].launch
    assert fastreid.engine.launch.__module__ == "fastreid.engine.launch"  # functools.wraps


TARGET = "fastreid.engine.train_loop:TrainerBase.run_step"


def make_patch(fingerprints, apply, needed=lambda: True, target=TARGET, uses=()):
    return patch.Patch(
        "sample",
        "engine/train_loop.py:0",
        "any",
        {target: fingerprints},
        apply,
        needed=needed,
        if_skipped="nothing moves",
        uses=uses,
    )


def outcome(*args, **kwargs):
    (one,) = patch.apply_all([make_patch(*args, **kwargs)])
    return one.status, one.reason


def test_a_changed_host_function_is_warned_of_once_and_patched():
    applied = []
    with pytest.warns(RuntimeWarning, match=r"'sample' .*TrainerBase\.run_step") as caught:
        found = outcome(("000000000000",), lambda: applied.append(1))
    assert len(caught) == 1 and applied == [1]
    assert found == ("applied", f"{TARGET} reads differently")
    assert caught[0].filename == __file__  # not a line of ours


@pytest.mark.parametrize("target", ["engine.train_loop:TrainerBase.walk", "engine.train_lap:TrainerBase.run_step"])
@pytest.mark.parametrize("place", ["target", "uses"])
def test_a_missing_name_skips_the_patch_with_one_warning(target, place):
    name = f"fastreid.{target}"
    names = {"target": name} if place == "target" else {"uses": (name,)}
    with pytest.warns(RuntimeWarning) as caught:
        found = outcome(("",), lambda: pytest.fail("applied"), needed=lambda: True, **names)
    assert found == ("skipped", f"this FastReID has no {name}")
    assert [str(warning.message) for warning in caught] == [
        "fastreid_ext.compat: the patch 'sample' (engine/train_loop.py:0) is skipped: this FastReID has no "
        f"{name}. Without it nothing moves."
    ]


@pytest.mark.parametrize("place", ["target", "uses"])
def test_a_name_that_went_with_the_fault_is_not_missed(place, recwarn):
    name = "fastreid.engine.train_loop:TrainerBase.walk"
    names = {"target": name} if place == "target" else {"uses": (name,)}
    assert outcome(("",), lambda: pytest.fail("applied"), needed=lambda: False, **names)[0] == "not needed"
    assert not recwarn.list


def test_a_patch_that_fails_leaves_nothing_behind():
    from fastreid.engine import train_loop

    before = train_loop.TrainerBase.run_step, train_loop.comm

    def apply():
        patch.replace(TARGET, None)
        patch.replace("fastreid.engine.train_loop:comm", None)
        patch.replace("fastreid.engine.train_loop:SimpleTrainer.train", None)  # inherited
        patch.replace("fastreid.engine.train_loop:added", None)
        train_loop.removed_by_a_fork  # noqa: B018

    with pytest.warns(RuntimeWarning, match="Without it nothing moves") as caught:
        status, reason = outcome(("000000000000",), apply)
    ours = [warning for warning in caught if warning.category is RuntimeWarning]  # not of a file that was collected now
    assert len(ours) == 1 and status == "skipped" and "removed_by_a_fork" in reason
    assert (train_loop.TrainerBase.run_step, train_loop.comm) == before
    assert "train" not in vars(train_loop.SimpleTrainer) and not hasattr(train_loop, "added")


def test_a_host_without_the_fault_keeps_its_code():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = outcome(("000000000000",), lambda: pytest.fail("applied"), needed=lambda: False)
    assert found == ("not needed", "")


def test_a_probe_that_fails_means_that_the_fault_may_be_there():
    applied = []
    known = patch.fingerprint(TARGET)
    assert outcome((known,), lambda: applied.append(1), needed=lambda: 1 / 0) == ("applied", "")
    assert applied == [1]


def test_a_known_host_function_is_not_warned_of():
    applied = []
    known = patch.fingerprint(TARGET)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome(("000000000000", known), lambda: applied.append(1))
    assert applied == [1]


def test_a_missing_host_function_is_a_changed_one():
    assert patch.fingerprint("fastreid.engine.train_loop:TrainerBase.no_such") == ""


def test_white_space_does_not_count(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "compat_sample_a.py").write_text("def f(x):\n    return (x,\n            1)\n")
    (tmp_path / "compat_sample_b.py").write_text("def f(x):\n\treturn (x, 1)\r\n")
    (tmp_path / "compat_sample_c.py").write_text("def f(x):\n    return (x, 2)\n")
    a, b, c = (patch.fingerprint(f"compat_sample_{letter}:f") for letter in "abc")
    assert a == b != c


def test_a_part_of_a_package_that_is_there(monkeypatch):
    """FastReID before December 2021 takes a module that torchvision has lost: to install torchvision helps nobody."""
    monkeypatch.setitem(sys.modules, "torchvision", sys)
    said = what_is_missing("torchvision.models.utils")
    assert said.startswith(
        "this FastReID imports torchvision.models.utils, which the installed torchvision does not have"
    )
    assert "take FastReID 1.4.0, or a fork of December 2021 or later" in said
    monkeypatch.delitem(sys.modules, "torchvision")
    assert "run `pip install torchvision`" in what_is_missing("torchvision.models.utils")


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("fastreid", "run `pip install --no-deps fastreid==1.4.0`"),
        ("faiss", "FastReID needs the package 'faiss', which is missing: run `pip install faiss-cpu`"),
        ("sklearn", "FastReID needs the package 'sklearn', which is missing: run `pip install scikit-learn`"),
    ],
)
@pytest.mark.parametrize("touch", ["fastreid_ext.get_cfg", "import fastreid_ext.deepminer"])
def test_what_is_missing_is_named(package, message, touch, exit_of):
    status, printed = exit_of(BLOCK.format(package=package, touch=touch))
    assert status == 1
    assert printed.strip().splitlines()[-1].startswith("ImportError: ")
    assert message in printed
