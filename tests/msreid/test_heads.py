"""The mask-separated head against section 3.3 written out, in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from fastreid_ext.msreid.bottleneck import ProjectedBottleneck
from fastreid_ext.msreid.heads import MaskSeparatedHead, _repeated

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64 on both sides, sums in another order


def random_head(**settings):
    head = MaskSeparatedHead(**{"local_channels": 8, "global_channels": 16, "num_classes": 5, "dim": 6} | settings)
    for part in head.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.weight, 1, 0.3)
            nn.init.normal_(part.bias, 0.2, 0.3)
    return head.double().eval()


def maps(local=(4, 2), overall=(4, 2)):
    return torch.randn(3, 8, *local, dtype=torch.float64), torch.randn(3, 16, *overall, dtype=torch.float64)


def by_stage(layer3, layer4):
    return {3: layer3, 4: layer4}


def pooled(y, pool):
    """GAP and GMP, image by image and channel by channel."""
    average = np.array([[channel.sum() / channel.size for channel in image] for image in y.numpy()])
    largest = np.array([[max(channel.reshape(-1)) for channel in image] for image in y.numpy()])
    return average + largest if pool == "sum" else np.concatenate([average, largest], axis=1)


@pytest.mark.parametrize("pool", ["sum", "concat"])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_against_section_3_3(mask, local, before, pool):
    head = random_head(mask=mask, local=local, mask_before_reduce=before, pool=pool)
    layer3, layer4 = maps()
    with torch.no_grad():
        # without the mask both branches see everything
        m, rest = (head.mask(layer4), 1 - head.mask(layer4)) if mask else (torch.ones(1), torch.ones(1))
        branches = {"global": (layer4, m)} | ({"local": (layer3, rest)} if local else {})
        outputs = head({3: layer3, 4: layer4}, torch.tensor([0, 1, 1]))
        assert list(outputs) == list(branches)
        for name, (y, seen) in branches.items():
            y = head.reduce[name](y * seen) if before else head.reduce[name](y) * seen
            feature = torch.from_numpy(pooled(y, pool))
            torch.testing.assert_close(outputs[name]["feature"], feature, **EXACT)
            norm = head.necks[name].bnneck
            neck = (feature - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
            torch.testing.assert_close(outputs[name]["neck"], neck, **EXACT)
            torch.testing.assert_close(outputs[name]["logits"], neck @ head.necks[name].weight.T, **EXACT)
    assert head.dims == dict.fromkeys(branches, 12 if pool == "concat" else 6)


def test_the_order_matters():
    one, other = random_head(), random_head(mask_before_reduce=True)
    other.load_state_dict(one.state_dict())
    layers = maps()
    assert not torch.equal(one(by_stage(*layers))["local"]["feature"], other(by_stage(*layers))["local"]["feature"])


def test_the_mask_is_one_sigmoid_channel_of_layer4():
    head = random_head()
    layer3, layer4 = maps()
    masks = head.masks(layer3, layer4)
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == dict.fromkeys(("global", "local"), (3, 1, 4, 2))
    torch.testing.assert_close(masks["global"] + masks["local"], torch.ones(3, 1, 4, 2, dtype=torch.float64), **EXACT)
    assert 0 < masks["global"].min() < masks["global"].max() < 1
    other = head.masks(torch.randn_like(layer3), layer4)
    assert torch.equal(other["local"], masks["local"])  # layer3 has no say


@pytest.mark.parametrize(("local", "overall"), [((8, 4), (4, 2)), ((4, 2), (4, 2)), ((6, 4), (3, 2))])
def test_a_coarser_mask_is_repeated(local, overall):
    """One place of layer4 stands for 2 x 2 of layer3: the mask is the same, to the bit, in all of them."""
    head = random_head()
    masks = head.masks(*maps(local, overall))
    m, rest = masks["global"], masks["local"]
    assert m.shape[2:] == overall and rest.shape[2:] == local
    step = local[0] // overall[0]
    for i in range(local[0]):
        for j in range(local[1]):
            assert torch.equal(rest[:, :, i, j], 1 - m[:, :, i // step, j // step])


@pytest.mark.parametrize(("local", "overall"), [((7, 5), (4, 3)), ((1, 1), (1, 1)), ((3, 1), (2, 1))])
def test_a_coarser_mask_of_odd_maps(local, overall):
    """Every place takes the mask of the place that its middle lies in."""
    head = random_head()
    layers = maps(local, overall)
    masks = head.masks(*layers)
    for i in range(local[0]):
        for j in range(local[1]):
            row, column = int((i + 0.5) * overall[0] / local[0]), int((j + 0.5) * overall[1] / local[1])
            assert torch.equal(masks["local"][:, :, i, j], 1 - masks["global"][:, :, row, column])
    outputs = head(by_stage(*layers))
    assert outputs["local"]["feature"].shape == outputs["global"]["feature"].shape == (3, 6)


@pytest.mark.parametrize("before", [False, True])
def test_gradients_reach_the_mask_from_both_branches(before):
    head = random_head(mask_before_reduce=before)
    for name in ("global", "local"):
        head.zero_grad()
        head(by_stage(*maps()))[name]["feature"].square().sum().backward()
        # one place of the sigmoid's block suffices; the ReLUs may silence others
        assert head.mask.shortcut[0].weight.grad.any(), name


def test_gradcheck():
    head = random_head(dim=2)
    layers = [y.requires_grad_() for y in maps((2, 2), (2, 2))]
    assert torch.autograd.gradcheck(
        lambda *y: torch.cat([o["feature"] for o in head(by_stage(*y)).values()], dim=1), layers, atol=1e-6
    )


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_what_is_off_is_not_built(local, mask):
    head = random_head(local=local, mask=mask)
    branches = ["global", "local"] if local else ["global"]
    assert list(head.reduce) == list(head.necks) == branches
    assert (head.mask is not None) == mask
    blocks = [m for m in head.modules() if isinstance(m, ProjectedBottleneck)]
    assert len(blocks) == len(branches) + mask
    assert any(key.startswith("mask.") for key in head.state_dict()) == mask


def test_bnneck_has_a_frozen_bias_and_the_classifier_none():
    head = random_head()
    for neck in head.necks.values():
        assert not neck.bnneck.bias.requires_grad and neck.bnneck.weight.requires_grad
        assert {name for name, _ in neck.named_parameters()} == {"weight", "bnneck.weight", "bnneck.bias"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype):
    """Ten roundings behind each other, and a mean over eight places: a few resolutions of the type."""
    head = random_head().float()
    layers = [y.float() for y in maps()]
    expected = head(by_stage(*layers))
    outputs = head.to(dtype)(by_stage(*(y.to(dtype) for y in layers)))
    tolerance = 16 * torch.finfo(dtype).eps
    for name, output in outputs.items():
        assert output["feature"].dtype == dtype
        torch.testing.assert_close(output["feature"].float(), expected[name]["feature"], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": "max"}, r"MODEL.MSREID.POOL must be one of \('sum', 'concat'\), got 'max'"),
        ({"dim": 0}, "MODEL.MSREID.DIM must be 1 or more, got 0"),
        ({"dim": -3}, "MODEL.MSREID.DIM must be 1 or more, got -3"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        random_head(**settings)


@pytest.mark.parametrize("small", [1, 2, 4, 13, 50, 58])
@pytest.mark.parametrize("odd", [0, 1])
def test_the_mask_is_enlarged_as_torch_enlarges_it(small, odd):
    """ONNX has no operation for "nearest-exact", so ours are indices; the gradient is the same too."""
    mask, size = torch.randn(2, 1, small, 3, requires_grad=True), (2 * small - odd, 6 - odd)
    expected = torch.nn.functional.interpolate(mask, size=size, mode="nearest-exact")
    enlarged, weight = _repeated(mask, size), torch.randn_like(expected)
    assert torch.equal(enlarged, expected)
    gradients = [torch.autograd.grad(result, mask, weight)[0] for result in (enlarged, expected)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("mask", [False, True])
def test_what_a_branch_pools_is_the_output_of_a_module(mask, before):
    """Figure 6 looks at it; the layer before it does not know the mask."""
    head = random_head(mask=mask, mask_before_reduce=before)
    seen, (layer3, layer4) = {}, maps()
    for name, module in head.separated.items():
        module.register_forward_hook(lambda module, inputs, y, name=name: seen.__setitem__(name, y))
    with torch.no_grad():
        outputs = head(by_stage(layer3, layer4))
        reduced = head.reduce["global"](layer4 * head.mask(layer4) if mask and before else layer4)
        masked = reduced * head.mask(layer4) if mask and not before else reduced
    torch.testing.assert_close(seen["global"], masked, **EXACT)
    for name, output in outputs.items():
        torch.testing.assert_close(output["feature"].numpy(), pooled(seen[name], "sum"), **EXACT)
    assert not any(key.startswith("separated") for key in head.state_dict())
