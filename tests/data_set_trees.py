"""Miniature trees of data sets, laid out and named as the real ones, and what each image must be read as.

A row of a tree is the image's path below the root, its split, its person and its camera; None: it must not be read.
"""

import io
from functools import cache
from pathlib import Path

from PIL import Image

FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "jfif": "JPEG", "tif": "TIFF", "png": "PNG", "bmp": "BMP", "webp": "WEBP"}


@cache
def image_bytes(suffix: str) -> bytes:
    """Return a tiny image of the format that a suffix, in any case, tells."""
    out = io.BytesIO()
    Image.new("RGB", (4, 8), (90, 120, 200)).save(out, FORMATS[suffix.lower()])
    return out.getvalue()


def write(root: Path, rows) -> None:
    """Write the images of rows, or of bare paths, and the files of (path, text) below a root."""
    for row in rows:
        name, text = (row, None) if isinstance(row, str) else (row[0], row[1] if len(row) == 2 else None)
        path = Path(root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(path.suffix[1:]) if text is None else text.encode())


def write_all_different(root: Path, rows) -> None:
    """Write images none of which has the bytes of another."""
    write(root, rows)
    for path, *_ in rows:
        with open(Path(root) / path, "ab") as file:
            file.write(path.encode())


def expected(root: Path, rows, split: str, dataset: str = "") -> list[tuple]:
    """Return what a split's items must be, by path; with a data set's name, in the form of training items."""
    found = [(f"{root}/{path}", *labels) for path, of, *labels in (r for r in rows if len(r) == 4) if of == split]
    if dataset:
        found = [(path, f"{dataset}_{person}", f"{dataset}_{camera}") for path, person, camera in found]
    return sorted(found)


_M = "Market-1501-v15.09.15"
MARKET = [
    (f"{_M}/bounding_box_train/0002_c1s1_000451_03.jpg", "train", 2, 0),
    (f"{_M}/bounding_box_train/0002_c10s1_000551_01.JPG", "train", 2, 9),
    (f"{_M}/bounding_box_train/0007_c11s3_077419_03.jpeg", "train", 7, 10),
    (f"{_M}/bounding_box_train/1600_c7s3_077419_03.webp", "train", 1600, 6),
    (f"{_M}/bounding_box_train/-1_c3s1_000001_01.jpg", None, None, None),
    (f"{_M}/query/0003_c12s1_000001_00.Jpg", "query", 3, 11),
    (f"{_M}/query/0004_c02s1_000001_00.png", "query", 4, 1),
    (f"{_M}/bounding_box_test/0003_c1s1_000002_00.jpg", "gallery", 3, 0),
    (f"{_M}/bounding_box_test/0003_c12s1_000003_00.JPEG", "gallery", 3, 11),
    (f"{_M}/bounding_box_test/0004_c112s1_000003_00.WEBP", "gallery", 4, 111),
    (f"{_M}/bounding_box_test/0000_c6s1_000004_00.jpg", "gallery", 0, 5),
    (f"{_M}/bounding_box_test/0009_C2S1_000004_00.JPG", "gallery", 9, 1),
    (f"{_M}/bounding_box_test/-1_c6s1_000005_00.jpg", None, None, None),
    (f"{_M}/bounding_box_test/Thumbs.db", "no image"),
    (f"{_M}/bounding_box_test/._0003_c1s1_000002_00.jpg", "no image"),
]
_D = "DukeMTMC-reID"
DUKE = [
    (f"{_D}/bounding_box_train/0001_c2_f0046182.jpg", "train", 1, 1),
    (f"{_D}/bounding_box_train/0001_c8_f0046302.JPG", "train", 1, 7),
    (f"{_D}/query/0005_c10_f0046985.jpg", "query", 5, 9),
    (f"{_D}/bounding_box_test/0005_c1_f0047000.jpeg", "gallery", 5, 0),
    (f"{_D}/bounding_box_test/0006_c10_f0047000.jpg", "gallery", 6, 9),
]
_V = "VeRi"
VERI = [
    (f"{_V}/image_train/0001_c001_00016450_0.jpg", "train", 1, 0),
    (f"{_V}/image_train/0001_c020_00016450_0.JPG", "train", 1, 19),
    (f"{_V}/image_query/0002_c002_00030600_0.jpg", "query", 2, 1),
    (f"{_V}/image_test/0002_c110_00084250_0.jpg", "gallery", 2, 109),
]
_N = "cuhk03-np/labeled"
CUHK03_NP = [
    (f"{_N}/bounding_box_train/0001_c1_1.png", "train", 1, 0),
    (f"{_N}/bounding_box_train/0001_c2_6.PNG", "train", 1, 1),
    (f"{_N}/query/0003_c1_10.png", "query", 3, 0),
    (f"{_N}/bounding_box_test/0003_c2_11.png", "gallery", 3, 1),
    (f"{_N}/bounding_box_test/0004_c2_15.png", "gallery", 4, 1),
]

