"""Whatever a user calls a trained model: a config with weights, a run's folder, a file of weights, an ONNX file."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from fastreid.config import CfgNode
from fastreid.data.transforms import build_transforms
from torch import Tensor, nn

from fastreid_ext import zoo
from fastreid_ext.config import get_cfg
from fastreid_ext.engine.config_files import read_with_bases
from fastreid_ext.engine.devices import device_of
from fastreid_ext.engine.joints import check_images_suffice
from fastreid_ext.engine.merging import merge_config, merge_trees
from fastreid_ext.engine.trained import config_file_of, load_trained
from fastreid_ext.errors import UserError
from fastreid_ext.files import fault_of
from fastreid_ext.foreign_files import shown
from fastreid_ext.inference.features import feature_length, test_features
from fastreid_ext.inference.record import KEY, READ_BY_TEST, ModelRecord, record_of
from fastreid_ext.inference.weights_file import MOST_AT_ONCE, MOST_PIXELS, SUFFIX, load_weights_file
from fastreid_ext.onnx_files import OnnxFileError, check_onnx_file, open_session, reason_of

CONFIG, BEST = "config.yaml", "model_best.pth"  # of a run's folder
CHECKPOINTS = (".pth", ".pt", ".pyth", ".ckpt", ".bin", ".tar")
BATCH_SIZE = 32  # of an ONNX file that takes any
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class ModelError(UserError):
    """What is named as a model is none, or does not say enough to be used."""


class Model(Protocol):
    """What gives features.

    Attributes:
        record: what the model is.
        dim: D, numbers of a feature.
        transform: PIL image -> tensor, of the test.
        device: where the images have to be.
        batch_size: images at once, if the user does not say.
        flip: whether a test feature is the mean with the mirrored image's.
        normalised: whether it gives features of length 1.
        weights: the file that it was loaded from, None = unknown.
    """

    record: ModelRecord
    dim: int
    transform: Callable[..., Any]
    device: torch.device
    batch_size: int
    flip: bool
    normalised: bool
    weights: Path | None

    def features(self, images: Tensor) -> Tensor:
        """Return (B, D) in float32 of images (B, 3, H, W), 0 to 255, on the device; the file's own, without mirror."""


@dataclass
class TorchModel:
    """A model in eval mode and its config; see :class:`Model`."""

    cfg: CfgNode
    model: nn.Module
    known: ModelRecord | None = None

    def __post_init__(self) -> None:
        check_images_suffice(self.model)
        self.check_mode()
        self.transform = build_transforms(self.cfg, is_train=False)
        self.device = device_of(self.cfg)
        self.batch_size = self.cfg.TEST.IMS_PER_BATCH
        self.flip, self.normalised = bool(self.cfg.TEST.FLIP.ENABLED), False
        self.weights = Path(self.cfg.MODEL.WEIGHTS) if self.cfg.MODEL.WEIGHTS else None

    @cached_property
    def dim(self) -> int:
        return self.known.dim if self.known else feature_length(self.cfg, self.model)

    @cached_property
    def record(self) -> ModelRecord:
        return self.known or record_of(self.cfg, self.model, self.dim)

    def check_mode(self) -> None:
        """Check that no part would count the images that it sees, or drop out numbers."""
        if any(module.training for module in self.model.modules()):
            raise ModelError("the model, or a part of it, is in training mode: call model.eval()")

    def features(self, images: Tensor) -> Tensor:
        self.check_mode()
        return test_features(self.model, images)


