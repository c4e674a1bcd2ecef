"""docs/trunks.md is what its script writes."""

import json

import pytest
import trunk_speed
import trunk_table
from trunk_list import PROJECTS, TRUNKS
from trunk_table import PAGE, SPEED, page, row

QUICK = ("OSNet x0.5, IBN", "MobileNetV3 Small", "ResNet-18", "RegNetX-200MF")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in TRUNKS])
def test_a_row(name):
    line = row(name, TRUNKS[name])
    assert line in PAGE.read_text(encoding="utf-8").splitlines()
    assert line.count("|") == len(PROJECTS) + 7


def test_the_text():
    """All but the rows."""
    text = PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and "`NAME build_" in line]
    assert page(rows) == text and len(rows) == len(TRUNKS)


SECONDS = {"ResNet-50": [4.0, 6.0, 5.0], "OSNet x1.0": [2.0, 2.0, 2.5]}


def test_images_per_second_and_their_ratio():
    found = trunk_speed.summary(SECONDS, batch=10)
    assert found["ResNet-50"] == {"images_per_second": 2.0, "ratio": 1.0}
    assert found["OSNet x1.0"] == {"images_per_second": 5.0, "ratio": 2.0}  # of 2, 3 and 2
    assert "ratio" not in trunk_speed.summary({"OSNet x1.0": [1.0]}, batch=10)["OSNet x1.0"]


def test_the_table_has_what_was_measured_last(tmp_path, monkeypatch):
    monkeypatch.setattr(trunk_table, "RESULTS", tmp_path)
    name = "Narrow ResNet-10"
    assert "| – |" in row(name, TRUNKS[name]) and trunk_table.conditions() == "Images per second: not measured yet."
    call = ["trunk_speed.py", "--batch", "2", "--rounds", "1", "--threads", "1", "--record", str(tmp_path / SPEED)]
    monkeypatch.setattr("sys.argv", [*call, "--trunks", name])
    monkeypatch.setattr(trunk_speed, "YARDSTICK", name)
    monkeypatch.setattr(trunk_speed, "SIZE", (64, 32))
    trunk_speed.main()
    found = json.loads((tmp_path / SPEED).read_text())["results"][name]
    assert found["ratio"] == 1 and found["images_per_second"] > 0
    assert f"| {found['images_per_second']:.0f} (1.0) |" in row(name, TRUNKS[name])
    assert "batches of 2 in float32 on 1 thread of" in trunk_table.conditions()
