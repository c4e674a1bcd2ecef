"""What a user calls a model: a config, a run's folder, files; and files of that kind by anybody else."""

import json
import os
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml

from fastreid_ext import Extractor
from fastreid_ext.cli import main
from fastreid_ext.engine.checkpoint import training_only_keys
from fastreid_ext.errors import UserError
from fastreid_ext.inference.record import KEY
from fastreid_ext.inference.weights_file import load_weights_file, save_weights_file
from fastreid_ext.modeling.safetensors_files import read_safetensors


@pytest.fixture(scope="module")
def wanted(extractor, image):
    return extractor(image, order="RGB")


def test_a_config_and_weights(trained, run_folder, image, wanted, tmp_path):
    cfg, _ = trained
    (tmp_path / "own.yml").write_text(cfg.dump())
    for weights in (run_folder / "model_best.pth", str(run_folder / "model_best.pth")):
        found = Extractor(tmp_path / "own.yml", weights=weights)(image, order="RGB")
        assert np.array_equal(found, wanted)
    mirrored = Extractor(str(tmp_path / "own.yml"), weights, opts=["TEST.FLIP.ENABLED", True], normalise=False)
    assert mirrored.flip and not np.array_equal(mirrored(image, order="RGB"), wanted)


def test_a_runs_folder_alone(run_folder, image, wanted, monkeypatch):
    """Neither its data sets nor its GPU are here."""
    extractor = Extractor(run_folder)
    assert np.array_equal(extractor(image, order="RGB"), wanted)
    assert np.array_equal(Extractor(str(run_folder), weights="model_best.pth")(image, order="RGB"), wanted)
    monkeypatch.chdir(run_folder.parent)
    assert np.array_equal(Extractor(run_folder.name)(image, order="RGB"), wanted)


def test_a_weights_file(trained, weights_file, image, wanted):
    extractor = Extractor(weights_file)
    assert np.array_equal(extractor(image, order="RGB"), wanted)
    assert extractor.record.dim == extractor.dim == wanted.shape[1]
    cfg, model, record = load_weights_file(weights_file)
    assert not model.training and record == extractor.record and record.architecture == "Baseline"
    kept = read_safetensors(weights_file)[0]
    assert not set(kept) & training_only_keys(trained[1]) and "heads.weight" in trained[1].state_dict()
    assert not [name for name in kept if "heads.weight" in name or name.endswith("num_batches_tracked")]
    size = sum(value.nbytes for value in kept.values())
    assert size < weights_file.stat().st_size < size + 40_000


def test_a_weights_file_is_a_checkpoint_without_state(trained, weights_file, image, wanted, tmp_path):
    cfg, _ = trained
    (tmp_path / "own.yml").write_text(cfg.dump())
    assert np.array_equal(Extractor(tmp_path / "own.yml", weights=weights_file)(image, order="RGB"), wanted)


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        ("demo/tiny.yml", {}, "demo/tiny.yml is a config: name its weights"),
        ("demo/tiyn.yml", {}, "no config file demo/tiyn.yml, and .* did you mean demo/tiny.yml"),
        ("nowhere.safetensors", {}, "there is no file nowhere.safetensors"),
        ("nowhere.onnx", {}, "there is no file nowhere.onnx"),
        ("a.safetensors", {"weights": "b.pth"}, "has config and weights in it: leave weights= out"),
        ("a.onnx", {"opts": ["TEST.FLIP.ENABLED", True]}, "has config and weights in it: leave opts= out"),
        ("a.pth", {}, "a.pth holds weights alone and does not say of which model: name its config"),
        ("demo/tiny.yml", {"weights": "nowhere.pth"}, "there is no checkpoint nowhere.pth"),
        ("demo/tiny.yml", {"weights": "x.onnx"}, "x.onnx is an ONNX file, which is a model by itself"),
        ("demo/tiny.yml", {"weights": "x.pth", "device": "tpu"}, "MODEL.DEVICE is 'tpu'"),
        ("demo/tiny.yml", {"weights": "x.pth", "opts": ["MODEL.NOWHERE", 1]}, "Non-existent key: MODEL.NOWHERE"),
        ("demo/tiny.yml", {"weights": "x.pth", "opts": ["MODEL.WEIGHTS"]}, "Override list has odd length"),
        ("https://example.org/a.onnx", {}, "nothing is downloaded"),
        ("", {}, "the model is empty and must be a name or a path"),
        (7, {}, "the model is int and must be a name or a path"),
    ],
)
def test_what_is_no_model(model, options, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence) as caught:
        Extractor(model, **options)
    assert "\n" not in str(caught.value)


def test_folders_that_are_no_run(run_folder, tmp_path):
    with pytest.raises(UserError, match="is not that of a run: it has no config.yaml"):
        Extractor(tmp_path)
    shutil.copy(run_folder / "config.yaml", tmp_path)
    with pytest.raises(UserError, match="has no model_best.pth: it has no checkpoint at all"):
        Extractor(tmp_path)
    shutil.copy(run_folder / "model_best.pth", tmp_path / "model_final.pth")
    with pytest.raises(UserError, match=r"has no model_best.pth: name one with weights=: model_final.pth"):
        Extractor(tmp_path)
    with pytest.raises(UserError, match=r"name Extractor\('.*', weights='model_final.pth'\)"):
        Extractor(tmp_path / "model_final.pth")
    with pytest.raises(UserError, match="there is no checkpoint"):
        Extractor(tmp_path, weights="nowhere.pth")
    (tmp_path / "config.yaml").write_text("MODEL: {NOWHERE: 1}")
    with pytest.raises(UserError, match="Non-existent key: MODEL.NOWHERE"):
        Extractor(tmp_path, weights="model_final.pth")


