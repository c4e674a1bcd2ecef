"""The first run that the README promises: demo/tiny.yml by the command line, from scratch."""

import json
import os
import re
from pathlib import Path

import pytest
import warm

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
def test_the_first_run(tmp_path):
    """Renders its data, trains, evaluates and draws rank lists; learns more than an untrained network knows.

    Half of the config's epochs, which is the override that a user tries first.
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
