"""FastReID's own DefaultPredictor, which builds a model without a number of identities, with every project."""

import pytest
import torch
from fastreid.engine.defaults import DefaultPredictor
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config

# Of each project, of FastReID's Baseline, and of the heads of ours that fit it.
BASELINE = ["MODEL.META_ARCHITECTURE", "Baseline", "MODEL.LOSSES.NAME", ("CrossEntropyLoss",)]
MODELS = {name: (f"demo/{name}.yml", []) for name in ("tiny", "msreid", "mgre", "occluded", "res2net", "baseline")}
MODELS["occluded's head"] = ("demo/occluded.yml", [*BASELINE, "MODEL.BACKBONE.FEAT_DIM", 512])
MODELS["res2net's head"] = ("demo/res2net.yml", [*BASELINE, "MODEL.BACKBONE.NAME", "build_resnet_backbone"])
MODELS["res2net's head"][1].extend(["MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512])
TRAINED = ["tiny", "msreid", "occluded's head"]


def config(name, classes=0):
    file, overrides = MODELS[name]
    cfg = get_config(file)
    cfg.merge_from_list(overrides)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", classes])
    cfg.merge_from_list(["MODEL.BACKBONE.LAST_STRIDE", 1, "MODEL.BACKBONE.PRETRAIN", False])
    cfg.merge_from_list(["INPUT.SIZE_TRAIN", [64, 32], "INPUT.SIZE_TEST", [64, 32]])
    return cfg


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(0)
    return torch.rand(2, 3, 64, 32) * 255


@pytest.mark.parametrize("name", sorted(MODELS.keys() - TRAINED))
def test_it_builds_every_model(name, images):
    assert DefaultPredictor(config(name))(images).isfinite().all()


@pytest.mark.parametrize("name", TRAINED)
def test_it_describes_images_as_the_trained_model_does(name, images, tmp_path):
    cfg = config(name, classes=5)
    trained = build_model(cfg).eval()
    torch.save({"model": trained.state_dict()}, tmp_path / "model.pth")
    cfg.merge_from_list(["MODEL.HEADS.NUM_CLASSES", 0, "MODEL.WEIGHTS", str(tmp_path / "model.pth")])
    predictor = DefaultPredictor(cfg)
    with torch.no_grad():
        expected = trained({"images": images.clone()})
    torch.testing.assert_close(predictor(images), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["tiny", "msreid"])
def test_a_model_without_identities_is_not_trained(name, images):
    model = build_model(config(name)).train()
    with EventStorage(), pytest.raises(ConfigError, match=r"built for a test: MODEL.HEADS.NUM_CLASSES is 0"):
        model({"images": images, "targets": torch.tensor([0, 1])})
