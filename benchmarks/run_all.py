"""Runs every benchmark in turn: make bench."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RUNS = (
    ["model_size.py"],
    ["step_cost.py"],
    ["synthreid_difficulty.py", "--output", str(HERE / "results" / "synthreid_difficulty.json")],
    ["compare_on_synthreid.py"],
    ["cost_of_parts.py"],
    ["res2net_profile.py"],
    ["loading.py"],
    ["evaluation.py"],
    ["extractor.py"],
    ["storm.py"],
    ["fuzz_loaders.py"],
    ["occluded_ladder.py"],
    ["res2net_tables.py", "--seeds", "0", "1"],
    ["trunk_speed.py"],
    ["trunk_exports.py"],
    ["light_trunks.py"],
)

if __name__ == "__main__":
    for script, *arguments in RUNS:
        print(f"== {script}", flush=True)
        subprocess.run([sys.executable, str(HERE / script), *arguments], cwd=HERE.parent, check=True)
