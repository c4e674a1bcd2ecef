"""Where the non-local blocks stand, and that they change nothing before they have learnt something."""

import copy

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.model import build_model as build_checked
from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import DisentangledNonLocal2d
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.trunk import StageCopies, run_stage, run_stem

CHANNELS = {1: 256, 2: 512, 3: 1024, 4: 2048}


def config(**overrides):
    cfg = get_cfg()
    settings = {"NAME": "build_dnl_resnet_backbone", "DEPTH": "50x", "PRETRAIN": False, "LAST_STRIDE": 1, **overrides}
    cfg.merge_from_list([x for key, v in settings.items() for x in (f"MODEL.BACKBONE.{key.replace('__', '.')}", v)])
    return cfg


def shape(**overrides):
    with torch.device("meta"):
        return build_backbone(config(**overrides))


def order_of(backbone, images):
    """What runs, in its order: (stage, index of the residual block) and "dnl"."""
    ran, handles = [], []
    for stage in (1, 2, 3, 4):
        for index, block in enumerate(getattr(backbone, f"layer{stage}")):
            hook = lambda module, inputs, output, where=(stage, index): ran.append(where)  # noqa: E731
            handles.append(block.register_forward_hook(hook))
    for module in backbone.modules():
        if isinstance(module, DisentangledNonLocal2d):
            handles.append(module.register_forward_hook(lambda module, inputs, output: ran.append("dnl")))
    backbone(images)
    return ran


DEPTHS = {"18x": [2, 2, 2, 2], "34x": [3, 4, 6, 3], "50x": [3, 4, 6, 3], "101x": [3, 4, 23, 3]}


@pytest.mark.parametrize(
    ("depth", "blocks"),
    [
        ("50x", [0, 2, 3, 0]),
        ("101x", [0, 2, 3, 0]),
        ("18x", [0, 2, 2, 0]),
        ("34x", [1, 0, 6, 3]),
        ("50x", [0, 0, 0, 0]),
    ],
)
def test_blocks_stand_behind_the_last_residual_blocks(depth, blocks):
    backbone = shape(DEPTH=depth, DNL__BLOCKS=blocks)
    expected = []
    for stage, (count, total) in enumerate(zip(blocks, DEPTHS[depth], strict=True), start=1):
        for index in range(total):
            expected += [(stage, index)] + ["dnl"] * (index >= total - count)
    for _ in range(2):  # FastReID's forward rewrites an empty list of places
        with torch.device("meta"):
            assert order_of(backbone, torch.zeros(2, 3, 64, 32)) == expected


