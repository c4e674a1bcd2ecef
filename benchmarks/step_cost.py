"""What a Deep Miner training step costs beyond its convolutions and attention, and beside the host's MGN.

Three things are timed in turn, round by round, so that a slow moment of the machine hits all of them:

* ``deepminer``: the real training step (data on the device -> losses -> backward -> Adam), our trainer's own;
* ``trunks``: the same convolutions and attention modules bare, forward + backward of the summed maps;
* ``mgn``: the training step of FastReID's MGN as shipped, its trainer's own.

    python benchmarks/step_cost.py
    python benchmarks/step_cost.py --height 384 --width 128 --depth 50x --batch 16 --rounds 5
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from record import write_record
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.config import get_cfg
from fastreid_ext.deepminer.attention import attend
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.engine.precision import autocast_dtype
from fastreid_ext.engine.step import TrainingStep
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.trunk import STAGES, run_stage, run_stem

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.config import CfgNode
from fastreid.engine.train_loop import AMPTrainer
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer as host_build_optimizer
from fastreid.utils.events import EventStorage

IDENTITIES = 751
MGN_CONFIG = Path(__file__).parents[1] / "tests" / "compat" / "host_configs" / "Base-MGN.yml"  # FastReID's own


def fit(cfg: CfgNode, args: argparse.Namespace) -> CfgNode:
    """Give a config the sizes of this run."""
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.BACKBONE.DEPTH = args.depth
    cfg.MODEL.HEADS.NUM_CLASSES = IDENTITIES
    cfg.MODEL.DEVICE = args.device
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [args.height, args.width]
    cfg.SOLVER.FREEZE_ITERS = 0  # MGN's first steps train its heads alone
    return cfg


def host_mgn(args: argparse.Namespace) -> CfgNode:
    cfg = get_cfg()
    cfg.merge_from_file(str(MGN_CONFIG))
    return fit(cfg, args)


def batch(args: argparse.Namespace, device: torch.device) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(args.batch, 3, args.height, args.width, generator=generator) * 255
    return {"images": images.to(device), "targets": (torch.arange(args.batch) // 4).to(device)}


def trunk_maps(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """The convolutions and attention of every branch, without erasing, heads and losses."""
    y, outputs = run_stem(model.backbone, images), {}
    for stage in STAGES:
        y = outputs[stage] = attend(model.attention, stage, run_stage(model.backbone, stage, y))
    later = {name: getattr(branch, "blocks", branch) for name, branch in model.side_branches.items()}
    return [y, *(blocks(outputs[model.starts[name]]) for name, blocks in later.items())]


def timed(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def flops(forward: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops()


def build_steps(args: argparse.Namespace, device: torch.device) -> tuple[dict[str, Callable[[], None]], dict[str, int]]:
    cfg = fit(get_config("DeepMiner/Market1501_R50.yml"), args)
    dtype = autocast_dtype(device, cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.DTYPE)
    data = batch(args, device)

    def amp():
        return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)

    ours = build_model(cfg).train()
    step = TrainingStep(ours, itertools.repeat(data), build_optimizer(cfg, ours), autocast=dtype)
    step.iter = 0

    bare = build_model(cfg).train()

    def trunks() -> None:
        with amp():
            total = sum(y.float().mean() for y in trunk_maps(bare, data["images"]))
        bare.zero_grad(set_to_none=True)
        total.backward()

    mgn_cfg = host_mgn(args)
    mgn = build_model(mgn_cfg).train()

    def endless():
        while True:  # the host normalises the caller's images in place: it gets a copy, ours need none
            yield {key: value.clone() for key, value in data.items()}

    mgn_step = AMPTrainer(mgn, endless(), *host_build_optimizer(mgn_cfg, mgn))
    mgn_step.iter = 0

    steps = {"deepminer": step.run_step, "trunks": trunks, "mgn": mgn_step.run_step}
    with torch.no_grad():
        work = {
            "deepminer": flops(lambda: ours(data)),
            "trunks": flops(lambda: trunk_maps(bare, data["images"])),
            "mgn": flops(lambda: mgn(next(endless()))),
        }
    return steps, work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", default="50x")
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--name", default="step_cost", help="name of the result file")
    args = parser.parse_args()
    device = torch.device(args.device)
    torch.manual_seed(0)

    with EventStorage(0):
        steps, work = build_steps(args, device)
        for step in steps.values():  # memory and kernels are settled by then
            timed(step, device)
        seconds: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(args.rounds):
            for name, step in steps.items():
                seconds[name].append(timed(step, device))

    def ratio(a: str, b: str) -> dict[str, float]:
        rounds = [x / y for x, y in zip(seconds[a], seconds[b], strict=True)]
        return {"median": statistics.median(rounds), "min": min(rounds), "max": max(rounds)}

    per_flop = {name: statistics.median(seconds[name]) / work[name] for name in steps}
    results = {
        "seconds_per_step": seconds,
        "forward_flops_per_batch": work,
        "deepminer_over_trunks": ratio("deepminer", "trunks"),
        "deepminer_over_mgn_per_image": ratio("deepminer", "mgn"),
        "deepminer_over_mgn_per_flop": per_flop["deepminer"] / per_flop["mgn"],
    }
    path = write_record(args.name, results, settings={k: v for k, v in vars(args).items() if k != "name"}, seed=0)
    for key in ("deepminer_over_trunks", "deepminer_over_mgn_per_image", "deepminer_over_mgn_per_flop"):
        print(key, results[key])
    print("written to", path)


if __name__ == "__main__":
    main()
