"""The learning rate of every iteration, by the real hooks, against functions written from the papers."""

import math
import types

import pytest
import torch
from fastreid.engine import hooks
from fastreid.utils.events import EventStorage

from fastreid_ext import get_cfg
from fastreid_ext.engine.schedule import build_lr_scheduler, warmup_iters
from fastreid_ext.model_zoo import get_config_file

ITERS = 3  # of an epoch


def rates(cfg, iters=ITERS):
    """The rate of every iteration of a run, as the trainer's hook sets it."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer, iters)
    trainer = types.SimpleNamespace(
        iter=0,
        epoch=0,
        grad_scaler=None,
        warmup_iters=warmup_iters(cfg, iters),
        delay_epochs=cfg.SOLVER.DELAY_EPOCHS,
    )
    hook = hooks.LRScheduler(optimizer, scheduler)
    hook.trainer = trainer
    found = []
    with EventStorage(0) as trainer.storage:
        for trainer.epoch in range(cfg.SOLVER.MAX_EPOCH):
            for _ in range(iters):
                hook.before_step()
                found.append(optimizer.param_groups[0]["lr"])
                parameter.grad = torch.zeros(1)
                optimizer.step()
                hook.after_step()
                trainer.iter += 1
            hook.after_epoch()
    return found


def config(**solver):
    cfg = get_cfg()
    cfg.SOLVER.merge_from_list([item for pair in solver.items() for item in pair])
    return cfg


def paper(iteration):
    """Deep Miner, section 4.1: 10 epochs from 3.5e-5 to 3.5e-4, a tenth from epoch 40 on and again from 70 on."""
    epoch = iteration // ITERS
    if epoch < 10:
        return 3.5e-5 + (3.5e-4 - 3.5e-5) * iteration / (10 * ITERS)
    return 3.5e-4 * (1 if epoch < 40 else 0.1 if epoch < 70 else 0.01)


def test_recipe_of_res2net():
    """Sections III.B and C: 0.05, a tenth in the first five epochs, a tenth of before every 40 epochs; 256 epochs."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("Res2NetMultiTask/Market1501_R50.yml"))
    expected = [0.05 * (0.1 if epoch < 5 else 1) * 10.0 ** -(epoch // 40) for epoch in range(256)]
    assert rates(cfg) == pytest.approx([rate for rate in expected for _ in range(ITERS)], rel=1e-6)


def test_recipe_of_deep_miner():
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("DeepMiner/Market1501_R50.yml"))
    found = rates(cfg)
    assert len(found) == 120 * ITERS
    assert found == pytest.approx([paper(i) for i in range(len(found))], rel=1e-6)


def test_steps_without_warm_up():
    cfg = config(BASE_LR=1.0, WARMUP_ITERS=0, SCHED="MultiStepLR", STEPS=[2, 3], GAMMA=0.5, MAX_EPOCH=5)
    assert rates(cfg, 2) == [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25]


def test_step_right_behind_the_warm_up():
    cfg = config(
        BASE_LR=1.0, WARMUP_EPOCHS=2, WARMUP_FACTOR=0.0, SCHED="MultiStepLR", STEPS=[2, 4], GAMMA=0.5, MAX_EPOCH=6
    )
    assert rates(cfg, 2) == pytest.approx([0.0, 0.25, 0.5, 0.75, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25])


def test_steps_count_from_the_start_behind_a_delay():
    cfg = config(
        BASE_LR=1.0,
        WARMUP_EPOCHS=1,
        WARMUP_FACTOR=0.5,
        SCHED="MultiStepLR",
        STEPS=[4],
        GAMMA=0.1,
        MAX_EPOCH=6,
        DELAY_EPOCHS=3,
    )
    assert rates(cfg, 1) == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.1, 0.1])
    cfg.SOLVER.STEPS = [3]
    with pytest.raises(ValueError, match=r"STEPS has \[3\].*DELAY_EPOCHS 3"):
        rates(cfg, 1)


def test_cosine():
    cfg = config(
        BASE_LR=1.0, WARMUP_EPOCHS=2, WARMUP_FACTOR=0.1, SCHED="CosineAnnealingLR", MAX_EPOCH=12, ETA_MIN_LR=0.01
    )
    found = rates(cfg)
    warm = [0.1 + 0.9 * i / (2 * ITERS) for i in range(2 * ITERS)]
    # The host's count: the first epoch behind the warm-up is the first step down, the last one is at the floor.
    down = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(1, 11) for _ in range(ITERS)]
    assert found == pytest.approx(warm + down, rel=1e-6)


def test_hosts_warm_up_is_in_iterations():
    """The host's STEPS count the epochs behind WARMUP_ITERS: from the epoch in which the warm-up ends."""
    cfg = config(
        BASE_LR=1.0,
        WARMUP_ITERS=5,
        WARMUP_FACTOR=0.5,
        WARMUP_METHOD="linear",
        SCHED="MultiStepLR",
        STEPS=[2],
        GAMMA=0.1,
        MAX_EPOCH=5,
    )
    warm = [0.5 + 0.5 * i / 5 for i in range(5)]
    # epoch 1 ends behind the warm-up: first count at the start of epoch 2, second at that of epoch 3
    assert rates(cfg) == pytest.approx(warm + [1.0] * 4 + [0.1] * 6)


def test_the_hosts_config_is_left_alone():
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file("DeepMiner/Market1501_R50.yml"))
    before = cfg.dump()
    rates(cfg)
    assert cfg.dump() == before


@pytest.mark.parametrize("epochs", [3, 2])
def test_cosine_without_an_epoch_behind_the_warm_up(epochs):
    cfg = config(WARMUP_EPOCHS=3, SCHED="CosineAnnealingLR", MAX_EPOCH=epochs)
    with pytest.raises(
        ValueError,
        match=r"leaves no epoch after SOLVER.WARMUP_EPOCHS \(3\) for the cosine.*WARMUP_EPOCHS 0 and WARMUP_ITERS 0",
    ):
        rates(cfg)


def test_a_run_that_is_all_warm_up():
    cfg = config(BASE_LR=1.0, WARMUP_EPOCHS=2, WARMUP_FACTOR=0.5, SCHED="MultiStepLR", STEPS=[], MAX_EPOCH=2)
    assert rates(cfg, 2) == pytest.approx([0.5, 0.625, 0.75, 0.875])
