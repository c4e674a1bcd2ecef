"""Folders of runs, made by the code that writes them but without training anything."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.run_record import write_run_record
from fastreid_ext.evaluation.evaluator import RankListEvaluator
from fastreid_ext.evaluation.groups import Group

PERSONS, CAMERAS, EPOCHS = 6, 3, 5


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Folder of images, a person and camera each; one has a name that is HTML."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for person in range(PERSONS):
        for camera in range(CAMERAS):
            pixels = rng.integers(0, 256, (32, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{person}_c{camera}.png")
    (folder / "0_c0.png").rename(folder / "<img src=x onerror=alert(1)>&amp;.png")
    return folder


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.convolution(images).mean(dim=(2, 3))


@pytest.fixture
def make_run(write_run, tmp_path):
    """``make_run("tiny/seed1", seed=1, KEY__BELOW=value)``: the folder of a run of a config with overrides."""

    def make(name, seed=1, test_sets=("People",), bare=False, **overrides):
        folder = shutil.copytree(write_run(seed, test_sets, **overrides), tmp_path / name)
        for path in folder.glob("*") if bare else ():  # as runs were before there were reports
            if path.name.startswith(("details_", "report.json")):
                path.unlink()
        return folder

    return make


@pytest.fixture(scope="session")
def write_run(photos, tmp_path_factory):
    """``write_run(seed, test_sets, ...)``: such a folder that nobody may change; each is made once."""
    made = {}

    def write(seed, test_sets, **overrides):
        key = repr((seed, test_sets, overrides))
        if key not in made:
            made[key] = make(tmp_path_factory.mktemp("run"), seed, test_sets, **overrides)
        return made[key]

    def make(folder, seed, test_sets, **overrides):
        cfg = get_cfg()
        pairs = {"MODEL__DEVICE": "cpu", "SEED": seed, "OUTPUT_DIR": str(folder), "SOLVER__MAX_EPOCH": EPOCHS}
        pairs |= {"TEST__RANK_LIST__ENABLED": False, "INPUT__SIZE_TEST": [32, 16], **overrides}
        cfg.merge_from_list([x for key, value in pairs.items() for x in (key.replace("__", "."), value)])
        (folder / "config.yaml").write_text(cfg.dump())
        results = {}
        for number, test_set in enumerate(test_sets):
            evaluator = RankListEvaluator(cfg, PERSONS, test_set, str(folder), _groups())
            results[test_set] = _evaluate(evaluator, photos, 10 * seed + number)
        lines = [
            {"iteration": 4 * epoch + 3, "total_loss": 9.0 / (epoch + seed), "loss_cls": 3.0 / (epoch + 1), "lr": 1e-3}
            | {"time": 0.5, "People/mAP": 10.0 * epoch}
            for epoch in range(EPOCHS)
        ]
        (folder / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        (folder / "results.json").write_text(json.dumps({"results": results, "seed": seed}))
        write_run_record(cfg, Small(), seed)
        return folder

    return write


def _groups():
    some = np.arange(PERSONS) < 2
    return [Group("not occluded", ~some), Group("occlusion above 0.35", some), Group("head (9 training images)", some)]


def _evaluate(evaluator, photos, seed):
    evaluator.reset()
    rng = torch.Generator().manual_seed(seed)
    odd = next(path for path in photos.iterdir() if path.name.startswith("<"))
    named = {(int(path.name[0]), int(path.name[3])): path for path in photos.iterdir() if path != odd} | {(0, 0): odd}
    keys = sorted(named, key=lambda key: key[::-1])  # the first camera's images are the queries
    pids, camids = (torch.tensor([key[side] for key in keys]) for side in (0, 1))
    features = torch.randn(PERSONS, 8, generator=rng)[pids] + torch.randn(len(keys), 8, generator=rng)
    batch = {"targets": pids, "camids": camids, "img_paths": [str(named[key]) for key in keys]}
    evaluator.process(batch, features)
    return dict(evaluator.evaluate())
