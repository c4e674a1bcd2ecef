"""Trunks in ONNX files: each project by one of them here; ``python benchmarks/trunk_exports.py`` tries all pairs."""

import json

import pytest
import trunk_exports
from trunk_list import PROJECTS
from trunk_models import MATRIX

LARGEST = 1e-4  # difference of a number of a feature, as a share of the largest number: float32 in another order
# The trunk whose graph traces in the shortest time where the project has most parts.
CASES = {
    "MGRe": "Narrow ResNet-10",
    "DeepMiner": "RepVGG-A0",
    "MSReID": "ResNeSt-50",
    "OccludedReID": "ConvNeXtV2 Atto",
    "Res2NetMultiTask": "Res2Net-26",
    "Baseline": "MobileNetV4 Small",
}


def test_every_project_is_exported():
    assert set(CASES) == set(PROJECTS) and set(CASES.values()) <= set(MATRIX)


@pytest.mark.slow
@pytest.mark.parametrize("project", CASES)
def test_the_file_gives_the_models_features(project, tmp_path):
    assert trunk_exports.difference(project, CASES[project], tmp_path) < LARGEST


def test_a_call_goes_on_where_the_last_one_stopped(tmp_path, monkeypatch, capsys):
    done = []

    def difference(project, trunk, folder):
        done.append((project, trunk))
        return 0.5

    monkeypatch.setattr(trunk_exports, "RESULTS", tmp_path)
    monkeypatch.setattr(
        trunk_exports, "difference", lambda project, trunk, folder: done.append((project, trunk)) or 0.5
    )
    monkeypatch.setattr("sys.argv", ["trunk_exports.py", "--trunks", "RepVGG-A0", "--projects", "MGRe"])
    trunk_exports.main()
    monkeypatch.setattr("sys.argv", ["trunk_exports.py", "--trunks", "RepVGG-A0", "--projects", "MGRe", "MSReID"])
    trunk_exports.main()
    assert done == [("MGRe", "RepVGG-A0"), ("MSReID", "RepVGG-A0")]
    record = json.loads((tmp_path / "trunk_exports.json").read_text())
    assert record["results"] == {"RepVGG-A0": {"MGRe": 0.5, "MSReID": 0.5}}
    monkeypatch.setattr(trunk_exports, "commit", lambda: "another")
    assert trunk_exports.earlier() == {}
