"""``same_person.json`` beside the weights: what their similarities tell, for these weights and this config alone.

A file of ``fastreid-ext export --format weights`` has it in itself. One that lies beside it and holds for its weights
was measured later, and counts.
"""

import json
import logging
from pathlib import Path
from typing import Any

from fastreid.config import CfgNode
from torch import nn

from fastreid_ext.errors import FileError
from fastreid_ext.evaluation.same_person import SamePerson, SamePersonError
from fastreid_ext.files import write_text
from fastreid_ext.foreign_files import read_json
from fastreid_ext.inference.fingerprints import feature_identity
from fastreid_ext.inference.weights_file import same_person_in

NAME = "same_person.json"
IDENTITY = {
    "model_sha256": "other weights",
    "config_sha256": "another config (MODEL, INPUT.SIZE_TEST, INPUT.CROP or TEST.FLIP)",
    "metric": "another TEST.METRIC",
}

logger = logging.getLogger(__name__)


def same_person_path(cfg: CfgNode) -> Path:
    """Return where the file of MODEL.WEIGHTS lies, whether there is one or not."""
    return Path(cfg.MODEL.WEIGHTS).parent / NAME


def write_same_person(path: Path, same_person: SamePerson) -> None:
    """Write a file of thresholds as JSON.

    Raises:
        FileError: it can't be written.
    """
    write_text(path, json.dumps(same_person.to_dict(), indent=1) + "\n")


def read_same_person(path: Path) -> SamePerson:
    """Read what :func:`write_same_person` wrote.

    Raises:
        FileError: it can't be read, or it is no JSON.
        SamePersonError: it is something else, or holds values that can't be.
    """
    try:
        return SamePerson.from_dict(read_json(path), path)
    except FileError as error:
        raise SamePersonError(f"{error}: measure again with fastreid-ext verify --calibrate") from error


def differences(same_person: SamePerson, identity: dict[str, Any]) -> str:
    """Return why thresholds do not hold for features, as the end of a sentence; "" = they hold.

    Args:
        same_person: the thresholds.
        identity: of the features, see :func:`fastreid_ext.inference.fingerprints.feature_identity`.
    """
    return " and ".join(what for key, what in IDENTITY.items() if getattr(same_person, key) != identity[key])


def find_same_person(cfg: CfgNode, model: nn.Module) -> SamePerson | None:
    """Return what was measured for a trained model, from beside MODEL.WEIGHTS or in that file; None without any for it.

    A file of other weights or of another config, such as model_best.pth beside model_final.pth, is not used; the log
    says so.

    Args:
        cfg: the model's config.
        model: of ``load_trained``.

    Raises:
        SamePersonError: the file is damaged.
    """
    if not cfg.MODEL.WEIGHTS:
        return None
    weights, identity = Path(cfg.MODEL.WEIGHTS), feature_identity(cfg, model)
    found, refused = measured_beside(weights, identity)
    unfit = [f"{refused} than this model: it is not used"] if refused else []
    if not found:
        found, refused = measured_inside(weights, identity)
        unfit += [f"{refused} than this model: they are not used"] if refused else []
    for sentence in () if found else unfit:
        logger.warning("%s", sentence)
    return found


def measured_beside(weights: Path, identity: dict[str, Any]) -> tuple[SamePerson | None, str]:
    """Return what the file beside some weights says of their features, or None and what else it is of, if it is there.

    Raises:
        SamePersonError: the file is damaged.
    """
    path = weights.parent / NAME
    if not path.is_file():
        return None, ""
    found = read_same_person(path)
    different = differences(found, identity)
    return (None, f"{path} is of {different}") if different else (found, "")


def measured_inside(weights: Path, identity: dict[str, Any]) -> tuple[SamePerson | None, str]:
    """Return what a file of weights says of their features itself, or None and what else its thresholds are of, if any.

    Raises:
        WeightsFileError, RecordError, SamePersonError: what it says can't be.
    """
    inside = same_person_in(weights)
    if inside is None:
        return None, ""
    found = SamePerson.from_dict(inside, weights)
    different = differences(found, identity)
    return (None, f"the thresholds in {weights} are of {different}") if different else (found, "")


def same_person_for(identity: dict[str, Any], path: Path, command: str, weights: Path | None = None) -> SamePerson:
    """Return what a file says, for features that it holds for.

    Args:
        identity: of the features.
        path: of the file.
        command: how the user measures, for the message.
        weights: the model's file, whose own thresholds do where that file is absent or of other features.

    Raises:
        SamePersonError: there is no such file, it is damaged, or it is of other features.
    """
    found = read_same_person(path) if path.is_file() else None
    different = differences(found, identity) if found else ""
    if found and not different:
        return found
    inside, refused = measured_inside(weights, identity) if weights else (None, "")
    if inside:
        return inside
    if refused and not found:
        raise SamePersonError(f"{refused} than this model: measure them with {command}")
    if found:
        raise SamePersonError(f"{path} is of {different}: measure again with {command}")
    raise SamePersonError(
        f"there is no {path}, so no similarity is known to be the same person: measure it with {command}"
    )
