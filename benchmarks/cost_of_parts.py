"""What the parts of a paper cost: shipped configs side by side, a test image and a training step, in one run.

All configs of a comparison are timed in turn, round by round, and compared with the first one as ratios of the same
round, so that a slow moment of the machine hits all of them. A ratio counts the augmentation that doubles a batch too.

    python benchmarks/cost_of_parts.py
    python benchmarks/cost_of_parts.py --only mgre --name cost_of_mgre --rounds 9
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from record import write_record
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.precision import autocast_dtype
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.model_zoo import get_config

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage

OCCLUDED = "OccludedReID/ablation/Market1501_{}.yml"
MSREID = "MSReID/ablation/{}.yml"
MGRE = "MGRe/ablation/{}.yml"
BASELINE = "Baseline/Market1501_R50.yml"
RES2NET = ("MODEL.BACKBONE.NAME", "build_res2net_backbone")
R101 = ("MODEL.BACKBONE.DEPTH", "101x")
Row = str | tuple  # a config, or one with overrides
# Comparison -> row -> config and overrides; ratios are to the first row.
COMPARISONS: dict[str, dict[str, Row]] = {
    "occluded": {
        "+ DNL": OCCLUDED.format("dnl"),
        "+ RP": OCCLUDED.format("rp"),
        "+ ME (full model)": "OccludedReID/Market1501_R50.yml",
        "+ BED (FastReID's non-local blocks)": OCCLUDED.format("bed"),
    },
    "msreid": {
        "none": MSREID.format("none"),
        "A": MSREID.format("A"),
        "L": MSREID.format("L"),
        "M": MSREID.format("M"),
        "ALM": MSREID.format("ALM"),
    },
    "mgre": {
        "baseline, ResNet-50-IBN": MGRE.format("table4_baseline"),
        "baseline, ResNet-101": MGRE.format("table8_r101"),
        "baseline, ResNet-152": MGRE.format("table8_r152"),
        "MGRe": MGRE.format("table4_s123"),
        "MGRe, one block a module": (MGRE.format("table4_s123"), "MODEL.MGRE.FE.BLOCKS", 1),
    },
    "res2net": {
        "ResNet-50": BASELINE,
        "Res2Net-50": (BASELINE, *RES2NET),
        "Res2Net-50, v1b": (BASELINE, *RES2NET, "MODEL.BACKBONE.RES2NET.V1B", True),
        "ResNet-101": (BASELINE, *R101),
        "Res2Net-101": (BASELINE, *RES2NET, *R101),
    },
}
IDENTITIES = 751  # Market1501's


def config(row: Row, device: torch.device) -> CfgNode:
    file, *overrides = (row,) if isinstance(row, str) else row
    cfg = get_config(file)
    cfg.merge_from_list(overrides)
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = IDENTITIES
    cfg.MODEL.DEVICE = str(device)
    return cfg


def prepare(cfg: CfgNode, batch: int, device: torch.device) -> tuple[dict[str, Callable[[], object]], nn.Module]:
    """Return the two things to time, a test batch and a training step, and the model."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, *cfg.INPUT.SIZE_TRAIN, generator=generator) * 255
    joints = torch.rand(batch, 17, 3, generator=generator)
    data = {"images": images, "targets": torch.arange(batch) // 2, "joints": joints}
    data = {key: value.to(device) for key, value in data.items()}
    dtype = autocast_dtype(device, cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE)
    model = build_model(cfg)
    step = TrainingStep(model, itertools.repeat(data), build_optimizer(cfg, model), autocast=dtype)
    step.iter = 0

    def test() -> None:
        model.eval()
        with torch.no_grad():
            model(data)

    def train() -> None:
        model.train()
        step.run_step()

    return {"test": test, "train": train}, model


def timed(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(rows: dict[str, Row], args: argparse.Namespace, device: torch.device) -> dict[str, dict]:
    """Return name -> FLOPs of a test image, parameters, and both times as ratios to the first config's."""
    work, results = {}, {}
    for name, row in rows.items():
        cfg = config(row, device)
        work[name], model = prepare(cfg, args.batch, device)
        model.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, 3, *cfg.INPUT.SIZE_TEST, device=device))
        results[name] = {
            "config": row,
            "parameters": sum(p.numel() for p in model.parameters()),
            "flops_per_test_image": counter.get_total_flops(),
        }
    for kind in ("test", "train"):
        seconds = {name: [] for name in rows}
        for turn in range(-1, args.rounds):  # the first turn settles memory and kernels
            for name in rows:
                spent = timed(work[name][kind], device)
                seconds[name] += [spent] if turn >= 0 else []
        first = seconds[next(iter(rows))]
        for name in rows:
            rounds = [own / base for own, base in zip(seconds[name], first, strict=True)]
            results[name][kind] = {
                "seconds": statistics.median(seconds[name]),
                "ratio": {"median": statistics.median(rounds), "min": min(rounds), "max": max(rounds)},
            }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(COMPARISONS), default=list(COMPARISONS))
    parser.add_argument("--name", default="cost_of_parts", help="name of the result file")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    with EventStorage(0):
        measure = partial(compare, args=args, device=torch.device(args.device))
        results = {name: measure(COMPARISONS[name]) for name in args.only}
    for name, rows in results.items():
        print(name)
        for row, numbers in rows.items():
            print(
                f"  {row:38s} {numbers['parameters'] / 1e6:7.2f} M {numbers['flops_per_test_image'] / 2e9:7.3f} GMACs"
                f"  test x{numbers['test']['ratio']['median']:.2f}  step x{numbers['train']['ratio']['median']:.2f}"
            )
    print("written to", write_record(args.name, results, settings=vars(args), seed=0))


if __name__ == "__main__":
    main()
