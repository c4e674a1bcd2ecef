"""Start-up checks: each is one sentence that says what to change."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import yaml
from fastreid.config import CfgNode

from fastreid_ext.config import get_cfg
from fastreid_ext.data.batches import IDENTITY_SAMPLERS, PAIR_SAMPLER, SAMPLERS, Items
from fastreid_ext.data.hold_out import HELD_OUT
from fastreid_ext.data.pairs import check_pairable, positive_share_of
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.key_tracking import unread_keys
from fastreid_ext.errors import ConfigError
from fastreid_ext.evaluation.evaluator import EVALUATORS, PROTOCOLS
from fastreid_ext.modeling.augmentation_table import sampled_per_batch
from fastreid_ext.modeling.renamed import renamed_settings

# What may differ between a run and its continuation: it changes neither weights nor batches.
FREE_ON_RESUME = (
    "OUTPUT_DIR",
    "TEST",
    "DATASETS.TESTS",
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.PRETRAIN_PATH",
    "DATALOADER.NUM_WORKERS",
    "DATALOADER.CACHE_DIR",
    "SOLVER.MAX_EPOCH",
    "SOLVER.CHECKPOINT_PERIOD",
    "CUDNN_BENCHMARK",
    "SEED",
)

HOST_LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")


def check_config(cfg: CfgNode, world_size: int) -> None:
    """Check what can be checked without data and model.

    Raises:
        ConfigError: a combination that can't work.
    """
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    check_device(cfg)
    counts = {
        "SOLVER.MAX_EPOCH": cfg.SOLVER.MAX_EPOCH,
        "SOLVER.CHECKPOINT_PERIOD": cfg.SOLVER.CHECKPOINT_PERIOD,
        "SOLVER.IMS_PER_BATCH": batch,
        "DATALOADER.NUM_INSTANCE": instances,
    }
    for key, value in counts.items():
        if value < 1:
            raise ConfigError(f"{key} is {value} and must be 1 or more")
    if not cfg.DATASETS.NAMES or not cfg.DATASETS.TESTS:
        raise ConfigError("DATASETS.NAMES and DATASETS.TESTS must each name a data set, such as ('Market1501',)")
    if cfg.DATALOADER.SAMPLER_TRAIN not in SAMPLERS:
        raise ConfigError(
            f"DATALOADER.SAMPLER_TRAIN is {cfg.DATALOADER.SAMPLER_TRAIN!r}; this trainer has {sorted(SAMPLERS)}"
        )
    try:
        sampled = sampled_per_batch(cfg)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    what = f"SOLVER.IMS_PER_BATCH {batch} on {world_size}"
    if sampled != batch:
        what = f"{sampled} sampled for {what}"
    if sampled % world_size:
        raise ConfigError(f"a batch ({what}) does not divide by the {world_size} processes")
    per_process = sampled // world_size
    if cfg.MODEL.DEVICE == "cpu" and dist.is_initialized() and dist.get_backend() == "nccl":
        raise ConfigError("MODEL.DEVICE is cpu but the processes took the GPUs: hide them with CUDA_VISIBLE_DEVICES=''")
    default_iters = get_cfg().SOLVER.WARMUP_ITERS
    if cfg.SOLVER.WARMUP_EPOCHS > 0 and cfg.SOLVER.WARMUP_ITERS != default_iters:
        raise ConfigError(
            f"SOLVER.WARMUP_EPOCHS ({cfg.SOLVER.WARMUP_EPOCHS}) and SOLVER.WARMUP_ITERS ({cfg.SOLVER.WARMUP_ITERS})"
            " both set the warm-up: remove one, or set WARMUP_EPOCHS 0"
        )
    if cfg.DATALOADER.SAMPLER_TRAIN in IDENTITY_SAMPLERS and per_process % instances:
        raise ConfigError(
            f"{per_process} images per batch and process ({what})"
            f" are not a multiple of DATALOADER.NUM_INSTANCE ({instances})"
        )
    if cfg.DATALOADER.SAMPLER_TRAIN in IDENTITY_SAMPLERS and per_process < 2 * instances:
        raise ConfigError(
            f"{per_process} images per batch and process ({what}) show"
            f" one identity only (DATALOADER.NUM_INSTANCE {instances}); a batch needs two to compare"
        )
    if cfg.DATALOADER.SAMPLER_TRAIN == PAIR_SAMPLER:
        if per_process % 2:
            raise ConfigError(
                f"{per_process} images per batch and process ({what}) are no whole pairs: PairSampler needs an even"
                " number"
            )
        try:
            positive_share_of(0, cfg.DATALOADER.PAIRS.POSITIVE_SHARE, cfg.DATALOADER.PAIRS.NEGATIVE_ANNEAL)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    check_evaluation(cfg)


def check_device(cfg: CfgNode) -> None:
    """Check that torch knows MODEL.DEVICE and has it here.

    Raises:
        ConfigError: it does not, or has not.
    """
    try:
        torch.device(cfg.MODEL.DEVICE)
    except RuntimeError as error:
        raise ConfigError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, which torch does not know: use cpu or cuda"
        ) from error
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r} but torch {torch.__version__} sees no GPU here; leave it out, or"
            " set MODEL.DEVICE cpu"
        )


def check_evaluation(cfg: CfgNode) -> None:
    """Check the stress test, the report's groups and what is kept out of training.

    Raises:
        ConfigError: a value out of its range.
    """
    for key, allowed in (("EVALUATOR", EVALUATORS), ("PROTOCOL", PROTOCOLS)):
        if cfg.TEST[key] not in allowed:
            raise ConfigError(f"TEST.{key} is {cfg.TEST[key]!r} and must be one of {allowed}")
    if cfg.TEST.EVALUATOR == "host" and cfg.TEST.PROTOCOL != PROTOCOLS[0]:
        raise ConfigError(f"FastReID's evaluator (TEST.EVALUATOR host) has no TEST.PROTOCOL {cfg.TEST.PROTOCOL}")
    node, edges, held = cfg.TEST.OCCLUSION, list(cfg.TEST.REPORT.OCCLUSION_EDGES), cfg.DATASETS.HOLD_OUT
    if not 0 <= node.PROB <= 1:
        raise ConfigError(f"TEST.OCCLUSION.PROB is {node.PROB} and must be from 0 to 1")
    area = list(node.AREA)
    if not (len(area) == 2 and _numbers(area) and 0 < area[0] <= area[1] <= 1):
        raise ConfigError(
            f"TEST.OCCLUSION.AREA is {area} and must be the smallest and the largest share of the image that is erased,"
            " such as [0.02, 0.4]"
        )
    if not 0 < node.RATIO <= 1:
        raise ConfigError(f"TEST.OCCLUSION.RATIO is {node.RATIO} and must be above 0 and not above 1")
    if node.SEED < 0:
        raise ConfigError(f"TEST.OCCLUSION.SEED is {node.SEED} and must be 0 or more")
    if not (_numbers(edges) and all(0 <= edge < 1 for edge in edges) and edges == sorted(set(edges))):
        raise ConfigError(
            f"TEST.REPORT.OCCLUSION_EDGES is {edges} and must be rising shares from 0 to below 1, such as [0.0, 0.25]"
        )
    if held < 0 or held == 1:
        raise ConfigError(
            f"DATASETS.HOLD_OUT is {held}: 0 holds nothing out, and else an identity needs 2 or more held-out images"
            " to be found by each other"
        )
    if cfg.DATASETS.VALIDATION < 0:
        raise ConfigError(f"DATASETS.VALIDATION is {cfg.DATASETS.VALIDATION} and must be 0 or a number of identities")
    for name, key in ((HELD_OUT, "HOLD_OUT"), (VALIDATION, "VALIDATION")):
        if name in cfg.DATASETS.TESTS and not cfg.DATASETS[key]:
            raise ConfigError(f"DATASETS.TESTS names {name}, which is a part of the training set: set DATASETS.{key}")


def check_host_model(cfg: CfgNode) -> None:
    """Check the losses of a meta-architecture of FastReID, which drops names that it does not know, and its batches.

    Raises:
        ConfigError: no loss, one that FastReID does not know, or a batch augmentation.
    """
    names = list(cfg.MODEL.LOSSES.NAME)
    unknown = [name for name in names if name not in HOST_LOSSES]
    if unknown or not names:
        raise ConfigError(
            f"MODEL.LOSSES.NAME is {tuple(names)}; FastReID's {cfg.MODEL.META_ARCHITECTURE} knows {HOST_LOSSES} and"
            " passes over everything else without a word"
        )
    if cfg.INPUT.BATCH_AUGMENT.NAME:
        raise ConfigError(
            f"INPUT.BATCH_AUGMENT.NAME is {list(cfg.INPUT.BATCH_AUGMENT.NAME)}, which FastReID's own"
            f" {cfg.MODEL.META_ARCHITECTURE} does not apply: empty it, or use INPUT.REA"
        )


def check_training_set(cfg: CfgNode, items: Items, world_size: int) -> None:
    """Check that the training set can fill a batch.

    Raises:
        ConfigError: fewer images or identities than a batch needs, no pairs, or a NUM_CLASSES of another set.
    """
    batch, instances = cfg.SOLVER.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    sampled = sampled_per_batch(cfg)
    copies = batch // sampled
    identities = len({pid for _, pid, _ in items})
    if len(items) < sampled:
        raise ConfigError(
            f"the training set has {len(items)} images, fewer than the {sampled} of one batch (SOLVER.IMS_PER_BATCH"
            f" {batch})"
        )
    needed = sampled // instances
    if cfg.DATALOADER.SAMPLER_TRAIN in IDENTITY_SAMPLERS and identities < needed:
        raise ConfigError(
            f"the training set has {identities} identities, but a batch of {sampled} with {instances} images each"
            f" needs {needed}: lower SOLVER.IMS_PER_BATCH to"
            f" {identities // world_size * world_size * instances * copies} or raise DATALOADER.NUM_INSTANCE"
        )
    if cfg.DATALOADER.SAMPLER_TRAIN == PAIR_SAMPLER:
        try:
            check_pairable(items)
        except ValueError as error:
            raise ConfigError(f"DATALOADER.SAMPLER_TRAIN is PairSampler, but {error}") from error
    classes = cfg.MODEL.HEADS.NUM_CLASSES
    if classes not in (0, identities):
        raise ConfigError(
            f"MODEL.HEADS.NUM_CLASSES is {classes} but the training set has {identities} identities; leave it at 0"
        )


def check_all_read(cfg: CfgNode, defaults: CfgNode, log: set[str], nodes: tuple[str, ...] | None = None) -> None:
    """Check that every key that was set has been read by now.

    Raises:
        ConfigError: keys that nothing in this run reads.
    """
    unread = unread_keys(cfg, defaults, log, nodes)
    if unread:
        raise ConfigError(
            f"nothing in this run reads {', '.join(unread)} (MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE},"
            f" MODEL.LOSSES.NAME {tuple(cfg.MODEL.LOSSES.NAME)}): remove the key, or switch on what it belongs to"
        )


def check_same_run(cfg: CfgNode) -> None:
    """Check that OUTPUT_DIR, which --resume continues, was written by this config.

    Raises:
        ConfigError: the keys that differ, with both values.
    """
    path = Path(cfg.OUTPUT_DIR) / "config.yaml"
    if not path.is_file():
        return
    with open(path, encoding="utf-8") as file:
        before = renamed_settings(_flat(yaml.safe_load(file)))
    now = _flat(yaml.safe_load(cfg.dump()))
    if now.get("MODEL.HEADS.NUM_CLASSES") == 0:
        before.pop("MODEL.HEADS.NUM_CLASSES", None)
        now.pop("MODEL.HEADS.NUM_CLASSES")
    free = set(FREE_ON_RESUME)
    bound = ("TEST.PRECISE_BN",)  # it changes the batch norms that are saved
    if cfg.SOLVER.SCHED == "CosineAnnealingLR":
        free.remove("SOLVER.MAX_EPOCH")  # the cosine ends there: the rates before it would have been others
    changed = [
        f"{key} was {before[key]!r} and is {now[key]!r}"
        for key in sorted(now.keys() & before.keys())
        if before[key] != now[key] and (_below(key, bound) or not _below(key, free))
    ]
    if changed:
        raise ConfigError(
            f"{cfg.OUTPUT_DIR} holds a run of another config ({'; '.join(changed)}): choose another OUTPUT_DIR, or"
            " run without --resume to start anew there"
        )


def check_writable(cfg: CfgNode) -> None:
    """Check that OUTPUT_DIR and DATALOADER.CACHE_DIR can be written, before hours of training; makes them.

    Raises:
        ConfigError: one can't be made or written.
    """
    folders = {"OUTPUT_DIR": cfg.OUTPUT_DIR}
    if cfg.DATALOADER.CACHE_DIR:
        folders["DATALOADER.CACHE_DIR"] = os.path.expanduser(cfg.DATALOADER.CACHE_DIR)
    for key, folder in folders.items():
        try:
            os.makedirs(folder, exist_ok=True)
            probe = Path(folder) / ".writable"
            probe.write_bytes(b"")
            probe.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{key} {folder!r} can't be written: {error}") from error


def _numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _below(key: str, nodes: Iterable[str]) -> bool:
    return any(key == node or key.startswith(node + ".") for node in nodes)


def _flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat
