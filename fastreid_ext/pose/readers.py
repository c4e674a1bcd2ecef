"""Pose files of other programs: COCO ground truth and keypoint results, AlphaPose, OpenPose; all of them JSON."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.data.body import COCO_JOINTS, OPENPOSE
from fastreid_ext.data.poses import PoseError
from fastreid_ext.errors import FileError
from fastreid_ext.foreign_files import read_json, shown

# COCO's visibility -> confidence. 1 is a joint that is hidden but was labelled: it's as good a place as any for a
# region, so it counts as seen at the usual threshold, and a threshold of 0.5 leaves it out.
CONFIDENCE_OF_VISIBILITY = {0: 0.0, 1: 0.5, 2: 1.0}
FARTHEST_PX = 1e6  # a coordinate beyond it is not a pixel
OPENPOSE_SUFFIX = "_keypoints"


@dataclass(frozen=True, eq=False)  # arrays do not compare
class Skeleton:
    """A person that a pose file names.

    Attributes:
        image: name or path of the image, as the file gives it; OpenPose's is without a suffix.
        joints: (17, 3) float: x, y in pixels and confidence, 0 to 1; COCO's order.
        score: of the person; where the file has none, the mean confidence.
        size: width and height that the file gives the image, if it does.
    """

    image: str
    joints: np.ndarray
    score: float
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Listed:
    """An image of a COCO file's list of images."""

    name: str
    size: tuple[int, int] | None


def read_skeletons(path: Path, form: str | None = None, annotations: Path | None = None) -> list[Skeleton]:
    """Read all people of a pose file, or of OpenPose's folder; images in which nobody was found don't appear.

    Args:
        path: the file or the folder.
        form: one of ``READERS``; by default it is told from the content.
        annotations: COCO file whose ``images`` name the images that the pose file numbers.

    Raises:
        PoseError: it can't be read, it is none of the formats, or an entry of it is not as the format says.
    """
    content = None if path.is_dir() else _load(path)
    form = form or _detect(path, content)
    images = {} if annotations is None else _images(_load(annotations), annotations)
    people = list(READERS[form](path, content, images))
    # A person of whom no joint is seen isn't there: COCO lists such people with zeros.
    return [person for person in people if (person.joints[:, 2] > 0).any()]


def read_coco(path: Path, content: Any, images: Mapping[Any, Listed]) -> Iterator[Skeleton]:
    """Read COCO ground truth: ``images``, and ``annotations`` with a visibility of 0, 1 or 2 a joint."""
    content = _of_type(content, dict, path)
    images = _images(content, path)
    for category in _entries(content.get("categories", []), path, "categories"):
        if category.get("keypoints", list(COCO_JOINTS)) != list(COCO_JOINTS):
            raise PoseError(
                f"{path}: category {shown(category.get('name'))} does not have COCO's 17 joints in COCO's order"
            )
    for number, entry in enumerate(_entries(content.get("annotations"), path, "annotations"), start=1):
        if "keypoints" not in entry:  # a box alone, of a file that has both
            continue
        where = f"{path}: annotation {number}"
        joints = _joints(entry["keypoints"], where)
        if not set(joints[:, 2]) <= set(CONFIDENCE_OF_VISIBILITY):
            raise PoseError(f"{where} has a visibility that is none of 0, 1, 2: read it with --format coco-results")
        joints[:, 2] = [CONFIDENCE_OF_VISIBILITY[int(visibility)] for visibility in joints[:, 2]]
        image = images.get(_key(entry.get("image_id")))
        if image is None:
            raise PoseError(f"{where} is of image {shown(entry.get('image_id'))}, which its images do not list")
        yield Skeleton(image.name, joints, _score(entry, joints, where), image.size)


def read_results(path: Path, content: Any, images: Mapping[Any, Listed]) -> Iterator[Skeleton]:
    """Read a list of people, as COCO's evaluation takes it and AlphaPose writes it.

    The image is what ``file_name`` or ``image_name`` says, else what ``images`` list under the ``image_id``, else an
    ``image_id`` that is itself a name.
    """
    for number, entry in enumerate(_entries(content, path, "it"), start=1):
        where = f"{path}: entry {number}"
        joints = _joints(entry.get("keypoints"), where)
        joints[:, 2] = joints[:, 2].clip(0, 1)  # AlphaPose's older models reach 6
        listed, name = _listed(entry, images, where)
        yield Skeleton(name, joints, _score(entry, joints, where), listed.size if listed else None)