def test_the_papers_blocks_are_the_default():
    """Two behind layer2 and three behind layer3 of ResNet-50 (section 3.2), each with its stage's channels."""
    backbone = shape()
    found = {name: m for name, m in backbone.named_modules() if isinstance(m, DisentangledNonLocal2d)}
    assert list(found) == ["NL_2.0", "NL_2.1", "NL_3.0", "NL_3.1", "NL_3.2"]
    for name, block in found.items():
        channels = CHANNELS[int(name[3])]
        assert block.query.weight.shape == (channels // 2, channels, 1, 1)
    assert backbone.NL_2_idx == [2, 3] and backbone.NL_3_idx == [3, 4, 5]
    eq1 = shape(DNL__REDUCTION=1)
    assert eq1.NL_3[0].value.weight.shape == (1024, 1024, 1, 1)


def test_blocks_behind_every_other_residual_block():
    """Of ResNet-50's 4 and 6 blocks the second and fourth, and the second, fourth and sixth (Wang et al., table 2d)."""
    backbone = shape(DNL__POSITIONS="alternate")
    assert backbone.NL_2_idx == [1, 3] and backbone.NL_3_idx == [1, 3, 5]
    assert shape(DNL__POSITIONS="alternate", DNL__BLOCKS=[1, 1, 2, 2]).NL_3_idx == [3, 5]
    expected = [(1, i) for i in range(3)]
    for stage, depth in ((2, 4), (3, 6)):
        for index in range(depth):
            expected += [(stage, index)] + ["dnl"] * (index % 2)
    expected += [(4, i) for i in range(3)]
    with torch.device("meta"):
        assert order_of(backbone, torch.zeros(2, 3, 64, 32)) == expected
    blocks = [m for m in shape(DNL__TEMPERATURE=0.05).modules() if isinstance(m, DisentangledNonLocal2d)]
    assert len(blocks) == 5 and all(block.temperature == 0.05 for block in blocks)


@pytest.mark.parametrize("reduction", [1, 2])
def test_it_starts_as_fastreids_resnet(reduction):
    """The same weights, bit for bit the same maps, in training mode too; strict, so nothing has another name."""
    plain = build_backbone(config(NAME="build_resnet_backbone", DEPTH="18x"))
    backbone = build_backbone(config(DEPTH="18x", DNL__BLOCKS=[1, 2, 2, 1], DNL__REDUCTION=reduction))
    missing, unexpected = backbone.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("NL_") for name in missing) and missing
    images = torch.randn(2, 3, 64, 32)
    for training in (True, False):
        with torch.no_grad():
            assert torch.equal(backbone.train(training)(images), plain.train(training)(images))
    torch.nn.init.normal_(backbone.NL_3[1].last_projection.weight)
    with torch.no_grad():
        assert not torch.equal(backbone(images), plain(images))


def test_a_non_local_block_works_on_its_stages_map():
    """A changed block of layer2 changes nothing before its place, and what follows it reads its output."""
    backbone = build_backbone(config(DEPTH="18x", DNL__BLOCKS=[0, 1, 0, 0])).eval()
    torch.nn.init.normal_(backbone.NL_2[0].project.weight)
    seen = {}
    backbone.layer2[1].register_forward_hook(lambda module, inputs, output: seen.update(block=output))
    backbone.NL_2[0].register_forward_hook(lambda module, inputs, output: seen.update(given=inputs[0], dnl=output))
    backbone.layer3[0].register_forward_pre_hook(lambda module, inputs: seen.update(next=inputs[0]))
    with torch.no_grad():
        backbone(torch.randn(2, 3, 64, 32))
    assert seen["given"] is seen["block"] and seen["next"] is seen["dnl"]
    assert not torch.equal(seen["block"], seen["dnl"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"DNL__BLOCKS": [0, 5, 3, 0]}, r"DNL.BLOCKS must say .* at most \[3, 4, 6, 3\] .* got \[0, 5, 3, 0\]"),
        ({"DEPTH": "18x"}, r"at most \[2, 2, 2, 2\] for this ResNet with POSITIONS last; got \[0, 2, 3, 0\]"),
        ({"DNL__BLOCKS": [0, -1, 3, 0]}, r"DNL.BLOCKS must say .* got \[0, -1, 3, 0\]"),
        ({"DNL__BLOCKS": [2, 3]}, r"DNL.BLOCKS must say for stages 1 to 4 .* got \[2, 3\]"),
        ({"DNL__BLOCKS": [0, 2, 3, 0, 1]}, r"DNL.BLOCKS must say .* got \[0, 2, 3, 0, 1\]"),
        (
            {"DNL__POSITIONS": "alternate", "DNL__BLOCKS": [0, 3, 3, 0]},
            r"at most \[2, 2, 3, 2\] .* POSITIONS alternate",
        ),
        ({"DNL__POSITIONS": "first"}, r"DNL.POSITIONS must be one of \('last', 'alternate'\), got 'first'"),
        ({"DNL__TEMPERATURE": 0.0}, "a temperature above 0, got 0.0"),
        ({"DNL__REDUCTION": 3}, r"DNL.REDUCTION is 3 and must divide the channels .* \(512, 1024\): set it to 2, say"),
        ({"DNL__REDUCTION": 0}, r"DNL.REDUCTION is 0 and must divide the channels .* \(512, 1024\): set it to 1, say"),
        ({"WITH_NL": True}, "MODEL.BACKBONE.WITH_NL puts FastReID's non-local ones: set WITH_NL False"),
    ],
)
def test_bad_settings(overrides, message):
    with pytest.raises(ValueError, match=message):
        shape(**overrides)


