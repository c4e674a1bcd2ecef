"""What a checkout has in our trainer's place gives the same schedules, rates and joints."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.data.body import FLIP_PAIRS
from fastreid_ext.data.poses import Poses
from fastreid_ext.engine.optimizer import parameter_groups
from fastreid_ext.engine.schedule import build_lr_scheduler
from fastreid_ext.errors import ConfigError
from fastreid_ext.layers import MomentumElimination
from fastreid_ext.occluded import MomentumEliminationHook
from fastreid_ext.upstream.stand_ins.mgre import joints as joints_module
from fastreid_ext.upstream.stand_ins.mgre import trainer as joints_trainer
from fastreid_ext.upstream.stand_ins.occluded.trainer import Trainer as OccludedTrainer
from fastreid_ext.upstream.stand_ins.res2net import trainer as pair_trainer
from fastreid_ext.upstream.stand_ins.res2net.trainer import Trainer as PairTrainer
from fastreid_ext.upstream.stand_ins.trainer import Trainer


@pytest.mark.parametrize(("warmup", "delay"), [(3, 0), (3, 5), (0, 0)])
def test_schedules(warmup, delay):
    cfg = get_cfg()
    cfg.SOLVER.SCHED, cfg.SOLVER.STEPS, cfg.SOLVER.MAX_EPOCH = "MultiStepLR", [8, 12], 15
    cfg.SOLVER.WARMUP_EPOCHS, cfg.SOLVER.DELAY_EPOCHS, cfg.SOLVER.WARMUP_ITERS = warmup, delay, 7
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    theirs, ours = Trainer.build_lr_scheduler(cfg, optimizer, 4), build_lr_scheduler(cfg, optimizer, 4)
    assert theirs["lr_sched"].milestones == ours["lr_sched"].milestones
    assert theirs["warmup_sched"].warmup_iters == ours["warmup_sched"].warmup_iters == (4 * warmup or 7)
    assert cfg.SOLVER.STEPS == [8, 12]


@pytest.mark.parametrize(("epochs", "iters"), [(3, 12), (0, 7)])
def test_the_trainer_warms_up_as_long_as_its_schedule(epochs, iters, monkeypatch):
    def host_init(trainer, cfg):
        trainer.iters_per_epoch, trainer.warmup_iters = 4, 7

    monkeypatch.setattr(Trainer.__base__, "__init__", host_init)
    cfg = get_cfg()
    cfg.SOLVER.WARMUP_EPOCHS = epochs
    assert Trainer(cfg).warmup_iters == iters


@pytest.mark.parametrize("eliminates", [True, False])
def test_the_hook_of_momentum_elimination(eliminates, monkeypatch):
    monkeypatch.setattr(Trainer, "build_hooks", lambda self: ["FastReID's"])
    trainer = object.__new__(OccludedTrainer)
    trainer.__dict__["_trainer"] = SimpleNamespace(
        model=nn.Sequential(MomentumElimination(2) if eliminates else nn.ReLU())
    )
    hooks = trainer.build_hooks()
    assert hooks[-1] == "FastReID's" and len(hooks) == 1 + eliminates
    if eliminates:
        assert isinstance(hooks[0], MomentumEliminationHook)


def test_batches_of_pairs(monkeypatch):
    items = [(f"{pid}_{number}.jpg", pid, number) for pid in range(4) for number in range(4)]
    monkeypatch.setattr(pair_trainer, "training_items", lambda cfg: items)
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = "PairSampler", 0, 8
    cfg.DATALOADER.PAIRS.POSITIVE_SHARE = 0.25
    loader = PairTrainer.build_train_loader(cfg)
    batch = next(iter(loader.batch_sampler))
    people = [items[index][1] for index in batch]
    assert len(batch) == 8 and loader.dataset.num_classes == 4
    assert sum(one == other for one, other in zip(people[::2], people[1::2], strict=True)) == 1  # a quarter of 4 pairs
    monkeypatch.setattr(pair_trainer.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(pair_trainer.comm, "shared_random_seed", lambda: 0)
    sampler = PairTrainer.build_train_loader(cfg).batch_sampler
    assert sampler.batch_size == 4 and sampler.sampler.per_batch == 2  # pairs of each of two processes


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.heads = nn.ModuleDict({"verification": nn.Linear(2, 2), "verification2": nn.Linear(2, 2)})


def test_rates_of_modules():
    cfg = get_cfg()
    cfg.SOLVER.OPT, cfg.SOLVER.BASE_LR = "SGD", 0.05
    cfg.SOLVER.LR_FACTORS = [["backbone", 0.1], ["heads", 2.0], ["heads.verification", 0.5]]
    model = Two()
    names = {id(value): name for name, value in model.named_parameters()}

    def rates(groups):
        return {names[id(value)]: pytest.approx(group["lr"]) for group in groups for value in group["params"]}

    optimizer, _ = PairTrainer.build_optimizer(cfg, model)
    ours = parameter_groups(model, 0.05, 0.0, 0.0, 0.0, cfg.SOLVER.BIAS_LR_FACTOR, dict(cfg.SOLVER.LR_FACTORS))
    assert rates(optimizer.param_groups) == {name: rate.expected for name, rate in rates(ours).items()}
    cfg.SOLVER.LR_FACTORS = [["tail", 0.1]]
    with pytest.raises(ConfigError, match="'tail'.*which no parameter's name begins with"):
        PairTrainer.build_optimizer(cfg, model)


@pytest.fixture
def labelled(tmp_path):
    """An image with joints, its pose file, and the config that names it."""
    rng = np.random.RandomState(0)
    path = tmp_path / "set" / "0001_c1s1_000001_00.jpg"
    path.parent.mkdir()
    Image.fromarray(rng.randint(0, 256, (8, 4, 3)).astype(np.uint8)).save(path)
    poses = Poses(["set/" + path.name], rng.rand(1, 17, 3) * 3, np.array([[4, 8]]))
    poses.save(tmp_path / "poses.npz")
    cfg = get_cfg()
    cfg.INPUT.JOINTS.ENABLED, cfg.INPUT.JOINTS.FILES = True, [str(tmp_path / "poses.npz")]
    return cfg, str(path), poses


def test_joints_are_ours(labelled):
    cfg, path, poses = labelled
    found = joints_module.joints_of(cfg, [path])
    assert np.array_equal(found[path], poses.shares_of([path])[path]) and found[path].dtype == np.float32


def test_a_flip_takes_the_joints_along(labelled):
    cfg, path, _ = labelled
    found = joints_module.joints_of(cfg, [path])
    to_tensor = lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1)  # noqa: E731
    plain, flipped = (
        joints_module.ImagesWithJoints([(path, 1, 0)], to_tensor, found, flip)[0] for flip in (0.0, 1.0)
    )  # fmt: skip
    assert torch.equal(plain["images"].flip(-1), flipped["images"])
    assert torch.equal(plain["joints"], torch.from_numpy(found[path]))
    for left, right in FLIP_PAIRS:
        assert torch.equal(flipped["joints"][left, 1:], plain["joints"][right, 1:])
        assert flipped["joints"][right, 0] == 1 - plain["joints"][left, 0]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_batch_is_flipped_once_with_its_joints(enabled, labelled, monkeypatch):
    cfg, path, _ = labelled
    monkeypatch.setattr(joints_trainer, "training_items", lambda cfg: [(path, 1, 0)])
    cfg.DATALOADER.NUM_WORKERS, cfg.INPUT.SIZE_TRAIN = 0, [8, 4]
    cfg.INPUT.FLIP.ENABLED, cfg.INPUT.FLIP.PROB = enabled, 1.0
    item = joints_trainer.Trainer.build_train_loader(cfg).dataset[0]
    plain = np.asarray(Image.open(path)).transpose(2, 0, 1)
    assert np.array_equal(item["images"].numpy(), plain[..., ::-1] if enabled else plain)
    joints = joints_module.joints_of(cfg, [path])[path]
    assert np.array_equal(item["joints"].numpy(), joints) != enabled


def test_joints_that_can_not_follow(labelled):
    cfg, path, _ = labelled
    cfg.INPUT.PADDING.ENABLED = True
    with pytest.raises(ConfigError, match="joints do not follow INPUT.PADDING.ENABLED"):
        joints_module.transforms_config(cfg)
    cfg.INPUT.PADDING.ENABLED, cfg.INPUT.FLIP.ENABLED = False, True
    assert not joints_module.transforms_config(cfg).INPUT.FLIP.ENABLED and cfg.INPUT.FLIP.ENABLED
    with pytest.raises(ConfigError, match="no row of joints"):
        joints_module.joints_of(cfg, [path, "other.jpg"])
    cfg.INPUT.JOINTS.FILES = ["none.npz"]
    with pytest.raises(ConfigError, match="there is no file .*none.npz"):
        joints_module.joints_of(cfg, [path])
