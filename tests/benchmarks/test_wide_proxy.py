"""The table of changes to the shipped model's recipe: its rows are configs that can start, its numbers means."""

import pytest
import wide_proxy

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.modeling.loss_table import terms_from_config


@pytest.mark.parametrize("row", wide_proxy.ROWS)
def test_every_row_changes_the_recipe(row):
    recipe, changed = get_cfg(), get_cfg()
    file = config_file_of(wide_proxy.CONFIG)
    merge_config(recipe, file, list(wide_proxy.SHORT))
    merge_config(changed, file, [*wide_proxy.SHORT, *wide_proxy.ROWS[row]])
    assert (changed.dump() == recipe.dump()) == (row == "recipe")
    assert terms_from_config(changed)


def test_both_folds_leave_every_world_out_once():
    trained = [world for fold in wide_proxy.FOLDS.values() for world in fold]
    assert sorted(trained) == sorted(wide_proxy.WORLDS)


def test_means_and_differences():
    worlds = {"Street": 10.0, "Winter": 20.0, "Station": 30.0, "Night": 40.0}
    found = {
        row: {world: {"mAP": value + more, "Rank-1": 2 * value} for world, value in worlds.items()}
        for row, more in (("recipe", 0.0), ("with CBE", -1.5))
    }
    lines = wide_proxy.table(found).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "recipe",
        "10.0",
        "20.0",
        "30.0",
        "40.0",
        "25.0",
        "",
        "50.0",
    ]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]][5:] == ["23.5", "-1.5", "50.0"]


def test_the_record_has_the_rows_of_this_call_alone(monkeypatch, capsys):
    """A row of an earlier recipe beside a new one would be compared with the wrong base."""

    def run(row, fold, *rest):
        return {w: {"mAP": 10.0, "Rank-1": 20.0} for w in wide_proxy.WORLDS if w not in wide_proxy.FOLDS[fold]}

    records = []
    monkeypatch.setattr(wide_proxy, "run", run)
    monkeypatch.setattr(wide_proxy, "write_record", lambda name, results, **facts: records.append(list(results)))
    monkeypatch.setattr("sys.argv", ["wide_proxy.py", "--rows", "with CBE", "recipe"])
    wide_proxy.main()
    assert records == [["with CBE"], ["recipe", "with CBE"]]
    printed = capsys.readouterr().out
    assert (
        printed.count("| recipe") == 1 and printed.count("+0.0") == 1
    )  # no difference where nothing is to compare with
