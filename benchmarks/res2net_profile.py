"""Where a training step of a Res2Net-50 spends its time, beside a ResNet-50: operations by kind, from torch's profiler.

    python benchmarks/res2net_profile.py

Each step is profiled on its own, the two networks in turn; the share of a kind is that of the summed time of all
operations on the device that runs them. Forward and backward count together.
"""

import argparse
import statistics
from collections import defaultdict

import torch
from cost_of_parts import COMPARISONS, config, prepare
from fastreid.utils.events import EventStorage
from record import write_record
from torch.profiler import ProfilerActivity, profile

NETWORKS = ("ResNet-50", "Res2Net-50")
# Kind -> beginnings of operators' names; the first that fits counts.
KINDS = {
    "batch norm": ("native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"),
    "add": ("add", "sum"),
    "put splits together": ("cat", "split", "slice", "narrow"),
    "ReLU": ("relu", "clamp_min", "threshold"),
    "pooling": ("avg_pool2d", "max_pool2d", "mean"),
    "copy and change of type": ("copy", "fill", "zero", "empty", "contiguous", "clone"),
    "optimiser": ("fused", "foreach"),
}


def kind_of(event: torch.autograd.profiler_util.FunctionEventAvg) -> str:
    """Name the kind of an operation; convolutions by the size of their kernel."""
    name = event.key.removeprefix("aten::").lower().lstrip("_")
    if "conv" in name:
        kernels = {(1, 1), (3, 3), (7, 7)} & {tuple(shape[2:]) for shape in event.input_shapes if len(shape) == 4}
        return f"convolution {max(kernels)[0]}x{max(kernels)[0]}" if kernels else "convolution, other"
    return next((kind for kind, starts in KINDS.items() if name.startswith(starts)), "other")


def shares(step, device: torch.device) -> dict[str, float]:
    """Profile a step and return the seconds of each kind."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities, record_shapes=True) as profiled:
        step()
        if on_gpu:
            torch.cuda.synchronize()
    seconds: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages(group_by_input_shape=True):
        seconds[kind_of(event)] += (event.self_device_time_total if on_gpu else event.self_cpu_time_total) / 1e6
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device(args.device)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in NETWORKS}
    with EventStorage(0):
        steps = {
            name: prepare(config(COMPARISONS["res2net"][name], device), args.batch, device)[0]["train"]
            for name in NETWORKS
        }
        for turn in range(-1, args.rounds):  # the first turn settles memory and kernels
            for name in NETWORKS:
                seconds = shares(steps[name], device)
                found[name] += [seconds] if turn >= 0 else []
    results = {}
    base = statistics.median(sum(one.values()) for one in found[NETWORKS[0]])
    for name, rounds in found.items():
        kinds = sorted({kind for one in rounds for kind in one})
        medians = {kind: statistics.median(one.get(kind, 0.0) for one in rounds) for kind in kinds}
        results[name] = {
            "seconds": statistics.median(sum(one.values()) for one in rounds),
            "kinds": {kind: medians[kind] for kind in sorted(medians, key=medians.get, reverse=True)},
        }
        print(f"{name}: {results[name]['seconds']:.3f} s a step of {args.batch} images")
        for kind, seconds in results[name]["kinds"].items():
            print(f"  {kind:26s} {seconds:7.3f} s  {seconds / base:6.1%} of a {NETWORKS[0]}'s step")
    print("written to", write_record("res2net_profile", results, settings=vars(args), seed=0))


if __name__ == "__main__":
    main()
