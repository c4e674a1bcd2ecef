"""The comparison of light trunks: its rows are configs that can start, and its table has means and spreads."""

import json

import light_trunks
import pytest

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checks.config import mistakes
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import config_file_of
from fastreid_ext.evaluation.spread import summarise

CHANNELS = (2048, 512, 256, 1280, 960, 256)


@pytest.mark.parametrize(("name", "channels"), [*zip(light_trunks.TRUNKS, CHANNELS, strict=True)])
def test_every_row_is_a_config_that_differs_by_its_trunk(name, channels):
    cfg = get_cfg()
    pairs = light_trunks.overrides(name, 12, "Tiny")
    merge_config(cfg, config_file_of(light_trunks.CONFIG), [*pairs, "MODEL.DEVICE", "cpu"])
    assert list(mistakes(cfg, 1)) == []
    assert cfg.MODEL.BACKBONE.FEAT_DIM == channels and not cfg.MODEL.BACKBONE.PRETRAIN
    others = light_trunks.overrides(light_trunks.YARDSTICK, 12, "Tiny")
    values, theirs = (dict(zip(each[::2], each[1::2], strict=True)) for each in (pairs, others))
    assert {key for key in values if values[key] != theirs.get(key)} <= {
        f"MODEL.BACKBONE.{key}" for key in ("NAME", "DEPTH", "FEAT_DIM", "LAST_STRIDE", "TIMM.NAME", "NARROW.WIDTH")
    }


def test_the_table_and_the_record(tmp_path, monkeypatch, capsys):
    """Two seeds of two trunks, of runs and rates that are made up."""
    asked = []

    def train(config, seed, folder, overrides):
        asked.append((folder.name, seed))
        metrics = {"Rank-1": 10.0 + 2 * seed, "mAP": 5.0, "mINP": 1.0}
        return {"SynthReID": metrics, "SynthReIDOccluded": {**metrics, "mAP": 4.0}}

    monkeypatch.setattr(light_trunks, "train", train)
    speed = {"images_per_second": 44.4, "ratio": 1.0, "parameters": 23_500_000}
    monkeypatch.setattr(light_trunks, "rates", lambda names, batch, rounds: dict.fromkeys(names, speed))
    call = ["light_trunks.py", "--trunks", "ResNet-50", "OSNet x0.5", "--seeds", "0", "1", "--epochs", "3"]
    monkeypatch.setattr("sys.argv", [*call, "--output", str(tmp_path), "--record", str(tmp_path / "found.json")])
    light_trunks.main()
    assert sorted(asked) == [(name, seed) for name in ("OSNet_x0.5", "ResNet-50") for seed in (0, 1)]
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| OSNet x0.5")]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells == ["23.50", "44", "1.0", "11.0 ± 1.4", "5.0 ± 0.0", "11.0 ± 1.4", "4.0 ± 0.0"]
    record = json.loads((tmp_path / "found.json").read_text())
    assert record["epochs"] == 3 and record["seeds"] == [0, 1]
    assert record["results"]["ResNet-50"]["SynthReID"]["Rank-1"]["mean"] == 11


def test_one_seed_has_no_spread():
    found = {"ResNet-50": summarise({0: {"SynthReID": {"Rank-1": 20.0, "mAP": 10.0}}})}
    assert "| 20.0 " in light_trunks.table(found, {}) and "±" not in light_trunks.table(found, {})
