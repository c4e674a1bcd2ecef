"""Plain vision transformers of timm's as trunks: stage by stage timm's own numbers, and what goes on beside a map."""

import copy
import logging

import numpy as np
import pytest
import timm
import torch
from token_networks import FAMILIES, NARROW, images_of, make
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import DisentangledNonLocal2d
from fastreid_ext.modeling.region_block import RegionBlock
from fastreid_ext.modeling.residual_blocks import block_count, following_block
from fastreid_ext.modeling.token_trunk import (
    TokenTrunk,
    create_token_trunk,
    divisible,
    is_token_name,
    is_token_network,
    on_own_grid,
)
from fastreid_ext.modeling.tokens import LastMap, Tokens, map_of, on_map
from fastreid_ext.modeling.trunk import (
    STAGES,
    StageCopies,
    block_channels,
    last_map_rows,
    last_module,
    output_channels,
    pool_stem,
    put_behind,
    run_stage,
    run_stem,
    stage_shapes,
)

MIXED = "RoPE of each block"
FEW = ("DINOv2 with registers", "DINOv3", "EVA-02", MIXED)  # one of each kind of positions


def timms(family, rows=4, columns=2, **settings):
    """timm's own network with the weights of :func:`make`."""
    name, patch, _, own = FAMILIES[family]
    size = (rows * patch, columns * patch)
    network = timm.create_model(name, img_size=size, dynamic_img_size=True, **NARROW, **own, **settings).eval()
    lacking = network.load_state_dict(make(family, rows, columns).state_dict(), strict=False)
    assert (
        all(name.startswith(("head", "fc_norm", "attn_pool")) for name in lacking.missing_keys)
        and not lacking.unexpected_keys
    )
    return network


def stages(trunk, images, part=lambda y: y):
    """Stage -> its output, a part working on each map."""
    y, found = run_stem(trunk, images), {}
    for stage in STAGES:
        found[stage] = y = on_map(part, run_stage(trunk, stage, y))
    return found


@pytest.mark.parametrize("rows", [4, 6])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_stages_are_timms_own_features(family, rows):
    """At the training's size and, with resampled positions, at another one."""
    trunk, network = make(family), timms(family)
    images, prefix = images_of(trunk, rows, 3 if rows == 6 else 2), FAMILIES[family][2]
    theirs = network.forward_features(images)[:, prefix:].transpose(1, 2)
    ours = stages(trunk, images)[4]
    assert isinstance(ours, torch.Tensor) and ours.shape[2:] == (rows, 3 if rows == 6 else 2)
    assert torch.allclose(ours.flatten(2), theirs, atol=1e-5) and ours.std() > 0.1
    assert torch.equal(trunk(images), ours)


@pytest.mark.parametrize("family", [*FEW, "SigLIP", "DeiT with distillation"])
def test_prefix_tokens_go_on_beside_the_maps(family):
    trunk, count = make(family), FAMILIES[family][2]
    images = images_of(trunk)
    with torch.no_grad():
        plain, changed = stages(trunk, images), stages(trunk, images, lambda y: y * 0)
        for stage in STAGES[:-1]:
            tokens = changed[stage]
            assert tokens.prefix == count and not tokens.map.any()
            assert tokens.sequence.shape[1] == count + 8
        first = plain[1].sequence[:, :count], changed[1].sequence[:, :count]
        assert torch.equal(*first)  # a part works on the map alone
        y = plain[2].with_map(plain[2].map)
        assert torch.equal(y.sequence, plain[2].sequence)
        if count:  # they are read by the next block
            other = copy.deepcopy(plain[2])
            other.sequence[:, :count] = torch.randn(count, 48)
            assert not torch.allclose(run_stage(trunk, 3, other).map, plain[3].map, atol=1e-3)


def test_a_map_without_rotary_positions_may_change_its_size():
    trunk = make("ViT")
    with torch.no_grad():
        y = run_stage(trunk, 1, run_stem(trunk, images_of(trunk)))
        upper = on_map(lambda y: y[:, :, :2], y)
        assert run_stage(trunk, 2, upper).map.shape == (2, 48, 2, 2)
        for stage in STAGES[1:]:
            upper = run_stage(trunk, stage, upper)
        assert upper.shape == (2, 48, 2, 2)
    with pytest.raises(ValueError, match="those of a map of 4 x 2, and a part between two blocks made it 2 x 2"):
        on_map(lambda y: y[:, :, :2], run_stem(make("DINOv3"), images_of(trunk)))


