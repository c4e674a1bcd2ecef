"""Valid sets that are read from lists of their makers, which the fuzz damages."""

import json
from pathlib import Path

MSMT17 = "MSMT17_V2/list_query.txt"
POSETRACK = "PoseTrack21/occluded_posetrack_reid"


def write_msmt17(folder: Path) -> None:
    """Write two persons; images are listed, not opened."""
    for images in ("mask_train_v2", "mask_test_v2"):
        (folder / "MSMT17_V2" / images).mkdir(parents=True)
    for number, name in enumerate(("train", "val", "query", "gallery")):
        lines = [f"000{n}/000{n}_000_0{1 + number}_0303morning_0015_0.jpg {n}" for n in (1, 2)]
        (folder / "MSMT17_V2" / f"list_{name}.txt").write_text("\n".join([*lines, ""]))


def write_posetrack(folder: Path) -> None:
    """Write a person of each split with two images."""
    base = folder / POSETRACK
    (base / "images/anns").mkdir(parents=True)
    for split, chosen in (("train", ["train", "train"]), ("val", ["query", "gallery"])):
        (base / "images" / split).mkdir()
        rows = {str(place): 100 + place for place in range(2)}
        crops = {place: f"000342/7_000342_{number}.jpg" for place, number in rows.items()}
        table = {"id": rows, "reid_crop_path": crops}
        (base / f"images/anns/{split}_reid_crops_anns.json").write_text(json.dumps(table))
        table = {"id": rows, "split": dict(zip(rows, chosen, strict=True))}
        (base / f"{split}_dataset_sampling.json").write_text(json.dumps(table))
