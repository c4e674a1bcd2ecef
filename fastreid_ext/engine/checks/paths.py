"""Checks of the files and folders that a config names, before anything is read or written."""

import os
from collections.abc import Iterator
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.files import fault_of

FOLDERS = ("OUTPUT_DIR", "DATALOADER.CACHE_DIR")
FILES = ("MODEL.WEIGHTS", "MODEL.BACKBONE.PRETRAIN_PATH")


def expand_paths(cfg: CfgNode) -> None:
    """Write out the ~ of a home folder in every key that names a file or folder, as a shell would."""
    for key in (*FOLDERS, *FILES):
        *path, last = key.split(".")
        node = cfg
        for part in path:
            node = node[part]
        if node[last].startswith("~"):
            node[last] = os.path.expanduser(node[last])


def path_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each path of a config that can't be one."""
    if not cfg.OUTPUT_DIR.strip():
        yield "OUTPUT_DIR is empty: name the folder for checkpoints, log and results"
    for key, path in (("OUTPUT_DIR", cfg.OUTPUT_DIR), ("DATALOADER.CACHE_DIR", cfg.DATALOADER.CACHE_DIR)):
        if fault := fault_of(path):
            yield f"{key} {fault}"
        elif path and (found := file_in_the_way(path)):
            yield f"{key} {path!r} can't be written: {found} is a file, so name another folder"
    yield from weights_mistakes(cfg)


def weights_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each file of weights that can't be one."""
    backbone = cfg.MODEL.BACKBONE
    files = {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS}
    if backbone.PRETRAIN:
        files["MODEL.BACKBONE.PRETRAIN_PATH"] = backbone.PRETRAIN_PATH
    for key, path in files.items():
        if fault := fault_of(path):
            yield f"{key} {fault}"
        elif os.path.isdir(path):
            yield f"{key} is {path}, which is a folder: name a file in it"


def file_in_the_way(folder: str) -> Path | None:
    """Return the file that stands where a folder, or one above it, would be made."""
    return next((path for path in (Path(folder), *Path(folder).parents) if path.exists() and not path.is_dir()), None)
