"""What the program around an extractor has set up in torch, or passes by mistake, changes no number in silence."""

import numpy as np
import pytest
import torch

from fastreid_ext import Extractor
from fastreid_ext.errors import UserError


@pytest.fixture(scope="module")
def wanted(extractor, image):
    return extractor([image, image[:50]], order="RGB")


def test_autocast_around_it(extractor, image, wanted):
    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(extractor([image, image[:50]], order="RGB"), wanted)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_another_default_of_numbers(run_folder, weights_file, image, wanted, dtype):
    torch.set_default_dtype(dtype)
    try:
        for model in (run_folder, weights_file):
            assert np.array_equal(Extractor(model)([image, image[:50]], order="RGB"), wanted)
        assert torch.get_default_dtype() is dtype
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("part", ["", "heads"])
def test_a_model_that_is_put_into_training_mode_later(trained, image, part):
    """Its batch norms would count these images, and give other features."""
    cfg, model = trained
    extractor, before = Extractor.of_model(cfg, model), {key: each.clone() for key, each in model.state_dict().items()}
    model.get_submodule(part).train()
    try:
        with pytest.raises(UserError, match="in training mode"):
            extractor(image, order="RGB")
        with pytest.raises(UserError, match="in training mode"):
            Extractor.of_model(cfg, model)
    finally:
        model.eval()
    assert all(torch.equal(each, before[key]) for key, each in model.state_dict().items())


@pytest.mark.parametrize("options", [{"flip": "no"}, {"normalise": "no"}, {"normalise": None}, {"flip": 1}])
def test_words_for_yes_and_no(trained, options):
    with pytest.raises(UserError, match=f"{next(iter(options))} is .* and must be True or False"):
        Extractor.of_model(*trained, **options)


def test_numbers_of_numpy(trained, image):
    assert len(Extractor.of_model(*trained, batch_size=np.int64(2), workers=np.int32(0))([image] * 3, order="RGB")) == 3


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"opts": "TEST.FLIP.ENABLED True"}, "opts is 'TEST.FLIP.ENABLED True' and must be a list"),
        ({"opts": {"TEST.FLIP.ENABLED": True}}, "opts is .* and must be a list"),
        ({"opts": 3}, "opts is 3 and must be a list"),
        ({"weights": 3}, "weights is 3 and must be a path"),
        ({"weights": ""}, "weights is '' and must be a path"),
        ({"opts": ["MODEL.WEIGHTS", "x.pth"]}, "opts have MODEL.WEIGHTS: name the file with weights="),
    ],
)
def test_options_that_can_not_be(run_folder, options, sentence):
    with pytest.raises(UserError, match=sentence):
        Extractor(run_folder, **options)


@pytest.mark.parametrize("boxes", [torch.zeros(2, 4).to_sparse(), torch.zeros(2, 4, device="meta")])
def test_boxes_without_plain_numbers(extractor, image, boxes):
    with pytest.raises(UserError, match="boxes must be"):
        extractor.crops(image, boxes, order="RGB")
