"""Batch augmentation is one yaml line away for every project."""

import pytest
import torch
from fastreid.modeling import build_model

from fastreid_ext.model_zoo import get_config


def small_config(*names):
    cfg = get_config("demo/deepminer.yml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.HEADS.NUM_CLASSES = 4
    cfg.MODEL.DEEPMINER.IE_BLOCKS = []
    cfg.MODEL.DEEPMINER.LOCAL_STRIPES = 0
    cfg.MODEL.DEEPMINER.ATTENTION_BLOCKS = []
    cfg.INPUT.REA.ENABLED = False
    cfg.INPUT.BATCH_AUGMENT.NAME = list(names)
    cfg.INPUT.BATCH_AUGMENT.REA.PROB = 1.0
    return cfg


def test_training_batches_are_augmented_and_test_batches_are_not(storage):
    model = build_model(small_config("RandomErasing"))
    seen = []
    model.backbone.conv1.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    batch = {"images": torch.full((4, 3, 64, 32), 200.0), "targets": torch.tensor([0, 0, 1, 1])}
    model.train()(batch)
    model.eval()(batch)
    erased = (seen[0] == 0).all(1).flatten(1).any(1)
    assert erased.all()
    assert not (seen[1] == 0).any()
    assert (batch["images"] == 200.0).all()


def test_an_augmentation_may_double_the_batch(storage):
    model = build_model(small_config())
    model.augmentations = (lambda images, targets: (torch.cat([images] * 2), torch.cat([targets] * 2)),)
    batch = {"images": torch.rand(4, 3, 64, 32) * 255, "targets": torch.tensor([0, 0, 1, 1])}
    assert all(loss.isfinite() for loss in model.train()(batch).values())


@pytest.mark.parametrize(("fill", "lowest", "highest"), [("mean", 0, 0), ("random", -2.2, 2.7), ("normal", -6, 6)])
def test_what_is_erased_is_filled(storage, fill, lowest, highest):
    """Of normalised images: 0 is their mean pixel, and black and white are about -2.1 and 2.6."""
    cfg = small_config("RandomErasing")
    cfg.INPUT.BATCH_AUGMENT.REA.FILL = fill
    (augment,) = build_model(cfg).augmentations
    (erased, targets) = augment(torch.full((40, 3, 64, 32), 9.0), torch.arange(40))
    pixels = erased[erased != 9]
    assert lowest <= pixels.min() <= 0.8 * lowest / 2 and 0.8 * highest / 2 <= pixels.max() <= highest
    cfg.INPUT.BATCH_AUGMENT.REA.FILL = "noise"
    with pytest.raises(ValueError, match=r"one of \('mean', 'random', 'normal'\), got 'noise'"):
        build_model(cfg)


def test_unknown_name():
    with pytest.raises(ValueError, match="BATCH_AUGMENT.NAME has .'Mixup'.; choose from"):
        build_model(small_config("Mixup"))
