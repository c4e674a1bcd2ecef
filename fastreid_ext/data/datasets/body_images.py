"""Sets of occluded or partial queries and a gallery of whole bodies: Occluded-REID, P-DukeMTMC, Partial-REID."""

import re
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.files import find_folder, list_images, refuse_names, training_item

QUERY_CAMERA, GALLERY_CAMERA = 0, 1
FILE_NAME = re.compile(r"(\d+)_")


class BodyImages(ImageDataset):
    """A folder of queries and one of gallery images, whose names contain persons but no cameras.

    The query's camera is 0 and the gallery's 1, so that nothing is left out of a ranking. The person is the name of
    an image's own folder, or, for an image right in the query's or gallery's folder, the digits before its first
    ``_``; those after it are the number of the image.
    """

    folders: tuple[str, ...]
    query_name: str
    gallery_name = "whole_body_images"
    train_names: tuple[str, ...] = ()  # of the queries' and the gallery's kind
    dataset_name: str
    test_only = True

    def __init__(self, root: str = "datasets", **kwargs: Any):
        names = (*self.train_names, self.query_name, self.gallery_name)
        self.data_dir = find_folder(root, self.folders, names)
        super().__init__(
            self.read_train,
            lambda: [(str(path), person, QUERY_CAMERA) for path, person in self.read_persons(self.query_name)],
            lambda: [(str(path), person, GALLERY_CAMERA) for path, person in self.read_persons(self.gallery_name)],
            **kwargs,
        )

    def read_train(self) -> list[tuple]:
        """List the training images by name, with the cameras of the test images' rule."""
        return [
            training_item(path, self.dataset_name, person, camera)
            for camera, name in enumerate(self.train_names)
            for path, person in self.read_persons(name)
        ]

    def read_persons(self, name: str) -> list[tuple[Path, int]]:
        """List (path, person) of one folder, by name."""
        folder = self.data_dir / name
        found = []
        for path in list_images(folder, "*", "*/*"):
            if path.parent == folder:
                match = FILE_NAME.match(path.name)
                found.append((path, match and match[1]))
            else:
                found.append((path, path.parent.name if re.fullmatch(r"\d+", path.parent.name) else None))
        refuse_names((path for path, person in found if not person), f"{folder}/001/001_01.tif or {folder}/001_01.jpg")
        return [(path, int(person)) for path, person in found]


@register(DATASET_REGISTRY)
class OccludedREID(BodyImages):
    """Occluded-REID: five occluded and five whole images of each of 200 persons; to test on, train on Market1501.

    Reference: Zhuo et al., Occluded Person Re-identification, ICME 2018.
    Tree: ``Occluded_REID`` with ``occluded_body_images/001/001_01.tif`` and ``whole_body_images/001/001_01.tif``.
    Rule: every query against the whole gallery.
    """

    folders = ("Occluded_REID", "OccludedREID", "Occluded-REID", "Occluded_ReID")
    query_name = "occluded_body_images"
    dataset_name = "occludedreid"


@register(DATASET_REGISTRY)
class PDukeMTMC(BodyImages):
    """P-DukeMTMC-reID: images of DukeMTMC-reID, of persons who are seen both occluded and whole.

    Reference: Zhuo et al., Occluded Person Re-identification, ICME 2018.
    Tree: ``P-DukeMTMC-reid`` with ``train`` and ``test``, in each ``occluded_body_images/<person>/`` and
    ``whole_body_images/<person>/``.
    Rule: every query against the whole gallery; training uses occluded and whole images.
    """

    folders = ("P-DukeMTMC-reid", "P-DukeMTMC-reID", "P-DukeMTMC")
    train_names = ("train/occluded_body_images", "train/whole_body_images")
    query_name = "test/occluded_body_images"
    gallery_name = "test/whole_body_images"
    dataset_name = "pdukemtmc"
    test_only = False


@register(DATASET_REGISTRY)
class PartialREID(BodyImages):
    """Partial-REID: five partial and five whole images of each of 60 persons; to test on, train on Market1501.

    Reference: Zheng et al., Partial Person Re-Identification, ICCV 2015.
    Tree: ``Partial_REID`` with ``partial_body_images/001_001.jpg`` and ``whole_body_images/001_001.jpg``.
    Rule: every query against the whole gallery.
    """

    folders = ("Partial_REID", "PartialREID", "Partial-REID_Dataset", "Partial-REID")
    query_name = "partial_body_images"
    dataset_name = "partialreid"
