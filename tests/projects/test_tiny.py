"""The first run that the README promises, demo/tiny.yml by the command line from scratch, and the report on it."""

import json
import os
import re
from pathlib import Path

import pytest
import warm

from fastreid_ext.cli import main

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
def test_the_first_run(tmp_path):
    """Renders its data, trains, evaluates and draws rank lists; learns more than an untrained network knows.

    The report on it has its numbers, its hardest queries and what its model looks at. Half of the config's epochs,
    which is the override that a user tries first.
    """
    output = tmp_path / "out"
    overrides = ["OUTPUT_DIR", output, "SOLVER.MAX_EPOCH", 8]
    command = ["-m", "fastreid_ext", "train", "--config-file", "demo/tiny.yml", *overrides]
    done = warm.run(command, {**os.environ, "FASTREID_DATASETS": str(tmp_path / "data")})
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((output / "results.json").read_text())["results"]
    for test_set in ("SynthReIDTiny", "SynthReIDOccludedTiny"):
        # | `test set` ... | Rank-1 / mAP trained | Rank-1 / mAP untrained |
        row = re.search(rf"^\| `{test_set}`.* / [\d.]+ \| [\d.]+ / ([\d.]+) \|$", README.read_text(), re.MULTILINE)
        assert results[test_set]["mAP"] > float(row[1]) + 5, "no better than untrained"
        assert (output / f"rank_list_{test_set}.png").stat().st_size > 0

    page, weights = tmp_path / "report.html", output / "model_best.pth"
    assert weights.is_file() and main(["report", str(output), "--output", str(page), "--pictures", "1"]) == 0
    html = page.read_text(encoding="utf-8")
    assert "What is missing" not in html, html[html.index("What is missing") :][:1000]
    for test_set in results:
        assert f"{results[test_set]['mAP']:.1f}</td>" in html and f'value="{test_set}"' in html
    assert html.count("<article") == 2 * 16 and "the file is not there" not in html  # all queries of both sets
    assert "<h3>Grad-CAM</h3>" in html and "<h3>Masks</h3>" in html and "DeepMiner" in html
    record = json.loads((output / "report.json").read_text())
    assert record["model"]["multiply_adds"] > 1e6 and record["environment"]["device"] == "cpu"
    assert all(path.stat().st_size < 200_000 for path in output.glob("details_*.json"))
