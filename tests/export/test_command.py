"""``fastreid-ext export``: the files of each format, what they say, and what is refused."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.export import exporting, options, parity
from fastreid_ext.export.compared_images import images_to_compare
from fastreid_ext.export.graph import ExportError, FeatureGraph, image_size, trace
from fastreid_ext.files import read_text
from fastreid_ext.inference import compression, features
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.inference.record import PIXELS, ModelRecord

NAN, INF = float("nan"), float("inf")


def snippet(word):
    """The example of docs/export.md with a word in it, for images of the small model."""
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    (found,) = (block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if word in block)
    return found.replace("256, 128", "64, 32")


def test_onnx(call, trained, tmp_path, capsys):
    assert call("--format", "onnx", "--images", 12, "--normalise", "--input", "imagenet", "--latency") == 0
    printed = capsys.readouterr().out
    assert "| 12 images of SynthReIDTiny" in printed and "| least cosine" in printed and "| mAP (%)" in printed
    assert "PyTorch (ms)" in printed and "a.onnx 0." in printed
    file = tmp_path / "out" / "a.onnx"
    proto = onnx.load(file)
    onnx.checker.check_model(proto, full_check=True)
    (entry,) = proto.metadata_props
    record = ModelRecord.from_text(entry.value, file)
    assert record == ModelRecord.from_text(read_text(tmp_path / "out" / "a.onnx.json"), file)
    assert (record.pixels, record.normalised, record.dim, record.size) == ("imagenet", True, 64, (64, 32))
    found = json.loads(read_text(tmp_path / "out" / "a.onnx.parity.json"))
    assert found["within_tolerance"] and found["images"] == 12 and len(found["latency"]) == 2
    assert set(found["largest_distance_of_batches"]) == {"1", "2", "7"}
    # no path of this machine, which stack traces have
    assert str(tmp_path).encode() not in file.read_bytes() and b"site-packages" not in file.read_bytes()
    # whoever reads the record feeds it right
    cfg, model = trained
    with images_to_compare(cfg, 6) as compared:
        paths = [compared.images.img_items[index][0] for index in compared.chosen]
    expected = Extractor.of_model(cfg, model)(paths)
    np.testing.assert_allclose(Extractor(file)(paths), expected, atol=1e-5)
    # and so does the example of the docs
    code = snippet("import onnxruntime").replace("model.onnx", str(file)).replace("a.jpg", paths[0])
    scope = {}
    exec(code.replace("b.jpg", paths[1]), scope)
    np.testing.assert_allclose(scope["features"], expected[:2], atol=0.01)  # OpenCV decodes a JPEG a little otherwise
    assert scope["features"].shape == (2, 64)


def test_weights(call, tmp_path):
    assert call("--format", "weights", "--images", 6, name="a.safetensors") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"a.safetensors{end}" for end in ("", ".json", ".parity.json")
    }
    found = json.loads(read_text(tmp_path / "out" / "a.safetensors.parity.json"))
    assert found["largest_difference"] == 0


def test_weights_with_short_features(call, trained, weights, tmp_path):
    features, record = np.random.default_rng(0).normal(size=(9, 64)), Extractor.of_model(*trained).record
    beside = compression.path_beside(weights)
    compression.save(beside, compression.fit(features.astype(np.float32), 5, record))
    try:
        assert call("--format", "weights", "--images", 6, name="a.safetensors") == 0
    finally:
        beside.unlink()
    short = Extractor(tmp_path / "out" / "a.safetensors", dim=4)  # alone: nothing is beside it
    assert short([]).shape == (0, 4)


@pytest.mark.slow
@pytest.mark.parametrize("format_, name", [("openvino", "a.xml"), ("torch-export", "a.pt2"), ("onnx", "a.onnx")])
def test_half(call, tmp_path, format_, name):
    assert call("--format", format_, "--half", "--images", 12, name=name) == 0
    found = json.loads(read_text(tmp_path / "out" / f"{name}.parity.json"))
    assert found["dtype"] == "float16" and 1e-5 < found["largest_distance"] < 0.01
    if format_ != "onnx":
        scope = {}
        code = snippet("compile_model" if format_ == "openvino" else "torch.export.load")
        exec(code.replace(f"model{Path(name).suffix}", str(tmp_path / "out" / name)), scope)
        assert scope["features"].shape == (3, 64)
    if format_ == "torch-export":
        state = torch.export.load(tmp_path / "out" / name).state_dict
        assert {value.dtype for value in state.values()} == {torch.float16}


@pytest.mark.slow
def test_int8(call, tmp_path):
    assert call("--format", "onnx", "--quantise", "int8", "--images", 24) == 0
    found = json.loads(read_text(tmp_path / "out" / "a.onnx.parity.json"))
    assert found["dtype"] == "int8" and found["map_tolerance"] is None
    assert 1e-3 < found["largest_distance"] < 0.5 and found["least_cosine"] > 0.9
    proto = onnx.load(tmp_path / "out" / "a.onnx")
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in proto.graph.node}
    assert len(proto.metadata_props) == 1


@pytest.mark.slow
def test_opset(call, tmp_path):
    assert call("--format", "onnx", "--opset", 23, "--images", 6) == 0
    assert onnx.load(tmp_path / "out" / "a.onnx").opset_import[0].version == 23


# ---- a file that is not the model -----------------------------------------------------------------------------------


def test_beyond_the_tolerance(call, tmp_path, capsys, monkeypatch):
    """A file that was written wrong: every feature is 1 percent too long."""
    monkeypatch.setattr(exporting, "test_features", lambda model, images: 1.01 * features.test_features(model, images))
    assert call("--format", "weights", "--images", 6, name="a.safetensors") == 1
    printed = capsys.readouterr()
    assert "a.safetensors is not the model and is not written: a feature is 0.01 of its length away" in printed.err
    assert "in batches of 7" in printed.err and "| mAP (%)" in printed.out
    assert not json.loads(read_text(tmp_path / "out" / "a.safetensors.parity.json"))["within_tolerance"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.safetensors.parity.json"]
    # a looser one that the user states
    assert call("--format", "weights", "--images", 6, "--tolerance", 0.2, name="a.safetensors") == 0
    assert json.loads(read_text(tmp_path / "out" / "a.safetensors.parity.json"))["within_tolerance"]


@pytest.mark.parametrize(
    ("dtype", "largest", "median", "sentence"),
    [
        ("int8", 0.7, 0.2, ""),  # of a Deep Miner, whose mAP changed by 0.6
        ("int8", 1.1, 0.2, "a feature is 1.1 of its length away"),
        ("int8", 0.9, 0.6, "half of the features are 0.6 away .tolerance 0.5"),
        ("float16", 0.2, 0.02, ""),
        ("float16", 0.2, 0.04, "half of the features are 0.04 away .tolerance 0.03"),
        ("float32", 5e-4, 2e-4, "half of the features are 0.0002 away .tolerance 0.0001"),
    ],
)
def test_what_the_median_may_be(dtype, largest, median, sentence):
    same = {"Rank-1": 50.0, "mAP": 40.0}
    found = parity.Parity(
        images=9,
        source="images",
        dtype=dtype,
        largest_difference=1.0,
        least_cosine=0.5,
        largest_distance=largest,
        median_distance=median,
        largest_distance_of_batches={},
        original=same,
        exported=same,
        tolerance=parity.TOLERANCES[dtype],
        map_tolerance=parity.MAP_TOLERANCES.get(dtype),
    )
    assert len(found.faults) == bool(sentence) and re.search(sentence, "".join(found.faults))


def test_a_number_that_is_none_is_beyond_any_tolerance():
    assert all(not (parity.distances(torch.ones(2, 4), torch.full((2, 4), x)) <= 1e9).any() for x in (NAN, -INF))
    near = parity.distances(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 4.5]]))
    assert near.tolist() == pytest.approx([0.1])


def test_features_that_overflow(call, tmp_path, capsys, monkeypatch):
    """As those of FastReID's own GeM in float16."""
    wrong = lambda model, images: features.test_features(model, images) / 0  # noqa: E731
    monkeypatch.setattr(exporting, "test_features", wrong)
    assert call("--format", "weights", "--images", 6, name="a.safetensors") == 1
    assert "is not the model and is not written: a feature is " in capsys.readouterr().err
    text = read_text(tmp_path / "out" / "a.safetensors.parity.json")
    assert "NaN" not in text and "Infinity" not in text and json.loads(text)["exported"]["mAP"] is None


