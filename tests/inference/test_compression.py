"""Principal components: against NumPy's decomposition, in an extractor, of other weights, and by anybody."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from fastreid_ext import Extractor
from fastreid_ext.cli import main
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.errors import ConfigError, UserError
from fastreid_ext.evaluation.ranking import rank_metrics
from fastreid_ext.inference import compression
from fastreid_ext.inference.compression import fit, load, path_beside, save
from fastreid_ext.inference.weights_file import save_weights_file
from fastreid_ext.modeling.safetensors_files import read_safetensors


@pytest.fixture(scope="module")
def record(extractor):
    return extractor.record


@pytest.fixture(scope="module")
def features():
    """(60, 12), whose variances are far apart."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(60, 12)) * np.geomspace(1, 0.05, 12) + 0.3).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("exact", [2048, 4])
def test_components_by_numpys_decomposition(features, record, metric, exact, monkeypatch):
    """In float64; what is kept in float32 rounds at 6e-8. Random projections of 12 numbers span all of them."""
    monkeypatch.setattr(compression, "EXACT", exact)
    found = fit(features, 5, replace(record, metric=metric))
    values = features.astype(np.float64)
    values = values / np.linalg.norm(values, axis=1, keepdims=True) if metric == "cosine" else values
    centred = values - values.mean(axis=0)
    _, lengths, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:5] * np.sign(np.take_along_axis(axes[:5], np.abs(axes[:5]).argmax(axis=1)[:, None], axis=1))
    np.testing.assert_allclose(found.components, axes, atol=1e-6)
    np.testing.assert_allclose(found.explained, (lengths**2 / (lengths**2).sum())[:5], rtol=1e-5)
    short = found(torch.from_numpy(features), 3)
    np.testing.assert_allclose(short, centred @ axes[:3].T, atol=1e-5)
    assert found.normalised == (metric == "cosine") and short.dtype == torch.float32


def test_the_same_features_give_the_same_bits(features, record):
    first, again = fit(features, 4, record), fit(features.copy(), 4, record)
    assert torch.equal(first.components, again.components) and torch.equal(first.mean, again.mean)


def test_what_can_not_be_fitted(features, record):
    with pytest.raises(ConfigError, match="--dim is 13, and 60 images with features of 12 numbers give 12 components"):
        fit(features, 13, record)
    with pytest.raises(ConfigError, match="--dim is 5, and 5 images .* give 4 components at most"):
        fit(features[:5], 5, record)
    with pytest.raises(ConfigError, match="the features of all images are the same"):
        fit(np.ones((9, 4), np.float32), 2, record)


# ---- in an extractor ------------------------------------------------------------------------------------------------


@pytest.fixture
def run(trained, tmp_path):
    """A run's folder, and the extractor of its weights."""
    cfg, model = trained
    (tmp_path / "config.yaml").write_text(cfg.dump())
    torch.save({"model": model.state_dict()}, tmp_path / "model_best.pth")
    return tmp_path


@pytest.fixture
def images():
    return np.random.default_rng(3).integers(0, 256, (30, 64, 32, 3), dtype=np.uint8)


@pytest.fixture
def fitted(images, extractor):
    return fit(extractor(images, order="RGB"), 8, extractor.record)


def test_short_features(run, images, fitted, trained):
    whole = Extractor(run, normalise=False)(images, order="RGB", as_torch=True)
    save(path_beside(run / "model_best.pth"), fitted)
    for dim in (8, 3):
        short = Extractor(run, dim=dim, normalise=False)
        assert short.dim == dim and short([]).shape == (0, dim) and short.record.dim == 64
        found = short(images, order="RGB", as_torch=True)
        torch.testing.assert_close(found, fitted(whole, dim), rtol=0, atol=1e-6)
        unit = Extractor(run, dim=dim)(images, order="RGB")
        np.testing.assert_allclose(unit, found / found.norm(dim=1, keepdim=True), atol=1e-6)
    with pytest.raises(UserError, match="dim is 9, and 8 components were fitted: lower it, or call .* --dim 9"):
        Extractor(run, dim=9)
    save_weights_file(run / "alone.safetensors", *trained, components=fitted)
    alone = run / "elsewhere" / "alone.safetensors"
    alone.parent.mkdir()
    (run / "alone.safetensors").rename(alone)
    assert np.array_equal(Extractor(alone, dim=8)(images, order="RGB"), Extractor(run, dim=8)(images, order="RGB"))
    assert not [name for name in read_safetensors(alone)[0] if "pca" in name]
    save_weights_file(run / "beside.safetensors", *trained)  # of the same weights, so these components are its own
    assert Extractor(run / "beside.safetensors", dim=8).dim == 8


