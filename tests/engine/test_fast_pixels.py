"""DATALOADER.FAST_PIXELS False: PIL and FastReID's transforms alone, and the same run."""

import json

import pytest

from fastreid_ext.data.pixels import decoding, resampling
from fastreid_ext.data.pixels.byte_transforms import ByteTransform

TINY = {"SOLVER__MAX_EPOCH": 1, "SOLVER__WARMUP_EPOCHS": 0, "DATALOADER__NUM_WORKERS": 0}
TINY |= {"DATASETS__HOLD_OUT": 2, "DATASETS__VALIDATION": 3}  # each with a loader of its own


@pytest.mark.slow
def test_a_run_is_the_same_without_our_pixels(run_main, differences, monkeypatch, tmp_path):
    settings = TINY | {"INPUT__SIZE_TRAIN": "[60, 30]", "INPUT__SIZE_TEST": "[60, 30]"}
    fast = run_main(**settings, OUTPUT_DIR=tmp_path / "fast")
    used = []
    for owner, name in ((decoding, "_decode"), (resampling, "resized"), (ByteTransform, "__call__")):
        monkeypatch.setattr(owner, name, lambda *args, **kwargs: used.append(args))
    slow = run_main(**settings, DATALOADER__FAST_PIXELS=False, OUTPUT_DIR=tmp_path / "slow")
    assert not used
    first, second = (json.loads((folder / "results.json").read_text())["results"] for folder in (fast, slow))
    assert first == second
    assert not differences(*(folder / "model_latest.pth" for folder in (fast, slow)))
