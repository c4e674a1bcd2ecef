"""Sets of occluded or partial queries and a gallery of whole bodies, whose names tell no cameras."""

import re
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.files import LabelError, list_images, refuse_names, report_zeros, training_item
from fastreid_ext.data.datasets.folders import find_layout

QUERY_CAMERA, GALLERY_CAMERA = 0, 1
NUMBER = r"(\d{1,18})"  # of more digits it would not fit into an int64
HOST_FOLDERS = ("query", "gallery")  # of FastReID's projects/PartialReID
ICME2018 = "ICME2018_Occluded-Person-Reidentification_datasets"  # the repository that three of them come in


class BodyImages(ImageDataset):
    """A folder of queries and one of gallery images, whose names contain persons but no cameras.

    The query's camera is 0 and the gallery's 1, so that nothing is left out of a ranking. The person is the name of
    an image's own folder, or, for an image right in the query's or gallery's folder, the digits before its first
    ``_``; those after it are the number of the image. Where folder and name both tell a person, they must agree.
    """

    folders: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]  # folders of queries and of the gallery, as its makers or others call them
    trains: tuple[str, ...] = ()  # of the queries' and the gallery's kind
    dataset_name: str
    example = "001/001_01.tif or 001_01.jpg"
    file_name = re.compile(f"{NUMBER}_")
    test_only = True
    same_numbers = True

    def __init__(self, root: str = "datasets", **kwargs: Any):
        layouts = [(*self.trains, *test) for test in self.tests]
        self.data_dir, _, (*trains, query, gallery) = find_layout(root, self.folders, layouts)
        self.train_dirs, self.query_dir, self.gallery_dir = trains, query, gallery
        super().__init__(
            self.read_train,
            lambda: [(str(path), person, QUERY_CAMERA) for path, person in self.read_persons(query)],
            lambda: [(str(path), person, GALLERY_CAMERA) for path, person in self.read_persons(gallery)],
            **kwargs,
        )

    def read_train(self) -> list[tuple]:
        """List the training images by name, with the cameras of the test images' rule."""
        return [
            training_item(path, self.dataset_name, person, camera)
            for camera, folder in enumerate(self.train_dirs)
            for path, person in self.read_persons(folder)
        ]

    def read_persons(self, folder: Path) -> list[tuple[Path, int]]:
        """List (path, person) of one folder, by name.

        Raises:
            LabelError: a name tells no person, or another one than its folder.
        """
        found, texts = [], []
        for path in list_images(folder, "*", "*/*"):
            by_name = self.file_name.match(path.name)
            by_folder = path.parent != folder and re.fullmatch(NUMBER, path.parent.name)
            if by_folder and by_name and int(by_folder[1]) != int(by_name[1]):
                raise LabelError(
                    f"{path} lies in the folder of person {by_folder[1]} and is named after person {by_name[1]}: move"
                    " or rename it"
                )
            told = by_name if path.parent == folder else by_folder
            if told:
                texts.append((path, told[1]))
            found.append((path, told and int(told[1])))
        expected = " or ".join(f"{folder}/{name}" for name in self.example.split(" or "))
        refuse_names((path for path, person in found if not isinstance(person, int)), expected)
        report_zeros(texts)
        return found


@register(DATASET_REGISTRY)
class OccludedREID(BodyImages):
    """Occluded-REID: five occluded and five whole images of each of 200 persons; to test on, train on Market1501.

    Reference: Zhuo et al., Occluded Person Re-identification, ICME 2018.
    Tree: ``Occluded_REID`` with ``occluded_body_images/001/001_01.tif`` and ``whole_body_images/001/001_01.tif``, or
    ``OccludedREID`` with ``query`` and ``gallery``, as in FastReID's PartialReID project.
    Rule: every query against the whole gallery.
    """

    folders = ("Occluded_REID", "OccludedREID", f"{ICME2018}/Occluded_REID")
    tests = (("occluded_body_images", "whole_body_images"), HOST_FOLDERS)
    dataset_name = "occludedreid"


@register(DATASET_REGISTRY)
class PDukeMTMC(BodyImages):
    """P-DukeMTMC-reID: images of DukeMTMC-reID, of persons who are seen both occluded and whole.

    Reference: Zhuo et al., Occluded Person Re-identification, ICME 2018.
    Tree: ``P-DukeMTMC-reid`` with ``train`` and ``test``, in each ``occluded_body_images/<person>/`` and
    ``whole_body_images/<person>/``.
    Rule: every query against the whole gallery; training uses occluded and whole images.
    """

    folders = ("P-DukeMTMC-reid", "P-DukeMTMC", f"{ICME2018}/P-DukeMTMC-reid")
    tests = (("test/occluded_body_images", "test/whole_body_images"),)
    trains = ("train/occluded_body_images", "train/whole_body_images")
    dataset_name = "pdukemtmc"
    example = "0001/0001_c2_f0046182.jpg"
    test_only = False


@register(DATASET_REGISTRY)
class PartialREID(BodyImages):
    """Partial-REID: five partial and five whole images of each of 60 persons; to test on, train on Market1501.

    Reference: Zheng et al., Partial Person Re-Identification, ICCV 2015.
    Tree: ``Partial_REID`` (or `Partial-REID_Dataset`) with ``partial_body_images/001_001.jpg`` (or
    ``occluded_body_images``) and ``whole_body_images/001_001.jpg``, or ``PartialREID`` with ``query`` and ``gallery``.
    Rule: every query against the whole gallery.
    """

    folders = ("Partial_REID", "PartialREID", "Partial-REID_Dataset")
    tests = (
        ("partial_body_images", "whole_body_images"),
        ("occluded_body_images", "whole_body_images"),
        HOST_FOLDERS,
    )
    dataset_name = "partialreid"


@register(DATASET_REGISTRY)
class PartialILIDS(BodyImages):
    """Partial-iLIDS: a partial and a whole image of each of 119 persons; to test on, train on Market1501.

    Reference: He et al., Deep Spatial Feature Reconstruction for Partial Person Re-identification, CVPR 2018.
    Tree: ``Partial_iLIDS`` with ``Probe/1.jpg`` and ``Gallery/1.jpg``, or ``PartialiLIDS`` with ``query`` and
    ``gallery``, as in FastReID's PartialReID project; the digits at the start of a name are the person.
    Rule: every query against the whole gallery.
    """

    folders = ("Partial_iLIDS", "PartialiLIDS", "Partial-iLIDS_Dataset")
    tests = (("Probe", "Gallery"), HOST_FOLDERS)
    dataset_name = "partialilids"
    example = "1.jpg or 1_1.jpg"
    file_name = re.compile(rf"{NUMBER}[_.]")


@register(DATASET_REGISTRY)
class PartialiLIDS(PartialILIDS):
    """Partial-iLIDS by the name that FastReID's PartialReID project gives it; see `PartialILIDS`."""


@register(DATASET_REGISTRY)
class PETHZ(BodyImages):
    """P-ETHZ: occluded and whole images of 85 persons of ETHZ, 3,897 in all; to test on, train on another set.

    Reference: Zhuo et al., Occluded Person Re-identification, ICME 2018.
    Tree: ``P_ETHZ`` with ``occluded_body_images/<person>/`` and ``whole_body_images/<person>/``.
    Rule: every query against the whole gallery.
    """

    folders = ("P_ETHZ", f"{ICME2018}/P_ETHZ")
    tests = (("occluded_body_images", "whole_body_images"), HOST_FOLDERS)
    dataset_name = "pethz"
    example = "001/001_01.png or 001_01.png"