def test_components_of_other_weights(run, fitted, trained):
    with pytest.raises(UserError, match="there is no .*model_best.pca.safetensors: fit them with fastreid-ext"):
        Extractor(run, dim=8)
    with pytest.raises(UserError, match="whose file is unknown"):
        Extractor.of_model(*trained, dim=8)
    path = path_beside(run / "model_best.pth")
    for changed, what in (
        ({"model_sha256": "0" * 64}, "other weights"),
        ({"config_sha256": "0" * 64}, "another config"),
        ({"components": torch.eye(8, 9), "mean": torch.zeros(9)}, "features of 9 numbers, and the model gives 64"),
    ):
        save(path, replace(fitted, **changed))
        with pytest.raises(UserError, match=f"model_best.pca.safetensors has the components of {what}.*: fit them"):
            Extractor(run, dim=8)
    save(run / "model_final.pca.safetensors", fitted)  # of these weights, whatever its name
    assert Extractor(run, dim=8).dim == 8


@pytest.mark.parametrize(
    ("tensors", "said", "sentence"),
    [
        ({"mean": torch.zeros(63)}, {}, "tensors of shapes that do not fit each other"),
        ({"components": torch.zeros(70, 64), "explained": torch.zeros(70)}, {}, "do not fit each other"),
        ({"components": torch.zeros(8)}, {}, "do not fit each other"),
        ({"components": torch.zeros(0, 64), "explained": torch.zeros(0)}, {}, "do not fit each other"),
        ({"mean": torch.full((64,), float("nan"))}, {}, "numbers that are not finite"),
        ({"mean": torch.zeros(64, dtype=torch.int64)}, {}, "other tensors than"),
        ({"more": torch.zeros(1)}, {}, "other tensors than"),
        ({}, {"normalised": 1}, "no words on whose components"),
        ({}, {"images": -1}, "no words on whose components"),
        ({}, {"model_sha256": None}, "no words on whose components"),
        ({}, {"format": "x"}, "of its components, this version reads"),
    ],
)
def test_components_by_anybody(fitted, tensors, said, sentence, tmp_path):
    path = tmp_path / "x.pca.safetensors"
    texts = {compression.KEY: json.dumps(json.loads(fitted.texts[compression.KEY]) | said)}
    named = {compression.PREFIX + name: value for name, value in tensors.items()}
    safetensors.torch.save_file(fitted.tensors | named, path, texts)
    with pytest.raises(UserError, match=sentence):
        load(path)
    for text in ("{", "[1]", "null", "[" * 100_000):
        safetensors.torch.save_file(fitted.tensors, path, {compression.KEY: text})
        with pytest.raises(UserError, match="x.pca.safetensors"):
            load(path)


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def compress(run, synth_tiny):
    def call(*options, **changed):
        pairs = {"DATASETS.NAMES": "('SynthReIDTiny',)", "DATASETS.TESTS": "('SynthReIDTiny',)"}
        pairs |= {"MODEL.WEIGHTS": run / "model_best.pth", "OUTPUT_DIR": run / "unused"} | changed
        flat = [str(item) for pair in pairs.items() for item in pair]
        return main(["compress", "--config-file", str(run / "config.yaml"), *map(str, options), *flat])

    return call


def test_the_command(compress, run, trained, capsys):
    assert compress("--dim", 20) == 0
    printed = capsys.readouterr().out
    assert (run / "model_best.pca.md").read_text() in printed and "| 64 (all) | 100.0 % |" in printed
    about = json.loads((run / "model_best.pca.json").read_text())
    assert [row["dim"] for row in about["rows"]] == [16, 20, 64] and about["training_images"] == 72
    loader, count = eval_loader(trained[0], "SynthReIDTiny")
    items = loader.dataset.img_items
    pids, camids = (np.array([item[column] for item in items]) for column in (1, 2))
    for row in about["rows"]:
        extractor = Extractor(run, normalise=False, dim=None if row["dim"] == 64 else row["dim"])
        found = extractor([item[0] for item in items])
        sides = found[:count], found[count:], pids[:count], pids[count:], camids[:count], camids[count:]
        wanted = rank_metrics(*sides, metric="cosine")
        for name in ("mAP", "Rank-1"):
            assert row[name] == pytest.approx(wanted[name], abs=1e-3)
            assert row[f"{name}_change"] == pytest.approx(row[name] - about["rows"][-1][name])
    assert 0 < about["rows"][0]["variance"] < about["rows"][1]["variance"] < 1


def test_mistakes_of_the_command(compress, sentence_of):
    assert "--dim is 0 and must be 1 or more" in sentence_of(compress("--dim", 0))
    assert "--fit-on is -1 and must be 0 or more" in sentence_of(compress("--fit-on", -1))
    assert "--dim is 64, and the model's features have 64 numbers" in sentence_of(compress("--dim", 64))
    assert "--dim is 20, and 9 images" in sentence_of(compress("--dim", 20, "--fit-on", 9))
    assert "no data set is registered as 'Nowhere'" in sentence_of(compress("--dim", 8, "--test-set", "Nowhere"))
    assert "weights are missing" in sentence_of(compress("--dim", 8, **{"MODEL.WEIGHTS": ""}))
