"""One number makes a run repeatable: batches, augmentation and weights follow from (seed, epoch) alone."""

import itertools
import random
import types
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from fastreid.utils import comm

from fastreid_ext.data.batches import IDENTITY_SAMPLERS, SAMPLERS, EpochBatches
from fastreid_ext.engine.seeding import RunSeed, SeedEpochs, resolve_seed, seed_everything

ITEMS = [(f"{pid}_{n}.jpg", f"p{pid}", f"c{n % 3}") for pid in range(10) for n in range(3 + pid % 4)]
ITERS = 4


def batches(sampler="NaiveIdentitySampler", batch_size=8, seed=5, rank=0, **kwargs):
    settings = {"num_instances": 4, "iters_per_epoch": ITERS, **kwargs}
    return EpochBatches(ITEMS, sampler, batch_size=batch_size, seed=seed, rank=rank, **settings)


def states():
    return random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()


# ---- batches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_epoch_is_the_same_from_wherever_a_run_starts(sampler):
    through = list(itertools.islice(iter(batches(sampler)), 4 * ITERS))
    assert len(through[0]) == 8
    for epoch in range(4):
        resumed = batches(sampler)
        resumed.start_epoch = epoch
        seed_everything(epoch)  # what the process drew before does not matter
        assert list(itertools.islice(iter(resumed), ITERS)) == through[epoch * ITERS : (epoch + 1) * ITERS]
        assert through[epoch * ITERS : (epoch + 1) * ITERS] == batches(sampler).epoch(epoch)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_epochs_and_seeds_differ(sampler):
    drawn = [batches(sampler, seed=seed).epoch(epoch) for seed in (5, 6) for epoch in range(3)]
    for a, b in itertools.combinations(drawn, 2):
        assert a != b
        assert [i for batch in a for i, _ in batch] != [i for batch in b for i, _ in batch]
        assert {s for batch in a for _, s in batch}.isdisjoint(s for batch in b for _, s in batch)


