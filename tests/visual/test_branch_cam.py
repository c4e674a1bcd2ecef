"""Maps of branches by hand on a model of two lines; tests/deepminer compares those of a Deep Miner with Grad-CAM."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.visual.branch_cam import branch_cams

STRIPES = 2


class TwoBranches(nn.Module):
    """The map of both is the image; one takes its maximum, the other averages two stripes."""

    def preprocess_image(self, images):
        return images

    def labels_of(self, batch):
        return {}

    def branches(self, images, targets, **labels):
        return self.describe(self.branch_maps(images))

    def branch_maps(self, images):
        return {"global": images, "local": images}

    def describe(self, maps):
        stripes = F.adaptive_avg_pool2d(maps["local"], (STRIPES, 1)).flatten(1)
        return {"global": {"neck": maps["global"].amax(dim=(2, 3))}, "local": {"neck": stripes}}

    def branch_stripes(self):
        return {"global": 1, "local": STRIPES}


def test_by_hand():
    """A channel weighs what it adds to the length of the feature: f_c / |f|, within the stripe that it is pooled in."""
    images = torch.randn(2, 3, 4, 2)
    before = images.clone()
    found = branch_cams(TwoBranches().eval(), images)
    assert torch.equal(images, before) and list(found) == ["global", "local"]
    for image, whole, stripes in zip(images.double().numpy(), found["global"], found["local"], strict=True):
        f = image.max(axis=(1, 2))
        expected = np.maximum(0, np.einsum("c,chw->hw", f / np.linalg.norm(f), image))
        np.testing.assert_allclose(whole.numpy(), expected / expected.max(), atol=1e-5)
        halves = image[:, :2], image[:, 2:]
        means = [half.mean(axis=(1, 2)) for half in halves]
        expected = np.concatenate([np.einsum("c,chw->hw", m, half) for m, half in zip(means, halves, strict=True)])
        expected = np.maximum(0, expected)
        np.testing.assert_allclose(stripes.numpy(), expected / expected.max(), atol=1e-5)


def test_a_feature_of_zeros_gives_a_map_of_zeros():
    """No NaN, though nothing can be divided by its largest value."""
    found = branch_cams(TwoBranches().eval(), torch.zeros(1, 3, 4, 2))
    assert all(not heat.any() and heat.isfinite().all() for heat in found.values())


def test_a_model_without_maps_of_branches():
    with pytest.raises(ConfigError, match="Linear has no map for each branch; those that have: .*DeepMiner"):
        branch_cams(nn.Linear(1, 1), torch.zeros(1, 3, 4, 2))
