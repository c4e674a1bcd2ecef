"""Cosine of the Extractor's features with those of FastReID's DefaultPredictor and OpenCV's resizing, as in its demo.

    python benchmarks/predictor_pixels.py --model logs/demo/deepminer [--images FOLDER]

The images are those of a folder; without one, 240 people of SynthReID are drawn at 256x128, so that a model of another
input size resizes them. Images that have the model's input size already are not resized and say nothing.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from record import write_record

from fastreid_ext.data.synthetic.person import sample_person
from fastreid_ext.data.synthetic.render import render
from fastreid_ext.data.synthetic.seeds import random_state
from fastreid_ext.data.synthetic.sizes import SIZES
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.inference.inputs import images_of_folder

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.engine import DefaultPredictor

SIZE, SEED, DRAWN = SIZES["bench"], 0, 240


def draw(folder: Path) -> None:
    """Draw one image of each person, by every camera in turn, as JPEG."""
    for number in range(DRAWN):
        person = sample_person(random_state(SEED, "person", number), SIZE.upper_colours, SIZE.lower_colours)
        rng = random_state(SEED, "predictor_pixels", number)
        picture = render(person, number % 6 + 1, None, rng, SIZE)
        (folder / f"{number:04d}.jpg").write_bytes(picture.jpeg)


def by_predictor(cfg: CfgNode, files: list[str]) -> np.ndarray:
    """Return features (N, D) of length 1, as the demo of FastReID makes them."""
    predictor = DefaultPredictor(cfg)
    height, width = cfg.INPUT.SIZE_TEST
    rows = []
    for file in files:
        rgb = cv2.imread(file)[:, :, ::-1]
        resized = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_CUBIC)
        rows.append(predictor(torch.from_numpy(resized.astype("float32").transpose(2, 0, 1))[None]))
    return torch.nn.functional.normalize(torch.cat(rows)).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a run")
    parser.add_argument("--images", type=Path, help="folder of images (default: drawn ones)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as drawn:
        if args.images is None:
            draw(Path(drawn))
        files = images_of_folder(args.images or Path(drawn))
        extractor = Extractor(args.model, device="cpu")
        cosines = (extractor(files) * by_predictor(extractor.model.cfg, files)).sum(axis=1)
    result = {
        "images": len(files),
        "least": float(cosines.min()),
        "median": float(np.median(cosines)),
        "largest": float(cosines.max()),
    }
    print("cosine to the Extractor's features:", result)
    print("written to", write_record("predictor_pixels", result, seed=SEED))


if __name__ == "__main__":
    main()