# ---- mistakes -------------------------------------------------------------------------------------------------------


def test_options_that_do_not_go_together(fails):
    assert options.PIXELS == PIXELS
    assert "a file of --format onnx ends with .onnx" in fails("--format", "onnx", name="a.pt2")
    assert "a file of --format openvino ends with .xml" in fails("--format", "openvino", name="a")
    weights = ("--format", "weights")
    for option in (("--half",), ("--normalise",), ("--input", "raw")):
        assert f"{option[0]} changes what a graph does" in fails(*weights, *option, name="a.safetensors")
    for format_, name in (("weights", "a.safetensors"), ("torch-export", "a.pt2"), ("openvino", "a.xml")):
        assert "--quantise makes an ONNX file" in fails("--format", format_, "--quantise", "int8", name=name)
        assert "--opset is of ONNX's operators" in fails("--format", format_, "--opset", 18, name=name)
    assert "both choose the type" in fails("--format", "onnx", "--half", "--quantise", "int8")
    assert "--opset is 17 and must be from 18 to 23" in fails("--format", "onnx", "--opset", 17)
    assert "--images is 1 and must be 2 or more" in fails("--format", "onnx", "--images", 1)
    for value in ("nan", "-1", "inf"):
        assert "--tolerance is" in fails("--format", "onnx", "--tolerance", value)