class OnnxModel:
    """An ONNX file that says itself how it is fed; see :class:`Model`.

    Args:
        path: the file.
        device: "cpu" or "cuda".

    Raises:
        ModelError, RecordError: it does not say what it is, or can't be that.
        OnnxFileError: it can't be opened, or names other files or operators.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, path: Path, device: str = "cpu"):
        self.weights, self.device = path, torch.device("cpu")
        self.record = record_of_onnx(path)
        self._session = open_session(path, device, alone=True)
        given, outputs = self._session.get_inputs(), self._session.get_outputs()
        shapes = ", ".join(f"{one.name} {one.type} {one.shape}" for one in (*given, *outputs))
        if len(given) != 1 or given[0].type not in TYPES or len(given[0].shape) != 4 or len(outputs) != 1:
            raise ModelError(f"{path} must take images (B, 3, H, W) and give features (B, D), but has {shapes}")
        self._name, self._type, self._output = given[0].name, TYPES[given[0].type], outputs[0].name
        batch = given[0].shape[0]
        self._fixed = batch if isinstance(batch, int) and batch > 0 else None
        sides = self.record.crop or self.record.size
        if sides and max(*self.record.size, *sides) ** 2 > MOST_PIXELS or (self._fixed or 0) > MOST_AT_ONCE:
            raise ModelError(
                f"{path} asks for {self._fixed or 'any number of'} images of {shown(list(sides))} at once, and may ask"
                f" for {MOST_AT_ONCE} of {MOST_PIXELS} pixels"
            )
        self.batch_size = self._fixed or BATCH_SIZE
        self.dim, self.flip, self.normalised = self.record.dim, self.record.flip, self.record.normalised
        self.transform = _transform_of(self.record)
        self._check_output()

    def features(self, images: Tensor) -> Tensor:
        pixels = images.cpu().numpy()
        size = self._fixed or len(pixels)
        rows = [self._run(pixels[start : start + size]) for start in range(0, len(pixels), size)]
        return torch.from_numpy(np.concatenate(rows))

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        count = len(pixels)
        if self._fixed and count < self._fixed:
            pixels = np.concatenate([pixels, np.zeros((self._fixed - count, *pixels.shape[1:]), pixels.dtype)])
        if self.record.pixels == "imagenet":
            mean, std = (np.array(three, np.float32).reshape(3, 1, 1) for three in (self.record.mean, self.record.std))
            pixels = (pixels - mean) / std
        try:
            (found,) = self._session.run([self._output], {self._name: pixels.astype(self._type, copy=False)})
        except Exception as error:  # onnxruntime has a type of its own for each status, without a common one
            raise ModelError(f"{self.weights} can't be run on images {pixels.shape}: {reason_of(error)}") from error
        if not isinstance(found, np.ndarray) or found.shape != (len(pixels), self.dim) or found.dtype.kind != "f":
            shape = getattr(found, "shape", type(found).__name__)
            raise ModelError(f"{self.weights} gives {shape} for {len(pixels)} images, and says {self.dim} numbers each")
        return found[:count].astype(np.float32)

    def _check_output(self) -> None:
        """Run it on one black image: its own record may say anything."""
        size = self.record.crop or self.record.size
        if size:
            self.features(torch.zeros(1, 3, size[0], size[-1]))


def open_model(
    model: str | Path, weights: str | Path | None = None, opts: Sequence[Any] = (), device: str | None = None
) -> Model:
    """Open what a user names as a model.

    Args:
        model: "zoo" or "zoo:NAME", a shipped model; the name of a shipped config or a yaml file, a run's folder, a
            .safetensors file of ``save_weights_file``, or an .onnx file of ``fastreid-ext export``.
        weights: of a config; of a folder, a file in it instead of model_best.pth. A path, or a name in the folder.
        opts: KEY VALUE pairs for a config or folder.
        device: "cpu", "cuda" or "cuda:0"; None = the GPU if there is one, else the CPU.

    Raises:
        ModelError, ConfigError, CheckpointError, ...: a sentence on what is missing or does not fit.
    """
    if not isinstance(model, str | Path):
        raise ModelError(
            f"the model is {type(model).__name__} and must be a name or a path; Extractor.of_model takes one"
        )
    if not str(model):  # an unset variable of the shell; as a path it would be the current folder
        raise ModelError("the model is empty and must be a name or a path")
    if fault := fault_of(os.path.expanduser(str(model))):
        raise ModelError(f"the model {fault}")
    if not isinstance(opts, list | tuple):
        raise ModelError(f'opts is {shown(opts)} and must be a list of keys and values, ["TEST.FLIP.ENABLED", True]')
    if weights is not None and (not isinstance(weights, str | Path) or not str(weights)):
        raise ModelError(f"weights is {shown(weights)} and must be a path")
    path = zoo.file_named(model) or Path(os.path.expanduser(model))
    suffix = path.suffix.lower()
    device = None if device is None else str(device)
    if suffix in (SUFFIX, ".onnx") and not path.is_dir():
        _check_alone(path, weights, opts)
        if suffix == ".onnx":
            return OnnxModel(path, _onnx_device(device))
        cfg, module, record = load_weights_file(path, device)
        return TorchModel(cfg, module, record)
    if suffix in CHECKPOINTS and not path.is_dir():
        beside = (path.parent / CONFIG).is_file()
        hint = f"Extractor({str(path.parent)!r}, weights={path.name!r})" if beside else "its config, and it as weights="
        raise ModelError(f"{path} holds weights alone and does not say of which model: name {hint}")
    cfg = _config_of_run(path, weights, opts, device) if path.is_dir() else _config(model, weights, opts, device)
    _check_weights(cfg.MODEL.WEIGHTS)
    return TorchModel(cfg, load_trained(cfg).eval())


def _config(model: str | Path, weights: str | Path | None, opts: Sequence[Any], device: str | None) -> CfgNode:
    cfg = get_cfg()
    named = ["MODEL.WEIGHTS", os.path.expanduser(zoo.text_of(weights))] if weights is not None else []
    file = config_file_of(os.path.expanduser(zoo.text_of(model)))
    merge_config(cfg, file, [*map(str, opts), *named, *_device_pair(device, opts)])
    if not cfg.MODEL.WEIGHTS:
        raise ModelError(f"{model} is a config: name its weights, Extractor({str(model)!r}, weights=FILE)")
    return cfg


def _config_of_run(folder: Path, weights: str | Path | None, opts: Sequence[Any], device: str | None) -> CfgNode:
    """Return the config of a run's folder, without what it says of data and training."""
    if not (folder / CONFIG).is_file():
        raise ModelError(f"the folder {folder} is not that of a run: it has no {CONFIG}")
    if "MODEL.WEIGHTS" in opts[::2]:
        raise ModelError("opts have MODEL.WEIGHTS: name the file with weights=")
    file = Path(BEST if weights is None else weights).expanduser()
    file = folder / file if (folder / file).is_file() or weights is None else file
    if weights is None and not file.is_file():
        there = sorted(each.name for each in folder.glob("*.pth") if each.is_file())
        hint = f"name one with weights=: {', '.join(there[:5])}" if there else "it has no checkpoint at all"
        raise ModelError(f"the run {folder} has no {BEST}: {hint}")
    trees = [
        (path, {key: value for key, value in tree.items() if key in READ_BY_TEST})
        for path, tree in read_with_bases(str(folder / CONFIG))
    ]
    cfg = get_cfg()
    merge_trees(cfg, trees, [*map(str, opts), "MODEL.WEIGHTS", str(file), *_device_pair(device, opts)])
    cfg.MODEL.HEADS.NUM_CLASSES = 0  # no test feature reads a classifier
    return cfg


