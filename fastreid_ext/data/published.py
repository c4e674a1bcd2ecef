"""What is known of the public data sets: their trees, their sizes, and where they are described."""

from collections.abc import Sequence

MARKET_TREE = ("bounding_box_train", "query", "bounding_box_test")
BODY_TREE = ("occluded_body_images", "whole_body_images")

# Further registered names of sets that are known by another -> that one.
SAME_FILES = {"MSMT17TrainVal": "MSMT17", "PartialiLIDS": "PartialILIDS"}

# Registered name -> what has to lie below the root, as it is shown to someone who lacks it.
EXPECTED_TREES: dict[str, Sequence[str]] = {
    "Market1501": [f"Market-1501-v15.09.15/{folder}" for folder in MARKET_TREE],
    "DukeMTMC": [f"DukeMTMC-reID/{folder}" for folder in MARKET_TREE],
    "MSMT17": [
        "MSMT17_V1/train (of V2: MSMT17_V2/mask_train_v2)",
        "MSMT17_V1/test (of V2: MSMT17_V2/mask_test_v2)",
        *(f"MSMT17_V1/list_{split}.txt (V2: the same)" for split in ("train", "val", "query", "gallery")),
    ],
    **{
        name: [
            "cuhk03/cuhk03_release/cuhk-03.mat",
            "cuhk03/cuhk03_new_protocol_config_labeled.mat",
            "cuhk03/cuhk03_new_protocol_config_detected.mat",
            f"cuhk03-np/{boxes}/{{{','.join(MARKET_TREE)}}} (instead of these)",
        ]
        for name, boxes in (("CUHK03", "labeled"), ("CUHK03Labeled", "labeled"), ("CUHK03Detected", "detected"))
    },
    "OccludedDuke": [f"Occluded_Duke/{folder}/0001_c2_f0046182.jpg" for folder in MARKET_TREE],
    "OccludedREID": [f"Occluded_REID/{folder}/001/001_01.tif" for folder in BODY_TREE],
    "PDukeMTMC": [
        f"P-DukeMTMC-reid/{split}/{folder}/<person>/*.jpg" for split in ("train", "test") for folder in BODY_TREE
    ],
    "PartialREID": [f"Partial_REID/{folder}/001_001.jpg" for folder in ("partial_body_images", "whole_body_images")],
    "PartialILIDS": ["Partial_iLIDS/Probe/1.jpg", "Partial_iLIDS/Gallery/1.jpg"],
    "PETHZ": [f"P_ETHZ/{folder}/<person>/*.png" for folder in BODY_TREE],
    "OccludedPoseTrack": [
        *(f"PoseTrack21/occluded_posetrack_reid/{split}_dataset_sampling.json" for split in ("train", "val")),
        "PoseTrack21/occluded_posetrack_reid/images/{train,val,anns} (which the makers' code writes)",
    ],
    "OPReID": [
        *(f"OPReID/{folder}/<person>_c<camera>_*.jpg" for folder in MARKET_TREE),
        "OPReID/{train,query,gallery}.txt (instead: lines of path, person, camera)",
    ],
    "CSVDataset": [f"CSVDataset/{split}.csv (path,person,camera)" for split in ("train", "query", "gallery")],
}

_MSMT17_TEST = {"query": (3060, 11659), "gallery": (3060, 82161)}  # the same in V1 and V2
_PARTIAL_ILIDS = {"query": (119, 119), "gallery": (119, 119)}
_CUHK03_LABELED = {"train": (767, 7368), "query": (700, 1400), "gallery": (700, 5328)}
_CUHK03_DETECTED = {"train": (767, 7365), "query": (700, 1400), "gallery": (700, 5332)}

# Registered name -> split -> (identities, images). Junk (-1) and background (0) are not identities.
PUBLISHED_COUNTS: dict[str, dict[str, tuple[int, int]]] = {
    "Market1501": {"train": (751, 12936), "query": (750, 3368), "gallery": (750, 15913)},
    "DukeMTMC": {"train": (702, 16522), "query": (702, 2228), "gallery": (1110, 17661)},
    "MSMT17": {"train": (1041, 30248), **_MSMT17_TEST},
    "MSMT17TrainVal": {"train": (1041, 32621), **_MSMT17_TEST},
    "CUHK03": _CUHK03_LABELED,  # what FastReID's class takes if nothing is said
    "CUHK03Labeled": _CUHK03_LABELED,
    "CUHK03Detected": _CUHK03_DETECTED,
    "OccludedDuke": {"train": (702, 15618), "query": (519, 2210), "gallery": (1110, 17661)},
    "OccludedREID": {"query": (200, 1000), "gallery": (200, 1000)},
    # Its makers publish the sums, 1299 and 24143; the splits are those that other loaders of it report.
    "PDukeMTMC": {"train": (665, 12927), "query": (634, 2163), "gallery": (634, 9053)},
    "PartialREID": {"query": (60, 300), "gallery": (60, 300)},
    "PartialILIDS": _PARTIAL_ILIDS,
    "PartialiLIDS": _PARTIAL_ILIDS,
    "OPReID": {"train": (1744, 27228), "query": (3515, 4200), "gallery": (6174, 41014)},
}

_ICME2018 = "https://github.com/tinajia2012/ICME2018_Occluded-Person-Reidentification_datasets"
_CUHK03_AT = "https://github.com/zhunzhong07/person-re-ranking"
DESCRIBED_AT: dict[str, str] = {
    "Market1501": "http://www.liangzheng.org/Project/project_reid.html",
    "DukeMTMC": "https://github.com/layumi/DukeMTMC-reID_evaluation (its makers withdrew it in 2019)",
    "MSMT17": "http://www.pkuvmc.com/publications/msmt17.html",
    "CUHK03": _CUHK03_AT,
    "CUHK03Labeled": _CUHK03_AT,
    "CUHK03Detected": _CUHK03_AT,
    "OccludedDuke": "https://github.com/lightas/Occluded-DukeMTMC-Dataset (DukeMTMC itself was withdrawn)",
    "OccludedREID": _ICME2018,
    "PDukeMTMC": f"{_ICME2018} (images of DukeMTMC, which its makers withdrew in 2019)",
    "PartialREID": "Zheng et al., Partial Person Re-Identification, ICCV 2015",
    "PartialILIDS": "https://github.com/JDAI-CV/fast-reid/tree/master/projects/PartialReID",
    "PETHZ": _ICME2018,
    "OccludedPoseTrack": "https://github.com/VlSomers/keypoint_promptable_reidentification",
    "OPReID": "https://git.io/OPReID",
    "CSVDataset": "the docstring of fastreid_ext.data.datasets.csv_dataset",
}
for _name, _other in SAME_FILES.items():
    EXPECTED_TREES[_name], DESCRIBED_AT[_name] = EXPECTED_TREES[_other], DESCRIBED_AT[_other]
