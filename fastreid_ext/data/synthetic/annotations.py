"""The joints of a directory's images as COCO keypoint JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.data.body import COCO_JOINTS, COCO_SKELETON
from fastreid_ext.data.synthetic.render import Picture
from fastreid_ext.data.synthetic.sizes import Size
from fastreid_ext.data.synthetic.splits import Shot

Record = dict[str, Any]  # of one image, see :func:`record`

CATEGORY = {
    "id": 1,
    "name": "person",
    "supercategory": "person",
    "keypoints": list(COCO_JOINTS),
    "skeleton": [[start + 1, end + 1] for start, end in COCO_SKELETON],  # COCO counts joints from 1
}


def record(shot: Shot, picture: Picture) -> Record:
    """Return what is known about one image as plain numbers, from which :func:`coco` makes its entries.

    Args:
        shot: which image it is.
        picture: what was rendered.
    """
    joints = [[round(float(x), 2), round(float(y), 2), int(v)] for x, y, v in picture.joints]
    # COCO sets the coordinates of joints that are not in the image to 0.
    joints = [joint if joint[2] else [0, 0, 0] for joint in joints]
    return {
        "file_name": shot.file_name,
        "person_id": shot.identity,
        "camera": shot.camera,
        "occluder": shot.occluder,
        "occlusion": round(float(picture.occlusion), 4),
        "keypoints": [value for joint in joints for value in joint],
        "bbox": [round(float(value), 2) for value in picture.bbox],
        "traits": picture.traits,
    }


def coco(records: Sequence[Record], size: Size) -> dict[str, Any]:
    """Return the COCO dictionary of a directory.

    An image carries ``person_id``, ``camera`` (1..6), ``occluder`` (a kind or null) and ``occlusion`` (the hidden share
    of the person, 0..1) besides COCO's own keys, and with worlds ``world``, ``skin_tone`` (0 light .. 1 dark) and
    ``build`` (around 1); it has one annotation with 17 keypoints (x, y, visibility: 0 outside the image, 1 behind the
    occluder, 2 in sight).

    Args:
        records: of the images, see :func:`record`; they are numbered from 1 in this order.
        size: of the data set that they are from.
    """
    images, annotations = [], []
    for number, entry in enumerate(records, start=1):
        known = {key: entry[key] for key in ("file_name", "person_id", "camera", "occluder", "occlusion")}
        frame = {"width": size.width, "height": size.height}
        images.append({"id": number, **frame, **known, **entry["traits"]})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": CATEGORY["id"],
                "person_id": entry["person_id"],
                "camera": entry["camera"],
                "keypoints": entry["keypoints"],
                "num_keypoints": int(np.count_nonzero(entry["keypoints"][2::3])),
                "bbox": entry["bbox"],
                "area": round(entry["bbox"][2] * entry["bbox"][3], 2),
                "iscrowd": 0,
            }
        )
    info = {"description": f"SynthReID {size.name}: drawn people, 17 COCO joints"}
    return {"info": info, "images": images, "annotations": annotations, "categories": [CATEGORY]}


def dump(value: Any, path: Path) -> None:
    """Write ``value`` as JSON to ``path``, in one line."""
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="ascii")
