"""The location module at its start and edges, and eq. 3 worked by hand and in loops."""

import math

import pytest
import torch

from fastreid_ext.mgre import (
    TABLE_1,
    LocationModule,
    location_loss,
    pseudo_boxes,
    regions_from_rows,
)
from fastreid_ext.mgre.location import WindowMaxPool

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 on both sides
REGIONS = regions_from_rows(TABLE_1)
STAGE_1 = [region for region in REGIONS if region.stage == 1]


def prior_of(region):
    (cx, cy), (height, width) = region.center, region.prior
    return [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]


# ---- the module ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 32), (32, 16), (33, 17), (3, 2)])
def test_training_starts_at_the_prior_boxes(size):
    """A weight of std 1e-3 on 512 inputs of order 1 moves a side by some percent."""
    module = LocationModule(8, STAGE_1).eval()
    boxes = module(torch.randn(2, 8, *size))
    expected = torch.tensor([prior_of(region) for region in STAGE_1]).expand(2, 4, 4)
    assert boxes.shape == (2, 4, 4) and boxes.dtype == torch.float32
    torch.testing.assert_close(boxes, expected, rtol=0, atol=0.1)
    with torch.no_grad():
        module.predict.weight.zero_()
    torch.testing.assert_close(module(torch.randn(2, 8, *size)), expected, rtol=0, atol=1e-6)


def test_equations_1_and_2():
    """center + tanh(o) -+ exp(u) / 2, with numbers put into the biases."""
    module = LocationModule(8, STAGE_1[:1]).eval()
    with torch.no_grad():
        module.predict.weight.zero_()
        module.predict.bias.copy_(torch.tensor([0.2, -0.1, -1.0, -0.5]))
    cx, cy = 0.5 + math.tanh(0.2), 1 / 12 + math.tanh(-0.1)
    width, height = math.exp(-1.0), math.exp(-0.5)
    expected = [cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2]
    torch.testing.assert_close(module(torch.randn(1, 8, 16, 8))[0, 0], torch.tensor(expected), rtol=1e-6, atol=1e-6)


def test_no_overflow():
    module = LocationModule(8, STAGE_1).eval()
    for bias in (1e4, -1e4):
        with torch.no_grad():
            module.predict.bias.fill_(bias)
        boxes = module(torch.randn(2, 8, 16, 8))
        assert boxes.isfinite().all() and (boxes[..., 2:] > boxes[..., :2]).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_boxes_are_float32_under_autocast(dtype):
    module, maps = LocationModule(8, STAGE_1).eval(), torch.randn(2, 8, 16, 8)
    with torch.autocast("cpu", dtype=dtype):
        boxes = module(maps)
    assert boxes.dtype == torch.float32
    torch.testing.assert_close(boxes, module(maps), rtol=0, atol=0.02)  # 8 bits of a side's logarithm


