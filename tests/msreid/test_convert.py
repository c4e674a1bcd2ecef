"""The authors' weights: a network in their layout, written from the sheet, and ours give the same features."""

import re

import pytest
import shapes
import torch
from fastreid.modeling import build_model
from torch import nn
from torch.nn import functional as F

from fastreid_ext.model_zoo import get_config
from fastreid_ext.msreid import convert_authors_weights
from fastreid_ext.msreid.convert import RULES, our_name

K = 12


# ---- their network --------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    """torchvision's bottleneck, version 1.5: the 3x3 convolution has the stride."""

    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = None
        if stride > 1 or width_in != 4 * width:
            convolution = nn.Conv2d(width_in, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x)))


def stage(width_in, width, blocks, stride):
    first = Residual(width_in, width, stride)
    return nn.Sequential(first, *(Residual(4 * width, width, 1) for _ in range(blocks - 1)))


class Spatial(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv0 = nn.Conv2d(channels, 1, 1, bias=False)
        self.conv1 = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1, bias=False), nn.BatchNorm2d(1), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(1, 1, 3, 1, 1, bias=False), nn.BatchNorm2d(1), nn.ReLU())

    def forward(self, x):
        up = nn.UpsamplingBilinear2d(scale_factor=2)  # corners aligned
        return self.conv2(up(self.conv1(self.conv0(x))))


class Channel(nn.Module):
    def __init__(self, channels):
        super().__init__()
        inner = channels // 16
        self.conv = nn.Sequential(
            *(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()),
            *(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
        )

    def forward(self, x):
        return self.conv(F.adaptive_avg_pool2d(x, 1))


class Soft(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.spatial_attn, self.channel_attn = Spatial(channels), Channel(channels)
        self.conv = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x):
        return x * torch.sigmoid(self.conv(self.spatial_attn(x) * self.channel_attn(x)))


class Projected(nn.Module):
    def __init__(self, width_in, width, width_out, last):
        super().__init__()
        self.bottleneck = nn.Sequential(
            *(nn.Conv2d(width_in, width, 1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, width_out, 1), nn.BatchNorm2d(width_out)),
        )
        self.branch = nn.Sequential(nn.Conv2d(width_in, width_out, 1), nn.BatchNorm2d(width_out))
        self.last = last

    def forward(self, x):
        return self.last(self.bottleneck(x) + self.branch(x))


class Theirs(nn.Module):
    """Images are RGB in [0, 1], less ImageNet's mean, by its deviation."""

    def __init__(self, attention=True, local=True, mask=True):
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.layer1, self.layer2 = stage(64, 64, 3, 1), stage(256, 128, 4, 2)
        self.layer3, self.layer4 = stage(512, 256, 6, 2), stage(1024, 512, 3, 1)
        if attention:
            self.soft_attn = nn.ModuleList(Soft(channels) for channels in (256, 512, 1024, 2048))
        if mask:
            self.mask = Projected(2048, 512, 1, torch.sigmoid)
        self.reduction = Projected(2048, 512, 1536, F.relu)
        self.bottleneck, self.classifier = nn.BatchNorm1d(1536), nn.Linear(1536, K, bias=False)
        if local:
            self.local_reduction = Projected(1024, 256, 1536, F.relu)
            self.local_bottleneck, self.local_classifier = nn.BatchNorm1d(1536), nn.Linear(1536, K, bias=False)
        self.parts = attention, local, mask

    def forward(self, images):
        """(B, 3, H, W) -> the test feature (B, 3072), and the logits."""
        attention, local, mask = self.parts
        y, maps = self.input_layer(images), []
        for i, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4)):
            y = layer(y)
            y = self.soft_attn[i](y) if attention else y
            maps.append(y)
        m = self.mask(y) if mask else torch.ones_like(y[:, :1])
        rest = 1 - m if mask else m

        def vector(z):
            return F.adaptive_avg_pool2d(z, 1)[:, :, 0, 0] + F.adaptive_max_pool2d(z, 1)[:, :, 0, 0]

        features = [vector(self.reduction(y) * m)]
        logits = [self.classifier(self.bottleneck(features[0]))]
        if local:
            features.append(vector(self.local_reduction(maps[2]) * rest))
            logits.append(self.local_classifier(self.local_bottleneck(features[1])))
        return torch.cat(features, dim=1), logits


