"""Eq. 6 of Deep Miner and the closed-form step of the centers. Tolerance: 1e-12 (float64)."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from fastreid_ext.losses import CenterLoss

TIGHT = {"rtol": 1e-12, "atol": 1e-12}
REPEATED = torch.tensor([1, 0, 1, 1, 3, 0])  # identity 2 is absent


def center_loss(classes=4, dim=3, rate=0.5):
    return CenterLoss(classes, dim, rate).double()


def naive(features, targets, centers):
    total = 0.0
    for row, y in zip(features.tolist(), targets.tolist(), strict=True):
        total += 0.5 * sum((x - c) ** 2 for x, c in zip(row, centers[y], strict=True))
    return torch.tensor(total / len(features), dtype=torch.float64)


def test_equals_the_equation():
    loss, features = center_loss(), torch.randn(6, 3, dtype=torch.float64)
    expected = naive(features, REPEATED, loss.centers.tolist())
    torch.testing.assert_close(loss(features, REPEATED), expected, **TIGHT)


def test_numbers_by_hand():
    loss = CenterLoss(2, 2, rate=0.5)
    loss.centers.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    # Image 0 is (3, 4) from its center: 25. Image 1 is its center: 0. Half the mean: 0.5 * 25 / 2 = 6.25
    value = loss(torch.tensor([[3.0, 4.0], [1.0, 1.0]]), torch.tensor([0, 1]))
    assert value.item() == 6.25
    # c_0 += rate * 2 / B * (3, 4) = 0.5 * (3, 4)
    assert loss.centers.tolist() == [[1.5, 2.0], [1.0, 1.0]]


@pytest.mark.parametrize("rate", [0.0, 0.5, 1.0])
def test_the_step_is_the_published_sgd(rate):
    """Published: loss = weight * mean of squared distances (no half), gradient / weight, SGD(lr=rate)."""
    loss, weight = center_loss(rate=rate), 5e-4
    centers = torch.nn.Parameter(loss.centers.clone())
    sgd = torch.optim.SGD([centers], lr=rate)
    for _ in range(5):
        features, targets = torch.randn(6, 3, dtype=torch.float64), torch.randint(4, (6,))
        loss(features, targets)
        sgd.zero_grad()
        (weight * (features - centers[targets]).square().sum(1).mean()).backward()
        centers.grad /= weight
        sgd.step()
        torch.testing.assert_close(loss.centers, centers.detach(), **TIGHT)


def test_repeated_identities_all_pull():
    # Three images of identity 0 at 1, 2 and 6, center 0, B = 3: 0.5 * 2/3 * (1 + 2 + 6) = 3
    loss = CenterLoss(1, 1, rate=0.5).double()
    loss.centers.zero_()
    loss(torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64), torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(loss.centers, torch.tensor([[3.0]], dtype=torch.float64), **TIGHT)


def test_absent_identities_stay():
    loss = center_loss()
    before = loss.centers.clone()
    loss(torch.randn(6, 3, dtype=torch.float64), REPEATED)
    moved = (loss.centers != before).any(dim=1)
    assert moved.tolist() == [True, True, False, True]


def test_the_loss_is_taken_before_the_step():
    loss, features = center_loss(), torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    before = loss.centers.clone()
    loss(features, REPEATED).backward()
    # d/dx of half the mean squared distance: (x - c) / B, with the centers of before the step
    torch.testing.assert_close(features.grad, (features.detach() - before[REPEATED]) / 6, **TIGHT)


def test_gradcheck():
    loss = center_loss().eval()
    features = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: loss(x, REPEATED), features)


def test_centers_stand_still_in_eval_mode_and_without_gradients():
    loss, features = center_loss(), torch.randn(6, 3, dtype=torch.float64)
    before = loss.centers.clone()
    loss.eval()(features, REPEATED)
    with torch.no_grad():
        loss.train()(features, REPEATED)
    assert torch.equal(loss.centers, before)


def test_order_and_place_do_not_matter():
    features, order = torch.randn(6, 3, dtype=torch.float64), torch.randperm(6)
    one, other, moved = center_loss(), center_loss(), center_loss()
    other.load_state_dict(one.state_dict())
    moved.centers.copy_(one.centers + 7)
    value = one(features, REPEATED)
    torch.testing.assert_close(other(features[order], REPEATED[order]), value, **TIGHT)
    torch.testing.assert_close(moved(features + 7, REPEATED), value, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(one.centers, other.centers, **TIGHT)


def test_images_on_their_centers_cost_nothing():
    loss = center_loss()
    before = loss.centers.clone()
    features = before[REPEATED].requires_grad_()
    value = loss(features, REPEATED)
    value.backward()
    assert value.item() == 0 and not features.grad.any() and torch.equal(loss.centers, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_inputs_give_float32(dtype):
    loss = CenterLoss(4, 32)
    # Norm 1e3: the squared distance, 1e6, has no place in a float16.
    features = torch.nn.functional.normalize(torch.randn(6, 32)).mul(1e3).to(dtype).requires_grad_()
    value = loss(features, REPEATED)
    value.backward()
    assert value.dtype == torch.float32 and value.item() == pytest.approx(0.5e6, rel=0.1)
    assert loss.centers.dtype == torch.float32 and loss.centers.isfinite().all()
    assert features.grad.dtype == dtype and features.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(dtype):
    plain, mixed = CenterLoss(4, 32), CenterLoss(4, 32)
    mixed.load_state_dict(plain.state_dict())
    features = 1e3 * torch.nn.functional.normalize(torch.randn(6, 32)).requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        value = mixed(features, REPEATED)
    assert value.dtype == torch.float32 and value.item() == plain(features, REPEATED).item()
    assert torch.equal(plain.centers, mixed.centers)


def test_the_state_is_the_centers():
    one, other = center_loss(), center_loss()
    assert list(one.state_dict()) == ["centers"] and not list(one.parameters())
    one(torch.randn(6, 3, dtype=torch.float64), REPEATED)
    other.load_state_dict(one.state_dict())
    features = torch.randn(6, 3, dtype=torch.float64)
    assert one(features, REPEATED).item() == other(features, REPEATED).item()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match=r"rate of the centers must lie in \[0, 1\]"):
        CenterLoss(4, 3, rate)


@pytest.mark.parametrize(("classes", "dim"), [(0, 3), (4, 0)])
def test_bad_sizes(classes, dim):
    with pytest.raises(ValueError, match=f"num_classes and dim >= 1, got {classes} and {dim}"):
        CenterLoss(classes, dim)


@pytest.mark.parametrize(
    ("features", "targets"),
    [((6, 4), (6,)), ((6,), (6,)), ((6, 3), (5,)), ((6, 3), (6, 1)), ((0, 3), (0,))],
    ids=["dim", "vector", "length", "column", "empty"],
)
def test_bad_shapes(features, targets):
    loss = CenterLoss(4, 3)
    before = loss.centers.clone()
    with pytest.raises(ValueError, match=r"expected (features \(B, 3\)|targets \(B,\))"):
        loss(torch.randn(features), torch.zeros(targets, dtype=torch.int64))
    assert torch.equal(loss.centers, before)


def test_the_callers_tensors_are_left_alone():
    features, targets = torch.randn(6, 3, dtype=torch.float64), REPEATED.clone()
    before = features.clone()
    center_loss()(features, targets)
    assert torch.equal(features, before) and torch.equal(targets, REPEATED)


def halves(rank, folder):
    """What one of two ranks does: train the centers on its half of each batch."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", world_size=2, rank=rank)
    given = torch.load(Path(folder) / "in.pt")
    loss = CenterLoss(*given["centers"].shape, rate=0.5).double()
    loss.centers.copy_(given["centers"])
    losses = [loss(x.chunk(2)[rank], y.chunk(2)[rank]) for x, y in given["batches"]]
    torch.save({"centers": loss.centers, "losses": torch.stack(losses)}, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_end_with_the_centers_of_one(tmp_path):
    """Two gloo ranks with half of each batch; tolerance 1e-12 (float64, only the order of additions differs)."""
    torch.manual_seed(3)
    loss = CenterLoss(5, 4, rate=0.5).double()
    start = loss.centers.clone()
    batches = [(torch.randn(6, 4, dtype=torch.float64), torch.randint(5, (6,))) for _ in range(4)]
    torch.save({"centers": start, "batches": batches}, tmp_path / "in.pt")
    mp.start_processes(halves, (str(tmp_path),), nprocs=2, start_method="forkserver")

    values = [loss(features, targets) for features, targets in batches]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    assert torch.equal(ranks[0]["centers"], ranks[1]["centers"])
    assert (loss.centers - start).abs().max() > 0.1
    torch.testing.assert_close(ranks[0]["centers"], loss.centers, **TIGHT)
    # Each rank's loss is that of its own images, so the ranks' mean is the loss of the joined batch.
    both = torch.stack([r["losses"] for r in ranks]).mean(dim=0)
    torch.testing.assert_close(both, torch.stack(values), **TIGHT)
