"""Every project's features by every route: --eval-only, extract, the extractor of a config, a run's folder and a file.

Where the batches are the same they are equal to the bit. With other batches torch chooses other kernels: 1e-4 of the
largest number.
"""

from collections import OrderedDict

import numpy as np
import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling import build_model

from fastreid_ext import Extractor
from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checkpoint import training_only_keys
from fastreid_ext.engine.evaluation import evaluate_test_sets
from fastreid_ext.engine.loaders import eval_loader
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.evaluation.gathered import GatheredFeatures
from fastreid_ext.inference.weights_file import save_weights_file
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.safetensors_files import read_safetensors
from fastreid_ext.search.extract import extract
from fastreid_ext.search.image_list import ImageList

TINY = {"MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone", "MODEL.BACKBONE.DEPTH": "50x"}  # reads no depth
MGN = {
    "MODEL.META_ARCHITECTURE": "MGN",  # written for the channels and the blocks of a ResNet-50
    "MODEL.BACKBONE.DEPTH": "50x",
    "MODEL.BACKBONE.FEAT_DIM": 2048,
    "MODEL.HEADS.EMBEDDING_DIM": 16,
    "INPUT.SIZE_TEST": [96, 32],
    "INPUT.SIZE_TRAIN": [96, 32],
}
PROJECTS = {
    "DeepMiner": ("demo/deepminer.yml", TINY),
    "MSReID": ("demo/msreid.yml", {}),  # its attention divides the channels by 16: a tiny first stage has too few
    "MGRe": ("demo/mgre.yml", {**TINY, "MODEL.HEADS.EMBEDDING_DIM": 16, "MODEL.BACKBONE.WITH_IBN": False}),
    "Res2NetMultiTask": ("demo/res2net.yml", {**TINY, "MODEL.MULTITASK.DESCRIPTOR": "linear64"}),
    "OccludedReID": (
        "demo/occluded.yml",
        {**TINY, "MODEL.BACKBONE.NAME": "build_tiny_dnl_backbone", "MODEL.BACKBONE.DNL.BLOCKS": [0, 1, 1, 0]},
    ),
    "Baseline": ("demo/baseline.yml", {**TINY, "MODEL.BACKBONE.FEAT_DIM": 64}),
    "MGN": (None, MGN),
}
SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.LAST_STRIDE": 1,
    "MODEL.BACKBONE.PRETRAIN": False,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DATASETS.NAMES": ("SynthReIDTiny",),
    "DATASETS.TESTS": ("SynthReIDTiny",),
    "DATALOADER.NUM_WORKERS": 0,
    "TEST.IMS_PER_BATCH": 4,
}
QUERIES, GALLERY = 3, 6


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow if name == "MGN" else ()) for name in PROJECTS], scope="module"
)
def run(request, tmp_path_factory):
    """Config, folder and model of a run of random weights."""
    name, changed = PROJECTS[request.param]
    cfg, folder = get_cfg() if name is None else get_config(name), tmp_path_factory.mktemp("run")
    cfg.merge_from_list([item for pair in {**SMALL, **changed}.items() for item in pair])
    cfg.MODEL.HEADS.NUM_CLASSES = 7
    torch.save({"model": build_model(cfg).state_dict()}, folder / "model_best.pth")
    cfg.MODEL.HEADS.NUM_CLASSES, cfg.MODEL.WEIGHTS = 0, str(folder / "model_best.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return cfg, folder, load_trained(cfg).eval()


class Gathered(GatheredFeatures):
    """Keeps the features, in the place of an evaluator."""

    def evaluate(self):
        return OrderedDict(mAP=0.0)


@pytest.fixture
def few_images(monkeypatch):
    """SynthReIDTiny with a handful of images."""
    kind = DATASET_REGISTRY.get("SynthReIDTiny")
    for name, count in (("query", QUERIES), ("gallery", GALLERY)):
        whole = getattr(kind, name)
        some = property(lambda dataset, whole=whole, count=count: whole.fget(dataset)[:count])
        monkeypatch.setattr(kind, name, some)


@pytest.mark.parametrize("flip", [False, True])
def test_all_routes_give_the_same_features(run, flip, synth_tiny, few_images, tmp_path):
    cfg, folder, model = run
    cfg = cfg.clone()
    cfg.TEST.FLIP.ENABLED = flip
    loader, count = eval_loader(cfg, "SynthReIDTiny")
    gathered = Gathered()
    evaluate_test_sets(cfg, model, lambda name: (loader, gathered))
    evaluated, files = torch.cat(gathered.features).numpy(), [item[0] for item in loader.dataset.img_items]
    assert len(files) == QUERIES + GALLERY and count == QUERIES and not np.allclose(evaluated[0], evaluated[1])

    if flip:
        assert np.array_equal(Extractor.of_model(cfg, model, normalise=False)(files), evaluated)
        return
    store, _ = extract(cfg, model, ImageList(tmp_path, [(file, "", "") for file in files], "them"), tmp_path / "store")
    assert np.array_equal(store.features, evaluated)
    if cfg.MODEL.META_ARCHITECTURE != "MGN":  # to build its 69 M weights once more takes longer than the rest
        assert np.array_equal(Extractor(folder, normalise=False)(files), evaluated)
    save_weights_file(tmp_path / "alone.safetensors", cfg, model)
    assert not set(read_safetensors(tmp_path / "alone.safetensors")[0]) & training_only_keys(model)
    alone = Extractor(tmp_path / "alone.safetensors", normalise=False)
    assert np.array_equal(alone(files), evaluated) and alone.dim == evaluated.shape[1]
    one_by_one = Extractor.of_model(cfg, model, normalise=False, batch_size=1)(files)
    assert np.abs(one_by_one - evaluated).max() <= 1e-4 * np.abs(evaluated).max()
    assert alone.record.identity == {key: store.meta[key] for key in alone.record.identity}