def test_files_that_can_not_be_written(fails, tmp_path):
    assert "there is no folder" in fails("--format", "onnx", name="below/a.onnx")
    for name in ("a.onnx", "b.onnx.json", "d.bin"):
        (tmp_path / "out" / name).write_text("mine")
    assert "a.onnx exists: remove it" in fails("--format", "onnx")
    assert "b.onnx.json exists" in fails("--format", "onnx", name="b.onnx")
    assert "d.bin exists" in fails("--format", "openvino", name="d.xml")
    comparison = tmp_path / "out" / "e.onnx.parity.json"
    for text in ("mine", "[]", '{"within_tolerance": true}'):  # of an export that was moved, for one
        comparison.write_text(text)
        assert "e.onnx.parity.json exists" in fails("--format", "onnx", name="e.onnx")
        assert comparison.read_text() == text
    comparison.unlink()
    comparison.symlink_to("nowhere")
    assert "e.onnx.parity.json exists" in fails("--format", "onnx", name="e.onnx")


@pytest.mark.parametrize(
    "module, extra", [("onnxscript", "export"), ("onnxruntime", "export"), ("openvino", "openvino")]
)
def test_missing_extras(fails, monkeypatch, module, extra):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    sentence = fails("--format", "openvino", name="a.xml")
    assert "pip install fastreid-ext[export" in sentence and extra in sentence


def test_models_that_can_not_be_exported(fails, trained):
    assert "weights are missing" in fails("--format", "onnx", MODEL__WEIGHTS="")
    cfg, _ = trained
    for size in ([64], [0, 0]):  # of the shorter side; as they come
        cfg.INPUT.SIZE_TEST = size
        with pytest.raises(ConfigError, match="takes images of one size: give height and width"):
            image_size(cfg)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.SIZE = True, [48]
    assert image_size(cfg) == (48, 48)


def test_a_model_of_the_users_own(trained):
    """It must say how it normalises images; one that looks at its batch can't be traced."""
    cfg, model = trained
    record = exporting._record(cfg, model, exporting.Options("onnx", "a.onnx"))

    class Own(nn.Module):
        def forward(self, images):
            return images.flatten(1)[: len(images)]

    with pytest.raises(ExportError, match="has no preprocess_image"):
        FeatureGraph(Own(), record)
    Own.preprocess_image = lambda self, images: images
    graph = FeatureGraph(Own(), record)
    with pytest.raises(ExportError, match="Own can't be exported for batches of any size"):
        trace(graph, (8, 4))


def test_the_model_is_left_as_it_is(trained):
    cfg, model = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    record = exporting._record(cfg, model, exporting.Options("onnx", "a.onnx", half=True))
    images = torch.full((1, 3, 64, 32), 9.0)
    FeatureGraph(model, record)(images)
    assert (images == 9.0).all()
    after = model.state_dict()
    assert set(before) == set(after) and all(torch.equal(before[name], after[name]) for name in before)
    model(images)
    assert (images != 9.0).any()  # FastReID's own preprocess_image is still there
