"""The edges of location: mirrored images, joints and boxes out of sight, huge outputs, other sizes and precisions."""

import numpy as np
import pytest
import torch
from fastreid.data.transforms import ToTensor
from PIL import Image
from torchvision import transforms as T

from fastreid_ext.config import get_cfg
from fastreid_ext.data.pixels.joint_transforms import JointTransform
from fastreid_ext.mgre import (
    TABLE_1,
    LocationModule,
    location_loss,
    pseudo_boxes,
    regions_from_rows,
    sample_regions,
)

REGIONS = regions_from_rows(TABLE_1)
SETS = [region.joints for region in REGIONS]
EXCHANGED = [0, 2, 1, 3, 4, 5, 6]  # left_torso and right_torso
PAIRS = get_cfg().INPUT.JOINTS.FLIP_PAIRS


def mirror(boxes):
    """Of an image that is mirrored, with the two torsos exchanged: (..., R, 4)."""
    boxes = boxes[..., EXCHANGED, :]
    return torch.stack([1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]], dim=-1)


def through(transforms, joints, size=(60, 120)):
    """Joints (17, 3) after transforms of an image of a size, as the training loader moves them: (1, 17, 3)."""
    follow = JointTransform([*transforms, ToTensor()], PAIRS, 17)
    return follow(Image.new("RGB", size), joints)[1][None]


def some_joints(low=0.1, high=0.9):
    places = np.random.uniform(low, high, (17, 2))
    return np.column_stack([places, np.random.uniform(0, 0.4, 17)]).astype(np.float32)


# ---- the path of the data -------------------------------------------------------------------------------------------


def test_a_mirrored_image_has_mirrored_boxes_and_the_same_loss():
    """Through the transforms that training uses: resize, then a flip that exchanges left and right joints."""
    seen = 0
    for _ in range(10):
        joints = some_joints()
        plain, mirrored = (through([T.Resize((64, 32)), T.RandomHorizontalFlip(p)], joints) for p in (0.0, 1.0))
        boxes, known = pseudo_boxes(plain, SETS)
        boxes_mirrored, known_mirrored = pseudo_boxes(mirrored, SETS)
        assert torch.equal(known_mirrored, known[:, EXCHANGED])
        # float32 shares, subtracted from 1
        expected = mirror(boxes)[known_mirrored]
        torch.testing.assert_close(boxes_mirrored[known_mirrored], expected, rtol=0, atol=1e-6)
        predicted = torch.rand(1, 7, 4)
        loss, loss_mirrored = location_loss(predicted, plain, SETS), location_loss(mirror(predicted), mirrored, SETS)
        torch.testing.assert_close(loss_mirrored, loss, rtol=1e-5, atol=1e-6)
        seen += int(known[:, 1].item() != known[:, 2].item())
        assert not torch.isclose(location_loss(predicted, mirrored, SETS), loss, rtol=1e-3)  # the flip does something
    assert seen  # one torso known and the other not


def test_joints_that_a_crop_cuts_off_do_not_span_the_box():
    """Ankles below the cut: the box of the legs ends at the knees. With the knees below it too, at the hips."""
    joints = some_joints(0.4, 0.6)
    joints[:, 2] = 1.0
    joints[[11, 12], 1], joints[[13, 14], 1], joints[[15, 16], 1] = 0.5, 0.7, 0.9
    legs = [region.name for region in REGIONS].index("legs")
    for rows, bottom in ((120, 0.9), (90, 0.7), (36, 0.5)):
        moved = through([T.Pad(0), T.CenterCrop((rows, 60))], joints)  # rows / 2 above and below the middle
        share = 0.5 + (bottom - 0.5) * 120 / rows
        boxes, known = pseudo_boxes(moved, SETS)
        assert known[0, legs]
        assert boxes[0, legs, 3].item() == pytest.approx(share + 0.05, abs=1e-5)
    moved = through([T.CenterCrop((120, 4))], joints + np.float32([0.4, 0, 0]))  # everything beside it
    boxes, known = pseudo_boxes(moved, SETS)
    assert not known.any() and not boxes.any()


def test_margins_may_reach_outside():
    """A head at the upper edge: its box begins above the image, as eq. 3 says."""
    joints = torch.tensor([[[0.02, 0.0, 1.0], [0.1, 0.08, 1.0]]])
    boxes, known = pseudo_boxes(joints, [(0, 1)])
    assert known.all()
    torch.testing.assert_close(boxes[0, 0], torch.tensor([-0.03, -0.05, 0.15, 0.13]), rtol=0, atol=1e-6)


def test_joints_of_another_body_model():
    with pytest.raises(ValueError, match="joints up to number 16, but the labels have joints 0 to 12"):
        pseudo_boxes(torch.rand(2, 13, 3), SETS)


