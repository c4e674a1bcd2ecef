"""SynthReID as data sets of the host: made on first use, holistic or occluded queries, by size and by world."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.files import LayoutError
from fastreid_ext.data.poses import Poses
from fastreid_ext.data.synthetic import GALLERY, QUERY, QUERY_OCCLUDED, SIZES, TRAIN, find, generate
from fastreid_ext.data.synthetic.writer import KEYPOINTS
from fastreid_ext.errors import FileError, first_line
from fastreid_ext.foreign_files import read_json

logger = logging.getLogger(__name__)

FILE_NAME = re.compile(r"(-?\d{1,9})_c(\d)s(\d)")
CAMERAS_PER_WORLD = 6
TRAITS = {"skin_tone": "skin tone", "build": "build"}  # key of the annotations -> name in reports
# COCO's visibility -> confidence. A joint behind an occluder is at a known position, so it counts like one in which a
# pose model has medium confidence; a joint outside the image has no position.
CONFIDENCE = np.array([0.0, 0.5, 1.0])


@dataclass(frozen=True)
class Choice:
    """A size, the directory of the queries, the suffixes of the test sets, and the sequences trained on (None: all)."""

    size: str
    query_name: str
    suffixes: tuple[str, ...]
    sequences: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Known:
    """What the annotations say of an image: the hidden share of the person, and the person's traits by name."""

    occlusion: float
    traits: dict[str, float]


def choices() -> dict[str, Choice]:
    """Return what each registered name stands for.

    Of a size with worlds there are, for each world X, ``...X``, which trains and tests on X alone, and ``...NoX``,
    which trains on all others and tests on X.
    """
    named = {}
    for end, size, suffixes in (("", "demo", ("",)), ("Tiny", "tiny", ("",)), ("Bench", "bench", ("",)),
                                ("BenchB", "bench", ("_b",))):  # fmt: skip
        named[end] = (size, suffixes, None)
    for end, size in (("Wide", "wide"), ("WideTiny", "wide_tiny")):
        worlds = SIZES[size].worlds
        every = range(1, len(worlds) + 1)
        named[end] = (size, SIZES[size].test_sets, None)
        for number, world, suffix in zip(every, worlds, SIZES[size].test_sets, strict=True):
            named[end + world.capitalize()] = (size, (suffix,), (number,))
            named[f"{end}No{world.capitalize()}"] = (size, (suffix,), tuple(n for n in every if n != number))
    return {
        f"SynthReID{kind}{end}": Choice(size, query_name, suffixes, sequences)
        for end, (size, suffixes, sequences) in named.items()
        for kind, query_name in (("", QUERY), ("Occluded", QUERY_OCCLUDED))
    }


VARIANTS = choices()


