"""ONNX files that say how they are fed: features by the evaluation's pixels, and nothing by files of anybody."""

import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastreid_ext import Extractor
from fastreid_ext.errors import UserError
from fastreid_ext.inference.record import KEY, record_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

DIM = 5
WEIGHTS = np.random.default_rng(0).normal(size=(3, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def record(trained):
    cfg, model = trained
    return record_of(cfg, model, DIM)


@pytest.fixture
def exported(record, tmp_path):
    """``exported(batch=2, pixels="imagenet")``: a file whose feature is a product with the mean pixel."""

    def make(batch="B", record=record, dtype=TensorProto.FLOAT, nodes=(), domain="", text=None, change=None, **said):
        record = replace(record, **said)
        kept = [numpy_helper.from_array(WEIGHTS.astype(np.float16 if dtype != TensorProto.FLOAT else np.float32), "w")]
        graph = helper.make_graph(
            [
                helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
                helper.make_node("MatMul", ["mean", "w"], ["features"], domain=domain),
                *nodes,
            ],
            "tiny",
            [helper.make_tensor_value_info("images", dtype, [batch, 3, 64, 32])],
            [helper.make_tensor_value_info("features", dtype, [batch, DIM])],
            kept,
        )
        imports = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        if text != "":
            helper.set_model_props(model, {KEY: text or record.text()})
        if change is not None:
            change(model)
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return make


def by_hand(extractor, files, record=None):
    """The features of the same pixels, in float64."""
    pixels = torch.cat([extractor.read([file]) for file in files]).double().numpy()
    if record is not None:
        mean, std = (np.array(three).reshape(1, 3, 1, 1) for three in (record.mean, record.std))
        pixels = (pixels - mean) / std
    return pixels.mean(axis=(2, 3)) @ WEIGHTS


def test_features_of_its_pixels(exported, extractor, record, files):
    raw = Extractor(exported(), normalise=False)
    assert raw.dim == DIM and raw.record == record and raw([]).shape == (0, DIM)
    np.testing.assert_allclose(raw(files), by_hand(extractor, files), rtol=1e-5)
    normalised = Extractor(exported(pixels="imagenet"), normalise=False)
    np.testing.assert_allclose(normalised(files), by_hand(extractor, files, record=record), rtol=1e-4, atol=1e-5)
    unit = by_hand(extractor, files)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_allclose(Extractor(exported(), batch_size=1, device="cpu")(files), unit, atol=1e-6)


def test_a_fixed_batch_and_half_precision(exported, extractor, files):
    fixed = Extractor(exported(batch=4), normalise=False)
    assert fixed.batch_size == 4
    np.testing.assert_allclose(fixed(files), by_hand(extractor, files), rtol=1e-5)
    np.testing.assert_allclose(
        Extractor(exported(batch=4), batch_size=3, normalise=False)(files), fixed(files), rtol=1e-6
    )
    half = Extractor(exported(dtype=TensorProto.FLOAT16), normalise=False)(files)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, by_hand(extractor, files), rtol=0.02, atol=0.5)


def test_it_needs_no_config(exported, extractor, files):
    np.testing.assert_allclose(
        Extractor(exported(config=""), normalise=False)(files), by_hand(extractor, files), rtol=1e-5
    )


def test_mirroring(exported, files):
    """The mean pixel of a mirrored image is the same; the record says whether it is done."""
    mirrored = Extractor(exported(flip=True), normalise=False)
    assert mirrored.flip and Extractor(exported(flip=True), flip=False).flip is False
    np.testing.assert_allclose(mirrored(files), Extractor(exported(), normalise=False)(files), rtol=1e-5)


def test_what_can_not_be_undone(exported):
    with pytest.raises(UserError, match="gives features of length 1 .* normalise=False"):
        Extractor(exported(normalised=True), normalise=False)
    with pytest.raises(UserError, match="gives features of length 1 .* flip=False"):
        Extractor(exported(normalised=True, flip=True))
    Extractor(exported(normalised=True, flip=True), flip=False)


# ---- files of anybody -----------------------------------------------------------------------------------------------


def outside(location):
    def change(model):
        keep_outside(model.graph.initializer[0], location)

    return change


def keep_outside(tensor, location):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def in_a_branch(location):
    """The same name in a tensor of a subgraph."""

    def change(model):
        inner = helper.make_graph([], "inner", [], [], [numpy_helper.from_array(np.zeros(3, np.float32), "x")])
        keep_outside(inner.initializer[0], location)
        model.graph.node.append(helper.make_node("If", ["mean"], ["z"], then_branch=inner, else_branch=inner))

    return change


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        ({"text": ""}, "does not say which pixels it takes: it was not made by fastreid-ext export"),
        ({"text": "{"}, "its record is no JSON"),
        ({"change": outside("/etc/passwd")}, "keeps weights in another file, '/etc/passwd'"),
        ({"change": outside("beside.bin")}, "keeps weights in another file, 'beside.bin'"),
        ({"change": in_a_branch("../x")}, "keeps weights in another file, '../x'"),
        ({"domain": "evil.ops"}, "has operators of 'evil.ops', which are none of ONNX's or onnxruntime's"),
        ({"dim": 6}, r"gives \(1, 5\) for 1 images, and says 6 numbers each"),
        ({"size": (128, 64)}, "can't be run on images"),
        ({"size": (1 << 14, 1 << 15)}, "says of its model size"),
        ({"nodes": [helper.make_node("Neg", ["nothing"], ["y"])]}, "can't be used as an ONNX model"),
        ({"batch": 0}, "model.onnx"),
    ],
)
def test_a_file_of_anybody(exported, made, sentence, tmp_path):
    (tmp_path / "beside.bin").write_bytes(WEIGHTS.tobytes())
    path = exported(**made)
    with pytest.raises(UserError, match=sentence) as caught:
        Extractor(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


def test_damaged_files(exported, tmp_path):
    data, path = exported().read_bytes(), tmp_path / "x.onnx"
    for damaged in (b"", b"PK\x03\x04", b"<html>", data[: len(data) // 2], data[:-1], os.urandom(999)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="x.onnx"):
            Extractor(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="it is a FIFO"):
        Extractor(path)


def test_onnxruntime_is_not_there(exported, monkeypatch):
    path = exported()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime can't be imported .*: pip install fastreid-ext\[export\]"):
        Extractor(path)


@pytest.mark.parametrize("device", ["tpu", "cuda:7", "cpu:1"])
def test_devices_that_cannot_be(exported, device):
    with pytest.raises(UserError, match="an ONNX file runs on cpu or cuda"):
        Extractor(exported(), device=device)


@pytest.mark.parametrize("said", [{"batch": 10**6}, {"size": (16384, 16384)}, {"crop": (4096, 64)}])
def test_claims_that_would_fill_the_memory(exported, said):
    """Refused before anything of that size is made: a batch of a million images has 25 GB."""
    with pytest.raises(UserError, match="at once, and may ask for 512 of 4194304 pixels"):
        Extractor(exported(**said))
