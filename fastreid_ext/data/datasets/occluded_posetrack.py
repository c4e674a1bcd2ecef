"""Occluded-PoseTrack-ReID: boxes of PoseTrack21, in many of which several people are seen."""

import re
from pathlib import Path
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from fastreid_ext.compat.names import register
from fastreid_ext.data.datasets.body_images import GALLERY_CAMERA, NUMBER, QUERY_CAMERA
from fastreid_ext.data.datasets.files import LayoutError, list_images, refuse_names, training_item
from fastreid_ext.data.datasets.folders import find_layout
from fastreid_ext.data.datasets.market_tree import FOLDERS, read_names
from fastreid_ext.foreign_files import is_below, read_json, shown

# Of train and test images: PoseTrack21's splits.
IMAGES = ("images/train", "images/val")
CHOICE = "{}_dataset_sampling.json"
CROPS = "images/anns/{}_reid_crops_anns.json"
SPLITS = ("train", "query", "gallery")
FILE_NAME = re.compile(f"{NUMBER}_")
EXAMPLE = "{}/000342/34203_000342_10003420034.jpg, a person, a video and a frame in the video's folder"


@register(DATASET_REGISTRY)
class OccludedPoseTrack(ImageDataset):
    """Occluded-PoseTrack-ReID: every query is among the most occluded images of its person.

    Reference: Somers et al., Keypoint Promptable Re-Identification, ECCV 2024.
    Tree: ``PoseTrack21/occluded_posetrack_reid`` (or `occluded_posetrack_reid`, `Occluded-PoseTrack-ReID`) with its
    makers' ``train_dataset_sampling.json`` and ``val_dataset_sampling.json``, and what their code writes when it first
    runs: ``images/train``, ``images/val`` and ``images/anns``. Or the three folders of Market1501, with the video as
    camera.
    Rule: every query against the whole gallery, images of the query's own video too. Cameras are the videos in
    training, 0 for queries and 1 for the gallery.
    """

    folders = ("PoseTrack21/occluded_posetrack_reid", "occluded_posetrack_reid", "Occluded-PoseTrack-ReID")
    dataset_name = "occludedposetrack"

    def __init__(self, root: str = "datasets", **kwargs: Any):
        self.data_dir, layout, self._dirs = find_layout(root, self.folders, [IMAGES, FOLDERS])
        read = (self.read_by_lists, self.read_by_folders)[layout]
        super().__init__(
            lambda: [training_item(path, self.dataset_name, *labels) for path, *labels in read("train")],
            lambda: [(str(path), person, QUERY_CAMERA) for path, person, _ in read("query")],
            lambda: [(str(path), person, GALLERY_CAMERA) for path, person, _ in read("gallery")],
            **kwargs,
        )

    def read_by_folders(self, split: str) -> list[tuple[Path, int, int]]:
        """List (path, person, video) of one of Market1501's folders, by name."""
        paths = list_images(self._dirs[SPLITS.index(split)], "*")
        return read_names(paths, "0001_c12_340.jpg: a person, c and a video")

    def read_by_lists(self, split: str) -> list[tuple[Path, int, str]]:
        """List (path, person, video) of the images that the makers' files choose, by path.

        Raises:
            LayoutError: a file is missing or of another form, or an image is not named as they name it.
        """
        folder = self._dirs[split != "train"]
        choice, crops = (self.data_dir / name.format(folder.name) for name in (CHOICE, CROPS))
        chosen = {by for by, of in zip(*columns(choice, "id", "split"), strict=True) if of == split}
        found = []
        for by, name in zip(*columns(crops, "id", "reid_crop_path"), strict=True):
            if by not in chosen or name is None:
                continue
            if not (isinstance(name, str) and is_below(name)):
                raise LayoutError(f"{crops} should name images below {folder}, but has {shown(name)}")
            found.append(folder / name)
        told = [(path, path.parent != folder and FILE_NAME.match(path.name)) for path in sorted(found)]
        refuse_names((path for path, match in told if not match), EXAMPLE.format(folder))
        return [(path, int(match[1]), path.parent.name) for path, match in told]


def columns(file: Path, *names: str) -> list[list[Any]]:
    """Return columns of a table that pandas wrote as JSON: column -> row -> value.

    Raises:
        LayoutError: it is missing, or of another form.
        FileError: it can't be read.
    """
    if not file.is_file():
        raise LayoutError(
            f"there is no {file}: download its makers' lists, and let their code cut the images out of PoseTrack21"
        )
    table = read_json(file)
    found = [table.get(name) if isinstance(table, dict) else None for name in names]
    first = found[0]
    if not isinstance(first, dict) or any(not isinstance(of, dict) or set(of) != set(first) for of in found):
        raise LayoutError(f"{file} should have the columns {' and '.join(names)}, each with a value for every row")
    if not all(isinstance(value, int | str) for value in first.values()):
        raise LayoutError(f"the column {names[0]} of {file} should have a number in every row")
    return [[of[row] for row in first] for of in found]