def make_theirs(**parts):
    """Random weights that keep the activations of order 1, random batch statistics, evaluation mode."""
    model = Theirs(**parts).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.7, 1.4)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0.1, 0.1)
            module.num_batches_tracked.fill_(7)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return model


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return make_theirs()


@pytest.fixture
def state(theirs):
    return dict(theirs.state_dict())


@pytest.fixture(scope="module")
def skeleton():
    """Their keys and shapes, without memory: enough for what is refused."""

    with shapes.OnMeta():
        state = Theirs().state_dict()
    return lambda: dict(state)


def our_model(overrides, size=(256, 128)):
    cfg = get_config("MSReID/Market1501_R50.yml")
    cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", K])
    cfg.merge_from_list(["INPUT.SIZE_TEST", list(size), *overrides])
    return build_model(cfg).eval()


def normalised(images):
    """Bytes -> what their network sees."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images / 255 - mean[:, None, None]) / deviation[:, None, None]


# ---- the same features ----------------------------------------------------------------------------------------------


def test_the_sheets_keys(skeleton):
    keys = skeleton()
    assert len(keys) == 538
    trainable = [k for k in keys if not k.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert sum(keys[k].numel() for k in trainable) == 45_702_526 - 2 * (751 - K) * 1536


def assert_same_features(theirs, size):
    """A copy of tensors: what is left are float32 sums in another order, 1e-4 of the longest feature's entries."""
    ours, overrides = convert_authors_weights(theirs.state_dict())
    model = our_model(overrides, size)
    centers = {key for key in model.state_dict() if key.startswith("criterion.")}
    assert model.state_dict().keys() - centers == ours.keys()  # every key accounted for, on both sides
    assert not model.load_state_dict(ours, strict=False).unexpected_keys
    images = torch.randint(0, 256, (2, 3, *size)).float()
    with torch.no_grad():
        expected, logits = theirs(normalised(images))
        output = model(images)
        outputs = model.branches(model.preprocess_image(images), torch.tensor([0, 1]))
    scale = expected.abs().max()
    assert expected.std() > 0.01 * scale and not torch.allclose(expected[0], expected[1], rtol=1e-2)
    torch.testing.assert_close(output / scale, expected / scale, rtol=0, atol=1e-4)
    for ours_, theirs_ in zip([o["logits"] for o in outputs.values()], logits, strict=True):
        torch.testing.assert_close(ours_, theirs_, rtol=1e-3, atol=1e-4 * float(theirs_.abs().max()))
    return overrides


def test_features_of_the_full_model(theirs):
    assert assert_same_features(theirs, (256, 128)) == ["MODEL.MSREID.STEM_POOL", "torchvision"]


@pytest.mark.slow
@pytest.mark.parametrize(("attention", "local", "mask"), [(False, True, True), (True, False, False), (False,) * 3])
def test_features_without_parts(attention, local, mask):
    parts = {"attention": attention, "local": local, "mask": mask}
    overrides = assert_same_features(make_theirs(**parts), (64, 32))
    off = [item for name, on in parts.items() if not on for item in (f"MODEL.MSREID.{name.upper()}", "False")]
    assert overrides == ["MODEL.MSREID.STEM_POOL", "torchvision", *off]


@pytest.mark.slow
def test_the_host_stem_gives_other_features(theirs):
    """Why the override is printed."""
    ours, _ = convert_authors_weights(theirs.state_dict())
    images = torch.randint(0, 256, (1, 3, 64, 32)).float()
    features = []
    for pool in ("host", "torchvision"):
        model = our_model(["MODEL.MSREID.STEM_POOL", pool])
        model.load_state_dict(ours, strict=False)
        with torch.no_grad():
            features.append(model(images))
    assert (features[0] - features[1]).abs().max() > 1e-2 * features[1].abs().max()


