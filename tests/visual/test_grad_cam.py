"""Grad-CAM where the answer can be worked out by hand, and what it leaves as it was."""

import copy

import pytest
import torch
from fastreid.modeling import build_model
from torch import nn

from fastreid_ext.model_zoo import get_config
from fastreid_ext.visual.grad_cam import feature_length, grad_cam, last_layer, similarity_to

EXACT = {"rtol": 1e-6, "atol": 1e-6}  # float32, a handful of operations


class Linear(nn.Module):
    """score = sum over channels and places of w_c * A_c: the gradient is w_c everywhere, and so is alpha_c."""

    def __init__(self, weights):
        super().__init__()
        self.maps = nn.Conv2d(3, len(weights), 1, bias=False)
        self.aside = nn.Conv2d(3, 2, 1)
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, images):
        self.aside(images)
        with torch.no_grad():
            self.aside(images)
        return (self.maps(images) * self.weights[:, None, None]).sum(dim=(2, 3))


def total(model, images):
    return model(images).sum(dim=1)


def test_by_hand():
    """Two channels, red and green, with weights 2 and -1: the map is ReLU(2 red - green)."""
    model = Linear([2.0, -1.0]).eval()
    model.maps.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None]
    images = torch.zeros(1, 3, 2, 2)
    images[0, 0] = torch.tensor([[1.0, 2], [3, 0]])
    images[0, 1] = torch.tensor([[0.0, 6], [2, 1]])
    # 2 red - green = [[2, -2], [4, -1]], then ReLU, then by the largest
    expected = torch.tensor([[[0.5, 0.0], [1.0, 0.0]]])
    torch.testing.assert_close(grad_cam(model, "maps", images, total), expected, **EXACT)


def test_the_weight_of_a_channel_is_its_mean_gradient():
    """score = sum of A_c(place)^2 / 2: the gradient is A itself, alpha_c the mean of A_c."""
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Identity()).eval()
    images = torch.randn(3, 3, 6, 4)
    with torch.no_grad():
        maps = model(images)
    expected = (maps.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).clamp_min(0)
    expected = expected / expected.amax(dim=(1, 2), keepdim=True)
    heat = grad_cam(model, "0", images, lambda m, x: m(x).square().sum(dim=(1, 2, 3)) / 2)
    torch.testing.assert_close(heat, expected, rtol=1e-4, atol=1e-5)


def test_a_small_map_is_enlarged():
    model = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 1, 1, bias=False)).eval()
    nn.init.ones_(model[1].weight)
    images = torch.zeros(1, 3, 4, 4)
    images[:, :, :2, :2] = 1
    heat = grad_cam(model, "1", images, lambda m, x: m(x).sum(dim=(1, 2, 3)))
    line = torch.tensor([1.0, 0.75, 0.25, 0.0])  # bilinear between the middles of two halves
    torch.testing.assert_close(heat[0], line[:, None] * line[None], **EXACT)


def test_images_do_not_mix():
    model = Linear([2.0, -1.0, 0.5]).eval()
    images = torch.rand(3, 3, 5, 4)
    together = grad_cam(model, "maps", images, total)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], grad_cam(model, "maps", images[i : i + 1], total), **EXACT)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, -2.0]])
def test_nothing_that_raises_the_score(weights):
    model = Linear(weights).eval()
    nn.init.ones_(model.maps.weight)
    heat = grad_cam(model, "maps", torch.rand(2, 3, 4, 2), total)
    assert torch.equal(heat, torch.zeros(2, 4, 2))


# ---- refusals -------------------------------------------------------------------------------------------------------


def test_unknown_layer():
    with pytest.raises(ValueError, match="the model has no layer 'layer4'; it has maps, aside and what lies below"):
        grad_cam(Linear([1.0]).eval(), "layer4", torch.rand(1, 3, 4, 2), total)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.maps, self.unused, self.frozen = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
        self.flat, self.aside, self.cut = nn.Flatten(), nn.Conv2d(3, 2, 1), nn.Identity()

    def forward(self, images):
        self.aside(images)
        with torch.no_grad():
            gate = self.frozen(images)
        return self.flat(self.maps(images) * gate * self.cut(gate)).sum(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("unused", "the layer 'unused' gives no feature map"),
        ("flat", "the layer 'flat' gives no feature map"),
        ("", "the layer '' gives no feature map"),
        ("aside", "the score does not depend on the layer 'aside'"),
        ("frozen", "the score does not depend on the layer 'frozen'"),
        ("cut", "the score does not depend on the layer 'cut'"),
    ],
)
def test_layers_that_can_not_be_explained(layer, message):
    model = Odd().eval()
    with pytest.raises(ValueError, match=message):
        grad_cam(model, layer, torch.rand(1, 3, 4, 2), total)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_score_without_gradient():
    with pytest.raises(ValueError, match="the score does not depend on the layer 'maps'"):
        grad_cam(Linear([1.0]).eval(), "maps", torch.rand(1, 3, 4, 2), lambda m, x: total(m, x).detach())


# ---- real models ----------------------------------------------------------------------------------------------------

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 5, "INPUT.SIZE_TEST", [64, 32], "INPUT.SIZE_TRAIN", [64, 32]]
STRIDE = ["MODEL.BACKBONE.LAST_STRIDE", 1]


@pytest.fixture(scope="module", params=["baseline", "deepminer", "msreid", "occluded"])
def model(request):
    torch.manual_seed(0)
    cfg = get_config(f"demo/{request.param}.yml")
    cfg.merge_from_list([*SMALL, *(STRIDE if request.param == "deepminer" else [])])
    model = build_model(cfg).eval()
    if request.param == "occluded":
        nn.init.normal_(model.heads.momentum_elimination.mu, std=0.02)  # of a trained model: features less the mean one
    return model


