"""Eq. 6 of Yan et al., 2021, against NumPy. Tolerance: 1e-12 (float64)."""

import io
import math
import multiprocessing

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F

from fastreid_ext.layers import MomentumElimination

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def reference(steps, beta):
    """mu after every step; a step is the list of the batches of its forwards."""
    mu, history = np.zeros(steps[0][0].shape[1]), []
    for batches in steps:
        units = [x / math.sqrt(sum(v * v for v in x)) for batch in batches for x in batch.double().numpy()]
        mu = beta * mu + (1 - beta) * sum(units) / len(units)
        history.append(mu)
    return torch.tensor(np.array(history))


def run(elimination, steps):
    history = []
    for batches in steps:
        for batch in batches:
            elimination.observe(batch)
        elimination.after_step()
        history.append(elimination.mu.clone())
    return torch.stack(history)


def double(dim=5, beta=0.9):
    return MomentumElimination(dim, beta).double()


def features(size=4, dim=5, dtype=torch.float64):
    return 3 * torch.randn(size, dim, dtype=dtype) + 1


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.999])
def test_a_sequence_of_steps(beta):
    steps = [[features(size)] for size in (4, 6, 1, 8)]
    torch.testing.assert_close(run(double(beta=beta), steps), reference(steps, beta), **TIGHT)


