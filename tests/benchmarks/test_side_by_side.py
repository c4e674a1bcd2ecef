"""Two commits side by side: the ratios, whose turn it is, and a side that does what it is asked."""

from pathlib import Path

import pytest
import side_by_side
from side_by_side import HERE, Side, compare, ratio, table


def test_the_median_of_the_rounds_ratios():
    found = ratio(then=[2.0, 3.0, 8.0], now=[1.0, 2.0, 2.0])
    assert found == {"times as fast": 2.0, "least": 1.5, "largest": 4.0}


def test_both_sides_take_turns_and_neither_is_always_first():
    asked = []

    class Fake:
        def __init__(self, name, seconds):
            self.name, self.layout, self.each = name, "True", seconds

        def seconds(self, work):
            asked.append((work, self.name))
            return self.each

    results = {"a case": compare({"then": Fake("then", 3.0), "now": Fake("now", 2.0)}, rounds=2)}
    order = ["now", "then", "then", "now"]
    assert asked == [("train", name) for name in order] + [("test", name) for name in order]
    assert "| a case | 1.50 (1.50 to 1.50) | 1.50 (1.50 to 1.50) |" in " ".join(table(results).split()).replace(
        "  ", " "
    )


@pytest.mark.slow
def test_a_side_times_what_it_is_asked(monkeypatch):
    keys = ("INPUT.SIZE_TRAIN", "[32, 16]", "INPUT.SIZE_TEST", "[32, 16]")
    side = Side(HERE.parent, ("demo/baseline.yml", 8, keys))
    assert side.layout == "False"  # as the demo's config says
    assert all(0 < side.seconds(work) < 60 for work in side_by_side.WORKS)
    side.end()
    assert side.process.returncode == 0


def test_a_side_that_ends_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(side_by_side, "HERE", tmp_path)
    (tmp_path / "side_by_side_worker.py").write_text("print('no')")
    with pytest.raises(SystemExit, match="one side ended"):
        Side(Path(), ("config", 1, ()))
