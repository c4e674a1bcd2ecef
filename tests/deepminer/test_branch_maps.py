"""What figure 2 is drawn of: the last map of each branch, and the feature that it alone gives."""

import torch

from fastreid_ext.visual.branch_cam import branch_cams
from fastreid_ext.visual.grad_cam import grad_cam


def test_each_branch_is_explained_by_its_own_feature(make_model):
    """As Grad-CAM of the layer that makes the map, whose way through the network is another one."""
    model = make_model().eval()
    images = torch.rand(2, 3, 64, 32) * 255
    with torch.no_grad():
        branches = model.branches(model.preprocess_image(images), None)
    found = branch_cams(model, images)
    assert list(found) == list(branches) == ["global", "ie2", "ie3", "local"]
    assert model.branch_stripes() == {"global": 1, "ie2": 1, "ie3": 1, "local": 4}
    layers = {"global": "backbone.layer4", "ie3": "side_branches.ie3.blocks.trunk.layer4"}
    for name, layer in layers.items():

        def length(model, images, name=name):
            return model.branches(model.preprocess_image(images), None)[name]["neck"].norm(dim=1)

        torch.testing.assert_close(found[name], grad_cam(model, layer, images, length), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found["global"], found["ie3"], atol=1e-2)


def test_maps_give_the_features(make_model):
    model = make_model().eval()
    images = model.preprocess_image(torch.rand(2, 3, 64, 32) * 255)
    with torch.no_grad():
        whole, parts = model.branches(images, None), model.describe(model.branch_maps(images))
    assert all(torch.equal(whole[name]["neck"], parts[name]["neck"]) for name in whole)
