"""Losses and batch augmentations that are chosen from a list: the settings of the others do no harm."""

import pytest

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.effects import without_effect
from fastreid_ext.engine.key_tracking import track, unread_keys
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.model_zoo import get_config_file
from fastreid_ext.modeling.augmentation_table import augmentations_from_config
from fastreid_ext.modeling.loss_table import terms_from_config

PROJECTS = ["DeepMiner", "MGRe", "MSReID", "OccludedReID", "Res2NetMultiTask"]
CE, CBE = "('SmoothedCrossEntropyLoss',)", "['CompoundBatchErasing']"


def merged(path, *overrides):
    cfg = get_cfg()
    merge_config(cfg, str(path), overrides)
    return cfg


def by_hand(path, *overrides):
    """As a script of a user's own does it: nobody notes which keys came from where."""
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.merge_from_list(list(overrides))
    return cfg


def complaints(cfg):
    tracked, reads = track(cfg)
    for term in terms_from_config(tracked):
        term.build(2, 3)
    augmentations_from_config(tracked)
    about = ("MODEL.LOSSES", "INPUT.BATCH_AUGMENT", "INPUT.REA")
    said = [sentence for sentence in without_effect(cfg) if sentence.startswith(about)]
    return said + unread_keys(tracked, get_cfg(), reads, nodes=about[:2])


@pytest.mark.parametrize("how", [merged, by_hand])
@pytest.mark.parametrize("project", PROJECTS)
def test_a_loss_that_is_not_chosen_takes_its_settings_along(project, how):
    path = get_config_file(f"{project}/Market1501_R50.yml")
    assert complaints(how(path, "MODEL.LOSSES.NAME", CE, "INPUT.BATCH_AUGMENT.NAME", "[]")) == []


@pytest.mark.parametrize("how", [merged, by_hand])
@pytest.mark.parametrize("project", PROJECTS)
def test_compound_erasing_is_chosen_by_its_name(project, how):
    off = ("INPUT.REA.ENABLED", "False") if how is by_hand else ()
    cfg = how(get_config_file(f"{project}/Market1501_R50.yml"), "INPUT.BATCH_AUGMENT.NAME", CBE, *off)
    assert complaints(cfg) == [] and cfg.INPUT.REA.ENABLED is False
    assert len(augmentations_from_config(cfg)) == 1


def test_erasing_that_the_user_asked_for_stays(tmp_path, caplog):
    """Only a base file's gives way: what the user wrote is still a contradiction."""
    deepminer = get_config_file("DeepMiner/Market1501_R50.yml")
    assert merged(deepminer).INPUT.REA.ENABLED is True
    merged(deepminer, "INPUT.BATCH_AUGMENT.NAME", CBE)
    assert "CompoundBatchErasing erases in the place of the base file's INPUT.REA" in caplog.text
    assert merged(deepminer, "INPUT.BATCH_AUGMENT.NAME", CBE, "INPUT.REA.ENABLED", "True").INPUT.REA.ENABLED is True
    (tmp_path / "own.yml").write_text(
        f"_BASE_: {deepminer}\nINPUT:\n  REA:\n    ENABLED: True\n  BATCH_AUGMENT:\n    NAME: {CBE}\n"
    )
    assert merged(tmp_path / "own.yml").INPUT.REA.ENABLED is True


def test_what_the_user_sets_for_a_loss_that_is_not_chosen_is_said(tmp_path):
    base = get_config_file("MSReID/Market1501_R50.yml")
    said = ["MODEL.LOSSES.CENTER.SCALE has no effect here: MODEL.LOSSES.NAME has no CenterLoss"]
    on_line = merged(base, "MODEL.LOSSES.NAME", CE, "MODEL.LOSSES.CENTER.SCALE", "0.3")
    assert complaints(on_line)[:1] == said
    losses = f"_BASE_: {base}\nMODEL:\n  LOSSES:\n    NAME: {CE}\n"
    (tmp_path / "own.yml").write_text(losses)
    assert complaints(merged(tmp_path / "own.yml")) == []
    (tmp_path / "own.yml").write_text(f"{losses}    CENTER:\n      SCALE: 0.3\n")
    assert complaints(merged(tmp_path / "own.yml"))[:1] == said