def _device_pair(device: str | None, opts: Sequence[Any]) -> list[str]:
    """Return KEY VALUE for the device, unless the user's own pairs have it."""
    if device is None and "MODEL.DEVICE" in opts[::2]:
        return []
    return ["MODEL.DEVICE", device or get_cfg().MODEL.DEVICE]


def _onnx_device(device: str | None) -> str:
    kind = (device or "cpu").partition(":")[0]
    if kind not in ("cpu", "cuda") or (device or kind) not in (kind, "cuda:0"):
        raise ModelError(f"device is {shown(device)}, and an ONNX file runs on cpu or cuda")
    return kind


def _check_alone(path: Path, weights: Any, opts: Sequence[Any]) -> None:
    if weights is not None or len(opts):
        given = "weights" if weights is not None else "opts"
        raise ModelError(f"{path} has config and weights in it: leave {given}= out")
    if not path.exists():
        raise ModelError(f"there is no file {path}")


def _check_weights(path: str) -> None:
    if Path(path).suffix.lower() == ".onnx":
        raise ModelError(f"{path} is an ONNX file, which is a model by itself: Extractor({path!r})")


def record_of_onnx(path: Path) -> ModelRecord:
    """Return what an ONNX file says of its model, without opening it as one.

    Raises:
        ModelError, RecordError, OnnxFileError: it says nothing, what can't be, or names other files or operators.
    """
    try:
        contents = check_onnx_file(path, alone=True)
    except OnnxFileError as error:
        raise OnnxFileError(f"{path} can't be used as an ONNX model: {error}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read ({error})") from error
    if KEY not in contents.metadata:
        raise ModelError(
            f"{path} does not say which pixels it takes: it was not made by fastreid-ext export, which writes that into"
            " the file"
        )
    return ModelRecord.from_text(contents.metadata[KEY], path)


def _transform_of(record: ModelRecord) -> Callable[..., Any]:
    cfg = get_cfg()
    cfg.INPUT.SIZE_TEST = list(record.size) or [0, 0]
    cfg.INPUT.CROP.ENABLED = bool(record.crop)
    cfg.INPUT.CROP.SIZE = list(record.crop) or [0, 0]
    return build_transforms(cfg, is_train=False)
