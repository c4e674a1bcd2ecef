"""Features with fewer numbers: principal components, fitted on the features of training images."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from sklearn.decomposition import PCA
from torch import Tensor

from fastreid_ext.errors import ConfigError, UserError
from fastreid_ext.files import write_atomically
from fastreid_ext.foreign_files import shown
from fastreid_ext.inference.record import ModelRecord
from fastreid_ext.layers import unit_length
from fastreid_ext.modeling.safetensors_files import OURS, read_safetensors

FORMAT = "fastreid-ext pca 1"
KEY = "fastreid_ext_pca"  # of what a file says of it
PREFIX = f"{OURS}pca."  # of its tensors, which may stand in the file of a model
SUFFIX = ".pca.safetensors"
TENSORS = ("mean", "components", "explained")
EXACT = 2048  # numbers of a feature, up to which the covariance is decomposed; beyond, by random projections


class CompressionError(UserError):
    """A file of principal components that is damaged, absent or of another model."""


@dataclass(frozen=True)
class Compression:
    """Principal components of features; the first ones hold the most, so any smaller number of them is used alike.

    Attributes:
        mean: (D,) float32, of the features they were fitted on.
        components: (d, D) float32, orthonormal; in each, the number that is largest without its sign is positive.
        explained: (d,) float32, share of the variance that each holds.
        normalised: whether features are divided by their length first (TEST.METRIC cosine).
        images: how many they were fitted on.
        model_sha256, config_sha256: whose features they are.
    """

    mean: Tensor
    components: Tensor
    explained: Tensor
    normalised: bool
    images: int
    model_sha256: str
    config_sha256: str

    @property
    def dim(self) -> int:
        """The most numbers that a feature can have."""
        return len(self.components)

    def __call__(self, features: Tensor, dim: int) -> Tensor:
        """Return (N, dim) of features (N, D) in float32; not divided by their length."""
        features = unit_length(features) if self.normalised else features
        mean, components = (tensor.to(features.device) for tensor in (self.mean, self.components[:dim]))
        return (features - mean) @ components.T

    @cached_property
    def texts(self) -> dict[str, str]:
        """What a file says of it."""
        names = ("normalised", "images", "model_sha256", "config_sha256")
        return {KEY: json.dumps({"format": FORMAT, **{name: getattr(self, name) for name in names}})}

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by the names that they have in a file."""
        return {PREFIX + name: getattr(self, name).contiguous() for name in TENSORS}


def fit(features: np.ndarray, dim: int, record: ModelRecord) -> Compression:
    """Fit principal components in float64; the same features give the same components.

    Args:
        features: (N, D), as the model gives them.
        dim: components to keep.
        record: of the model; its metric says whether features are divided by their length first.

    Raises:
        ConfigError: more components than images or numbers, or features that do not differ.
    """
    most = min(len(features) - 1, features.shape[1])
    if dim > most:
        raise ConfigError(
            f"--dim is {dim}, and {len(features)} images with features of {features.shape[1]} numbers give {most}"
            " components at most: lower it"
        )
    values, normalised = torch.from_numpy(features).double(), record.metric == "cosine"
    values = (unit_length(values) if normalised else values).numpy()
    if not values.std(axis=0).any():
        raise ConfigError("the features of all images are the same: the model says nothing, so name other weights")
    solver = "covariance_eigh" if features.shape[1] <= EXACT else "randomized"
    pca = PCA(dim, svd_solver=solver, random_state=0).fit(values)
    components = pca.components_
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    # Versions of scikit-learn choose the signs by rules of their own.
    arrays = (pca.mean_, components * np.sign(largest), pca.explained_variance_ratio_)
    return Compression(
        *(torch.from_numpy(np.ascontiguousarray(array, np.float32)) for array in arrays),
        normalised=normalised,
        images=len(features),
        model_sha256=record.model_sha256,
        config_sha256=record.config_sha256,
    )


def path_beside(weights: Path) -> Path:
    """Return where the components of some weights are kept: model_best.pca.safetensors beside model_best.pth."""
    return weights.with_name(weights.stem + SUFFIX)


def save(path: Path, compression: Compression) -> None:
    """Write components into a file.

    Raises:
        FileError: it can't be written.
    """
    data = safetensors.torch.save(compression.tensors, compression.texts)
    write_atomically(path, lambda file: file.write(data))


def load(path: Path) -> Compression | None:
    """Return the components that a file holds, which may be that of a model; None = none.

    Raises:
        CompressionError, SafetensorsError: they are damaged, or the file is of something else.
    """
    tensors, texts = read_safetensors(path, PREFIX)
    if KEY not in texts:
        return None
    try:
        said = json.loads(texts[KEY])
    except (RecursionError, ValueError) as error:
        raise CompressionError(f"{path} does not say what its components are of") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        raise CompressionError(f"{path} says {shown(said)} of its components, this version reads {FORMAT!r}")
    if fault := _fault(said, tensors):
        raise CompressionError(f"{path} has {fault}: fit it again with fastreid-ext compress")
    names = ("normalised", "images", "model_sha256", "config_sha256")
    return Compression(**{name: tensors[name] for name in TENSORS}, **{name: said[name] for name in names})


def find(weights: Path | None, record: ModelRecord) -> Compression:
    """Return the components for a model: those in its own file, else of a file beside it that is of these weights.

    Args:
        weights: the model's file; None = unknown.
        record: of the model.

    Raises:
        CompressionError: there are none, or those are of other weights or of another config.
    """
    again = "fit them with fastreid-ext compress"
    if weights is None:
        raise CompressionError(f"dim= needs principal components beside the weights, whose file is unknown: {again}")
    found, refused = _search(weights, record)
    if found is None:
        raise CompressionError(f"{refused or f'there is no {path_beside(weights)}'}: {again}")
    return found


def find_fitted(weights: Path, record: ModelRecord) -> Compression | None:
    """Return the components for a model as :func:`find`; None where none were fitted for it.

    Raises:
        CompressionError, SafetensorsError: a file of components is damaged.
    """
    return _search(weights, record)[0]


def _search(weights: Path, record: ModelRecord) -> tuple[Compression | None, str]:
    """Return the components for a model, and whose the others are that were found."""
    files = [weights] if weights.suffix == ".safetensors" else []
    beside = path_beside(weights)
    others = sorted(file for file in weights.parent.glob(f"*{SUFFIX}") if file != beside and file.is_file())
    files += [*([beside] if beside.is_file() else []), *others]
    refused = ""
    for file in files:
        found = load(file)
        if found is None:
            continue
        different = _difference(found, record)
        if not different:
            return found, ""
        refused = refused or f"{file} has the components of {different}"
    return None, refused


def check_fits(compression: Compression, dim: int) -> None:
    """Check that components suffice.

    Raises:
        CompressionError: they are fewer.
    """
    if dim > compression.dim:
        raise CompressionError(
            f"dim is {dim}, and {compression.dim} components were fitted: lower it, or call fastreid-ext compress --dim"
            f" {dim}"
        )


def _difference(compression: Compression, record: ModelRecord) -> str:
    if compression.model_sha256 != record.model_sha256:
        return "other weights"
    if compression.config_sha256 != record.config_sha256:
        return "another config (MODEL, INPUT.SIZE_TEST, INPUT.CROP or TEST.FLIP)"
    length = compression.components.shape[1]
    return "" if length == record.dim else f"features of {length} numbers, and the model gives {record.dim}"


def _fault(said: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Return what can't be in a file; "" = nothing."""
    if set(tensors) != set(TENSORS) or any(value.dtype is not torch.float32 for value in tensors.values()):
        return "other tensors than mean, components and explained in float32"
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    components = shapes["components"]
    fits = len(components) == 2 and 1 <= components[0] <= components[1]
    if not fits or shapes["mean"] != components[1:] or shapes["explained"] != components[:1]:
        return f"tensors of shapes that do not fit each other, {shown(shapes)}"
    if not all(value.isfinite().all() for value in tensors.values()):
        return "numbers that are not finite"
    whole = type(said.get("images")) is int and said["images"] > 0
    texts = all(isinstance(said.get(name), str) for name in ("model_sha256", "config_sha256"))
    return "" if whole and texts and type(said.get("normalised")) is bool else "no words on whose components it has"
