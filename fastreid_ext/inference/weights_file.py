"""A model in one file: its weights in the format of safetensors, and in the metadata how to build and feed it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from fastreid.config import CfgNode
from torch import nn

from fastreid_ext import zoo
from fastreid_ext.config import get_cfg
from fastreid_ext.engine.checkpoint import training_only_keys
from fastreid_ext.engine.config_files import tree_of
from fastreid_ext.engine.merging import merge_config, merge_trees
from fastreid_ext.engine.model import build_model
from fastreid_ext.engine.trained import load_trained
from fastreid_ext.errors import ConfigError, UserError, first_line, is_ours
from fastreid_ext.files import write_atomically
from fastreid_ext.foreign_files import shown
from fastreid_ext.inference.compression import Compression
from fastreid_ext.inference.features import feature_length
from fastreid_ext.inference.fingerprints import weights_hash
from fastreid_ext.inference.record import KEY, READ_BY_TEST, ModelRecord, record_of
from fastreid_ext.modeling.safetensors_files import begins_as_safetensors, read_safetensors, shapes_of

SUFFIX = ".safetensors"
LONGEST_RECORD = 1 << 20  # characters
# Keys of a config that name files; a model that is one file names none.
FILES = ("MODEL.WEIGHTS", "MODEL.BACKBONE.PRETRAIN_PATH", "INPUT.JOINTS.FILES", "TEST.REPORT.OCCLUSION_FILES")
# What of a record follows from the config and the weights.
FOLLOWING = (
    *("architecture", "model_sha256", "config_sha256", "metric", "flip", "dim"),
    *("size", "crop", "pixels", "mean", "std", "normalised"),
)
MOST_PIXELS, MOST_AT_ONCE = 1 << 22, 512  # of an image, squares of the longer side; images of a batch
# What training alone has may be so many times as large as the weights of the file.
MOST_UNREAD = 4


class WeightsFileError(UserError):
    """A file of weights that does not say what it is of, or says what can't be."""


