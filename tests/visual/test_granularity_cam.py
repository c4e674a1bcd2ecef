"""Maps of regions put back into their boxes, and what they add up to, with answers worked out by hand."""

import pytest
import torch
from fastreid.modeling import build_model
from torch import nn

from fastreid_ext.mgre import sample_regions
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.regions import Granularity, RegionBoxes
from fastreid_ext.visual.grad_cam import feature_length, similarity_to
from fastreid_ext.visual.granularity_cam import ALL, branch_lengths, granularity_cams, paste

EXACT = {"rtol": 1e-12, "atol": 1e-12}  # float64 on both sides


# ---- back into the box ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("top", "left", "rows", "columns"), [(0, 0, 8, 6), (2, 1, 3, 4), (7, 5, 1, 1)])
def test_it_undoes_the_sampling_of_whole_pixels(top, left, rows, columns):
    image = torch.randn(2, 1, 8, 6, dtype=torch.float64)
    box = torch.tensor([left / 6, top / 8, (left + columns) / 6, (top + rows) / 8], dtype=torch.float64).expand(2, 4)
    back = paste(sample_regions(image, box, (rows, columns))[:, 0], box, (8, 6))
    inside = torch.zeros(8, 6, dtype=torch.float64)
    inside[top : top + rows, left : left + columns] = 1
    torch.testing.assert_close(back, image[:, 0] * inside, **EXACT)


def test_bilinear_between_the_middles_of_cells():
    """Two cells in four pixels: their middles at 1 and 3 pixels, the pixels' at 0.5, 1.5, 2.5, 3.5."""
    line = paste(torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.0, 0.0, 1.0, 1.0]]), (1, 4))
    torch.testing.assert_close(line, torch.tensor([[[0.0, 0.25, 0.75, 1.0]]]), rtol=0, atol=1e-6)
    assert torch.equal(line, paste(torch.tensor([[[0.0, 1.0]]]), None, (1, 4)))


def test_a_box_over_the_edge_is_cut_not_squeezed():
    """Columns 0 to 3 of the map, the first two of them left of the image."""
    maps = torch.arange(4.0).expand(1, 2, 4)
    back = paste(maps, torch.tensor([[-0.5, 0.0, 0.5, 1.0]]), (2, 4))
    torch.testing.assert_close(back, torch.tensor([[[2.0, 3.0, 0.0, 0.0]] * 2]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "box", [[0.5, 0.5, 0.5, 0.5], [0.2, 0.5, 0.8, 0.5], [1.0, 1.0, 2.0, 2.0], [0.8, 0.8, 0.2, 0.2], [-1e9, 5, 1e9, 6]]
)
def test_boxes_that_show_nothing(box):
    back = paste(torch.ones(1, 3, 2), torch.tensor([box]), (6, 4))
    assert back.isfinite().all() and not back.any()


def test_each_image_has_its_own_box():
    boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])
    back = paste(torch.ones(2, 2, 2), boxes, (2, 4))
    assert back[:, 0].tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"maps \(B, h, w\) and boxes \(B, 4\), got \(2, 3, 3\) and \(1, 4\)"):
        paste(torch.zeros(2, 3, 3), torch.zeros(1, 4), (4, 4))


# ---- together -------------------------------------------------------------------------------------------------------


class Halves(nn.Module):
    """Two regions, the left and the right half, of 2x2 cells, and the whole image of 1x1; the score is a weighted sum.

    Every map is a constant of one channel: the pooled value is that constant, and the map's CAM is weight * constant.
    """

    LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 1.0, 1.0]

    def __init__(self, values, weights):
        super().__init__()
        self.values, self.weights = values, weights
        self.left, self.right, self.image = nn.Identity(), nn.Identity(), nn.Identity()

    def preprocess_image(self, images):
        return images

    def locate_regions(self, images, joints=None):
        boxes = {"left": torch.tensor([self.LEFT]), "right": torch.tensor([self.RIGHT])}
        return {name: RegionBoxes(box.expand(len(images), 4), box[0]) for name, box in boxes.items()}

    def forward(self, images):
        total = images.new_zeros(len(images))
        for name, value, weight in zip(("left", "right", "image"), self.values, self.weights, strict=True):
            size = 1 if name == "image" else 2
            maps = getattr(self, name)(images.new_full((len(images), 1, size, size), value) + 0 * images.sum())
            total = total + weight * maps.mean(dim=(1, 2, 3))
        return total[:, None]


PARTS = {
    "fine": Granularity("a", 1.0, {"left": "left", "right": "right"}),
    "coarse": Granularity("b", 1.0, {"image": None}),
}


def cams(values, weights):
    images = torch.rand(2, 3, 2, 4)
    found = granularity_cams(Halves(values, weights).eval(), images, lambda m, x: m(x)[:, 0], PARTS)
    assert list(found) == ["fine", "coarse", ALL] and all(heat.shape == (2, 2, 4) for heat in found.values())
    return {name: heat[0, 0].tolist() for name, heat in found.items()}


def test_by_hand():
    """Left gives 2 in columns 0 and 1, right 4 in columns 1 to 3, together 6 in column 1; the image gives 3."""
    found = cams([1.0, 1.0, 3.0], [2.0, 4.0, 1.0])
    assert found["fine"] == pytest.approx([2 / 6, 1, 4 / 6, 4 / 6])
    assert found["coarse"] == pytest.approx([1, 1, 1, 1])
    assert found[ALL] == pytest.approx([5 / 9, 1, 7 / 9, 7 / 9])  # 2 + 3, 6 + 3, 4 + 3 of 9


