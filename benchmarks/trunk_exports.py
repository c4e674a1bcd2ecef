"""ONNX files of every project on every trunk: how far their features are from the model's.

    python benchmarks/trunk_exports.py                       (every pair; most of an hour of one core)
    python benchmarks/trunk_exports.py --projects MGRe --trunks "OSNet x0.5, IBN"

Models are small and have random weights. What is finished is kept in the record, and a call on the same commit goes on
from there.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from record import RESULTS, commit, write_record
from trunk_list import PROJECTS
from trunk_models import MATRIX, settings_of, short_stages

from fastreid_ext.export.graph import FeatureGraph, image_size, trace
from fastreid_ext.export.onnx import onnx_model, open_onnx, write_onnx
from fastreid_ext.inference import features
from fastreid_ext.inference.record import record_of

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.modeling import build_model

NAME = "trunk_exports"
BATCHES = (1, 3)
Found = dict[str, dict[str, float]]  # trunk -> project -> difference


def difference(project: str, trunk: str, folder: Path) -> float:
    """Return the largest difference of a number of a feature, as a share of the largest number.

    Raises:
        ValueError: the features are no numbers, or all of them are zero.
    """
    torch.manual_seed(0)
    with short_stages():
        cfg = settings_of(project, trunk)
        model = build_model(cfg).eval()
    record = record_of(cfg, model, features.feature_length(cfg, model))
    path = folder / "model.onnx"
    write_onnx(path, onnx_model(trace(FeatureGraph(model, record), image_size(cfg)), record))
    run, worst = open_onnx(path), 0.0
    for batch in BATCHES:
        images = torch.randint(0, 256, (batch, 3, *image_size(cfg))).float()
        theirs = features.test_features(model, images).numpy()
        if not (np.isfinite(theirs).all() and theirs.any()):
            raise ValueError(f"the features of {project} on {trunk} are no numbers, or all are 0")
        worst = max(worst, float(np.abs(run(images.numpy()) - theirs).max() / np.abs(theirs).max()))
    return worst


def earlier() -> Found:
    """Return what an earlier call on this commit found."""
    file = RESULTS / f"{NAME}.json"
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return record["results"] if record.get("commit") == commit() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", nargs="+", default=list(PROJECTS), choices=list(PROJECTS), metavar="PROJECT")
    parser.add_argument("--trunks", nargs="+", default=MATRIX, choices=MATRIX, metavar="TRUNK")
    args = parser.parse_args()

    found = earlier()
    for trunk in args.trunks:
        for project in args.projects:
            if project in found.get(trunk, {}):
                continue
            with tempfile.TemporaryDirectory() as folder:
                found.setdefault(trunk, {})[project] = worst = difference(project, trunk, Path(folder))
            write_record(NAME, found, RESULTS / f"{NAME}.json", batches=BATCHES)
            print(f"{trunk}, {project}: {worst:.1e}", flush=True)
    print("written to", RESULTS / f"{NAME}.json")


if __name__ == "__main__":
    main()
