"""A miniature Market1501 tree and the host's base configs, shrunk until a CPU trains them in seconds."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastreid_ext  # noqa: F401  (heals the host)

CONFIGS = Path(__file__).parent / "host_configs"
REPOSITORY = Path(fastreid_ext.__file__).parents[1]

SHRINK = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.PRETRAIN": False,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
    "DATASETS.NAMES": ("Market1501",),
    "DATASETS.TESTS": ("Market1501",),
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 4,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 1,
    "SOLVER.WARMUP_ITERS": 1,
    "SOLVER.DELAY_EPOCHS": 0,
    "SOLVER.FREEZE_ITERS": 1,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "TEST.EVAL_PERIOD": 1,
    "TEST.IMS_PER_BATCH": 16,
}
R18 = {"MODEL.BACKBONE.DEPTH": "18x", "MODEL.BACKBONE.FEAT_DIM": 512}


def write_market(root: Path) -> Path:
    """Eight identities of four training images, and four others to find again under two cameras."""
    rng = np.random.RandomState(0)
    folders = {
        "bounding_box_train": [(pid, cam, n) for pid in range(1, 9) for cam in (1, 2) for n in (0, 1)],
        "query": [(pid, 1, 0) for pid in range(101, 105)],
        "bounding_box_test": [(pid, cam, 1) for pid in range(101, 105) for cam in (1, 2)],
    }
    for folder, images in folders.items():
        path = root / "Market-1501-v15.09.15" / folder
        path.mkdir(parents=True)
        for pid, cam, number in images:
            pixels = rng.randint(0, 256, (64, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path / f"{pid:04d}_c{cam}s1_{number:06d}_00.jpg")
    return root


@pytest.fixture(scope="session")
def market_root(tmp_path_factory):
    return write_market(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def market(market_root, monkeypatch):
    """The host's data sets are found in the miniature tree."""
    monkeypatch.setattr("fastreid.data.build._root", str(market_root))
    return market_root


@pytest.fixture
def host_cfg(tmp_path):
    """``host_cfg("Base-SBS", {...})``: one of the host's configs, shrunk, with further overrides."""
    from fastreid.config import get_cfg

    def build(name="Base-bagtricks", overrides=None):
        cfg = get_cfg()
        cfg.merge_from_file(str(CONFIGS / f"{name}.yml"))
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)  # the host's default_setup makes it
        settings = {**SHRINK, "OUTPUT_DIR": str(out), **(overrides or {})}
        cfg.merge_from_list([item for pair in settings.items() for item in pair])
        return cfg

    return build


@pytest.fixture
def r18():
    """Overrides that make the backbone the smallest ResNet."""
    return dict(R18)


@pytest.fixture
def subprocess_env(market_root, monkeypatch):
    """The environment of a process that finds the package and the data as a user's would."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("FASTREID_DATASETS", str(market_root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return dict(os.environ)
