"""Folders of a comparison's runs: one for each setting, whatever their number."""

from argparse import Namespace

from compare_on_synthreid import folder_of


def test_many_settings_have_a_short_name_of_their_own():
    args = Namespace(size="", output="logs", overrides=["MODEL.BACKBONE.PRETRAIN_PATH", "a/b"] * 10)
    names = {folder_of("demo/baseline.yml", 0, args, ["SEED", str(n)]).parents[2].name for n in range(3)}
    assert len(names) == 3 and all(len(name) < 120 for name in names)
    few = Namespace(size="", output="logs", overrides=["SOLVER.MAX_EPOCH", "2"])
    assert folder_of("demo/baseline.yml", 0, few).parents[2].name == "demo_SOLVER.MAX_EPOCH_2"
