"""What SOLVER.COMPILE costs at the start and gives in every step: training and test features, eager and compiled.

    python benchmarks/compiled.py                              # ten minutes on a quiet core
    python benchmarks/compiled.py --configs demo/mgre.yml=16   # other configs, and images a batch

Seconds are of the processor, those of the compilers included, so that other programs do not count. Both models take
their steps in turn. Each config has a process and an empty cache of kernels of its own; a second process finds them
there, as a second run of the config does.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

CONFIGS = ("demo/deepminer.yml=64", "Baseline/Market1501_R50.yml=8")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}  # compilers are waited for, and count


def processor_seconds() -> float:
    """Return what this process and those that it has waited for took."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def seconds(work: Callable[[], Any]) -> float:
    """Return the processor's seconds of a piece of work."""
    start = processor_seconds()
    work()
    return processor_seconds() - start


def in_turn(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Return the seconds of each piece of work, round by round, and how many times as fast the second one is."""
    found = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(round(seconds(work), 4))
    first, second = (statistics.median(rounds) for rounds in found.values())
    return {"seconds_of_rounds": found, "times_as_fast": round(first / second, 3)}


def measure(config: str, images: int, rounds: int) -> dict[str, Any]:
    """Measure a config in this process; without rounds its start alone."""
    import torch
    from on_gpu.papers import training_step
    from torch._dynamo.utils import counters

    from fastreid_ext.model_zoo import get_config

    # isort: split
    from fastreid.utils.events import EventStorage

    cfg = get_config(config)
    settings = {"MODEL.DEVICE": "cpu", "MODEL.BACKBONE.PRETRAIN": False, "MODEL.HEADS.NUM_CLASSES": 751}
    settings |= {"SOLVER.IMS_PER_BATCH": images, "SOLVER.FREEZE_ITERS": 0}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    steps = {}
    for name in ("eager", "compiled"):
        cfg.SOLVER.COMPILE = name == "compiled"
        steps[name] = training_step(cfg)
    height, width = cfg.INPUT.SIZE_TEST
    pictures = torch.rand(images, 3, height, width) * 255

    @torch.no_grad()
    def features(name: str) -> torch.Tensor:
        return steps[name].model(pictures.clone())  # FastReID writes into it

    with EventStorage(0):
        found: dict[str, Any] = {"images": images, "autocast": str(steps["eager"].autocast), "seconds_to_start": {}}
        wall = time.perf_counter()
        found["seconds_to_start"]["training"] = round(seconds(steps["compiled"].run_step), 1)
        if rounds:
            steps["eager"].run_step()
            found["training_step"] = in_turn({name: step.run_step for name, step in steps.items()}, rounds)
        for step in steps.values():
            step.model.eval()
        steps["eager"].model.load_state_dict(steps["compiled"].model.state_dict())
        found["seconds_to_start"]["test"] = round(seconds(lambda: features("compiled")), 1)
        if rounds:
            first, second = features("eager"), features("compiled")
            found["largest_difference_of_features"] = float((first - second).abs().max() / first.abs().max())
            found["test_features"] = in_turn({name: lambda name=name: features(name) for name in steps}, rounds)
        found["graphs"] = counters["stats"]["unique_graphs"]
        found["graph_breaks"] = sum(counters["graph_break"].values())
        print(f"{config}: {time.perf_counter() - wall:.0f} s", file=sys.stderr)
    return found


def in_a_process(config: str, rounds: int, cache: str) -> dict[str, Any]:
    """Measure a config in a process of its own."""
    command = [sys.executable, __file__, "--configs", config, "--rounds", str(rounds), "--here"]
    environment = {**os.environ, **ENVIRONMENT, "TORCHINDUCTOR_CACHE_DIR": cache}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS), metavar="CONFIG=IMAGES")
    parser.add_argument("--rounds", type=int, default=5, help="of steps, and of test batches (5)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        config, _, images = args.configs[0].partition("=")
        print(json.dumps(measure(config, int(images), args.rounds)))
        return
    from record import RESULTS, commit, write_record

    path = RESULTS / "compiled.json"
    results = json.loads(path.read_text())["results"] if path.is_file() else {}  # of other configs
    for config in args.configs:
        with tempfile.TemporaryDirectory() as cache:
            results[config] = in_a_process(config, args.rounds, cache)
            results[config]["seconds_to_start_again"] = in_a_process(config, 0, cache)["seconds_to_start"]
            results[config]["commit"] = commit()
        print(f"{config}: {json.dumps(results[config], indent=1)}")
        write_record("compiled", results)


if __name__ == "__main__":
    main()