class SynthReIDVariant(ImageDataset):
    """One choice of size, queries, test sets and worlds; the variants of a size share its images.

    ``root`` is the folder of all data sets. What lies there as ``SynthReID-<size>`` is used, whatever its seed
    (`fastreid-ext synth` makes others); if there is nothing, the one of seed 0 is made, behind a progress bar.
    ``data_dir`` is the directory; the joints are in its ``keypoints`` (:meth:`poses`), as are how much of a person
    is hidden (:meth:`occlusion_of`) and, in sizes with worlds, skin tone and build (:meth:`traits_of`).
    """

    choice: Choice
    dataset_name: str

    def __init__(self, root: str = "datasets", **kwargs: Any):
        found = find(root, self.choice.size)
        self.data_dir = found or generate(root, self.choice.size)
        logger.info("%s %s", "found" if found else "made", self.data_dir)
        self._read: dict[str, dict[str, Known]] = {}
        self.train_dir = self.data_dir / TRAIN
        self.query_dirs = [self.data_dir / (self.choice.query_name + suffix) for suffix in self.choice.suffixes]
        self.gallery_dirs = [self.data_dir / (GALLERY + suffix) for suffix in self.choice.suffixes]
        super().__init__(
            lambda: self.read_items([self.train_dir], is_train=True),
            lambda: self.read_items(self.query_dirs),
            lambda: self.read_items(self.gallery_dirs),
            **kwargs,
        )

    def occlusion_of(self, path: str) -> float | None:
        """Return the hidden share of the person in an image, from 0 to 1; None where no annotation says it."""
        known = self._known(path)
        return known.occlusion if known else None

    def traits_of(self, path: str) -> Mapping[str, float]:
        """Return "skin tone" (0 light to 1 dark) and "build" (1 is medium) of the person; {} if nothing says them."""
        known = self._known(path)
        return known.traits if known else {}

    def poses(self) -> Poses:
        """Return the joints of all images, training and test: confidence 1 in sight, 0.5 hidden, 0 not in the image."""
        names, joints, sizes = [], [], []
        for file in sorted((self.data_dir / KEYPOINTS).glob("*.json")):
            with annotations(file) as known:
                images = {image["id"]: image for image in known["images"]}
                for annotation in known["annotations"]:
                    image = images[annotation["image_id"]]
                    names.append(f"{file.stem}/{image['file_name']}")
                    joints.append(np.array(annotation["keypoints"], dtype=np.float64).reshape(17, 3))
                    joints[-1][:, 2] = CONFIDENCE[joints[-1][:, 2].astype(int)]
                    sizes.append(np.array([int(image["width"]), int(image["height"])], dtype=np.int64))
        return Poses(names, np.array(joints).reshape(-1, 17, 3), np.array(sizes, dtype=np.int64).reshape(-1, 2))

    def _known(self, path: str) -> "Known | None":
        folder, name = Path(path).parent, Path(path).name
        return self._known_in(folder.name).get(name) if folder.parent == self.data_dir else None

    def _known_in(self, directory: str) -> dict[str, "Known"]:
        if directory not in self._read:
            file = self.data_dir / KEYPOINTS / f"{directory}.json"
            found: dict[str, Known] = {}
            if file.is_file():
                with annotations(file) as content:
                    found = {image["file_name"]: known_of(image) for image in content["images"]}
            self._read[directory] = found
        return self._read[directory]

    def read_items(self, directories: Sequence[Path], is_train: bool = False) -> list[tuple]:
        """List (path, person, camera) in the order of the paths.

        Persons and cameras of training images are strings with the set's name before them; those of test
        images are ints, cameras from 0. Of training images, only those of the chosen worlds are listed.
        """
        items = []
        for path in sorted(path for directory in directories for path in directory.glob("*.jpg")):
            named = FILE_NAME.match(path.name)
            if named is None:
                raise LayoutError(f"{path} is not named like an image of SynthReID: remove it")
            person, sequence = int(named[1]), int(named[3])
            camera = (sequence - 1) * CAMERAS_PER_WORLD + int(named[2]) - 1
            if is_train and self.choice.sequences is not None and sequence not in self.choice.sequences:
                continue
            if is_train:
                items.append((str(path), f"{self.dataset_name}_{person}", f"{self.dataset_name}_{camera}"))
            else:
                items.append((str(path), person, camera))
        return items


def variant(name: str, choice: Choice) -> type[SynthReIDVariant]:
    """Make the class of one of `VARIANTS`."""
    return type(
        name,
        (SynthReIDVariant,),
        {
            "__doc__": f"SynthReID of size {choice.size}, searched with the images in "
            + ", ".join(f"``{choice.query_name}{suffix}``" for suffix in choice.suffixes)
            + ".",
            "__module__": __name__,
            "dataset_name": f"synthreid-{choice.size}",
            "choice": choice,
        },
    )


# They are also attributes of this module, so that they pickle.
globals().update({name: variant(name, choice) for name, choice in VARIANTS.items()})
for name in VARIANTS:
    register(DATASET_REGISTRY)(globals()[name])


def known_of(image: Mapping[str, Any]) -> Known:
    """Read an image's entry of the annotations; sizes without worlds have no traits."""
    traits = {name: float(image[key]) for key, name in TRAITS.items() if key in image}
    return Known(float(image["occlusion"]), traits)


@contextmanager
def annotations(file: Path) -> Iterator[dict[str, Any]]:
    """Give what an annotation file holds; whoever reads it need not check what is there.

    Raises:
        LayoutError: it can't be read, or something is missing in it or of another kind.
    """
    try:
        yield read_json(file)
    except (AttributeError, FileError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        said = first_line(error) if isinstance(error, FileError) else f"{type(error).__name__} {first_line(error)}"
        raise LayoutError(f"{file} is damaged ({said}): delete the data set, it is rendered again") from error