@pytest.mark.parametrize("family", FEW)
@torch.no_grad()
def test_copies_of_stages(family):
    """A side branch goes on from stage 2 with all that is beside its map, and shares nothing."""
    trunk = make(family)
    found = stages(trunk, images_of(trunk))
    copies = StageCopies(trunk, (3, 4)).eval()
    for parameter in trunk.parameters():
        parameter.zero_()
    y = found[2]
    for stage in (3, 4):
        y = run_stage(copies, stage, y)
    assert torch.equal(y, found[4]) and y.any()
    state, own = copies.state_dict(), trunk.state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: own[key].shape for key in state}
    assert {key.split(".")[0] for key in state} <= {"blocks", "norm"}


@torch.no_grad()
def test_copies_from_a_block_on():
    trunk = make(MIXED, depth=8)
    inner = run_stem(trunk, images_of(trunk))
    for stage in (1, 2):
        inner = run_stage(trunk, stage, inner)
    whole = run_stage(trunk, 3, inner)
    copies = StageCopies(trunk, (3,), first_block=1)
    assert list(copies.blocks._modules) == ["5"]
    assert torch.equal(run_stage(copies, 3, inner.through(trunk.blocks[4])).sequence, whole.sequence)


@pytest.mark.parametrize(
    ("depth", "groups"), [(4, [1, 1, 1, 1]), (6, [1, 2, 1, 2]), (7, [1, 2, 2, 2]), (8, [2, 2, 2, 2])]
)
def test_groups_of_blocks(depth, groups):
    trunk = make("ViT", depth=depth)
    assert [block_count(trunk, stage) for stage in STAGES] == groups
    names = [name for stage in STAGES for name in trunk.anatomy.stage_names(trunk, stage)]
    assert names == [*(f"blocks.{i}" for i in range(depth)), "norm", "last"]


@pytest.mark.parametrize(("family", "patch"), [("ViT", 16), ("DINOv2", 14), ("DINOv3", 16)])
def test_shapes(family, patch):
    trunk = make(family).train()
    before = [module.training for module in trunk.modules()]
    assert {(shape.channels, shape.reduction) for shape in stage_shapes(trunk).values()} == {(48, patch)}
    assert set(block_channels(trunk).values()) == {48} and output_channels(trunk) == 48
    assert last_map_rows(trunk, 256) == {16: 16, 14: 18}[patch] and last_module(trunk) == "last"
    assert [module.training for module in trunk.modules()] == before
    with pytest.raises(ConfigError, match="the stem of TokenTrunk has no max pooling"):
        pool_stem(trunk, nn.MaxPool2d(2))


def test_the_state_has_timms_names():
    names = set(make("DINOv2 with registers").state_dict())
    own = set(timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, **NARROW).state_dict())
    assert names == own and "pos_embed" in names
    assert not [name for name in make("EVA-02").state_dict() if name.startswith(("head", "fc_norm"))]


def test_every_parameter_gets_a_gradient():
    for family in FAMILIES:
        trunk = make(family).train()
        trunk(images_of(trunk)).square().sum().backward()
        idle = [name for name, p in trunk.named_parameters() if p.grad is None or not p.grad.any()]
        assert not idle, (family, idle)


# ---- sizes ----


@pytest.mark.parametrize(
    ("size", "patch", "nearest"),
    [
        ((256, 128), 16, (256, 128)),
        ((384, 128), 16, (384, 128)),
        ((256, 128), 14, (252, 126)),
        ((384, 128), 14, (378, 126)),
        ((64, 32), 14, (70, 28)),
        ((21, 5), 14, (28, 14)),
        ((250, 127), 16, (256, 128)),
    ],
)
def test_the_nearest_size_in_patches(size, patch, nearest):
    assert divisible(size, (patch, patch)) == nearest