# Registered name -> its tree, and the name before the labels of training images.
MARKET_TREES = {
    "Market1501": (MARKET, "market1501"),
    "DukeMTMC": (DUKE, "dukemtmc"),
    "VeRi": (VERI, "veri"),
    "CUHK03": (CUHK03_NP, "cuhk03"),
    "CUHK03Labeled": (CUHK03_NP, "cuhk03"),
    "CUHK03Detected": (
        [(row[0].replace("labeled", "detected"), *row[1:]) for row in CUHK03_NP],
        "cuhk03",
    ),
}

# Queries and gallery of the sets of occluded and partial people: (queries, gallery) as folders below the root.
BODY_TREES = {
    "OccludedREID": [
        ("Occluded_REID/occluded_body_images/001/001_01.tif", "query", 1, 0),
        ("Occluded_REID/occluded_body_images/002/002_05.TIF", "query", 2, 0),
        ("Occluded_REID/whole_body_images/001/001_01.tif", "gallery", 1, 1),
        ("Occluded_REID/whole_body_images/002/002_01.jpg", "gallery", 2, 1),
    ],
    "PartialREID": [
        ("Partial_REID/partial_body_images/001_001.jpg", "query", 1, 0),
        ("Partial_REID/whole_body_images/001_001.JPG", "gallery", 1, 1),
        ("Partial_REID/whole_body_images/060_005.jpg", "gallery", 60, 1),
    ],
    "PartialILIDS": [
        ("Partial_iLIDS/Probe/1.jpg", "query", 1, 0),
        ("Partial_iLIDS/Probe/119.JPG", "query", 119, 0),
        ("Partial_iLIDS/Gallery/1.jpg", "gallery", 1, 1),
        ("Partial_iLIDS/Gallery/119.jpg", "gallery", 119, 1),
    ],
    "PETHZ": [
        ("P_ETHZ/occluded_body_images/001/001_03.png", "query", 1, 0),
        ("P_ETHZ/whole_body_images/001/001_01.png", "gallery", 1, 1),
        ("P_ETHZ/whole_body_images/085/085_30.PNG", "gallery", 85, 1),
    ],
    "PDukeMTMC": [
        ("P-DukeMTMC-reid/train/occluded_body_images/0001/0001_c8_f0046302.jpg", "train", 1, 0),
        ("P-DukeMTMC-reid/train/whole_body_images/0001/0001_c2_f0046182.JPG", "train", 1, 1),
        ("P-DukeMTMC-reid/test/occluded_body_images/0019/0019_c1_f0051230.jpg", "query", 19, 0),
        ("P-DukeMTMC-reid/test/whole_body_images/0019/0019_c1_f0051350.jpg", "gallery", 19, 1),
    ],
    "OccludedDuke": [
        ("Occluded_Duke/bounding_box_train/0001_c2_f0046182.jpg", "train", 1, 1),
        ("Occluded_Duke/query/0019_c1_f0051230.JPG", "query", 19, 0),
        ("Occluded_Duke/bounding_box_test/0019_c8_f0051350.jpg", "gallery", 19, 7),
    ],
}

# FastReID's sets for training alone: registered name -> images with the labels that FastReID gives them.
TRAINING_TREES = {
    "CAVIARa": [("CAVIARa/0001001.jpg", "0001", "cam0"), ("CAVIARa/0072020.jpg", "0072", "cam0")],
    "cuhkSYSU": [
        ("cuhk_sysu/cropped_images/p0012_s1_2.jpg", "12", "0"),
        ("cuhk_sysu/cropped_images/p0_s2_2.jpg", "0", "0"),
    ],
    "GRID": [("underground_reid/images/0001_1_25004_107_32_106_221.jpeg", "0001", "1")],
    "iLIDS": [("iLIDS/person001/cam1_001.png", "person001", "cam1")],
    "LPW": [
        *((f"pep_256x128/data_slim/scen{scene}/view2/7/0001.jpg", f"scen{scene}-7", "view2") for scene in (1, 2, 3))
    ],
    "PeS3D": [("3DPeS/001/a.bmp", "001", "cam0")],
    "PKU": [("PKUv1a_128x48/001_2_0001.png", "001", "2")],
    "PRAI": [("PRAI-1581/images/00000001_0002_00000003.jpg", "00000001", "0002")],
    "PRID": [("prid_2011/slim_train/person_0001/cama_0001.png", "0001", "cama")],
    "SAIVT": [("SAIVT-SoftBio/cropped_images/001/001-0013-C3-0001.jpeg", "001", "C3")],
    "SenseReID": [
        ("SenseReID/test_gallery/00001_0.jpg", "00001", "0"),
        ("SenseReID/test_prob/00001_1.jpg", "00001", "1"),
    ],
    "Shinpuhkan": [("shinpuhkan/001/001_01_05_0001.jpg", "001", "05")],
    "SYSU_mm": [*((f"SYSU-MM01/cam{camera}/0001/0001.jpg", "0001", f"cam{camera}") for camera in (1, 2, 4, 5))],
    "Thermalworld": [("thermalworld_rgb/0001/a.jpg", "0001", "cam0")],
    "VIPeR": [("VIPeR/cam_a/000_45.bmp", "000", "cam_a"), ("VIPeR/cam_b/000_90.bmp", "000", "cam_b")],
    "WildTrackCrop": [("Wildtrack_crop_dataset/crop/0001/2_00000000.png", "0001", "2")],
}
