"""Trunks in ONNX files: six of them here; ``python benchmarks/trunk_exports.py`` tries every project on every trunk."""

import json

import pytest
import trunk_exports

LARGEST = 1e-4  # difference of a number of a feature, as a share of the largest number: float32 in another order
# Graphs of few parts: tests/projects/test_export.py has each project on a small ResNet.
CASES = {
    "ConvNeXtV2 Atto": "OccludedReID",
    "MobileNetV4 Small": "Baseline",
    "ShuffleNetV2 1.0x": "OccludedReID",
}


@pytest.mark.slow
@pytest.mark.parametrize("trunk", CASES)
def test_the_file_gives_the_models_features(trunk, tmp_path):
    assert trunk_exports.difference(CASES[trunk], trunk, tmp_path) < LARGEST


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