def test_every_weight_learns():
    module = LocationModule(8, STAGE_1)
    module(torch.randn(4, 8, 16, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_no_region():
    with pytest.raises(ValueError, match="at least one region"):
        LocationModule(8, [])


# ---- eq. 3 --------------------------------------------------------------------------------------------------------


def reference(boxes, joints, sets, margin, threshold, least):
    total, count = 0.0, 0
    for image_boxes, image_joints in zip(boxes, joints, strict=True):
        for box, members in zip(image_boxes, sets, strict=True):
            seen = [image_joints[j] for j in members if image_joints[j][2] > threshold]
            if len(seen) < least:
                continue
            xs, ys = [j[0] for j in seen], [j[1] for j in seen]
            total += (box[0] - min(xs) + margin) ** 2 + (box[2] - max(xs) - margin) ** 2
            total += (box[1] - min(ys) + margin) ** 2 + (box[3] - max(ys) - margin) ** 2
            count += 1
    return total / count if count else 0.0


SETS = [region.joints for region in REGIONS]


def random_joints(batch=5):
    return torch.rand(batch, 17, 3, dtype=torch.float64) * torch.tensor([1.2, 1.2, 0.5], dtype=torch.float64) - 0.1


@pytest.mark.parametrize(("margin", "threshold", "least"), [(0.05, 0.2, 2), (0.0, 0.0, 2), (0.1, 0.35, 3)])
def test_against_loops(margin, threshold, least):
    boxes, joints = torch.rand(5, 7, 4, dtype=torch.float64), random_joints()
    loss = location_loss(boxes, joints, SETS, margin, threshold, least)
    expected = reference(boxes.tolist(), joints.tolist(), SETS, margin, threshold, least)
    torch.testing.assert_close(loss.item(), expected, **EXACT)


def test_in_pixels_of_a_map():
    """By eq. 2: W and H times the shares, so the reference's boxes and joints, with its margin as a share."""
    boxes, joints = torch.rand(5, 7, 4, dtype=torch.float64), random_joints()
    targets, known = pseudo_boxes(joints, SETS)
    scale = torch.tensor([8, 16, 8, 16])
    errors = [
        sum(((boxes[b, r] * scale)[s] - (targets[b, r] * scale)[s]) ** 2 for s in range(4))
        for b in range(5)
        for r in range(7)
        if known[b, r]
    ]
    torch.testing.assert_close(location_loss(boxes, joints, SETS, size=(16, 8)), sum(errors) / len(errors), **EXACT)
    shares = location_loss(boxes, joints, SETS)
    torch.testing.assert_close(location_loss(boxes, joints, SETS, size=(1, 1)), shares, **EXACT)


def test_by_hand():
    """Joints at x 0.4 and 0.6, y 0.2 and 0.5: the box is 0.35, 0.15, 0.65, 0.55. One side is off by 0.1: 0.01."""
    joints = torch.tensor([[[0.4, 0.2, 1.0], [0.6, 0.5, 0.9], [0.0, 0.0, 0.1]]])
    box = torch.tensor([[[0.35, 0.15, 0.65, 0.55]]])
    assert location_loss(box, joints, [(0, 1, 2)]).item() < 1e-12
    assert location_loss(box + torch.tensor([0.1, 0, 0, 0]), joints, [(0, 1, 2)]).item() == pytest.approx(
        0.01, rel=1e-5
    )
    boxes, known = pseudo_boxes(joints, [(0, 1, 2), (0, 2)])
    torch.testing.assert_close(boxes[0, 0], box[0, 0], rtol=0, atol=1e-6)
    assert known.tolist() == [[True, False]] and not boxes[0, 1].any()


def test_gradcheck():
    boxes = torch.rand(3, 7, 4, dtype=torch.float64, requires_grad=True)
    joints = random_joints(3)
    assert torch.autograd.gradcheck(lambda b: location_loss(b, joints, SETS), (boxes,))


def test_without_any_joint_the_loss_is_zero_with_a_gradient():
    boxes = torch.rand(2, 7, 4, requires_grad=True)
    loss = location_loss(boxes, torch.zeros(2, 17, 3), SETS)
    loss.backward()
    assert loss.item() == 0.0 and boxes.grad is not None and not boxes.grad.any()


def test_joints_that_do_not_count_change_nothing():
    joints, boxes = random_joints(), torch.rand(5, 7, 4, dtype=torch.float64)
    moved = joints.clone()
    moved[..., :2] += (joints[..., 2:] <= 0.2) * 100.0
    torch.testing.assert_close(location_loss(boxes, moved, SETS), location_loss(boxes, joints, SETS), **EXACT)


def test_flipping_image_and_joints_flips_the_boxes():
    """Left and right joints change places with the image, and so do the left and the right torso."""
    joints = random_joints()
    pairs = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    flipped = joints[:, pairs] * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([1.0, 0.0, 0.0])
    boxes, known = pseudo_boxes(joints, SETS)
    mirrored, known_mirrored = pseudo_boxes(flipped, SETS)
    order = [0, 2, 1, 3, 4, 5, 6]  # left_torso and right_torso
    assert torch.equal(known_mirrored[:, order], known)
    expected = torch.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], dim=2)
    torch.testing.assert_close(mirrored[:, order][known], expected[known], **EXACT)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"expected boxes \(2, 7, 4\), got \(2, 6, 4\)"):
        location_loss(torch.zeros(2, 6, 4), torch.zeros(2, 17, 3), SETS)
    with pytest.raises(ValueError, match=r"expected joints \(B, J, 3\)"):
        location_loss(torch.zeros(2, 7, 4), torch.zeros(2, 17, 2), SETS)


# ---- table 1 ------------------------------------------------------------------------------------------------------


def test_table_1():
    """Priors are N x M pixels of the maps of a 256x128 image."""
    maps = {1: (64, 32), 2: (32, 16), 3: (16, 8)}
    assert [region.stage for region in REGIONS] == [1, 1, 1, 1, 2, 2, 3]
    for region in REGIONS:
        height, width = maps[region.stage]
        assert (region.prior[0] * height, region.prior[1] * width) == region.sampled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: 4}, "'head': stage 4 is not 1, 2 or 3"),
        ({2: 1.5}, "center .* lies outside the image"),
        ({4: 0}, "sampled size .* must be whole numbers"),
        ({6: 0.0}, "prior .* must be shares"),
        ({8: (0,)}, "joints .* must be two or more of 0 to 16"),
        ({8: (0, 17)}, "joints .* must be two or more of 0 to 16"),
    ],
)
def test_bad_regions(change, message):
    row = list(TABLE_1[0])
    for place, value in change.items():
        row[place] = value
    with pytest.raises(ValueError, match=message):
        regions_from_rows([row])


def test_bad_tables():
    with pytest.raises(ValueError, match="nine entries; got 8"):
        regions_from_rows([TABLE_1[0][:8]])
    with pytest.raises(ValueError, match="names must differ"):
        regions_from_rows([TABLE_1[0], TABLE_1[0]])


def test_another_body_model():
    (region,) = regions_from_rows([("trunk", 2, 0.5, 0.4, 4, 4, 0.5, 0.5, (18, 19, 20))], num_joints=21)
    assert region.joints == (18, 19, 20)


# ---- what ONNX has no operation for -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 4), (16, 8), (25, 13), (7, 3), (2, 1), (9, 4)])
def test_windows_of_several_sizes_have_the_same_maximum(size):
    maps = torch.randn(2, 3, *size).relu()  # with equal values
    expected = torch.nn.functional.adaptive_max_pool2d(maps, (8, 4))
    assert torch.equal(WindowMaxPool((8, 4))(maps), expected)
    with torch.no_grad():
        assert torch.equal(WindowMaxPool((8, 4))(maps), expected)
