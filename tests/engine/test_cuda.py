"""What only a GPU can show of our trainer."""

import json

import pytest
import torch

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", ["float32", "bf16", "fp16"])
def test_deep_miner_trains_resumes_and_evaluates(dtype, run_main):
    precision = {"SOLVER__AMP__ENABLED": dtype != "float32"}
    if dtype != "float32":
        precision["SOLVER__AMP__DTYPE"] = dtype
    settings = {"MODEL__DEVICE": "cuda", **precision}
    output = run_main(**settings, SOLVER__MAX_EPOCH=2)
    first = torch.load(output / "model_latest.pth", weights_only=True)
    assert ("grad_scaler" in first) == (dtype == "fp16")

    output = run_main("--resume", **settings, SOLVER__MAX_EPOCH=3)
    last = torch.load(output / "model_final.pth", weights_only=True)
    assert any(not torch.equal(first["model"][key], last["model"][key]) for key in first["model"])
    trained = json.loads((output / "results.json").read_text())["results"]["SynthReIDTiny"]

    weights = output / "model_final.pth"
    evaluated = run_main("--eval-only", **settings, MODEL__WEIGHTS=weights, OUTPUT_DIR=output.parent / "evaluated")
    again = json.loads((evaluated / "results.json").read_text())["results"]["SynthReIDTiny"]
    assert again["mAP"] == pytest.approx(trained["mAP"], abs=1e-3)
