"""How hard SynthReID is: what matching without any learning reaches on its holistic and occluded queries.

    python benchmarks/synthreid_difficulty.py --size demo --output benchmarks/results/synthreid_difficulty.json

With ``--weights logs/demo/deepminer/model_final.pth`` the trained network stands beside the untrained one.

`FEATURES` lists the ways to describe an image; everything that follows is the same for all of them.
"""

import argparse
import os
import re
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from record import write_record

from fastreid_ext.data.synthetic import GALLERY, QUERY, QUERY_OCCLUDED, SIZES, generate
from fastreid_ext.engine.checkpoint import AtomicCheckpointer
from fastreid_ext.model_zoo import get_config

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.data.transforms import build_transforms
from fastreid.modeling import build_model

NAME = re.compile(r"([-\d]+)_c(\d)")
PIXELS_HEIGHT, PIXELS_WIDTH = 32, 16
HISTOGRAM_BINS = 8


def pixel_feature(image):
    """``image`` (H, W, 3) uint8 as a vector of its 32x16 pixels, without mean and with length 1."""
    small = cv2.resize(image, (PIXELS_WIDTH, PIXELS_HEIGHT), interpolation=cv2.INTER_AREA)
    vector = small.astype(np.float64).ravel()
    vector -= vector.mean()
    return vector / np.linalg.norm(vector)


def histogram_feature(image):
    """``image`` (H, W, 3) uint8 as the root of its 8x8x8 colour histogram, so that a product compares two."""
    counts = cv2.calcHist([image], [0, 1, 2], None, [HISTOGRAM_BINS] * 3, [0, 256] * 3).ravel()
    return np.sqrt(counts / counts.sum())


def network_feature(weights="", seed=0):
    """Return image (H, W, 3) uint8 -> unit test feature of the demo's Deep Miner, with random or given weights."""
    cfg = get_config("demo/deepminer.yml")
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.HEADS.NUM_CLASSES = 1  # the classifiers take no part
    torch.manual_seed(seed)
    model = build_model(cfg).eval()
    if weights:
        AtomicCheckpointer(model).load(weights, checkpointables=[], complete=True)
    transform = build_transforms(cfg, is_train=False)

    @torch.no_grad()
    def describe(image):
        pixels = transform(Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)))
        vector = model(pixels[None])[0].double().numpy()
        return vector / np.linalg.norm(vector)

    return describe


FEATURES = {"raw_pixels_32x16": pixel_feature, "colour_histogram_8x8x8": histogram_feature}


def read_split(directory):
    """The images of ``directory`` in order of their names: (images, person ids (N,), cameras (N,))."""
    paths = sorted(Path(directory).glob("*.jpg"))
    labels = np.array([[int(group) for group in NAME.search(path.name).groups()] for path in paths])
    return [cv2.imread(str(path)) for path in paths], labels[:, 0], labels[:, 1]


def market_scores(similarity, query_ids, query_cameras, gallery_ids, gallery_cameras):
    """Rank-1 and mAP (percent) by the protocol of Market-1501.

    ``similarity`` is (queries, gallery), larger is more alike. For each query, the gallery images of the same
    person by the same camera do not count. Raises ValueError if a query has no match left.
    """
    first_hits, precisions = [], []
    for row, person, camera in zip(similarity, query_ids, query_cameras, strict=True):
        counts = ~((gallery_ids == person) & (gallery_cameras == camera))
        order = np.argsort(-row[counts], kind="stable")
        hits = (gallery_ids[counts] == person)[order]
        if not hits.any():
            raise ValueError(f"Person {person} in camera {camera} has no match in another camera.")
        ranks = np.flatnonzero(hits) + 1
        first_hits.append(hits[0])
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return {"rank1": 100.0 * float(np.mean(first_hits)), "map": 100.0 * float(np.mean(precisions))}


def score_features(directory, suffix="", features=None):
    """Rank-1 and mAP of each of ``features`` on the queries of one test set: {feature: {query set: scores}}."""
    directory = Path(directory)
    splits = {name: read_split(directory / (name + suffix)) for name in (QUERY, QUERY_OCCLUDED, GALLERY)}
    scores = {}
    for name, describe in (features or FEATURES).items():
        vectors = {split: np.stack([describe(image) for image in data[0]]) for split, data in splits.items()}
        scores[name] = {
            split: market_scores(vectors[split] @ vectors[GALLERY].T, *splits[split][1:], *splits[GALLERY][1:])
            for split in (QUERY, QUERY_OCCLUDED)
        }
    return scores


def main():
    """Prints a line a feature and query set, and writes all of it as JSON if wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=tuple(SIZES), default="demo")
    parser.add_argument("--root", default=os.getenv("FASTREID_DATASETS", "datasets"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="", help="checkpoint of configs/demo/deepminer.yml")
    parser.add_argument("--output", type=Path, help="where to write the numbers as JSON")
    args = parser.parse_args()

    start = time.perf_counter()
    directory = generate(args.root, args.size, args.seed)
    made_s = time.perf_counter() - start
    features = FEATURES | {"network_untrained": network_feature(seed=args.seed)}
    if args.weights:
        features["network_trained"] = network_feature(args.weights)
    results = {suffix or "a": score_features(directory, suffix, features) for suffix in SIZES[args.size].test_sets}
    for test_set, scores in results.items():
        for feature, queries in scores.items():
            for split, score in queries.items():
                name = f"{feature:24s} test set {test_set.strip('_')}  {split:15s}"
                print(f"{name} Rank-1 {score['rank1']:5.1f}  mAP {score['map']:5.1f}")
    if args.output is not None:
        facts = {"size": args.size, "seed": args.seed, "made_or_found_in_s": round(made_s, 2)}
        libraries = {"numpy": np.__version__, "opencv": cv2.__version__}
        write_record("synthreid_difficulty", results, args.output, libraries=libraries, **facts)


if __name__ == "__main__":
    main()
