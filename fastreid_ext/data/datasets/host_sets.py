"""FastReID's smaller sets of people, which have training images alone: where they lie and how they are named."""

import re
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.data.datasets.files import LayoutError, list_images, refuse_names, training_item
from fastreid_ext.data.datasets.host_classes import mend


@dataclass(frozen=True)
class Naming:
    """How the images of a set tell person and camera.

    Attributes:
        patterns: what to look at below the folder that FastReID's class reads, or its ``parts``, such as "*/*".
        name: of an image below that folder, without its suffix; groups ``person`` and ``camera``.
        example: such a name, for messages.
        person, camera: labels made of the groups; "{camera}" is the group itself.
        parts: folders that must be there.
    """

    patterns: tuple[str, ...]
    name: str
    example: str
    person: str = "{person}"
    camera: str = "{camera}"
    parts: tuple[str, ...] = (".",)


ANY_DEPTH = ("*", "*/*", "*/*/*", "*/*/*/*")
NUMBERED = Naming(("*",), r"(?P<person>[^_]+)_(?P<camera>[^_]+)(_.*)?", "0001_1_25004.jpg: person, camera")
BY_FOLDER = Naming(("*/*",), r"(?P<person>[^/]+)/.+", "0001/a.jpg: a folder for each person", camera="cam0")

# Registered name -> naming. The labels are those that FastReID's classes give.
NAMINGS = {
    "CAVIARa": Naming(("*",), r"(?P<person>.{4}).*", "0001001.jpg: four letters for the person", camera="cam0"),
    "cuhkSYSU": Naming(("*",), r"p0*(?P<person>\d+)_s\d.*", "p1_s1_1.jpg: p, the person, _s", camera="0"),
    "GRID": NUMBERED,
    "iLIDS": Naming(("*/*",), r"(?P<person>[^/]+)/(?P<camera>[^_/]+)_.*", "person001/cam1_1.png: person, camera"),
    "LPW": Naming(
        ("*/*/*",),
        r"(?P<scene>scen[123])/(?P<camera>[^/]+)/(?P<person>[^/]+)/.+",
        "scen1/view1/1/0001.jpg: scene, camera, person",
        person="{scene}-{person}",
        parts=("scen1", "scen2", "scen3"),
    ),
    "PeS3D": BY_FOLDER,
    "PKU": NUMBERED,
    "PRAI": NUMBERED,
    "PRID": Naming(
        ANY_DEPTH,
        r"(.*/)?[^_/]*_(?P<person>[^_/]+)[^/]*/(?P<camera>[^_/]+)(_[^/]*)?",
        "person_0001/cama_0001.png: person, camera",
    ),
    "SAIVT": Naming(
        ("*/*",),
        r"cropped_images/(?P<person>[^/]+)/[^-/]*-[^-/]*-(?P<camera>[^-/]+)(-[^/]*)?",
        "001/001-0013-C3-0001.jpeg: person; what stands behind the second - is the camera",
        parts=("cropped_images",),
    ),
    "SenseReID": Naming(
        ("*",),
        r"[^/]+/(?P<person>[^_/]+)_(?P<camera>[^_./]+)([_.].*)?",
        "test_prob/00001_0.jpg: person, camera",
        parts=("test_gallery", "test_prob"),
    ),
    "Shinpuhkan": Naming(
        ANY_DEPTH,
        r"(.*/)?(?P<person>[^_/]+)_[^_/]*_(?P<camera>[^_/]+)(_[^/]*)?",
        "001/001_01_01_001.jpg: person, track, camera",
    ),
    "SYSU_mm": Naming(
        ("*/*",),
        r"(?P<camera>cam[1245])/(?P<person>[^/]+)/.+",
        "cam1/0001/0001.jpg: camera, person",
        parts=("cam1", "cam2", "cam4", "cam5"),
    ),
    "Thermalworld": BY_FOLDER,
    "VIPeR": Naming(
        ("*",),
        r"(?P<camera>cam_[ab])/(?P<person>[^_/]+)(_.*)?",
        "cam_a/000_45.bmp: camera, person",
        parts=("cam_a", "cam_b"),
    ),
    "WildTrackCrop": Naming(
        ("*/*",), r"(?P<person>[^/]+)/(?P<camera>[^_/]+)(_.*)?", "0001/0_00000000.png: person, camera"
    ),
}


class NamedImages:
    """What a class of FastReID's reads its folder with; ``naming`` says how its images are named.

    Raises:
        LayoutError: a folder is missing, or an image's name can't be read (LabelError).
    """

    naming: Naming
    dataset_name: str

    def process_train(self, train_path: str) -> list[tuple]:
        """List (path, person, camera) of the training images by name."""
        folder, naming = Path(train_path), self.naming
        parts = [folder / part for part in naming.parts]
        for part in parts:
            if not part.is_dir():
                raise LayoutError(f"there is no folder {part}")
        items, odd = [], []
        for path in (path for part in parts for path in list_images(part, *naming.patterns)):
            match = re.fullmatch(naming.name, path.relative_to(folder).with_suffix("").as_posix())
            if match is None:
                odd.append(path)
                continue
            labels = match.groupdict()
            person, camera = naming.person.format(**labels), naming.camera.format(**labels)
            items.append(training_item(path, self.dataset_name, person, camera))
        refuse_names(odd, naming.example)
        return items

    process_dir = process_train  # what some of the classes call it


# They are also attributes of this module, so that they pickle.
for _name, _naming in NAMINGS.items():
    _doc = f"FastReID's {_name}, for training alone; names like {_naming.example}."
    if _kind := mend(_name, NamedImages, naming=_naming, __doc__=_doc):
        globals()[_name] = _kind