# ---- boxes that can't be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [1e30, -1e30, 100.0, -100.0, 3e38])
def test_huge_outputs_have_finite_boxes_and_gradients(raw):
    """exp(100) is infinite in float32; the clamped side has no gradient, and nothing of it is NaN."""
    module = LocationModule(4, REGIONS[:4])
    maps = torch.randn(3, 4, 16, 8, requires_grad=True)
    with torch.no_grad():
        module.predict.bias.fill_(raw)
    boxes = module(maps)
    sides = boxes[..., 2:] - boxes[..., :2]
    assert boxes.isfinite().all() and sides.max() <= 4.001 and sides.min() >= 0.0009
    loss = location_loss(boxes, torch.rand(3, 17, 3) + 0.3, SETS[:4])
    loss = loss + sample_regions(maps, boxes[:, 0], (5, 3)).square().sum()
    loss.backward()
    for tensor in (maps, *module.parameters()):
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize(
    ("box", "empty"),
    [
        ([0.3, 0.4, 0.3, 0.4], False),
        ([0.2, 0.5, 0.8, 0.5], False),
        ([1.2, 1.2, 2.0, 2.0], True),
        ([-3.0, 0.2, -2.0, 0.8], True),
        ([1e6, 1e6, 1e7, 1e7], True),
        ([0.8, 0.8, 0.2, 0.2], False),
        ([-1e6, -1e6, 1e6, 1e6], None),
    ],
)
def test_any_box_is_sampled_with_finite_gradients(box, empty):
    """No area, a line, wholly outside, corners exchanged, as large as can be."""
    maps, boxes = torch.randn(2, 3, 9, 7, requires_grad=True), torch.tensor([box, box], requires_grad=True)
    sampled = sample_regions(maps, boxes, (4, 6))
    assert sampled.isfinite().all() and sampled.shape == (2, 3, 4, 6)
    if empty is not None:
        assert sampled.any().item() is not empty
    sampled.square().sum().backward()
    assert maps.grad.isfinite().all() and boxes.grad.isfinite().all()
    if empty:
        assert not maps.grad.any() and not boxes.grad.any()


def test_exchanged_corners_sample_the_mirrored_box():
    maps = torch.randn(1, 2, 8, 6)
    right, wrong = torch.tensor([[0.2, 0.1, 0.7, 0.8]]), torch.tensor([[0.7, 0.1, 0.2, 0.8]])
    torch.testing.assert_close(
        sample_regions(maps, wrong, (4, 5)), sample_regions(maps, right, (4, 5)).flip(3), rtol=0, atol=1e-5
    )


# ---- the whole model ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [(144, 72), (250, 122)])
def test_odd_sizes_train_and_locate(make_model, batch, storage, size):
    """144 x 72 leaves maps of 36 x 18, 18 x 9 and 9 x 5; 250 x 122 of 63 x 31, 32 x 16 and 16 x 8."""
    images = torch.rand(4, 3, *size) * 255
    model = make_model()
    losses = model({**batch, "images": images})
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    model = make_model().eval()
    with torch.no_grad():
        for module in model.heads.locate.values():
            module.predict.weight.zero_()
        found = model.locate_regions(model.preprocess_image(images), batch["joints"])
        assert model(images).shape == (4, 4 * 32)
    for region in REGIONS:  # the prior boxes are shares: the same whatever the size
        (x, y), (height, width) = region.center, region.prior
        expected = torch.tensor([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        boxes = found[region.name]
        torch.testing.assert_close(boxes.prior, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(boxes.predicted, expected.expand(4, 4), rtol=0, atol=1e-6)


def test_what_located_says_is_what_the_loss_compares(make_model, batch):
    """The mean over the known boxes of the squared sides is the location loss of each stage."""
    batch["joints"][:2, :5, 2] = 0.0  # two heads that are not known
    model = make_model({"MODEL.MGRE.LOCATION.MARGIN": 0.1, "MODEL.MGRE.LOCATION.UNITS": "shares"}).eval()
    images = model.preprocess_image(batch)
    with torch.no_grad():
        found = model.locate_regions(images, batch["joints"])
        branches = model.branches(images, batch["targets"], joints=batch["joints"])
        alone = model.locate_regions(images)
    assert found["head"].known.tolist() == [False, False, True, True]
    assert all(boxes.pseudo is None and boxes.known is None for boxes in alone.values())
    for stage in (1, 2, 3):
        names = [region.name for region in REGIONS if region.stage == stage]
        errors = [(found[n].predicted - found[n].pseudo).square().sum(dim=1)[found[n].known] for n in names]
        torch.testing.assert_close(branches[f"stage{stage}"]["location"], torch.cat(errors).mean(), rtol=1e-5, atol=0)
        for name in names:
            assert torch.equal(found[name].predicted, alone[name].predicted)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # Half a bit of the mantissa is 2^-12 and 2^-9; measured here: boxes off by 1e-4 and 1e-3
    [pytest.param(torch.float16, 1e-3, marks=pytest.mark.slow), (torch.bfloat16, 5e-3)],
)
def test_autocast_gives_the_same_boxes_features_and_losses(make_model, batch, storage, dtype, tolerance):
    model = make_model().eval()
    images = model.preprocess_image(batch)
    with torch.no_grad():
        boxes, feature = model.locate_regions(images), model(batch)
        location = location_of(model, batch, images)
        with torch.autocast("cpu", dtype=dtype):
            boxes_half, feature_half = model.locate_regions(images), model(batch)
            location_half = location_of(model, batch, images)
    for name, region in boxes.items():
        assert boxes_half[name].predicted.dtype is torch.float32
        torch.testing.assert_close(boxes_half[name].predicted, region.predicted, rtol=0, atol=tolerance)
    assert feature_half.dtype is torch.float32
    # cosine of features that are normalised branch by branch
    assert (1 - torch.nn.functional.cosine_similarity(feature_half, feature)).max() < tolerance
    torch.testing.assert_close(location_half, location, rtol=tolerance, atol=0)


def location_of(model, batch, images):
    branches = model.branches(images, batch["targets"], joints=batch["joints"])
    return torch.stack([branches[f"stage{i}"]["location"] for i in (1, 2, 3)])