def test_deepminer_copies_the_blocks(storage):
    """Any project may have them: the branches of a Deep Miner get copies of those of the stages they copy."""
    cfg = get_config("demo/deepminer.yml")
    settings = {"NAME": "build_dnl_resnet_backbone", "LAST_STRIDE": 1, "DNL.BLOCKS": [0, 1, 1, 1], "PRETRAIN": False}
    cfg.merge_from_list([x for key, value in settings.items() for x in (f"MODEL.BACKBONE.{key}", value)])
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 10, "MODEL.DEEPMINER.IE_BLOCKS", [2]])
    model = build_model(cfg)
    branch = model.side_branches["ie2"].blocks.trunk
    assert isinstance(branch.NL_3[0], DisentangledNonLocal2d) and branch.NL_3[0] is not model.backbone.NL_3[0]
    calls = []
    for module in model.modules():
        if isinstance(module, DisentangledNonLocal2d):
            torch.nn.init.normal_(module.last_projection.weight, std=0.1)
            module.register_forward_hook(lambda module, inputs, output: calls.append(module))
    batch = {"images": torch.randint(0, 256, (4, 3, 64, 32)).float(), "targets": torch.tensor([3, 3, 9, 9])}
    losses = model(batch)
    assert all(loss.isfinite() for loss in losses.values())
    assert len(calls) == len(set(calls)) == 3 + 2 + 1  # layer2 ... 4; layer3 and 4 of ie2; layer4 of local
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.any() for block in calls for p in block.parameters())


# ---- any other trunk ----------------------------------------------------------------------------------------------

# DNL.TRUNK -> (DEPTH, BLOCKS, names of the non-local blocks)
OTHERS = {
    "resnext": ("50x", [0, 1, 0, 0], ["NL_2.0"]),
    "osnet": ("x0_25", [0, 1, 1, 1], [f"{name}.non_local" for name in ("conv3.1", "conv4.0", "conv4.1")]),
    "resnest": ("50x", [0, 2, 0, 0], ["layer2.2.non_local", "layer2.3.non_local"]),
    "regnet": ("200x", [0, 1, 2, 0], [f"{name}.non_local" for name in ("s2.b1", "s3.b3", "s3.b4")]),
    "mobilenetv2": ("0.5x", [1, 0, 1, 1], [f"features.{i}.non_local" for i in (3, 13, 17)]),
    "effnet": ("b0", [0, 0, 0, 1], ["s7.b1.non_local"]),
    "repvgg": ("A0", [0, 0, 0, 1], ["stage4.0.non_local"]),
    "shufflenetv2": ("0.5x", [0, 1, 0, 0], ["features.3.non_local"]),
}
QUICK = ("osnet", "regnet", "mobilenetv2", "shufflenetv2")


def other(trunk, **overrides):
    depth, blocks, _ = OTHERS[trunk]
    settings = {"NAME": "build_dnl_backbone", "DNL__TRUNK": f"build_{trunk}_backbone", "DEPTH": depth}
    return config(**{**settings, "DNL__BLOCKS": blocks, **overrides})


