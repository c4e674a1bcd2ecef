"""What a file of a model says of itself: how its pixels are made and what its features are."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.engine.checks.ranges import METRICS
from fastreid_ext.errors import UserError
from fastreid_ext.foreign_files import are_whole_numbers, shown
from fastreid_ext.inference.fingerprints import feature_identity, versions
from fastreid_ext.modeling.safetensors_files import RECORD

FORMAT = "fastreid-ext model 1"
KEY = RECORD  # of the record in the metadata of a file
PIXELS = ("raw", "imagenet")  # 0 to 255; or (raw - mean) / std
TYPES = ("float32", "float16")
LARGEST = 1 << 14  # of an image's sides
READ_BY_TEST = ("MODEL", "INPUT", "TEST")


class RecordError(UserError):
    """A file of a model without such a record, or with one that can't be."""


@dataclass(frozen=True)
class ModelRecord:
    """How to make the input of a model, and what its output is.

    An image is RGB, resized to ``size`` (bicubic, unless that is empty), then cropped about its middle to ``crop``
    where one is given.

    Attributes:
        architecture: MODEL.META_ARCHITECTURE.
        dim: D, numbers of a feature.
        size: (height, width); (n,) = of the shorter side; () = images keep theirs.
        crop: (height, width); () = none.
        pixels: what the input holds, one of PIXELS.
        mean, std: of the three channels, on the 0-255 scale.
        normalised: whether a feature has length 1.
        flip: whether a test feature is the mean with the mirrored image's; the file itself gives that of one image.
        metric: TEST.METRIC, "cosine" or "euclidean"; "jaccard" ranks a gallery, and compares no two features.
        dtype: of the weights and features.
        model_sha256, config_sha256: what two features must share to be compared
            (:func:`fastreid_ext.inference.fingerprints.feature_identity`).
        config: the nodes of the config that a test reads, as yaml; "" where the file needs none.
        same_person: what :class:`fastreid_ext.evaluation.same_person.SamePerson` was saved as; None = not measured.
        versions: of the libraries that made the file.
    """

    architecture: str
    dim: int
    size: tuple[int, ...]
    crop: tuple[int, ...]
    pixels: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    normalised: bool
    flip: bool
    metric: str
    dtype: str
    model_sha256: str
    config_sha256: str
    config: str = ""
    same_person: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the record as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_text(cls, text: str, file: object) -> "ModelRecord":
        """Read what :meth:`text` wrote.

        Args:
            text: JSON from a file that may be of anybody.
            file: its name, for messages.

        Raises:
            RecordError: it is not such a record, or has values that can't be.
        """
        try:
            data = json.loads(text)
        except (RecursionError, ValueError) as error:
            raise RecordError(f"{file} does not say what its model reads: its record is no JSON") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            found = data.get("format") if isinstance(data, dict) else data
            raise RecordError(f"{file} says {shown(found)} of its model, this version reads {FORMAT!r}")
        known = {each.name for each in fields(cls)}
        absent = known - set(data)
        if absent:
            raise RecordError(f"{file} does not say {', '.join(sorted(absent))} of its model")
        lists = ("size", "crop", "mean", "std")
        values = {
            name: tuple(data[name]) if name in lists and type(data[name]) is list else data[name] for name in known
        }
        record = cls(**values)
        if faults := record._faults():
            raise RecordError(f"{file} says of its model {faults[0]} {shown(values[faults[0]])}, which can't be")
        return record

    def _faults(self) -> list[str]:
        """Return the names of the values that can't be."""
        texts = ("architecture", "model_sha256", "config_sha256", "config")
        good = {
            **{name: isinstance(getattr(self, name), str) for name in texts},
            "size": _are_sides(self.size, (0, 1, 2)),
            "crop": _are_sides(self.crop, (0, 2)),
            **{name: isinstance(getattr(self, name), bool) for name in ("normalised", "flip")},
            "dim": are_whole_numbers([self.dim], least=1),
            "pixels": self.pixels in PIXELS,
            "mean": _are_three(self.mean),
            "std": _are_three(self.std) and min(self.std) > 0,
            "metric": self.metric in METRICS,
            "dtype": self.dtype in TYPES,
            "same_person": self.same_person is None or isinstance(self.same_person, dict),
            "versions": isinstance(self.versions, dict),
        }
        return [name for name, fits in good.items() if not fits]

    @property
    def identity(self) -> dict[str, Any]:
        """What two stores of features must share to be compared."""
        names = ("architecture", "model_sha256", "config_sha256", "metric", "flip")
        return {name: getattr(self, name) for name in names}


def _are_sides(value: Any, lengths: tuple[int, ...]) -> bool:
    whole = isinstance(value, tuple) and len(value) in lengths and are_whole_numbers(value, least=1)
    return whole and max(value, default=1) <= LARGEST


def _are_three(value: Any) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 3
        and all(isinstance(one, int | float) and not isinstance(one, bool) and math.isfinite(one) for one in value)
    )


def record_of(cfg: CfgNode, model: nn.Module, dim: int, **differing: Any) -> ModelRecord:
    """Return the record of a trained model whose features are as it gives them, on the 0-255 scale, in float32.

    Args:
        cfg: its config.
        model: of ``load_trained``.
        dim: numbers of its feature.
        differing: what else a file has, such as pixels="imagenet".
    """
    size, crop = tuple(cfg.INPUT.SIZE_TEST), tuple(cfg.INPUT.CROP.SIZE) if cfg.INPUT.CROP.ENABLED else ()
    values: dict[str, Any] = {
        "dim": dim,
        "size": size if size[0] > 0 else (),
        "crop": crop if len(crop) != 1 else crop * 2,
        "pixels": "raw",
        "mean": tuple(float(one) for one in cfg.MODEL.PIXEL_MEAN),
        "std": tuple(float(one) for one in cfg.MODEL.PIXEL_STD),
        "normalised": False,
        "dtype": "float32",
        "config": config_text(cfg),
        "versions": versions(),
        **feature_identity(cfg, model),
    }
    return ModelRecord(**{**values, **differing})


def config_text(cfg: CfgNode) -> str:
    """Return the nodes of a config that a test reads as yaml, without paths of the machine it was trained on."""
    kept = CfgNode({name: cfg[name].clone() for name in READ_BY_TEST})
    kept.defrost()
    kept.MODEL.WEIGHTS = kept.MODEL.BACKBONE.PRETRAIN_PATH = ""
    kept.MODEL.HEADS.NUM_CLASSES = 0  # which no test feature depends on
    kept.INPUT.JOINTS.FILES, kept.TEST.REPORT.OCCLUSION_FILES = [], []
    return kept.dump()
