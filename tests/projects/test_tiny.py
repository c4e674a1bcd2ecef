"""The first run that the README promises: demo/tiny.yml by the command line, from scratch."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
def test_the_first_run(tmp_path):
    """Renders its data, trains, evaluates and draws rank lists; learns more than an untrained network knows."""
    output = tmp_path / "out"
    command = [sys.executable, "-m", "fastreid_ext", "train", "--config-file", "demo/tiny.yml", "OUTPUT_DIR", output]
    env = {**os.environ, "FASTREID_DATASETS": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((output / "results.json").read_text())["results"]
    for test_set in ("SynthReIDTiny", "SynthReIDOccludedTiny"):
        # | `test set` ... | Rank-1 / mAP trained | Rank-1 / mAP untrained |
        row = re.search(rf"^\| `{test_set}`.* / [\d.]+ \| [\d.]+ / ([\d.]+) \|$", README.read_text(), re.MULTILINE)
        assert results[test_set]["mAP"] > float(row[1]) + 5, "no better than untrained"
        assert (output / f"rank_list_{test_set}.png").stat().st_size > 0
