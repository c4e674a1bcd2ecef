"""Vision transformers in a file: ONNX in onnxruntime and torch.export, at the size of the training and at another."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from token_networks import config
from torch import nn

from fastreid_ext.export.graph import FeatureGraph, image_size, trace
from fastreid_ext.export.onnx import onnx_model, open_onnx, write_onnx
from fastreid_ext.export.torch_export import write_program
from fastreid_ext.inference import features
from fastreid_ext.inference.record import record_of

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # float32, in another order


def exported(cfg, stem):
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    record = replace(record_of(cfg, model, features.feature_length(cfg, model)), config="")
    program = trace(FeatureGraph(model, record), image_size(cfg))
    write_onnx(stem.with_suffix(".onnx"), onnx_model(program, record))
    write_program(stem.with_suffix(".pt2"), program, record)
    return model, open_onnx(stem.with_suffix(".onnx")), torch.export.load(stem.with_suffix(".pt2")).module()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("project", "name", "size"),
    [("DeepMiner", "test_vit", [96, 32]), ("OccludedReID", "eva02_tiny_patch14_224", [64, 32])],
)
def test_onnx_and_torch_export(project, name, size, tmp_path):
    """Resampled positions and copies of stages; rotary positions and images that are resized to whole patches."""
    cfg = config(project, name, **{"INPUT.SIZE_TEST": size})
    model, onnx, program = exported(cfg, tmp_path / "model")
    for count in (1, 3):
        images = torch.randint(0, 256, (count, 3, *size)).float()
        with torch.no_grad():
            known = features.test_features(model, images)
            np.testing.assert_allclose(program(images).numpy(), known, **TOLERANCE)
        np.testing.assert_allclose(onnx(images.numpy()), known, **TOLERANCE)
