"""The table of changes to the shipped model's recipe: its rows are configs that can start, its numbers means."""

import pytest
import wide_proxy

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.config import mistakes
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.modeling.loss_table import terms_from_config


@pytest.mark.parametrize("row", [row for row in wide_proxy.ROWS if row not in wide_proxy.TAUGHT_BY])
def test_every_row_changes_the_recipe(row):
    recipe, changed = get_cfg(), get_cfg()
    file = config_file_of(wide_proxy.CONFIG)
    base = [*wide_proxy.SMALL, *wide_proxy.SHORT]
    merge_config(recipe, file, base)
    merge_config(changed, file, [*base, *wide_proxy.ROWS[row]])
    assert (changed.dump() == recipe.dump()) == (row == "recipe")
    assert terms_from_config(changed)
    assert list(mistakes(changed, 1)) == []


@pytest.mark.parametrize("row", wide_proxy.PAPERS)
def test_a_paper_is_a_config_that_can_start(row):
    cfg = get_cfg()
    config, keys = wide_proxy.PAPERS[row]
    merge_config(cfg, config_file_of(config), [*wide_proxy.SHORT, *keys])
    assert list(mistakes(cfg, 1)) == []


def test_a_student_is_taught_by_the_model_of_its_own_fold_and_seed(tmp_path, monkeypatch):
    trained = []

    def train(config, seed, folder, overrides):
        trained.append((config, seed, folder, dict(zip(overrides[::2], overrides[1::2], strict=True))))
        return {f"SynthReIDWide{world}": {"mAP": 1.0} for world in wide_proxy.WORLDS}

    monkeypatch.setattr(wide_proxy, "train", train)
    (student, teacher), fold = next(iter(wide_proxy.TAUGHT_BY.items())), "winter_station"
    wide_proxy.run(student, 3, fold, tmp_path, [])
    (paper, paper_seed, folder, paper_keys), (config, seed, _, keys) = trained
    assert (paper, config) == (wide_proxy.PAPERS[teacher][0], wide_proxy.CONFIG)
    assert paper_seed == seed == 3
    assert keys["KD.TEACHER"] == str(folder / "seed3")
    assert keys["DATASETS.NAMES"] == paper_keys["DATASETS.NAMES"] == "('SynthReIDWideStreet', 'SynthReIDWideNight',)"


def test_both_folds_leave_every_world_out_once():
    trained = [world for fold in wide_proxy.FOLDS.values() for world in fold]
    assert sorted(trained) == sorted(wide_proxy.WORLDS)


WORLDS = {"Street": 10.0, "Winter": 20.0, "Station": 30.0, "Night": 40.0}


def worlds(more):
    return {world: {"mAP": value + more, "Rank-1": 2 * value} for world, value in WORLDS.items()}


def cells(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_means_and_differences():
    found = {
        "recipe": {0: worlds(0.0), 1: worlds(2.0)},
        "with CBE": {0: worlds(-1.5), 1: worlds(1.0)},
        "with blur, 0.2": {1: worlds(3.0)},
        "with AugMix, 0.5": {2: worlds(3.0)},
    }
    rows = [cells(line) for line in wide_proxy.table(found).splitlines()[2:]]
    assert rows[0] == ["recipe", "2", "11.0", "21.0", "31.0", "41.0", "26.0", "", "50.0"]
    assert rows[1][1:2] + rows[1][6:] == ["2", "24.8", "-1.2 (-1.5 to -1.0)", "50.0"]
    assert rows[2][1:2] + rows[2][6:] == ["1", "28.0", "+1.0", "50.0"]  # to the recipe's run of that seed alone
    assert rows[3][7] == ""  # nothing to compare with


def test_the_record_has_the_rows_of_this_call_alone(monkeypatch, capsys):
    """A row of an earlier recipe beside a new one would be compared with the wrong base."""

    def run(row, seed, fold, *rest):
        return {w: {"mAP": 10.0 + seed, "Rank-1": 20.0} for w in WORLDS if w not in wide_proxy.FOLDS[fold]}

    records = []
    monkeypatch.setattr(wide_proxy, "run", run)
    monkeypatch.setattr(wide_proxy, "write_record", lambda name, results, **facts: records.append(results))
    monkeypatch.setattr("sys.argv", ["wide_proxy.py", "--rows", "with CBE", "recipe", "--seeds", "0", "3"])
    wide_proxy.main()
    assert [list(results) for results in records] == [["with CBE"], ["recipe", "with CBE"]]
    assert all(list(seeds) == [0, 3] for results in records for seeds in results.values())
    printed = capsys.readouterr().out
    assert printed.count("| recipe") == 1 and printed.count("+0.0 (+0.0 to +0.0)") == 1


def test_what_is_finished_makes_a_table_without_training(tmp_path, monkeypatch, capsys):
    for row, seed in (("recipe", 0), ("recipe", 1), ("with CBE", 1)):
        for fold in wide_proxy.FOLDS:
            done = tmp_path / row.replace(" ", "_") / fold / f"seed{seed}"
            done.mkdir(parents=True)
            (done / "results.json").touch()
    (tmp_path / "with_CBE" / next(iter(wide_proxy.FOLDS)) / "seed0").mkdir()  # half of it is under way
    monkeypatch.setattr(wide_proxy, "run", lambda row, seed, fold, *rest: worlds(float(seed)))
    monkeypatch.setattr(wide_proxy, "write_record", lambda *given, **facts: None)
    monkeypatch.setattr("sys.argv", ["wide_proxy.py", "--finished", "--seeds", "0", "1", "--output", str(tmp_path)])
    wide_proxy.main()
    last = capsys.readouterr().out.strip().splitlines()[-2:]
    assert [cells(line)[:2] for line in last] == [["recipe", "2"], ["with CBE", "1"]]
    assert cells(last[1])[7] == "+0.0"  # to the recipe's run of the same seed
