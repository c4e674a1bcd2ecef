"""Checks of the files and folders that a config names, before anything is read or written."""

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext import zoo
from fastreid_ext.errors import UserError
from fastreid_ext.files import fault_of
from fastreid_ext.model_zoo import list_config_files

FOLDERS = ("OUTPUT_DIR", "DATALOADER.CACHE_DIR")
FILES = ("MODEL.WEIGHTS", "MODEL.BACKBONE.PRETRAIN_PATH", "KD.TEACHER", "KD.TEACHER_WEIGHTS")

WRITTEN = ("config.yaml", "model_*.pth")  # what a run writes and a teacher may be made of

TEACHERS = "name a run's folder, a file of fastreid-ext export, or a config with its weights in KD.TEACHER_WEIGHTS"


def expand_paths(cfg: CfgNode) -> None:
    """Write out the ~ of a home folder in every key that names a file or folder, as a shell would.

    In MODEL.WEIGHTS also the name of a shipped model, because much is looked for beside the weights.

    Raises:
        ConfigError, FileError: MODEL.WEIGHTS names a model that is not shipped.
    """
    for key in (*FOLDERS, *FILES):
        *path, last = key.split(".")
        node = cfg
        for part in path:
            node = node[part]
        if node[last].startswith("~"):
            node[last] = os.path.expanduser(node[last])
    cfg.MODEL.WEIGHTS = str(zoo.file_named(cfg.MODEL.WEIGHTS) or cfg.MODEL.WEIGHTS)


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


def teacher_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each file of KD.TEACHER that can't be one; opening it says the rest.

    Only training asks: an evaluation by the same config needs no teacher, which may be gone by then.
    """
    teacher, weights = cfg.KD.TEACHER, cfg.KD.TEACHER_WEIGHTS
    faults = [(key, fault_of(cfg.KD[key])) for key in ("TEACHER", "TEACHER_WEIGHTS")]
    if any(fault for _, fault in faults):
        yield from (f"KD.{key} {fault}" for key, fault in faults if fault)
        return
    if not teacher:
        return
    try:
        teacher = str(zoo.file_named(teacher) or teacher)
    except UserError as error:
        yield f"KD.TEACHER: {error}"
        return
    alone = teacher.lower().endswith((".safetensors", ".onnx")) and not os.path.isdir(teacher)
    if not os.path.exists(teacher) and teacher not in list_config_files():
        yield f"there is no {teacher}, which KD.TEACHER names: {TEACHERS}"
    elif alone and weights:
        yield f"KD.TEACHER {teacher} has weights in it: leave KD.TEACHER_WEIGHTS out"
    elif not (alone or weights or os.path.isdir(teacher)):
        yield f"KD.TEACHER is {teacher} without KD.TEACHER_WEIGHTS: {TEACHERS}"
    elif weights.lower().endswith(".onnx"):
        yield f"KD.TEACHER_WEIGHTS is {weights}, a model by itself: name it in KD.TEACHER"
    elif cfg.OUTPUT_DIR.strip() and os.path.realpath(teacher) == os.path.realpath(cfg.OUTPUT_DIR):
        yield f"KD.TEACHER is {teacher}, the folder that this run writes to: name another OUTPUT_DIR"
    elif weights and not (files := [p for p in (os.path.join(teacher, weights), weights) if os.path.isfile(p)]):
        yield f"there is no file {weights}, which KD.TEACHER_WEIGHTS names"
    elif not weights and _is_run_without_best(teacher):
        yield f"the run {teacher}, KD.TEACHER, has no model_best.pth: name another file of it in KD.TEACHER_WEIGHTS"
    elif _is_overwritten(teacher, cfg.OUTPUT_DIR):
        yield f"KD.TEACHER is {teacher}, which this run writes over: name another OUTPUT_DIR"
    elif weights and _is_overwritten(files[0], cfg.OUTPUT_DIR):
        yield f"KD.TEACHER_WEIGHTS is {weights}, which this run writes over: name another OUTPUT_DIR"


def _is_run_without_best(folder: str) -> bool:
    has_config, has_best = (os.path.isfile(os.path.join(folder, name)) for name in ("config.yaml", "model_best.pth"))
    return has_config and not has_best


def _is_overwritten(file: str, folder: str) -> bool:
    """Whether a run that writes to a folder replaces a file: its config or a checkpoint, by whatever path."""
    place, name = os.path.split(os.path.realpath(file))
    return place == os.path.realpath(folder) and any(fnmatchcase(name, each) for each in WRITTEN)


def weights_mistakes(cfg: CfgNode) -> Iterator[str]:
    """Yield a sentence for each file of weights that can't be one."""
    backbone = cfg.MODEL.BACKBONE
    files = {"MODEL.WEIGHTS": cfg.MODEL.WEIGHTS}
    if backbone.PRETRAIN:
        files["MODEL.BACKBONE.PRETRAIN_PATH"] = backbone.PRETRAIN_PATH
    for key, path in files.items():
        if fault := fault_of(path):
            yield f"{key} {fault}"
        elif os.path.isdir(path) and not zoo.is_name(path):
            yield f"{key} is {path}, which is a folder: name a file in it"


def file_in_the_way(folder: str) -> Path | None:
    """Return the file that stands where a folder, or one above it, would be made."""
    return next((path for path in (Path(folder), *Path(folder).parents) if path.exists() and not path.is_dir()), None)