@pytest.mark.parametrize("sampler", sorted(IDENTITY_SAMPLERS))
def test_each_identity_has_its_images(sampler):
    for batch in batches(sampler).epoch(0):
        assert Counter(Counter(ITEMS[i][1] for i, _ in batch).values()) == {4: 2}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_ranks_share_the_batches_of_one_process(sampler, monkeypatch):
    # Two processes with 8 images each draw what one process with 16 draws, split between them.
    parts = []
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        parts.append(batches(sampler, batch_size=8, rank=rank).epoch(0))
    assert {s for batch in parts[0] for _, s in batch}.isdisjoint(s for batch in parts[1] for _, s in batch)
    if sampler in IDENTITY_SAMPLERS:
        for batch in itertools.chain(*parts):
            assert Counter(Counter(ITEMS[i][1] for i, _ in batch).values()) == {4: 2}
    if sampler == "TrainingSampler":
        first = [[i for batch in part for i, _ in batch][: len(ITEMS) // 2] for part in parts]
        assert set(first[0]).isdisjoint(first[1]), "both ranks train on one image before each was seen once"
    if sampler == "BalancedIdentitySampler":
        for a, b in zip(*parts, strict=True):
            assert {ITEMS[i][1] for i, _ in a}.isdisjoint(ITEMS[i][1] for i, _ in b)
    monkeypatch.undo()
    alone = batches(sampler, batch_size=16).epoch(0)
    if sampler != "NaiveIdentitySampler":  # it draws identities for as many as a process has
        for a, b, both in zip(*parts, alone, strict=True):
            assert Counter(i for i, _ in a + b) == Counter(i for i, _ in both)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_drawing_leaves_the_generators_alone(sampler):
    seed_everything(3)
    before = states()
    iterator = iter(batches(sampler))
    list(itertools.islice(iterator, 3 * ITERS))
    assert states() == before


# ---- seeds ----------------------------------------------------------------------------------------------------------


def test_every_generator_is_seeded():
    def draw(*keys):
        seed_everything(*keys)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(1, 2, 3) == draw(1, 2, 3)
    drawn = [draw(1, 2, 3), draw(1, 3, 2), draw(2, 2, 3), draw(1, 2)]
    assert len({number for numbers in drawn for number in numbers}) == 12


def test_negative_seed_is_drawn():
    assert resolve_seed(0) == 0 and resolve_seed(7) == 7
    drawn = {resolve_seed(-1) for _ in range(4)}
    assert len(drawn) == 4 and all(0 <= seed < 2**31 for seed in drawn)


def test_every_epoch_of_every_rank_draws_anew(monkeypatch):
    def draw(seed, epoch, rank):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        hook = SeedEpochs(seed)
        hook.trainer = types.SimpleNamespace(epoch=epoch)
        hook.before_epoch()
        return torch.rand(1).item()

    drawn = {key: draw(*key) for key in itertools.product((0, 1), repeat=3)}
    assert len(set(drawn.values())) == 8
    assert drawn == {key: draw(*key) for key in drawn}


def test_a_runs_seed_is_the_configs_until_a_checkpoint_says_otherwise(caplog):
    seed, drawn = RunSeed(5), RunSeed(-1)
    held = batches(seed=seed)
    assert held.epoch(2) == batches(seed=5).epoch(2)
    with caplog.at_level("WARNING", logger="fastreid_ext"):
        seed.resume(5)
        drawn.resume(6)  # nobody asked for the one that was drawn
        assert caplog.messages == []
        seed.resume(6)
    assert caplog.messages == ["SEED is 5 but the run was started with 6, which is kept"]
    assert int(seed) == int(drawn) == 6
    assert held.epoch(2) == batches(seed=6).epoch(2)


# ---- a run ----------------------------------------------------------------------------------------------------------

SHORT = {"SOLVER__MAX_EPOCH": 2, "SOLVER__STEPS": "[]", "TEST__EVAL_PERIOD": 0}


@pytest.fixture(scope="module")
def first_run():
    return {}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_same_seed_same_weights(workers, run_main, first_run, differences, tmp_path):
    """With augmentation on, whatever the process drew before and however many workers load."""
    seed_everything(100 + workers)
    output = run_main(OUTPUT_DIR=tmp_path / str(workers), DATALOADER__NUM_WORKERS=workers, **SHORT)
    final = torch.load(output / "model_latest.pth", weights_only=False)
    assert differences(first_run.setdefault("final", final), final) == []


@pytest.mark.slow
def test_another_seed_other_weights(run_main, differences, tmp_path):
    outputs = [run_main(OUTPUT_DIR=tmp_path / str(seed), SEED=seed, **SHORT) for seed in (1, 2)]
    a, b = (torch.load(output / "model_final.pth", weights_only=False)["model"] for output in outputs)
    same = [key for key in a if torch.equal(a[key], b[key])]
    assert all(key.endswith(("num_batches_tracked", "bias")) for key in same), same


def test_every_part_of_a_run_follows_its_seed(datasets, monkeypatch, forget_logs, tmp_path):
    """Loaders of training and of PreciseBN, the hook of each epoch, and the checkpoints."""
    from fastreid_ext import get_cfg
    from fastreid_ext.engine.trainer import Trainer

    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    trainers = []
    for seed in (3, 8):
        cfg = get_cfg()
        cfg.merge_from_file(str(Path(__file__).parent / "tiny.yml"))
        cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path / str(seed)), "SEED", seed])
        cfg.merge_from_list(["TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.DATASET", "SynthReIDTiny"])
        trainers.append(Trainer(cfg))

    def drawn(trainer):
        hooks = {type(hook).__name__: hook for hook in trainer._hooks if hook is not None}
        trainer.epoch, trainer.max_epoch = 4, 9
        hooks["SeedEpochs"].before_epoch()
        hooks["EpochCheckpoints"].after_epoch()
        loaders = (trainer.data_loader, hooks["PreciseBN"]._data_loader)
        saved = torch.load(Path(trainer.cfg.OUTPUT_DIR) / "model_latest.pth", weights_only=True)["seed"]
        return torch.rand(1).item(), saved, [loader.loader.batch_sampler.epoch(4) for loader in loaders]

    first, second = map(drawn, trainers)
    assert first[0] != second[0] and first[1:2] == (3,) and second[1] == 8
    assert all(a != b for a, b in zip(first[2], second[2], strict=True))
    trainers[0].seed.resume(8)
    assert drawn(trainers[0]) == second


def test_the_loader_leaves_the_generators_alone(datasets, monkeypatch):
    from fastreid_ext import get_cfg
    from fastreid_ext.engine.trainer import Trainer

    monkeypatch.setenv("FASTREID_DATASETS", str(datasets))
    cfg = get_cfg()
    cfg.merge_from_file(str(Path(__file__).parent / "tiny.yml"))
    cfg.INPUT.AUTOAUG.ENABLED = True
    pictures = []
    for workers in (0, 2):
        cfg.DATALOADER.NUM_WORKERS = workers
        seed_everything(3)
        before = states()
        loader = iter(Trainer.build_train_loader(cfg))
        pictures.append([next(loader) for _ in range(2)])
        assert states() == before
    for a, b in zip(*pictures, strict=True):
        assert a["img_paths"] == b["img_paths"]
        assert torch.equal(a["images"], b["images"]) and torch.equal(a["targets"], b["targets"])