def save_weights_file(
    path: Path,
    cfg: CfgNode,
    model: nn.Module,
    same_person: Mapping[str, Any] | None = None,
    components: Compression | None = None,
) -> None:
    """Write the weights that a model's test feature reads, and what they are, into one file.

    Args:
        path: a name that ends with .safetensors; its folder exists.
        cfg: the model's config.
        model: of ``load_trained``, in eval mode.
        same_person: what :class:`fastreid_ext.evaluation.same_person.SamePerson` saves; None = not measured.
        components: of ``fastreid-ext compress``, for short features; None = none in it.

    Raises:
        WeightsFileError: another name.
        FileError: it can't be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise WeightsFileError(f"{path} must end with {SUFFIX}, which says what it is")
    record = record_of(cfg, model, feature_length(cfg, model), same_person=same_person)
    # Copies: the format knows no tensors that share their memory.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in _read_by_test(model).items()}
    texts = {KEY: record.text()}  # alone: the format's library writes several in any order
    if components is not None:
        tensors, texts = tensors | components.tensors, texts | components.texts
    data = safetensors.torch.save(tensors, texts)
    write_atomically(path, lambda file: file.write(data))


def load_weights_file(path: Path, device: str | None = None) -> tuple[CfgNode, nn.Module, ModelRecord]:
    """Return config, model in eval mode and record of a file that :func:`save_weights_file` wrote.

    The file may be of anybody: it takes no more memory than a few times its bytes, and names no other file.

    Args:
        path: the file.
        device: of the model; None = the GPU if there is one, else the CPU.

    Raises:
        WeightsFileError, RecordError, SafetensorsError, ConfigError, CheckpointError: it can't be read, does not say
            what its weights are of, or says what they are not.
    """
    path = Path(path)
    shapes = shapes_of(path)
    record = record_in(path)
    cfg = config_of(record, path)
    cfg.MODEL.DEVICE = device or get_cfg().MODEL.DEVICE
    _check_shapes(cfg, shapes, path)
    cfg.MODEL.WEIGHTS = str(path)
    model = load_trained(cfg).eval()
    made = record_of(cfg, model, feature_length(cfg, model))
    odd = [name for name in FOLLOWING if getattr(record, name) != getattr(made, name)]
    if odd:
        raise WeightsFileError(
            f"{path} says of its model {odd[0]} {shown(getattr(record, odd[0]))}, which is not that of its weights and"
            " config: it was changed after it was written, or by another version"
        )
    return cfg, model, record


def config_with_weights(path: Path, overrides: Sequence[str] = ()) -> CfgNode:
    """Return the config in a file of :func:`save_weights_file`, with the file as its MODEL.WEIGHTS.

    For whoever takes a config and builds the model by it. The file may be of anybody, see :func:`load_weights_file`.

    Args:
        path: the file.
        overrides: KEY VALUE pairs, of data or of how the test is done; MODEL.WEIGHTS may be the file itself.

    Raises:
        ConfigError: there is no such file, pairs that can't be merged, or other MODEL.WEIGHTS.
        WeightsFileError, RecordError, SafetensorsError: as :func:`load_weights_file`, also for pairs that change the
            model's shapes.
    """
    if not path.exists():
        raise ConfigError(f"there is no config file {path}")
    named = [value for key, value in zip(overrides[::2], overrides[1::2], strict=False) if key == "MODEL.WEIGHTS"]
    if any(Path(zoo.file_named(value) or value) != path for value in named):
        raise ConfigError(
            f"{path} has config and weights in it: leave MODEL.WEIGHTS out, or name the config that they are of"
        )
    shapes, record = shapes_of(path), record_in(path)
    if weights_hash(read_safetensors(path)[0]) != record.model_sha256:
        raise WeightsFileError(f"{path} has other weights than it says: it was changed after it was written")
    cfg = config_of(record, path)
    cfg.MODEL.DEVICE = get_cfg().MODEL.DEVICE
    cfg.MODEL.WEIGHTS = str(path)
    cfg.DATALOADER.NUM_WORKERS = min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)  # the file says nothing of it
    merge_config(cfg, "", overrides)
    _check_shapes(cfg, shapes, path)
    return cfg


def same_person_in(path: Path) -> Mapping[str, Any] | None:
    """Return the thresholds in a file of weights.

    Returns:
        What :class:`fastreid_ext.evaluation.same_person.SamePerson` saves; None where the file is of another kind, says
        nothing of its weights, or has none.

    Raises:
        WeightsFileError, RecordError: it says of its weights what can't be.
    """
    if not begins_as_safetensors(path) or KEY not in read_safetensors(path, prefix="no tensor")[1]:
        return None
    return record_in(path).same_person


def record_in(path: Path) -> ModelRecord:
    """Return what a file of :func:`save_weights_file` says of its model.

    Raises:
        WeightsFileError, RecordError, SafetensorsError: it is not such a file.
    """
    text = read_safetensors(path, prefix="no tensor")[1].get(KEY, "")
    if not text:
        raise WeightsFileError(
            f"{path} does not say what its weights are of: name the config, and this file as its weights"
        )
    if len(text) > LONGEST_RECORD:
        raise WeightsFileError(f"{path} says more than {LONGEST_RECORD} characters of its model")
    return ModelRecord.from_text(text, path)


def _read_by_test(model: nn.Module) -> dict[str, torch.Tensor]:
    unread = training_only_keys(model)
    state = model.state_dict()
    return {key: state[key] for key in state if key not in unread and not key.endswith(".num_batches_tracked")}


def config_of(record: ModelRecord, path: Path) -> CfgNode:
    """Return the config that a record has.

    Raises:
        ConfigError, WeightsFileError: unknown keys, values that can't be, other nodes, or files that it names.
    """
    name = f"the config in {path}"
    tree = tree_of(record.config, name)
    foreign = [key for key in tree if key not in READ_BY_TEST]
    if foreign:
        raise WeightsFileError(f"{name} has {shown(foreign[0])}, and may have {', '.join(READ_BY_TEST)} alone")
    cfg = get_cfg()
    try:
        merge_trees(cfg, [(name, tree)], [])
    except ConfigError as error:
        raise WeightsFileError(f"{path} can't be used: {error}") from error
    cfg.defrost()
    for key in FILES:
        value = cfg
        for part in key.split("."):
            value = value[part]
        if value:
            raise WeightsFileError(f"{name} names a file, {key} {shown(value)}, and a model in one file names none")
    sides = cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else cfg.INPUT.SIZE_TEST
    if max(*cfg.INPUT.SIZE_TEST, *sides) ** 2 > MOST_PIXELS:
        raise WeightsFileError(f"{name} asks for images of {shown(list(sides))}, more than {MOST_PIXELS} pixels")
    cfg.TEST.IMS_PER_BATCH = min(cfg.TEST.IMS_PER_BATCH, MOST_AT_ONCE)
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = 0  # no test feature reads a classifier
    return cfg


def _check_shapes(cfg: CfgNode, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Check, before any memory is taken, that a model of the config has the weights of the file, and few others."""
    probe = cfg.clone()
    probe.MODEL.DEVICE, probe.MODEL.HEADS.NUM_CLASSES = "meta", 1  # as load_trained has it
    try:
        with torch.device("meta"):
            model = build_model(probe)
    except UserError as error:
        raise WeightsFileError(f"the config in {path} gives no model: {error}") from error
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        if is_ours(error):
            raise
        raise WeightsFileError(f"the config in {path} gives no model ({first_line(error)})") from error
    needed = {name: tuple(value.shape) for name, value in _read_by_test(model).items()}
    odd = sorted(name for name in needed.keys() | shapes.keys() if needed.get(name) != shapes.get(name))
    if odd:
        raise WeightsFileError(
            f"{path} has other weights than its config asks for: {shown(odd[0])} is {shapes.get(odd[0], 'absent')} in"
            f" it and {needed.get(odd[0], 'absent')} in the model"
        )
    count = sum(value.numel() for value in model.state_dict().values())
    if count > (1 + MOST_UNREAD) * sum(torch.Size(shape).numel() for shape in shapes.values()):
        raise WeightsFileError(f"the config in {path} asks for {count} numbers, most of which the file does not have")