@pytest.mark.parametrize("layer", ["backbone.layer4", "backbone.layer3", "backbone.layer1.0.conv1", "backbone.conv1"])
def test_every_project(model, layer):
    """The stages are sequences whose blocks the host's ResNet runs itself."""
    images = torch.rand(2, 3, 64, 32) * 255
    before, state = images.clone(), copy.deepcopy(model.state_dict())
    flags = [(p.requires_grad, p.grad) for p in model.parameters()]
    heat = grad_cam(model, layer, images, feature_length)
    assert heat.shape == (2, 64, 32) and heat.dtype == torch.float32 and not heat.requires_grad
    assert heat.min() >= 0 and heat.amax(dim=(1, 2)).tolist() == pytest.approx([1, 1], abs=1e-6)
    assert torch.equal(images, before) and not images.requires_grad
    assert not any(module.training or module._forward_hooks for module in model.modules())
    assert [(p.requires_grad, p.grad) for p in model.parameters()] == flags and all(g is None for _, g in flags)
    after = model.state_dict()
    assert all(torch.equal(after[key], state[key]) for key in state)


def test_similarity(model):
    images = torch.rand(2, 3, 64, 32) * 255
    with torch.no_grad():
        features = model(images.clone())
        scores = similarity_to(features[0])(model, images.clone())
    cosine = (features @ features[0]) / (features.norm(dim=1) * features[0].norm())
    torch.testing.assert_close(scores, cosine, rtol=1e-4, atol=1e-5)
    assert scores[0] == pytest.approx(1, abs=1e-5)
    heat = grad_cam(model, "backbone.layer4", images, similarity_to(features[0]))
    assert heat.shape == (2, 64, 32) and heat.min() >= 0 and heat.max() <= 1


def test_length(model):
    images = torch.rand(2, 3, 64, 32) * 255
    with torch.no_grad():
        expected = model(images.clone()).square().sum(dim=1).sqrt()
        torch.testing.assert_close(feature_length(model, images.clone()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [1, 4])
def test_parts_of_length_one_have_nothing_to_explain(parts):
    """MODEL.DEEPMINER.TEST_BRANCH_NORM, say: the gradient of the length is rounding, and a picture of it noise."""

    class Unit(nn.Conv2d):
        def forward(self, images):
            feature = super().forward(images).mean(dim=(2, 3))
            return torch.cat([nn.functional.normalize(feature)] * parts, dim=1)

    images = torch.rand(3, 3, 4, 2)
    with pytest.raises(ValueError, match=rf"the test feature is {parts**0.5:.3f} long whatever the image.*--query"):
        feature_length(Unit(3, 5, 1), images)
    long = nn.Sequential(nn.Conv2d(3, 500, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    long[0].weight.data *= 20
    assert feature_length(long, images[:1]).shape == (1,)


def test_frozen_weights_do_not_stop_it(model):
    frozen = copy.deepcopy(model).requires_grad_(False)
    images = torch.rand(1, 3, 64, 32) * 255
    expected = grad_cam(model, "backbone.layer4", images, feature_length)
    torch.testing.assert_close(grad_cam(frozen, "backbone.layer4", images, feature_length), expected, **EXACT)
    assert not any(p.requires_grad for p in frozen.parameters())


def test_the_last_block_stands_for_a_stage(model):
    images = torch.rand(1, 3, 64, 32) * 255
    stage, block = (grad_cam(model, f"backbone.layer3{x}", images, feature_length) for x in ("", ".1"))
    assert torch.equal(stage, block)
    assert not torch.equal(stage, grad_cam(model, "backbone.layer3.0", images, feature_length))


# (builder, DEPTH) -> what gives the last map
LAST_LAYERS = {
    ("osnet", "x0_25"): "backbone.conv5",
    ("regnet", "200x"): "backbone.s4.b7",
    ("mobilenetv3", "Small"): "backbone.conv",
    ("resnet", "18x"): "backbone.layer4",
}


@pytest.mark.parametrize("trunk", LAST_LAYERS, ids=" ".join)
def test_the_last_map_of_any_trunk(trunk):
    """Run by stages, as Deep Miner does, or by its own forward."""
    cfg = get_config("demo/deepminer.yml")
    builder, depth = trunk
    cfg.merge_from_list([*SMALL, *STRIDE, "MODEL.DEEPMINER.LOCAL_STRIPES", 2, "MODEL.BACKBONE.DEPTH", depth])
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", f"build_{builder}_backbone", "MODEL.DEEPMINER.IE_BLOCKS", []])
    model, images = build_model(cfg).eval(), torch.rand(2, 3, 64, 32) * 255
    layer = last_layer(model)
    assert layer == LAST_LAYERS[trunk]
    score = lambda model, images: model(images)[:, :64].square().sum(dim=1)  # noqa: E731
    by_stages = grad_cam(model, layer, images, score)
    assert by_stages.shape == (2, 64, 32) and by_stages.amax() > 0
    own = nn.Sequential()
    own.backbone, own.pool = model.backbone, nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    plain = lambda _, images: own((images - model.pixel_mean) / model.pixel_std)[:, :64].square().sum(dim=1)  # noqa: E731
    assert grad_cam(own, layer, images, plain).amax() > 0


def test_a_backbone_without_stages_is_a_layer_itself():
    model = nn.Sequential()
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 1))
    assert last_layer(model) == "backbone" == last_layer(nn.Identity())