def read_openpose(path: Path, content: Any, images: Mapping[Any, Listed]) -> Iterator[Skeleton]:
    """Read OpenPose's ``--write_json`` folder, ``<image>_keypoints.json`` each, or one such file."""
    files = sorted(path.rglob(f"*{OPENPOSE_SUFFIX}.json")) if path.is_dir() else [path]
    if not files:
        raise PoseError(f"{path} holds no file named like <image>{OPENPOSE_SUFFIX}.json")
    base = path if path.is_dir() else path.parent
    for file in files:
        whole = _of_type(_load(file) if path.is_dir() else content, dict, file)
        image = file.relative_to(base).with_name(file.stem.removesuffix(OPENPOSE_SUFFIX)).as_posix()
        for number, person in enumerate(_entries(whole.get("people"), file, "people"), start=1):
            where = f"{file}: person {number}"
            values = person.get("pose_keypoints_2d", person.get("pose_keypoints"))
            count = len(values) // 3 if isinstance(values, list) else 0
            if count not in OPENPOSE:
                raise PoseError(f"{where} has {count} joints: BODY_25 has 25 and OpenPose's COCO 18")
            joints = _joints(values, where, count)[list(OPENPOSE[count])]
            joints[:, 2] = joints[:, 2].clip(0, 1)
            yield Skeleton(image, joints, _score({}, joints, where))


# Name of a format -> its reader, of (path, content of the file or None for a folder, images that were listed).
READERS: dict[str, Callable[[Path, Any, Mapping[Any, Listed]], Iterator[Skeleton]]] = {
    "coco": read_coco,
    "coco-results": read_results,
    "alphapose": read_results,
    "openpose": read_openpose,
}


def _detect(path: Path, content: Any) -> str:
    if content is None or (isinstance(content, dict) and "people" in content):
        return "openpose"
    if isinstance(content, dict) and "annotations" in content and "images" in content:
        return "coco"
    if isinstance(content, list) and all(isinstance(entry, dict) and "keypoints" in entry for entry in content[:1]):
        return "coco-results"  # AlphaPose's too: it differs by naming the image in image_id
    raise PoseError(
        f"{path} is none of the known pose files: COCO annotations (images, annotations), a list of COCO keypoint"
        " results, AlphaPose's list, or OpenPose's folder of <image>_keypoints.json"
    )


def _load(path: Path) -> Any:
    try:
        return read_json(path)
    except FileError as error:
        raise PoseError(str(error)) from error


def _of_type(value: Any, kind: type, path: Path) -> Any:
    if not isinstance(value, kind):
        names = {dict: "an object", list: "a list"}
        raise PoseError(f"{path} should hold {names[kind]}: see --format")
    return value


def _entries(value: Any, path: Path, what: str) -> list[dict]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise PoseError(f"{path}: {what} should be a list of objects")
    return value


def _joints(values: Any, where: str, count: int = len(COCO_JOINTS)) -> np.ndarray:
    """(count, 3) float64 of a flat list of x, y, confidence."""
    if not isinstance(values, list) or len(values) != 3 * count:
        got = f"{len(values)} entries" if isinstance(values, list) else type(values).__name__
        raise PoseError(
            f"{where}: keypoints should be x, y, confidence of {count} joints, {3 * count} numbers, not {got}"
        )
    if not all(type(value) in (int, float) and abs(value) < FARTHEST_PX for value in values):
        raise PoseError(f"{where}: keypoints hold a value that is not a number, or is too large for a pixel")
    return np.array(values, dtype=np.float64).reshape(count, 3)


def _score(entry: Mapping[str, Any], joints: np.ndarray, where: str) -> float:
    score = entry.get("score")
    if score is None:
        return float(joints[:, 2].mean())
    if isinstance(score, list) and len(score) == 1:  # AlphaPose saved a tensor of one number
        score = score[0]
    if type(score) not in (int, float) or not abs(score) < FARTHEST_PX:
        raise PoseError(f"{where}: the score {shown(score)} is not a number")
    return float(score)


def _key(value: Any) -> str | int | None:
    return value if isinstance(value, str | int) else None


def _images(content: Any, path: Path) -> dict[Any, Listed]:
    """Image id -> image, of a COCO file."""
    images = {}
    for number, entry in enumerate(_entries(_of_type(content, dict, path).get("images"), path, "images"), start=1):
        key, name = _key(entry.get("id")), entry.get("file_name")
        size = entry.get("width"), entry.get("height")
        if key is None or not isinstance(name, str):
            raise PoseError(f"{path}: image {number} has no id or no file_name")
        whole = all(type(side) is int and 1 <= side < FARTHEST_PX for side in size)
        if key in images:
            raise PoseError(f"{path}: two images have the id {shown(key)}")
        images[key] = Listed(name, size if whole else None)
    return images


def _listed(entry: Mapping[str, Any], images: Mapping[Any, Listed], where: str) -> tuple[Listed | None, str]:
    key = _key(entry.get("image_id"))
    listed = images.get(key)
    for name in (entry.get("file_name"), entry.get("image_name"), listed and listed.name, key):
        if isinstance(name, str):
            return listed, name
    if not images:
        raise PoseError(
            f"{where} numbers its image ({shown(key)}): add --annotations, the COCO file that lists the images"
        )
    raise PoseError(f"{where} is of image {shown(key)}, which --annotations does not list")