def test_by_hand():
    """Unit features (1, 0) and (0, 1) have the mean (1/2, 1/2); mu_1 is 0.1 of it, mu_2 = 0.9 mu_1 + 0.1 (0.6, 0.8)."""
    elimination = double(dim=2, beta=0.9)
    assert elimination.mu.tolist() == [0.0, 0.0]
    elimination.observe(torch.tensor([[7.0, 0.0], [0.0, 0.2]], dtype=torch.float64))
    elimination.after_step()
    torch.testing.assert_close(elimination.mu, torch.tensor([0.05, 0.05], dtype=torch.float64), **TIGHT)
    elimination.observe(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    elimination.after_step()
    torch.testing.assert_close(elimination.mu, torch.tensor([0.105, 0.125], dtype=torch.float64), **TIGHT)


def test_several_forwards_of_a_step_are_one_batch():
    steps = [[features(4), features(2), features(1)], [features(3)]]
    torch.testing.assert_close(run(double(), steps), reference(steps, 0.9), **TIGHT)
    together = [[torch.cat(step)] for step in steps]
    torch.testing.assert_close(run(double(), together), reference(steps, 0.9), **TIGHT)


def test_without_observed_features_a_step_changes_nothing():
    elimination = double()
    elimination.after_step()
    assert not elimination.mu.any()
    elimination.observe(features())
    elimination.after_step()
    before = elimination.mu.clone()
    elimination.after_step()
    assert torch.equal(elimination.mu, before)


def test_forwards_do_not_move_mu():
    elimination = double()
    elimination.observe(features())
    assert not elimination.mu.any()
    elimination(features())
    elimination.eval()(features())
    elimination.after_step()
    moved = elimination.mu.clone()
    elimination.train()(features())
    elimination.after_step()
    assert moved.any() and torch.equal(elimination.mu, moved)


def test_one_direction_forever_is_its_limit():
    """mu_t = (1 - beta^t) x for a constant unit feature x."""
    elimination, x = double(beta=0.8), F.normalize(features(1))
    history = run(elimination, [[5 * x.expand(3, -1)]] * 12)
    for t, mu in enumerate(history, start=1):
        torch.testing.assert_close(mu, (1 - 0.8**t) * x[0], **TIGHT)


def test_the_test_feature():
    elimination, x = double(), features()
    run(elimination, [[features()], [features()]])
    expected = [row / math.sqrt(sum(v * v for v in row)) - elimination.mu.numpy() for row in x.numpy()]
    torch.testing.assert_close(elimination(x), torch.tensor(np.array(expected)), **TIGHT)
    torch.testing.assert_close(elimination(9 * x), elimination(x), **TIGHT)  # a feature's length does not count


def test_it_acts_on_cosine_distances_alone():
    """Tolerance on Euclidean distances: 1e-6 in float32, at distances of order 1."""
    elimination, x = MomentumElimination(64), features(8, 64, torch.float32)
    run(elimination, [[features(8, 64, torch.float32)]] * 20)
    plain, after = F.normalize(x), elimination(x)
    distances = [torch.cdist(y, y, compute_mode="donot_use_mm_for_euclid_dist") for y in (plain, after)]
    torch.testing.assert_close(*distances, rtol=0, atol=1e-6)
    cosines = [F.normalize(y) @ F.normalize(y).T for y in (plain, after)]
    assert (cosines[0] - cosines[1]).abs().max() > 0.05


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_features(dtype, autocast):
    """1024 values of order 100: a squared length of 1e7 is past float16's range. Tolerance: float32 against float64."""
    elimination, x = MomentumElimination(1024), (torch.randn(32, 1024) * 100 + 20).to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        history = run(elimination, [[x], [x]])
        output = elimination(x)
    assert history.dtype == output.dtype == torch.float32
    torch.testing.assert_close(history.double(), reference([[x], [x]], 0.9), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(output.double(), F.normalize(x.double()) - elimination.mu.double(), rtol=1e-5, atol=1e-8)


def test_features_and_their_gradient_are_left_alone():
    elimination, x = double(), features().requires_grad_()
    before = x.detach().clone()
    elimination.observe(x)
    assert not elimination._seen.requires_grad  # the graph of a step is not kept alive
    elimination.after_step()
    assert torch.equal(x.detach(), before) and not elimination.mu.requires_grad
    assert elimination._seen is None and not list(elimination.parameters())
    (elimination(x) * torch.arange(5)).sum().backward()
    assert x.grad.isfinite().all() and x.grad.any()


def test_features_of_zeros():
    elimination = double()
    run(elimination, [[torch.zeros(3, 5, dtype=torch.float64)]])
    assert not elimination.mu.any() and not elimination(torch.zeros(1, 5, dtype=torch.float64)).any()


def test_saved_state():
    elimination = double()
    run(elimination, [[features()]])
    assert list(elimination.state_dict()) == ["mu"]
    file = io.BytesIO()
    torch.save(elimination.state_dict(), file)
    other = double()
    other.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    steps = [[features()], [features()]]
    assert torch.equal(run(other, steps), run(elimination, steps))  # as if it had never been saved


def rank_of_two(rank, folder, steps):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", world_size=2, rank=rank)
    history = run(double(beta=0.7), [[batches[rank]] for batches in steps])
    torch.save(history, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_keep_one_mean(tmp_path):
    """Two gloo ranks with other, unequally large batches: mu is that of all images, and bit for bit the same."""
    steps = [[features(3), features(5)], [features(4), features(4)], [features(1), features(2)]]
    forked = multiprocessing.get_context("fork")  # nothing has to be imported again
    processes = [forked.Process(target=rank_of_two, args=(rank, tmp_path, steps)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    assert torch.equal(*ranks)
    torch.testing.assert_close(ranks[0], reference(steps, 0.7), **TIGHT)


@pytest.mark.parametrize("beta", [-0.1, 1.0, 2.0, math.nan])
def test_beta_outside_its_range(beta):
    with pytest.raises(ValueError, match=r"needs beta in \[0, 1\) and a dim of 1 or more, got"):
        MomentumElimination(4, beta)


def test_no_dimension():
    with pytest.raises(ValueError, match="a dim of 1 or more, got 0.9 and 0"):
        MomentumElimination(0)


@pytest.mark.parametrize("shape", [(4,), (0, 5), (4, 6), (4, 5, 1)])
@pytest.mark.parametrize("method", ["observe", "forward"])
def test_bad_shapes(method, shape):
    with pytest.raises(ValueError, match=r"expected features \(B, 5\) with B > 0, got"):
        getattr(double(), method)(torch.zeros(shape, dtype=torch.float64))
