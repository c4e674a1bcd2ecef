"""Every snippet of docs/extractor.md runs, in its order, with a tiny Deep Miner in the place of the demo's."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from PIL import Image

from fastreid_ext import Extractor
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.evaluation.same_person import Answer
from fastreid_ext.inference.compression import Compression, path_beside, save
from fastreid_ext.inference.weights_file import save_weights_file
from fastreid_ext.model_zoo import get_config

DOC = Path(__file__).parents[2] / "docs" / "extractor.md"
TINY = ["MODEL.BACKBONE.NAME", "build_tiny_resnet_backbone", "MODEL.BACKBONE.DEPTH", "50x", "MODEL.DEVICE", "cpu"]
TINY += ["MODEL.BACKBONE.LAST_STRIDE", 1, "INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32]]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """The files that the snippets name."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "logs" / "demo" / "deepminer"
    run.mkdir(parents=True)
    cfg = get_config("demo/deepminer.yml")
    cfg.merge_from_list(TINY)
    torch.save({"model": build_model(cfg).state_dict()}, run / "model_best.pth")
    (run / "config.yaml").write_text(cfg.dump())
    cfg.MODEL.WEIGHTS = str(run / "model_best.pth")
    model = load_trained(cfg).eval()
    save_weights_file(tmp_path / "model.safetensors", cfg, model)
    record = Extractor.of_model(cfg, model).record
    components = torch.linalg.qr(torch.randn(record.dim, 128))[0].T.contiguous()
    tensors = torch.zeros(record.dim), components, torch.full((128,), 1e-3)
    hashes = record.model_sha256, record.config_sha256
    save(path_beside(run / "model_best.pth"), Compression(*tensors, True, 500, *hashes))
    (tmp_path / "people").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.jpg", "frame.jpg", "people/c.jpg"):
        Image.fromarray(rng.integers(0, 256, (160, 80, 3), dtype=np.uint8)).save(name)
    monkeypatch.setattr(  # which needs people that a model was not trained on
        Extractor, "same_person", lambda self, first, second: [Answer("same person", 0.9, 0.8)] * len(first)
    )
    return tmp_path


def test_every_snippet_runs(world):
    snippets = re.findall(r"```python\n(.*?)```", DOC.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = {}
    for snippet in snippets:
        exec(compile(snippet, str(DOC), "exec"), names)
    assert len(snippets) == 6
    assert names["features"].shape == (2, 448) and names["short"].dim == 64
    assert (world / "copy.safetensors").read_bytes() == (world / "model.safetensors").read_bytes()