def test_tensors_are_taken_as_they_are(state):
    ours, _ = convert_authors_weights(state)
    assert len(ours) == len(state)
    assert {value.data_ptr() for value in ours.values()} == {value.data_ptr() for value in state.values()}


# ---- names ----------------------------------------------------------------------------------------------------------


def test_no_two_keys_get_one_name(skeleton):
    names = [our_name(key) for key in skeleton()]
    assert None not in names and len(set(names)) == len(names) == 538


def test_every_rule_is_needed(skeleton):
    keys = skeleton()
    for pattern, _ in RULES:
        assert any(re.fullmatch(pattern, key) for key in keys), pattern


@pytest.mark.parametrize("name", ["fc.weight", "layer5.0.conv1.weight", "soft_attn.0.other.weight", "xlayer1.0.x", ""])
def test_other_names_have_none(name):
    assert our_name(name) is None


def test_dataparallel(skeleton):
    ours, overrides = convert_authors_weights({f"module.{key}": value for key, value in skeleton().items()})
    assert (ours.keys(), overrides) == (
        convert_authors_weights(skeleton())[0].keys(),
        ["MODEL.MSREID.STEM_POOL", "torchvision"],
    )


@pytest.mark.parametrize("classes", [1, 702, 767])
def test_any_number_of_identities(skeleton, classes):
    state = skeleton()
    for key in ("classifier.weight", "local_classifier.weight"):
        state[key] = torch.empty(classes, 1536, device="meta")
    ours, _ = convert_authors_weights(state)
    assert ours["heads.necks.local.weight"].shape == (classes, 1536)


# ---- refusals -------------------------------------------------------------------------------------------------------


def without(key):
    return lambda state: {k: v for k, v in state.items() if k != key}


def with_(key, shape):
    return lambda state: state | {key: torch.empty(shape, device="meta")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer3.5.bn2.weight"), r"1 keys missing \['backbone.layer3.5.bn2.weight'\]"),
        (without("soft_attn.2.conv.1.running_var"), r"1 keys missing \['attention.3.combine.1.running_var'\]"),
        (without("mask.branch.0.bias"), r"1 keys missing \['heads.mask.shortcut.0.bias'\]"),
        (without("local_bottleneck.bias"), r"1 keys missing \['heads.necks.local.bnneck.bias'\]"),
        (without("classifier.weight"), "no classifier.weight"),
        (with_("fc.weight", (3, 3)), r"1 keys are not of the authors' MSReID, such as \['fc.weight'\]"),
        (
            with_("layer4.3.conv1.weight", (3, 3)),
            r"0 keys missing \[\], 1 left over \['backbone.layer4.3.conv1.weight'\]",
        ),
        (with_("classifier.bias", (K,)), r"1 left over \['heads.necks.global_.bias'\]"),
        (with_("input_layer.0.0.weight", (64, 3, 3, 3)), r"1 of another shape \['backbone.conv1.weight'\]"),
        (with_("classifier.weight", (K + 1, 1536)), r"1 of another shape \['heads.necks.local.weight'\]"),
        (with_("classifier.weight", (K, 2048)), r"1 of another shape \['heads.necks.global_.weight'\]"),
        (with_("classifier.weight", ()), r"another shape .*'heads.necks.global_.weight'"),
        (with_("soft_attn.4.conv.0.weight", (3, 3)), r"1 left over \['attention.5.combine.0.weight'\]"),
        (lambda state: {"weight": torch.zeros(3)}, "1 keys are not of the authors'"),
        (with_("module.classifier.weight", (K, 1536)), "1 keys occur twice, with and without the prefix 'module.'"),
    ],
)
def test_what_does_not_fit_is_refused(skeleton, change, message):
    with pytest.raises(ValueError, match=message) as refused:
        convert_authors_weights(change(skeleton()))
    assert "\n" not in str(refused.value)