@pytest.mark.parametrize(
    "trunk", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in OTHERS]
)
def test_any_trunk_may_have_the_blocks(trunk):
    """They start as the identity; then the trunk's own forward, ours by stages and that of a copy run them alike."""
    plain = build_backbone(other(trunk, NAME=f"build_{trunk}_backbone")).eval()
    backbone = build_backbone(other(trunk)).eval()
    missing, unexpected = backbone.load_state_dict(plain.state_dict(), strict=False)
    added = {name: m for name, m in backbone.named_modules() if isinstance(m, DisentangledNonLocal2d)}
    assert list(added) == OTHERS[trunk][2] and not unexpected
    assert all(key.startswith(tuple(added)) for key in missing)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        before = plain(images)
        assert torch.equal(backbone(images), before)
        for block in added.values():
            torch.nn.init.normal_(block.last_projection.weight)
            after = backbone(images)
            assert not torch.equal(after, before)
            before = after
        y = run_stem(backbone, images)
        for stage in (1, 2, 3):
            y = run_stage(backbone, stage, y)
        copies = StageCopies(backbone, [4]).eval()
        assert torch.equal(run_stage(copies, 4, y), after)
        for parameter in backbone.parameters():
            parameter.zero_()
        assert torch.equal(run_stage(copies, 4, y), after) and not torch.equal(backbone(images), after)


def test_a_deep_copy_runs_its_own_blocks():
    backbone = build_backbone(other("osnet")).eval()
    twin, images = copy.deepcopy(backbone), torch.randn(1, 3, 64, 32)
    torch.nn.init.normal_(twin.conv4[1].non_local.last_projection.weight)
    with torch.no_grad():
        assert not torch.equal(twin(images), backbone(images))
        twin.load_state_dict(backbone.state_dict())
        assert torch.equal(twin(images), backbone(images))


@pytest.mark.parametrize(
    ("trunk", "overrides", "message"),
    [
        (
            "osnet",
            {"DNL__BLOCKS": [0, 2, 3, 0]},
            r"at most \[2, 2, 1, 1\] for this OSNet with POSITIONS last; got \[0, 2, 3, 0\]",
        ),
        ("osnet", {"DNL__BLOCKS": [1, 1, 0, 0], "DNL__REDUCTION": 24}, r"channels .* \(64, 96\): set it to 16, say"),
        ("osnet", {"WITH_NL": True}, "build_dnl_backbone puts .* set WITH_NL False"),
        ("osnet", {"DNL__TRUNK": "build_dnl_backbone"}, "TRUNK is build_dnl_backbone, which has .* already"),
        (
            "osnet",
            {"DNL__TRUNK": "build_dnl_resnet_backbone"},
            "which has .* already",
        ),
    ],
)
def test_bad_settings_of_other_trunks(trunk, overrides, message):
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        build_backbone(other(trunk, **overrides))


def test_weights_of_the_bare_trunk_are_loaded(tmp_path):
    """The trunk's builder loads them whole, and the blocks come behind that."""
    plain = build_backbone(other("osnet", NAME="build_osnet_backbone"))
    torch.save(plain.state_dict(), tmp_path / "osnet.pth")
    backbone = build_backbone(other("osnet", PRETRAIN=True, PRETRAIN_PATH=str(tmp_path / "osnet.pth")))
    state = backbone.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())


def test_a_depth_that_the_trunk_lacks():
    cfg = get_config("demo/occluded.yml")
    settings = {"NAME": "build_dnl_backbone", "DNL.TRUNK": "build_osnet_backbone", "DEPTH": "x0_6", "PRETRAIN": False}
    cfg.merge_from_list([x for key, value in settings.items() for x in (f"MODEL.BACKBONE.{key}", value)])
    with pytest.raises(ConfigError, match="DEPTH is 'x0_6', a depth that is none of .*, which has x1_0"):
        build_checked(cfg)


def test_a_trunk_may_be_named_as_it_likes():
    BACKBONE_REGISTRY._obj_map["build_my_dnl_net"] = BACKBONE_REGISTRY.get("build_osnet_backbone")
    try:
        with torch.device("meta"):
            build_backbone(other("osnet", DNL__TRUNK="build_my_dnl_net"))
    finally:
        del BACKBONE_REGISTRY._obj_map["build_my_dnl_net"]