def test_what_lowers_the_score_counts_before_the_relu():
    """Right is -3 and left 2: -1 in column 1 and -3 right of it, of which the image's 2 leaves 4, 1 and nothing."""
    found = cams([1.0, 1.0, 1.0], [2.0, -3.0, 2.0])
    assert found["fine"] == pytest.approx([1, 0, 0, 0])
    assert found[ALL] == pytest.approx([1, 0.25, 0, 0])


def test_nothing_raises_the_score():
    assert cams([1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]) == dict.fromkeys(("fine", "coarse", ALL), [0.0] * 4)


def test_a_layer_that_is_not_there():
    model = Halves([1.0] * 3, [1.0] * 3).eval()
    parts = {"fine": Granularity("a", 1.0, {"middle": "left"})}
    with pytest.raises(ValueError, match="no layer 'middle'; it has left, right, image"):
        granularity_cams(model, torch.rand(1, 3, 2, 4), lambda m, x: m(x)[:, 0], parts)
    assert not any(module._forward_hooks for module in model.modules())


# ---- MGRe -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mgre():
    torch.manual_seed(0)
    cfg = get_config("demo/mgre.yml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 5])
    return build_model(cfg).eval()


def test_mgre_s_four_granularities(mgre):
    parts = mgre.granularities()
    assert list(parts) == ["stage 1", "stage 2", "stage 3", "stage 4"]
    assert [part.weight for part in parts.values()] == [0.35, 0.5, 0.7, 0.8]  # eq. 6
    assert [len(part.layers) for part in parts.values()] == [4, 2, 1, 1]
    images = torch.rand(2, 3, 64, 32) * 255
    before = images.clone()
    with torch.no_grad():
        feature = mgre(images[:1])[0]
    for score in (branch_lengths(parts), similarity_to(feature)):
        found = granularity_cams(mgre, images, score, parts)
        for heat in found.values():
            assert heat.shape == (2, 64, 32) and heat.min() >= 0 and heat.max() == pytest.approx(1, abs=1e-6)
    assert torch.equal(images, before) and all(p.grad is None for p in mgre.parameters())


def test_a_region_s_activation_stays_in_its_box(mgre):
    """The head alone: nothing outside its predicted box."""
    parts = {"head": Granularity("stage1", 1.0, {"heads.extract.head": "head"})}
    images = torch.rand(2, 3, 64, 32) * 255
    heat = granularity_cams(mgre, images, branch_lengths(parts), parts)["head"]
    with torch.no_grad():
        boxes = mgre.locate_regions(mgre.preprocess_image(images))["head"].predicted
    for pixels, (x_min, y_min, x_max, y_max) in zip(heat, boxes.tolist(), strict=True):
        y, x = (places + 0.5 for places in torch.nonzero(pixels, as_tuple=True))
        assert len(x) > 4
        assert x_min <= x.min() / 32 and x.max() / 32 < x_max and y_min <= y.min() / 64 and y.max() / 64 < y_max


def test_branch_lengths_by_hand(mgre):
    parts = mgre.granularities()
    images = torch.rand(2, 3, 64, 32) * 255
    with torch.no_grad():
        branches = mgre.branches(mgre.preprocess_image(images), None)
        score = branch_lengths(parts)(mgre, images)
    expected = sum(
        weight * branches[f"stage{i}"]["neck"].square().sum(dim=1).sqrt().log()
        for i, weight in zip((1, 2, 3, 4), (0.35, 0.5, 0.7, 0.8), strict=True)
    )
    torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-5)


def test_the_length_of_mgre_s_test_feature_explains_nothing(mgre):
    """Its parts are as long as lambda^F says, which no gradient can change: (0.35^2 + 0.5^2 + 0.7^2 + 0.8^2)^(1/2)."""
    with pytest.raises(ValueError, match=r"the test feature is 1\.226 long whatever the image.*--query"):
        feature_length(mgre, torch.rand(2, 3, 64, 32) * 255)


def test_only_stage_4():
    cfg = get_config("demo/mgre.yml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 5, "MODEL.MGRE.STAGES", []])
    model = build_model(cfg).eval()
    images = torch.rand(1, 3, 64, 32) * 255
    found = granularity_cams(model, images, branch_lengths(model.granularities()), model.granularities())
    assert list(found) == ["stage 4", ALL]
    torch.testing.assert_close(found["stage 4"], found[ALL], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="locates no region, so it has no boxes: MODEL.MGRE.STAGES is empty"):
        model.locate_regions(images)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("single_regions", {f"stage {i}": {f"heads.extract.image{i}": None} for i in (1, 2, 3, 4)}),
        (
            "single_features",
            {"stage 3": {"heads.extract.whole_body": "whole_body"}, "stage 4": {"heads.extract.image4": None}},
        ),
        ("baseline_jo", {"stage 4": {"heads.extract.image4": None}}),
    ],
)
def test_ablations(name, expected):
    """Whole images at every stage, every region on the last map, and boxes that nothing is sampled from."""
    cfg = get_config(f"MGRe/ablation/SynthReID_{name}.yml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 5, "MODEL.BACKBONE.PRETRAIN", False])
    model = build_model(cfg).eval()
    parts = model.granularities()
    assert {key: dict(part.layers) for key, part in parts.items() if key in expected} == expected
    images = torch.rand(1, 3, 64, 32) * 255
    found = granularity_cams(model, images, branch_lengths(parts), parts)
    assert list(found) == [*parts, ALL] and all(heat.isfinite().all() for heat in found.values())
    if name == "baseline_jo":
        assert len(model.locate_regions(model.preprocess_image(images))) == 7
