"""What the generated command lines name: data sets, tiny models with random weights, feature stores, and odd files."""

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

PROJECTS = ("deepminer", "msreid", "mgre", "occluded", "res2net", "baseline")
TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.PRETRAIN": "False",
    "INPUT.SIZE_TRAIN": "[64,32]",
    "INPUT.SIZE_TEST": "[64,32]",
    "DATASETS.NAMES": "('SynthReIDTiny',)",
    "DATASETS.TESTS": "('SynthReIDTiny',)",
    "DATALOADER.NUM_WORKERS": "0",
    "SOLVER.AMP.ENABLED": "False",
    "SOLVER.IMS_PER_BATCH": "16",
    "SOLVER.WARMUP_EPOCHS": "1",
    "SOLVER.MAX_EPOCH": "3",
    "TEST.RANK_LIST.ENABLED": "False",
    "OUTPUT_DIR": "out",
}
OF_PROJECT = {
    "deepminer": {"MODEL.DEEPMINER.LOCAL_STRIPES": "2", "MODEL.DEEPMINER.IE_BLOCKS": "[3]"},
    "msreid": {"MODEL.MSREID.DIM": "32", "MODEL.MSREID.ATTENTION": "False"},  # its stages have 8 channels
    "mgre": {"MODEL.HEADS.EMBEDDING_DIM": "16"},
    "res2net": {"MODEL.MULTITASK.DESCRIPTOR": "linear32"},
    "baseline": {"MODEL.BACKBONE.FEAT_DIM": "64"},
}


def pairs(project: str, **further: object) -> list[str]:
    """KEY VALUE pairs that make a demo's model tiny."""
    settings = TINY | OF_PROJECT.get(project, {}) | {key.replace("__", "."): value for key, value in further.items()}
    return [str(item) for pair in settings.items() for item in pair]


def make_world(folder: Path, call) -> None:
    """Fill a folder; ``call(args)`` runs a command line and returns its exit status."""
    import tiny_resnet  # noqa: F401  (its backbones have names now, also outside pytest)

    from fastreid_ext.data.synthetic import generate

    os.chdir(folder)
    os.environ["FASTREID_DATASETS"] = str(folder / "datasets")
    generate(str(folder / "datasets"), "tiny", progress=False)
    _weights(folder)
    _images(folder)
    _odd_files(folder)
    weights = ["MODEL.WEIGHTS", "deepminer.pth"]
    status = call(
        ["extract", "--config-file", "demo/deepminer.yml", "--images", "images", "--output", "store"]
        + pairs("deepminer")
        + weights
    )
    assert status == 0, "the feature store of the generated lines was not made"


def _weights(folder: Path) -> None:
    import torch
    from fastreid.modeling import build_model

    from fastreid_ext.config import get_cfg
    from fastreid_ext.engine.merging import merge_config
    from fastreid_ext.model_zoo import get_config_file

    for project in PROJECTS:
        cfg = get_cfg()
        merge_config(cfg, get_config_file(f"demo/{project}.yml"), pairs(project, MODEL__HEADS__NUM_CLASSES=12))
        torch.save({"model": build_model(cfg).state_dict()}, folder / f"{project}.pth")


def _images(folder: Path) -> None:
    rng = np.random.RandomState(0)
    (folder / "images" / "below").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "below/c.png"):
        Image.fromarray(rng.randint(0, 256, (64, 32, 3)).astype(np.uint8)).save(folder / "images" / name)
    for number in range(6):
        (folder / "people" / f"p{number % 3}").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16), (number, 0, 0)).save(folder / "people" / f"p{number % 3}" / f"{number}.png")
    (folder / "list.txt").write_text("images/a.png\nimages/b.jpg\n")
    (folder / "run").mkdir()
    (folder / "run" / "results.json").write_text('{"results": {"SynthReIDTiny": {"Rank-1": 50.0, "mAP": 40.0}}}')
    (folder / "pairs.csv").write_text("images/a.png,images/b.jpg\n")


def _odd_files(folder: Path) -> None:
    """Write files and folders that are none of what an option asks for."""
    odd = folder / "odd"
    (odd / "empty").mkdir(parents=True)
    (odd / "nothing").write_bytes(b"")
    (odd / "text").write_text("just words, and a second\nline\n")
    (odd / "bytes").write_bytes(bytes(range(256)) * 20)
    (odd / "zip").write_bytes(b"PK\x03\x04" + bytes(200))
    (odd / "torn.png").write_bytes((folder / "images" / "a.png").read_bytes()[:60])
    (odd / "numbers.json").write_text("[1, 2, {}]")
    (odd / "deep.json").write_text("[" * 50_000)
    (odd / "latin").write_bytes("é".encode("latin-1"))
    os.mkfifo(odd / "fifo")
    (odd / "loop").symlink_to("loop")
    shutil.copytree(folder / "images", odd / "images_and_fifo")
    os.mkfifo(odd / "images_and_fifo" / "d.png")
    (odd / "images_and_fifo" / "e.png").mkdir()
