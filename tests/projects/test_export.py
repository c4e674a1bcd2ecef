"""Every project in a file: ONNX in onnxruntime, and torch.export in a process that has torch alone."""

import functools
import math
from dataclasses import replace

import numpy as np
import onnx
import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model
from torch import nn

from fastreid_ext.engine.checkpoint import training_only_keys
from fastreid_ext.export.graph import FeatureGraph, image_size, trace
from fastreid_ext.export.onnx import onnx_model, open_onnx, write_onnx
from fastreid_ext.export.torch_export import write_program
from fastreid_ext.inference import features
from fastreid_ext.inference.record import record_of
from fastreid_ext.layers import DisentangledNonLocal2d
from fastreid_ext.model_zoo import get_config

TINY = {"MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone", "MODEL.BACKBONE.DEPTH": "50x"}  # reads no depth
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.LAST_STRIDE": 1,  # four rows for four stripes
    "MODEL.BACKBONE.WITH_IBN": False,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "MODEL.HEADS.NUM_CLASSES": 12,
}
PROJECTS = {
    "Baseline": ("demo/baseline.yml", {**TINY, "MODEL.BACKBONE.FEAT_DIM": 64}),
    "DeepMiner": ("demo/deepminer.yml", TINY),
    "MGRe": ("demo/mgre.yml", {**TINY, "MODEL.HEADS.EMBEDDING_DIM": 16, "MODEL.MGRE.FE.BLOCKS": 0}),
    # Its attention divides the channels by 16, and its mask is enlarged where the last stride is 2.
    "MSReID": ("demo/msreid.yml", {"MODEL.BACKBONE.LAST_STRIDE": 2, "MODEL.MSREID.DIM": 32}),
    "OccludedReID": (
        "demo/occluded.yml",
        {**TINY, "MODEL.BACKBONE.NAME": "build_tiny_dnl_backbone", "MODEL.BACKBONE.DNL.BLOCKS": [0, 1, 1, 0]},
    ),
    "Res2NetMultiTask": ("demo/res2net.yml", {"MODEL.MULTITASK.DESCRIPTOR": "linear64"}),
}
BATCHES = (1, 2, 7)
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}  # float32, in another order, on features of order 1 to 30
# Reads no more than torch: neither FastReID nor us.
READER = """
import sys
import numpy as np, torch

torch.set_num_threads(1)
for stem in {stems}:
    module = torch.export.load(stem + ".pt2").module()
    known = np.load(stem + ".npz")
    for batch in {batches}:
        with torch.no_grad():
            found = module(torch.from_numpy(known[f"images{{batch}}"])).numpy()
        np.testing.assert_allclose(found, known[f"features{{batch}}"], rtol=1e-4, atol=1e-5)
    print(stem)
assert not [name for name in sys.modules if name.startswith("fastreid")]
"""


@pytest.fixture(scope="module")
def export_of(tmp_path_factory):
    """``export_of(project)``: model, traced program, and the stem of its files: .onnx, .pt2, and .npz with features."""
    folder = tmp_path_factory.mktemp("exports")

    @functools.cache
    def make(project):
        config, tiny = PROJECTS[project]
        cfg = get_config(config)
        cfg.merge_from_list([item for pair in {**SMALL, **tiny}.items() for item in pair])
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        wake(model)
        record = replace(record_of(cfg, model, features.feature_length(cfg, model)), config="")
        program = trace(FeatureGraph(model, record), image_size(cfg))
        stem = folder / project
        write_onnx(stem.with_suffix(".onnx"), onnx_model(program, record))
        write_program(stem.with_suffix(".pt2"), program, record)
        known = {f"images{batch}": torch.randint(0, 256, (batch, 3, 64, 32)).float() for batch in BATCHES}
        known |= {f"features{batch}": features.test_features(model, known[f"images{batch}"]) for batch in BATCHES}
        np.savez(stem.with_suffix(".npz"), **known)
        return model, program, stem

    return make


def wake(model):
    """What starts at 0 (SAM's gamma, the last projection of DNL, mu) hides what lies behind it; so do fresh norms."""
    for name, parameter in model.named_parameters():
        if name.endswith("gamma"):
            nn.init.constant_(parameter, 0.1)
    for module in model.modules():
        if isinstance(module, DisentangledNonLocal2d):
            nn.init.normal_(module.last_projection.weight, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    for name, buffer in model.named_buffers():
        if name.endswith(".mu"):
            nn.init.normal_(buffer, std=0.01)


def check_onnx(stem):
    run, known = open_onnx(stem.with_suffix(".onnx")), np.load(stem.with_suffix(".npz"))
    for batch in BATCHES:
        np.testing.assert_allclose(run(known[f"images{batch}"]), known[f"features{batch}"], **TOLERANCE)


def test_one_model_quickly(export_of, exit_of):
    _, _, stem = export_of("Baseline")
    check_onnx(stem)
    status, printed = exit_of(READER.format(stems=[str(stem)], batches=BATCHES))
    assert status == 0, printed


@pytest.mark.slow
@pytest.mark.parametrize("project", PROJECTS)
def test_onnx(project, export_of):
    check_onnx(export_of(project)[2])


@pytest.mark.slow
def test_torch_export_without_us(export_of, exit_of):
    stems = [str(export_of(project)[2]) for project in PROJECTS]
    status, printed = exit_of(READER.format(stems=stems, batches=BATCHES))
    assert status == 0 and printed.split() == stems, printed


@pytest.mark.slow
@pytest.mark.parametrize("project", PROJECTS)
def test_what_training_alone_reads_is_absent(project, export_of):
    """By name and by size. ONNX folds batch norms into convolutions, so its names are fewer and its numbers too."""
    model, program, stem = export_of(project)
    state, unread = model.state_dict(), training_only_keys(model)
    assert unread  # a classifier at least
    read = {f"model.{name}" for name in state if name not in unread and not name.endswith("num_batches_tracked")}
    unused = {name for name in read if name.startswith("model.heads.verification.")}  # it compares two features
    assert set(program.state_dict) == read - unused
    proto = onnx.load(stem.with_suffix(".onnx"))
    names = {initializer.name for initializer in proto.graph.initializer}
    assert not names & {f"model.{name}" for name in unread}
    numbers = sum(math.prod(initializer.dims) for initializer in proto.graph.initializer)
    weights = sum(state[name.removeprefix("model.")].numel() for name in read)
    assert numbers <= weights + 200 + len(names)  # constants: shapes, means of pixels
    assert stem.with_suffix(".onnx").stat().st_size < 4.1 * weights + 200_000
