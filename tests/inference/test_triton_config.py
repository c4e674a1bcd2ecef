"""examples/triton_config.py: a Triton repository whose config is what the exported file says of itself."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import triton_config
from PIL import Image

from fastreid_ext import Extractor
from fastreid_ext.inference.record import KEY, record_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install fastreid-ext[export]")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install fastreid-ext[export]")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

DIM = 5


@pytest.fixture
def exported(trained, tmp_path):
    """``exported(batch=2)``: a file with the input, the output and the record of an export."""

    def make(batch="batch", dtype=TensorProto.FLOAT, record=record_of(*trained, DIM)):  # noqa: B008
        values = np.random.default_rng(0).normal(size=(3, DIM))
        weights = numpy_helper.from_array(values.astype(helper.tensor_dtype_to_np_dtype(dtype)), "w")
        graph = helper.make_graph(
            [
                helper.make_node("ReduceMean", ["images"], ["mean"], axes=[2, 3], keepdims=0),
                helper.make_node("MatMul", ["mean", "w"], ["features"]),
            ],
            "tiny",
            [helper.make_tensor_value_info("images", dtype, [batch, 3, 64, 32])],
            [helper.make_tensor_value_info("features", dtype, [batch, DIM])],
            [weights],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if record is not None:
            helper.set_model_props(model, {KEY: record.text()})
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return make


def test_the_config_of_a_file(exported, trained, tmp_path, capsys):
    file = exported()
    assert triton_config.main([str(file), str(tmp_path / "models"), "--name", "reid", "--batch", "32"]) == 0
    folder = tmp_path / "models" / "reid"
    assert (folder / "1" / "model.onnx").read_bytes() == file.read_bytes()
    lines = (folder / "config.pbtxt").read_text().splitlines()
    assert lines[:6] == [
        'name: "reid"',
        'backend: "onnxruntime"',
        "max_batch_size: 32",
        'input [{ name: "images" data_type: TYPE_FP32 dims: [3, 64, 32] }]',
        'output [{ name: "features" data_type: TYPE_FP32 dims: [5] }]',
        "dynamic_batching { max_queue_delay_microseconds: 2000 }",
    ]
    assert 'parameters { key: "pixels" value { string_value: "raw" } }' in lines
    assert 'parameters { key: "mean" value { string_value: "123.675 116.28 103.53" } }' in lines
    assert str(folder / "config.pbtxt") in capsys.readouterr().out


def test_a_file_of_one_batch_size_and_of_halves(exported):
    text = triton_config.config_of(exported(batch=2, dtype=TensorProto.FLOAT16), "reid", 64, 0)
    assert "max_batch_size: 0" in text and "dynamic_batching" not in text
    assert "data_type: TYPE_FP16 dims: [2, 3, 64, 32]" in text and "dims: [2, 5]" in text


def test_files_that_are_no_model(exported, tmp_path, capsys):
    assert triton_config.main([str(exported(record=None)), str(tmp_path / "models")]) == 1
    assert "make it with fastreid-ext export" in capsys.readouterr().err
    shutil.copy(__file__, tmp_path / "text.onnx")
    assert triton_config.main([str(tmp_path / "text.onnx"), str(tmp_path / "models")]) == 1
    assert "text.onnx can't be used as an ONNX model" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("pixels", ["raw", "imagenet"])
def test_the_lines_for_onnxruntime_alone(pixels, exported, trained, files, tmp_path, monkeypatch):
    """Those of docs/serve.md make the pixels that the evaluation makes."""
    text = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
    (lines,) = [block for block in text.split("```python\n")[1:] if "onnxruntime.InferenceSession" in block]
    record = replace(record_of(*trained, DIM), pixels=pixels)
    file = exported(record=record)
    (tmp_path / "model.onnx.json").write_text(record.text())
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(lines.partition("```")[0], scope)
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    Image.open(files[0]).save(tmp_path / "turned.png", exif=exif)
    files = [*files, tmp_path / "turned.png"]
    expected = Extractor(file, normalise=False)(files)
    assert expected.any() and not np.allclose(expected[0], expected[-1])
    np.testing.assert_allclose(scope["features"](files), expected, rtol=1e-4, atol=1e-4)
