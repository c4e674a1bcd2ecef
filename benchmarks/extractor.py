"""Images per second of what gives features: our Extractor, the exported ONNX file, torch.compile, plain PyTorch, and
torchreid's FeatureExtractor.

One trunk for all: ResNet-50 with 256x128 images, whose last stage keeps its stride as torchreid's does; weights are
random, which changes no time. "plain PyTorch" is what one writes without us: PIL, torchvision's resize and batches of
the same size. Everything runs in one process and --threads threads ("2 workers" reads files in two more). Rounds go
through all of them in turn, so that a slow moment of the machine hits all; a ratio is the median of the rounds' ratios
to plain PyTorch.

    python benchmarks/extractor.py --torchreid FOLDER     # pip install --no-deps --target FOLDER torchreid
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from record import write_record
from torch.utils.flop_counter import FlopCounterMode
from torchvision.transforms import functional as F

from fastreid_ext.data.synthetic import generate
from fastreid_ext.export.exporting import export
from fastreid_ext.export.options import Options
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.inference.models import TorchModel
from fastreid_ext.model_zoo import get_config

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.modeling import build_model

SIZE, BATCH = (256, 128), 32
PLAIN = "plain PyTorch"
Contestants = dict[str, Callable[[], Any]]


def baseline() -> tuple[CfgNode, torch.nn.Module]:
    cfg = get_config("Baseline/Market1501_R50.yml")
    cfg.merge_from_list(
        ["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.BACKBONE.LAST_STRIDE", 2]
        + [
            "MODEL.HEADS.NUM_CLASSES",
            1,
            "INPUT.SIZE_TEST",
            list(SIZE),
            "TEST.IMS_PER_BATCH",
            BATCH,
            "DATALOADER.NUM_WORKERS",
            0,
        ]
        + ["DATASETS.NAMES", ("SynthReIDTiny",), "DATASETS.TESTS", ("SynthReIDTiny",)]
    )
    return cfg, build_model(cfg).eval()


def plain(model: torch.nn.Module, images: list[Any]) -> torch.Tensor:
    """What one writes without us."""
    found = []
    for start in range(0, len(images), BATCH):
        batch = [one if isinstance(one, np.ndarray) else Image.open(one) for one in images[start : start + BATCH]]
        resized = [F.resize(Image.fromarray(one) if isinstance(one, np.ndarray) else one, SIZE, 3) for one in batch]
        pixels = torch.stack([torch.from_numpy(np.array(one)).permute(2, 0, 1).float() for one in resized])
        with torch.no_grad():
            found.append(model(pixels))
    return torch.cat(found)


class Compiled(TorchModel):
    """A model whose forward is compiled."""

    def __init__(self, cfg: CfgNode, model: torch.nn.Module):
        super().__init__(cfg, model)
        self._compiled = torch.compile(model, dynamic=True)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self._compiled(images.clone()).float()


def compiled(cfg: CfgNode, model: torch.nn.Module) -> Extractor:
    extractor = Extractor.of_model(cfg, model)
    extractor.model = Compiled(cfg, model)
    return extractor


def torchreid_extractor(folder: Path, work: Path) -> tuple[Callable[[list[Any]], torch.Tensor], torch.nn.Module]:
    """Return torchreid's, which takes all images as one batch, called batch by batch."""
    sys.path.append(str(folder))
    from torchreid.reid.models import build_model as build
    from torchreid.reid.utils.feature_extractor import FeatureExtractor

    torch.save(build("resnet50", num_classes=1, pretrained=False).state_dict(), work / "torchreid.pth")
    extractor = FeatureExtractor("resnet50", str(work / "torchreid.pth"), device="cpu", verbose=False)

    def run(images: list[Any]) -> torch.Tensor:
        return torch.cat([extractor(images[start : start + BATCH]) for start in range(0, len(images), BATCH)])

    return run, extractor.model


def flops_of(model: torch.nn.Module) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, *SIZE))
    return counter.get_total_flops()


def rounds_of(contestants: Contestants, count: int, rounds: int) -> dict[str, list[float]]:
    """Return images per second of each round, after one round that does not count."""
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            if number:
                speeds[name].append(count / (time.perf_counter() - started))
    return speeds


def rows(speeds: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "images_per_second": round(statistics.median(values), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(values, speeds[PLAIN], strict=True)), 3),
        }
        for name, values in speeds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torchreid", type=Path, help="folder that torchreid was installed into; left out without it")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        files = [str(path) for path in sorted(generate(work, "tiny").rglob("*.jpg"))]
        files = (files * (1 + args.images // len(files)))[: args.images]
        arrays = [np.asarray(Image.open(file)) for file in files]
        cfg, model = baseline()
        onnx_file = work / "baseline.onnx"
        export(cfg, model, Options("onnx", onnx_file, images=8))
        ours, by_onnx, by_compile = Extractor.of_model(cfg, model), Extractor(onnx_file), compiled(cfg, model)
        workers = Extractor.of_model(cfg, model, workers=2)
        flops = {"FastReID's Baseline": flops_of(model)}
        both: dict[str, Callable[[list[Any]], Any]] = {
            PLAIN: lambda images: plain(model, images),
            "Extractor": lambda images: ours(images, order="RGB"),
            "Extractor, torch.compile": lambda images: by_compile(images, order="RGB"),
            "Extractor, ONNX file": lambda images: by_onnx(images, order="RGB"),
        }
        if args.torchreid:
            both["torchreid's FeatureExtractor"], other = torchreid_extractor(args.torchreid, work)
            flops["torchreid's resnet50"] = flops_of(other)
        results = {}
        for what, images in (("files", files), ("arrays", arrays)):
            contestants = {name: lambda run=run, images=images: run(images) for name, run in both.items()}
            if what == "files":
                contestants["Extractor, 2 workers"] = lambda: workers(files)
            results[what] = rows(rounds_of(contestants, len(images), args.rounds))
            for name, row in results[what].items():
                print(f"{what:7} {name:30} {row['images_per_second']:8.1f} images/s  x{row['ratio']:.2f}", flush=True)
    facts = {"flops_per_image": flops, "images": args.images, "batch": BATCH, "size": list(SIZE)}
    print("written to", write_record("extractor", results, **facts))


if __name__ == "__main__":
    main()
