"""An export in BoxMOT, which is AGPL-3.0 and so is never installed with us: docs/tracking.md says how to run this."""

import numpy as np
import pytest
import torch

from fastreid_ext import Extractor

ENVIRONMENT = "BoxMOT is not installed: it needs an environment of its own, see docs/tracking.md"


@pytest.mark.slow
def test_features_of_boxmot(call, tmp_path, monkeypatch):
    module = pytest.importorskip("boxmot.reid.backends.onnx_backend", reason=ENVIRONMENT)
    # It would install its own version of onnxruntime over ours.
    monkeypatch.setattr(module.ONNXBackend, "_ensure_onnxruntime_installed", lambda backend: None)
    assert call("--format", "onnx", "--input", "imagenet", "--images", 6) == 0
    file = tmp_path / "out" / "a.onnx"
    backend, extractor = module.ONNXBackend(file, torch.device("cpu"), half=False), Extractor(file)
    assert backend.input_shape == extractor.record.size
    height, width = backend.input_shape
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    frame = np.kron(coarse, np.ones((20, 20, 1), np.uint8))
    unresized = np.array([[10, 20, 10 + width, 20 + height], [100, 64, 100 + width, 64 + height]], dtype=float)
    found, ours = backend.get_features(unresized, frame), extractor.crops(frame, unresized, order="BGR")
    np.testing.assert_allclose(found, ours, atol=2e-5)
    resized = np.array([[10, 20, 80, 200], [100, 60, 200, 230]], dtype=float)
    cosines = (backend.get_features(resized, frame) * extractor.crops(frame, resized, order="BGR")).sum(axis=1)
    print("cosine of features of boxes that are resized:", cosines)
    assert 0.8 < cosines.min() < 0.9999  # by another resizing
