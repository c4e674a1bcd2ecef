"""MODEL.LOSSES.NAME and the loop over branches."""

import pytest
import torch
from fastreid.config import get_cfg as host_get_cfg

from fastreid_ext.config import get_cfg
from fastreid_ext.losses import batch_hard_triplet_loss, smoothed_cross_entropy, soft_margin_triplet_loss
from fastreid_ext.modeling.loss_table import LOSSES, Criterion, terms_from_config

TARGETS = torch.tensor([0, 0, 1, 1, 4, 4])
DIMS = {"global": 8, "local": 16}


def make_cfg(*names, **overrides):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "DeepMiner"
    cfg.MODEL.LOSSES.NAME = names
    cfg.merge_from_list([item for k, v in overrides.items() for item in (f"MODEL.LOSSES.{k.replace('__', '.')}", v)])
    return cfg


def make(*names, **overrides):
    return Criterion(terms_from_config(make_cfg(*names, **overrides)), DIMS, num_classes=5)


def outputs(dtype=torch.float32):
    return {
        branch: {
            "logits": torch.randn(6, 5, dtype=dtype, requires_grad=True),
            "feature": torch.randn(6, dim, dtype=dtype, requires_grad=True),
        }
        for branch, dim in DIMS.items()
    }


def test_keys_are_loss_what_branch():
    losses = make("SmoothedCrossEntropyLoss", "SoftMarginTripletLoss", "CenterLoss")(outputs(), TARGETS)
    assert list(losses) == [
        "loss_cls_global",
        "loss_triplet_global",
        "loss_center_global",
        "loss_cls_local",
        "loss_triplet_local",
        "loss_center_local",
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_the_table(name, dtype):
    branches = outputs(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        losses = make(name)(branches, TARGETS)
    assert set(losses) == {f"loss_{LOSSES[name].what}_{branch}" for branch in DIMS}
    for branch, loss in zip(DIMS, losses.values(), strict=True):
        assert loss.shape == () and loss.dtype == torch.float32 and loss.isfinite() and loss > 0
        source = branches[branch][LOSSES[name].source]
        loss.backward()
        assert source.grad.isfinite().all() and source.grad.any()
        other = branches[branch]["logits" if LOSSES[name].source == "feature" else "feature"]
        assert other.grad is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_no_loss(name, dtype):
    branches = outputs()
    torch.manual_seed(1)  # the same centers twice
    plain = make(name)(branches, TARGETS)
    torch.manual_seed(1)
    mixed = make(name)
    with torch.autocast("cpu", dtype=dtype):
        assert mixed(branches, TARGETS) == plain


@pytest.mark.parametrize("name", LOSSES)
def test_weights(name):
    node, branches = LOSSES[name].node, outputs()
    torch.manual_seed(1)  # the same centers twice
    once = make(name, **{f"{node}__SCALE": 1.0})(branches, TARGETS)
    torch.manual_seed(1)
    thrice = make(name, **{f"{node}__SCALE": 3.0})(branches, TARGETS)
    for key in once:
        torch.testing.assert_close(thrice[key], 3 * once[key], rtol=1e-6, atol=0)


def test_default_weights():
    cfg = get_cfg()
    weights = {name: cfg.MODEL.LOSSES[entry.node].SCALE for name, entry in LOSSES.items()}
    assert weights.pop("CenterLoss") == 5e-4  # lambda of eq. 2
    assert set(weights.values()) == {1.0}


def test_settings_reach_the_losses():
    branches = outputs()
    losses = make(
        "SmoothedCrossEntropyLoss", "BatchHardTripletLoss", SMOOTHED_CE__EPSILON=0.3, HARD_TRIPLET__MARGIN=1.5
    )
    values = losses(branches, TARGETS)
    for name, out in branches.items():
        assert values[f"loss_cls_{name}"] == smoothed_cross_entropy(out["logits"], TARGETS, 0.3)
        assert values[f"loss_triplet_{name}"] == batch_hard_triplet_loss(out["feature"], TARGETS, 1.5)
    soft = make("SoftMarginTripletLoss")(branches, TARGETS)
    assert soft["loss_triplet_local"] == soft_margin_triplet_loss(branches["local"]["feature"], TARGETS)


def test_centers_are_saved_moved_and_apart():
    criterion = make("CenterLoss", CENTER__RATE=0.25)
    assert {k: tuple(v.shape) for k, v in criterion.state_dict().items()} == {
        "stateful.loss_center_global.centers": (5, 8),
        "stateful.loss_center_local.centers": (5, 16),
    }
    assert criterion.stateful["loss_center_global"].rate == 0.25
    assert all(p.device.type == "meta" for p in criterion.to("meta").buffers())


def test_one_step_of_the_centers_per_forward():
    criterion, branches = make("CenterLoss", CENTER__RATE=1.0), outputs()
    before = criterion.stateful["loss_center_local"].centers.clone()
    criterion(branches, TARGETS)
    # Two images an identity of six: c += 2/6 * sum(x - c)
    pull = branches["local"]["feature"].detach().view(3, 2, 16).sum(dim=1) - 2 * before[[0, 1, 4]]
    after = criterion.stateful["loss_center_local"].centers
    torch.testing.assert_close(after[[0, 1, 4]], before[[0, 1, 4]] + pull / 3, rtol=1e-5, atol=1e-6)
    assert torch.equal(after[[2, 3]], before[[2, 3]])


@pytest.mark.parametrize("shared", [(), ("center",), ("triplet",), ("center", "cls")])
def test_shared_state(shared):
    """Only what has a state and is named is one for all branches; the keys and the weights are the same."""
    terms = terms_from_config(make_cfg("SmoothedCrossEntropyLoss", "CenterLoss"))
    criterion = Criterion(terms, {"global": 8, "local": 8, "third": 8}, num_classes=5, shared=shared)
    losses = [criterion.stateful[f"loss_center_{branch}"] for branch in ("global", "local", "third")]
    assert len({id(loss) for loss in losses}) == (1 if "center" in shared else 3)
    assert len(list(criterion.buffers())) == (1 if "center" in shared else 3)
    assert len(criterion.state_dict()) == 3  # one checkpoint fits both
    assert set(criterion.weights) == {f"loss_{w}_{b}" for w in ("cls", "center") for b in ("global", "local", "third")}
    assert set(criterion.weights.values()) == {1.0, 5e-4}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "MODEL.LOSSES.NAME is empty; choose from .*'SmoothedCrossEntropyLoss'"),
        (("TripletLoss",), "'TripletLoss', which DeepMiner does not know; choose from .*'SoftMarginTripletLoss'"),
        (("CenterLoss", "CenterLoss"), "'CenterLoss' and 'CenterLoss', which both are the center loss"),
        (
            ("SoftMarginTripletLoss", "BatchHardTripletLoss"),
            "'SoftMarginTripletLoss' and 'BatchHardTripletLoss', which both are the triplet loss of a branch: keep one",
        ),
    ],
    ids=["empty", "unknown", "twice", "two triplets"],
)
def test_bad_names(names, message):
    with pytest.raises(ValueError, match=message):
        terms_from_config(make_cfg(*names))


def test_the_hosts_nodes_are_left_as_they_are():
    host, ours = host_get_cfg().MODEL.LOSSES, get_cfg().MODEL.LOSSES
    assert {key: ours[key] for key in host} == dict(host)
