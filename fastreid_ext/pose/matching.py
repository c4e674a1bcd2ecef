"""Matches the people of pose files to a data set: one row of joints per image."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from fastreid_ext.data.body import HEAD
from fastreid_ext.data.datasets.files import list_images
from fastreid_ext.data.pixels.decoding import opened_image
from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.image_files import check_is_file, is_image
from fastreid_ext.pose.readers import Skeleton

PATTERNS = ("*", "*/*", "*/*/*", "*/*/*/*")  # of data sets' images; unlike "**" they follow links to folders
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height, as the host and OpenCV read such a file
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Imported:
    """The result of matching pose files to images.

    Attributes:
        poses: a row an image that has a pose.
        missing: images of the data set without a pose.
        unknown: images that the pose files name but the data set lacks.
        several: number of images in which the pose files have more than one person.
        rescaled: number of images whose pose file gives another size than the image has; their joints are scaled.
    """

    poses: Poses
    missing: Sequence[str]
    unknown: Sequence[str]
    several: int
    rescaled: int


def import_poses(people: Iterable[Skeleton], root: Path, threshold: float) -> Imported:
    """Give each image of a data set one person's joints.

    Args:
        people: what the pose files hold.
        root: folder of the data set, to which the rows' names are relative.
        threshold: confidence above which a joint is seen, for the choice among several people.

    Raises:
        PoseError: no image, no pose of an image, a name that fits several images, or joints that are not in pixels.
    """
    index = ImageIndex(root)
    found: dict[str, list[Skeleton]] = defaultdict(list)
    unknown: dict[str, None] = {}
    for person in people:
        name = index.find(person.image)
        if name is None:
            unknown.setdefault(person.image)
        elif name in found and found[name][0].image != person.image:
            raise PoseError(
                f"{found[name][0].image} and {person.image} would both be {name}: write the path below {root} of each"
                " image into the pose files"
            )
        else:
            found[name].append(person)
    if not found:
        first = f", the first is of {next(iter(unknown))}" if unknown else ""
        raise PoseError(f"there is no pose of any of the {len(index.names)} images below {root}{first}")
    names = sorted(found)
    sizes = [image_size(root / name) for name in names]
    chosen = [
        choose([in_pixels_of(person, size) for person in found[name]], size[0], threshold)
        for name, size in zip(names, sizes, strict=True)
    ]
    joints = np.stack([person.joints for person in chosen])
    seen = joints[joints[..., 2] > 0]
    if np.abs(seen[:, :2]).max() <= 1:
        raise PoseError("all joints lie within a pixel of the corner: write them in pixels, not as shares of the image")
    return Imported(
        Poses(names, joints, np.array(sizes)),
        missing=[name for name in index.names if name not in found],
        unknown=list(unknown),
        several=sum(len(people) > 1 for people in found.values()),
        rescaled=sum(found[name][0].size not in (None, size) for name, size in zip(names, sizes, strict=True)),
    )


def choose(people: Sequence[Skeleton], width: float, threshold: float) -> Skeleton:
    """Return the person whose head lies nearest the middle of the image's upper edge; of equals, the best score.

    The head lies at the mean of its joints that are seen, nose, eyes and ears; where none is, at the mean of all seen
    joints. Who has no seen joint at all comes last.
    """

    def rank(person: Skeleton) -> tuple[bool, float, float]:
        seen = person.joints[:, 2] > threshold
        head = [joint for joint in HEAD if seen[joint]]
        place = person.joints[head if head else np.flatnonzero(seen) if seen.any() else slice(None), :2].mean(axis=0)
        return not seen.any(), float(np.hypot(place[0] - width / 2, place[1])), -person.score

    return min(people, key=rank)


def in_pixels_of(person: Skeleton, size: tuple[int, int]) -> Skeleton:
    """Return the person in an image of this size, if the pose file gives the image another one."""
    if person.size in (None, size):
        return person
    joints = person.joints.copy()
    joints[:, :2] *= np.array(size) / np.array(person.size)
    return Skeleton(person.image, joints, person.score, size)


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image, read from its head.

    Raises:
        PoseError: it is not an image.
    """
    try:
        check_is_file(path)
        with opened_image(path) as image:
            width, height = image.size
            turned = image.getexif().get(EXIF_ORIENTATION) in TURNED
    except (OSError, ValueError) as error:
        raise PoseError(f"{path} can't be read as an image ({error})") from error
    return (height, width) if turned else (width, height)


class ImageIndex:
    """The images of a data set, found by what pose files call them.

    Attributes:
        names: path of each image below the data set's folder.
    """

    def __init__(self, root: Path):
        if not root.is_dir():
            raise PoseError(f"there is no folder {root}: --images is the folder of the data set")
        self.root = root
        self.names = [path.relative_to(root).as_posix() for path in list_images(root, *PATTERNS)]
        self._by_name: dict[str, list[PurePosixPath]] = defaultdict(list)
        for path in map(PurePosixPath, self.names):
            self._by_name[path.name].append(path)
            self._by_name[path.stem].append(path)

    def find(self, given: str) -> str | None:
        """Return the path of an image: exactly the given one, else the only one that ends like it or that it ends with.

        A given name without an image's suffix, such as OpenPose's, stands for an image with any.

        Raises:
            PoseError: several images fit equally well.
        """
        parts = PurePosixPath(given.replace("\\", "/")).parts
        if not parts:
            return None
        folders = parts[:-1]
        fits: dict[int, list[PurePosixPath]] = defaultdict(list)  # length of the common end -> images
        for path in self._by_name.get(parts[-1], ()):
            if path.name != parts[-1] and is_image(Path(parts[-1])):
                continue  # x.jpg isn't x.jpg.png
            own = path.parent.parts
            if own == folders:
                return path.as_posix()
            common = min(len(own), len(folders))
            if own[len(own) - common :] == folders[len(folders) - common :]:
                fits[common].append(path)
        if not fits:
            return None
        best = fits[max(fits)]
        if len(best) > 1:
            raise PoseError(
                f"{given} may be {best[0]} or {best[1]}: write the path below {self.root} of each image into the pose"
                " file (OpenPose: put its files into folders of the same names)"
            )
        return best[0].as_posix()