@pytest.mark.parametrize("size", [(64, 32), (61, 33), (70, 28)])
@pytest.mark.parametrize("family", ["ViT", "DINOv2", "EVA-02"])
@torch.no_grad()
def test_a_mirrored_image_gives_the_mirrored_patches(family, size):
    """Of a stem with mirrored patches' weights and positions, for sizes that the patches do not divide too."""
    patch = FAMILIES[family][1]
    trunk = make(family, *(side // patch for side in divisible(size, (patch, patch)))).double()
    mirrored = copy.deepcopy(trunk)
    mirrored.patch_embed.proj.weight.copy_(trunk.patch_embed.proj.weight.flip(-1))
    rows, columns = trunk.grid
    places = trunk.pos_embed[:, 1:].unflatten(1, (rows, columns)).flip(2).flatten(1, 2)
    mirrored.pos_embed[:, 1:].copy_(places)
    torch.manual_seed(0)
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    one, other = trunk.embed(images), mirrored.embed(images.flip(-1))
    assert torch.allclose(other.map, one.map.flip(-1), atol=1e-5)
    assert torch.equal(one.sequence[:, :1], other.sequence[:, :1])
    if one.rope is None:
        assert torch.allclose(mirrored(images.flip(-1)), trunk(images).flip(-1), atol=1e-4)
    # Positions for another size of images are resampled alike.
    one, other = (
        one.embed(images.repeat(1, 1, 2, 3)) for one, images in ((trunk, images), (mirrored, images.flip(-1)))
    )
    assert torch.allclose(other.map, one.map.flip(-1), atol=1e-5)


def cubic(x):
    """Keys' cubic kernel with a = -1/2."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resampling(old, new):
    """Weights (new, old) of antialiased cubic resampling: the kernel is as wide as what is left out is far apart."""
    scale = old / new
    wide = max(scale, 1.0)
    middles = (np.arange(new) + 0.5) * scale
    weights = cubic((np.arange(old)[None] + 0.5 - middles[:, None]) / wide)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("family", "prefix"), [("ViT", 1), ("DINOv2 with registers", 0), ("SigLIP", 0)])
@pytest.mark.parametrize("new", [(16, 8), (24, 8), (7, 9)])
def test_positions_are_resampled(family, prefix, new):
    """A file's square grid to the training's: cubic, against weights in float64; class tokens' stay as they are."""
    trunk = make(family, *new)
    theirs = torch.randn(1, prefix + 14 * 14, 48)
    found = on_own_grid(trunk, {"pos_embed": theirs, "other": theirs})
    grid = theirs[0, prefix:].double().numpy().reshape(14, 14, 48)
    expected = np.einsum("ai,bj,ijc->abc", resampling(14, new[0]), resampling(14, new[1]), grid).reshape(-1, 48)
    np.testing.assert_allclose(found["pos_embed"][0, prefix:].numpy(), expected, atol=1e-5)
    assert torch.equal(found["pos_embed"][:, :prefix], theirs[:, :prefix]) and found["other"] is theirs
    trunk.load_state_dict({**trunk.state_dict(), "pos_embed": found["pos_embed"]})


def test_positions_of_a_persons_grid():
    """A file of ours is two or three times as high as wide; one of any other shape is left for the report."""
    trunk = make("ViT", 24, 8)
    grid = torch.arange(16.0)[:, None, None].expand(16, 8, 48).reshape(1, -1, 48)  # a row's number
    found = on_own_grid(trunk, {"pos_embed": torch.cat([torch.zeros(1, 1, 48), grid], dim=1)})["pos_embed"]
    rows = found[0, 1:].unflatten(0, (24, 8))
    assert found.shape == (1, 193, 48) and torch.allclose(rows, rows[:, :1].expand_as(rows), atol=1e-5)
    assert (rows[1:, 0, 0] > rows[:-1, 0, 0]).all()
    for odd in (torch.zeros(1, 1 + 40, 48), torch.zeros(1, 197, 64), torch.zeros(197, 48), trunk.pos_embed.detach()):
        assert on_own_grid(trunk, {"pos_embed": odd})["pos_embed"] is odd
    rotary = make("DINOv3")
    assert on_own_grid(rotary, {"a": rows})["a"] is rows


def test_as_many_positions_of_another_grid_are_said(caplog):
    trunk = make("ViT", 24, 6)
    with caplog.at_level(logging.WARNING):
        on_own_grid(trunk, {"pos_embed": torch.zeros(1, 1 + 144, 48)})
    assert "144 positions are taken as 24 x 6, as this network has them, and not as 12 x 12" in caplog.text


# ---- drop path and checkpointing ----


def rates(trunk):
    return [getattr(block.drop_path1, "drop_prob", 0.0) for block in trunk.blocks]


@pytest.mark.parametrize("family", ["ViT", "EVA-02"])
def test_drop_path_rises_linearly(family):
    trunk = make(family, drop_path=0.3, depth=7)
    assert rates(trunk) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
    assert rates(make(family)) == [0] * 4
    copied = StageCopies(trunk, (4,))
    assert [block.drop_path1.drop_prob for block in copied.blocks] == pytest.approx([0.25, 0.3])
    images = images_of(trunk)
    assert torch.equal(trunk(images), trunk(images)) and not torch.equal(trunk.train()(images), trunk(images))


def gradients(trunk, checkpointing, autocast=False):
    trunk = copy.deepcopy(trunk).train()
    trunk.checkpointing = checkpointing
    copies, images = StageCopies(trunk, (3, 4)), images_of(trunk)
    saved = []
    pack = lambda tensor: saved.append(tensor.numel()) or tensor  # noqa: E731
    torch.manual_seed(3)  # of drop path
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = stages(trunk, images)
            side = run_stage(copies, 4, run_stage(copies, 3, on_map(lambda y: 2 * y, found[2])))
            loss = (found[4].float().square() + side.float().square()).mean()
        kept = sum(saved)
    loss.backward()
    named = [*trunk.named_parameters(), *((f"copies.{name}", p) for name, p in copies.named_parameters())]
    return {name: parameter.grad for name, parameter in named}, kept


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("family", FEW)
def test_checkpointing_gives_the_same_gradients_for_less_memory(family, autocast):
    trunk = make(family, drop_path=0.5)
    plain, kept = gradients(trunk, False, autocast)
    saving, less = gradients(trunk, True, autocast)
    assert less < kept / 2
    for name, gradient in plain.items():
        assert torch.equal(gradient, saving[name]) and gradient.isfinite().all(), name
    assert any(name.startswith("copies.") and gradient.any() for name, gradient in plain.items())


# ---- papers' parts ----


@pytest.mark.parametrize("family", FEW)
def test_a_non_local_block_behind_a_block(family):
    """It works on the block's map, in copies too, and goes on with the tokens beside it."""
    trunk = make(family)
    images = images_of(trunk)
    with torch.no_grad():
        plain = stages(trunk, images)
        put_behind(trunk, "blocks.1", DisentangledNonLocal2d(48, 2))
        assert torch.allclose(trunk(images), plain[4], atol=1e-6)  # it starts as the identity
        for parameter in trunk.blocks[1].non_local.parameters():
            nn.init.normal_(parameter)
        y = run_stage(trunk, 2, plain[1])
        assert torch.allclose(y.map, trunk.blocks[1].non_local(plain[2].map), atol=1e-5)
        assert not torch.allclose(y.map, plain[2].map, atol=1e-2)
        assert torch.equal(y.sequence[:, : y.prefix], plain[2].sequence[:, : y.prefix])
        assert torch.equal(run_stage(StageCopies(trunk, (2,)).eval(), 2, plain[1]).sequence, y.sequence)
        assert torch.equal(stages(trunk, images)[4], trunk(images))


@pytest.mark.parametrize("family", [*FEW, "ViT", "EVA-02 CLIP", "parallel"])
def test_a_block_for_regions(family):
    """MGRe's feature extraction: a new block of the kind, on the places of a region alone."""
    trunk = make(family)
    put_behind(trunk, "blocks.3", nn.Identity())
    block = following_block(trunk, 4, 48)
    assert isinstance(block, RegionBlock) and "non_local" not in block.block._modules
    own = {name: value.shape for name, value in trunk.blocks[3].state_dict().items()}
    assert {name: value.shape for name, value in block.block.state_dict().items()} == own
    y = torch.randn(2, 48, 5, 3)
    block(y).square().sum().backward()
    assert block(y).shape == y.shape and block(y).isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in block.parameters())
    kept = {id(parameter) for parameter in trunk.parameters()}
    assert not any(id(parameter) in kept for parameter in block.parameters())


def test_a_block_for_regions_of_a_trunk_without_numbers():
    with torch.device("meta"):
        trunk = create_token_trunk("vit_small_patch16_dinov3", (64, 32), **NARROW)
    block = following_block(trunk, 2, 48)
    assert all(value.isfinite().all() for value in block.state_dict().values())
    assert not next(block.parameters()).is_meta and block.block.gamma_1.unique().tolist() == [pytest.approx(1e-5)]


def test_a_block_for_regions_has_no_number_that_nothing_sets(monkeypatch):
    """A block of a timm whose layer scale says nowhere how it begins: its memory had anything."""
    trunk = make("EVA-02", init_values=1e-5)
    monkeypatch.delattr(type(trunk.blocks[3]), "reset_parameters")
    with pytest.raises(
        ConfigError, match="EvaBlock .* does not say how gamma_1, gamma_2 begin: do without more"
    ) as said:
        following_block(trunk, 4, 48)
    assert "\n" not in str(said.value)


def test_a_block_for_regions_has_the_whole_numbers_of_its_kind():
    """A table of places is no weight: it is what it is, and a memory without it had anything."""
    trunk = make("EVA-02")
    places = torch.arange(5000) % 48
    trunk.blocks[3].attn.register_buffer("places", places)
    assert torch.equal(following_block(trunk, 4, 48).block.attn.places, places)
    trunk.blocks[3].attn.places = places.to("meta")
    with pytest.raises(ConfigError, match="does not say how attn.places begin: do without more"):
        following_block(trunk, 4, 48)


# ---- kinds of networks ----


def test_what_a_plain_vision_transformer_is():
    assert (
        is_token_network(timms("ViT")) and is_token_network(timms("EVA-02")) and not is_token_network(nn.Linear(1, 1))
    )
    for name in ("vit_small_patch14_dinov2.lvd142m", "deit_tiny_patch16_224", "eva02_tiny_patch14_224"):
        assert is_token_name(name)
    for name in ("resnet50", "convnextv2_tiny.fcmae", "swin_tiny_patch4_window7_224", "beit_base_patch16_224"):
        assert not is_token_name(name)


def test_networks_that_are_no_trunk():
    with pytest.raises(ConfigError, match="this VisionTransformer has 3 blocks: choose a network of 4 blocks or more"):
        make("ViT", depth=3)
    with pytest.raises(ValueError, match="dynamic_img_size=True"):
        TokenTrunk(timm.create_model("vit_tiny_patch16_224", num_classes=0, **NARROW))
    with pytest.raises(ValueError, match="without patch_drop_rate"):
        make("EVA-02", patch_drop_rate=0.1)
    with pytest.raises(ConfigError, match="makes its patches with a HybridEmbed"):
        network = timm.create_model("vit_tiny_r_s16_p8_224", num_classes=0, dynamic_img_size=True, depth=4)
        TokenTrunk(network)
    with pytest.raises(ValueError, match="plain vision transformer of timm's, got Linear"):
        TokenTrunk(nn.Linear(1, 1))


def test_the_last_map_is_a_module_for_pictures():
    trunk = make("ViT")
    seen = []
    trunk.last.register_forward_hook(lambda module, inputs, output: seen.append(output))
    y = trunk(images_of(trunk))
    assert seen[0] is y and isinstance(trunk.last, LastMap)


def test_maps_of_tensors_are_themselves():
    y = torch.randn(1, 2, 3, 4)
    assert map_of(y) is y and torch.equal(on_map(lambda y: 2 * y, y), 2 * y)
    tokens = Tokens(torch.randn(2, 1 + 6, 5), 2, 3, 1)
    assert torch.equal(map_of(tokens)[0, :, 1, 2], tokens.sequence[0, 6])