# ---- files of weights by anybody ------------------------------------------------------------------------------------


@pytest.fixture
def forged(weights_file, tmp_path):
    """``forged(config=..., **record)``: the file with other words about it; a callable is given the old one."""

    def make(tensors=None, text=None, **changed):
        kept, texts = read_safetensors(weights_file)
        record = json.loads(texts[KEY])
        for key, value in changed.items():
            record[key] = value(record[key]) if callable(value) else value
        path = tmp_path / "forged.safetensors"
        safetensors.torch.save_file(kept if tensors is None else tensors(kept), path, {KEY: text or json.dumps(record)})
        return path

    return make


def with_keys(**changed):
    def change(text):
        tree = yaml.safe_load(text)
        for key, value in changed.items():
            node = tree
            *path, last = key.split("__")
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
        return yaml.safe_dump(tree)

    return change


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"text": "no json"}, "its record is no JSON"),
        ({"text": "x" * (1 << 21)}, "more than 1048576 characters"),
        ({"config": "MODEL: ["}, "the config in .*forged.safetensors"),
        ({"config": ""}, "the config in .* is empty"),
        ({"config": "[" * 100_000}, "nested too deeply"),
        ({"config": "MODEL: !!python/object/apply:os.system [touch evil]"}, "the config in"),
        ({"config": "_BASE_: /etc/passwd"}, "has '_BASE_', and may have MODEL, INPUT, TEST alone"),
        ({"config": with_keys(MODEL___BASE_="x.yml")}, "Non-existent key: MODEL._BASE_"),
        ({"config": with_keys(OUTPUT_DIR="/etc")}, "has 'OUTPUT_DIR'"),
        ({"config": with_keys(MODEL__NOWHERE=1)}, "Non-existent key: MODEL.NOWHERE"),
        ({"config": with_keys(MODEL__WEIGHTS="/etc/passwd")}, "names a file, MODEL.WEIGHTS"),
        ({"config": with_keys(MODEL__BACKBONE__PRETRAIN_PATH="/x")}, "names a file, MODEL.BACKBONE.PRETRAIN_PATH"),
        ({"config": with_keys(INPUT__JOINTS__FILES=["/x"])}, "names a file, INPUT.JOINTS.FILES"),
        ({"config": with_keys(MODEL__META_ARCHITECTURE="os.system")}, "forged.* must be a registered name"),
        ({"config": with_keys(MODEL__HEADS__EMBEDDING_DIM=1 << 40)}, "forged"),
        ({"config": with_keys(MODEL__HEADS__EMBEDDING_DIM=1 << 20)}, "other weights than its config asks for"),
        ({"config": with_keys(MODEL__HEADS__EMBEDDING_DIM="x")}, "MODEL.HEADS.EMBEDDING_DIM"),
        ({"config": with_keys(INPUT__SIZE_TEST=[4096, 1])}, "asks for images of .*, more than 4194304 pixels"),
        ({"config": with_keys(INPUT__SIZE_TEST=[128, 64])}, "says of its model config_sha256"),
        ({"model_sha256": "0" * 64}, "says of its model model_sha256 .* not that of its weights and config"),
        ({"dim": 7}, "says of its model dim 7"),
        ({"pixels": "imagenet"}, "says of its model pixels 'imagenet'"),
        ({"flip": True}, "says of its model flip True"),
        ({"normalised": True}, "says of its model normalised"),
        ({"size": [1 << 20, 1]}, "says of its model size"),
        ({"tensors": lambda kept: {k: v for k, v in kept.items() if "conv1" not in k}}, "absent"),
        ({"tensors": lambda kept: kept | {"more": torch.zeros(3)}}, "'more' is .* in it and absent in the model"),
        ({"tensors": lambda kept: {k: v * 2 for k, v in kept.items()}}, "says of its model model_sha256"),
        ({"tensors": lambda kept: {k: v * float("nan") for k, v in kept.items()}}, "NaN or infinite"),
    ],
)
def test_a_file_of_weights_by_anybody(forged, changed, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = forged(**changed)
    with pytest.raises(UserError, match=sentence):
        Extractor(path)
    assert os.listdir(tmp_path) == ["forged.safetensors"]


def test_damaged_files_of_weights(weights_file, tmp_path):
    data, path = weights_file.read_bytes(), tmp_path / "x.safetensors"
    for damaged in (b"", b"{}", data[:100], data[:-1], data + b"\0", b"\xff" * 100, b"PK\x03\x04"):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="x.safetensors is damaged, or not in the format of safetensors"):
            Extractor(path)
    flipped = bytearray(data)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(UserError, match="model_sha256"):
        Extractor(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="it is a FIFO"):
        Extractor(path)
    safetensors.torch.save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="does not say what its weights are of: name the config"):
        Extractor(tmp_path / "other.safetensors")


def test_names_for_a_weights_file(trained, tmp_path):
    with pytest.raises(UserError, match="must end with .safetensors"):
        save_weights_file(tmp_path / "x.pth", *trained)
    with pytest.raises(UserError, match="nowhere"):
        save_weights_file(tmp_path / "nowhere" / "x.safetensors", *trained)


def test_the_commands_take_a_weights_file(trained, weights_file, files, tmp_path, wanted):
    cfg, _ = trained
    (tmp_path / "own.yml").write_text(cfg.dump())
    status = main(
        ["extract", "--config-file", str(tmp_path / "own.yml"), "--images", str(files[0].parent)]
        + ["--output", str(tmp_path / "store"), "MODEL.WEIGHTS", str(weights_file)]
    )
    assert status == 0
    stored = np.load(tmp_path / "store" / "features.npy")
    assert np.array_equal(stored, Extractor(weights_file, normalise=False)(files))
