"""Names that a fork registers too: no import fails, the fork keeps the name, one warning says so."""

import warnings

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils.registry import Registry

from fastreid_ext.compat.names import plain_names, register
from fastreid_ext.compat.patch import PATCHES
from fastreid_ext.data.catalog import DataSetError, load_dataset
from fastreid_ext.data.datasets.csv_dataset import CSVDataset
from fastreid_ext.modeling.capabilities import HasBranches, architectures_with


@pytest.fixture
def registry():
    return Registry("TRIAL")


def thing(owner):
    """A class OccludedDuke that ``owner`` defines."""
    return type("OccludedDuke", (), {"__module__": owner})


OURS, FORKS = thing("fastreid_ext.data.datasets.occluded_duke"), thing("fork.datasets")
WARNING = (
    "two things are registered as 'OccludedDuke' in FastReID's TRIAL registry: a config that says 'OccludedDuke' gets "
    "fork.datasets.OccludedDuke; fastreid_ext.data.datasets.occluded_duke.OccludedDuke is 'fastreid_ext.OccludedDuke' "
    "in a config."
)


@pytest.mark.parametrize("order", ["fork first", "ours first"])
@pytest.mark.parametrize("way", ["decorator", "call"])
def test_the_fork_keeps_the_name_and_one_warning_says_so(order, way, registry):
    def fork():
        assert (registry.register()(FORKS) is FORKS) if way == "decorator" else (registry.register(FORKS) is None)

    def ours():
        assert register(registry)(OURS) is OURS

    with pytest.warns(RuntimeWarning) as caught:
        for step in (fork, ours) if order == "fork first" else (ours, fork):
            step()
    assert [str(warning.message) for warning in caught] == [WARNING]
    assert caught[0].filename == __file__
    assert registry.get("OccludedDuke") is FORKS
    assert registry.get("fastreid_ext.OccludedDuke") is OURS


def test_a_fork_whose_registry_overwrites_names_gets_the_warning_too(registry, monkeypatch):
    """The probe asks whether a clash is reported, and not only whether it fails."""
    (clash,) = (each for each in PATCHES if each.name == "registry-clash")
    assert not clash.is_needed()  # healed
    monkeypatch.setattr(Registry, "_do_register", lambda self, name, obj: self._obj_map.update({name: obj}))
    assert clash.is_needed()
    clash.apply()  # undone with the line above
    register(registry)(OURS)
    with pytest.warns(RuntimeWarning) as caught:
        registry.register(FORKS)
    assert [str(warning.message) for warning in caught] == [WARNING]
    assert registry.get("OccludedDuke") is FORKS


def test_without_a_clash_both_names_are_ours(registry):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register(registry)(OURS)
    assert registry.get("OccludedDuke") is registry.get("fastreid_ext.OccludedDuke") is OURS
    assert list(plain_names(registry)) == ["OccludedDuke"]


def test_a_class_that_mends_one_of_fastreids_takes_its_name_without_a_word(registry):
    theirs = thing("fastreid.data.datasets.occluded_duke")
    registry.register(theirs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register(registry, instead_of=theirs)(OURS)
    assert registry.get("OccludedDuke") is registry.get("fastreid_ext.OccludedDuke") is OURS
    with pytest.warns(RuntimeWarning):  # a fork's, later
        registry.register(FORKS)
    assert registry.get("OccludedDuke") is FORKS


def test_a_class_that_mends_another_leaves_the_name_to_its_holder(registry):
    registry.register(FORKS)
    with pytest.warns(RuntimeWarning) as caught:
        register(registry, instead_of=None)(OURS)
    assert [str(warning.message) for warning in caught] == [WARNING] and registry.get("OccludedDuke") is FORKS


def test_a_reloaded_module_of_ours_is_no_clash(registry):
    register(registry)(thing("fastreid_ext.data.datasets.occluded_duke"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register(registry)(OURS)
    assert registry.get("OccludedDuke") is OURS


def test_two_others_of_one_name_fail_as_ever(registry):
    registry.register(FORKS)
    with pytest.raises(AssertionError, match="already registered"):
        registry.register(thing("another.fork"))
    with pytest.warns(RuntimeWarning):
        register(registry)(OURS)
    with pytest.raises(AssertionError, match="already registered"):
        registry.register(thing("another.fork"))


@pytest.mark.parametrize(
    "registry", [DATASET_REGISTRY, META_ARCH_REGISTRY, BACKBONE_REGISTRY, REID_HEADS_REGISTRY], ids=lambda r: r._name
)
def test_all_of_ours_have_both_names(registry):
    ours = {
        name
        for name, entry in registry._obj_map.items()
        if entry.__module__.startswith("fastreid_ext.")
        and not name.startswith("fastreid_ext.")
        # A user's own, which a test before this one may have left there
        and not (isinstance(entry, type) and issubclass(entry, CSVDataset) and entry is not CSVDataset)
    }
    assert ours
    for name in ours:
        assert registry.get(f"fastreid_ext.{name}") is registry.get(name)


def test_lists_for_people_have_each_name_once():
    names = architectures_with(HasBranches)
    assert "MGRe" in names and not any(name.startswith("fastreid_ext.") for name in names)


def test_a_prefixed_name_is_explained_as_the_plain_one(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    with pytest.raises(DataSetError, match="Occluded_Duke/query"):
        load_dataset("fastreid_ext.OccludedDuke", ("query",))
