"""Images per second of each trunk alone, for docs/trunks.md: a test batch on the CPU, float32, random weights.

    python benchmarks/trunk_speed.py                     (about five minutes of two cores that have nothing else to do)
    python benchmarks/trunk_speed.py --trunks "OSNet x1.0" "ResNet-50" --record /tmp/speed.json
    python benchmarks/trunk_table.py                     (writes the page with the new numbers)

Rounds go through all trunks in turn, so that a slow moment of the machine hits all of them. A ratio is the median of
the rounds' ratios to ResNet-50.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, write_record
from torch import Tensor, nn

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.modeling.backbones import build_backbone
from trunk_list import SIZE, SPEED, TRUNKS, config_of

YARDSTICK = "ResNet-50"
Seconds = dict[str, list[float]]


def measure(networks: Mapping[str, Callable[[Tensor], Any]], images: Tensor, rounds: int) -> Seconds:
    """Return the seconds of a batch for each network, one for each round; a first round of two images warms up."""
    seconds: Seconds = {name: [] for name in networks}
    for number in range(rounds + 1):
        for name, network in networks.items():
            given = images if number else images[:2]
            start = time.perf_counter()
            with torch.inference_mode():
                network(given)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: Seconds, batch: int) -> dict[str, dict[str, float]]:
    """Return trunk -> images per second, and how many times as many as ResNet-50 (where that was measured)."""
    found = {}
    for name, own in seconds.items():
        found[name] = {"images_per_second": batch / statistics.median(own)}
        if YARDSTICK in seconds:
            ratios = [theirs / mine for theirs, mine in zip(seconds[YARDSTICK], own, strict=True)]
            found[name]["ratio"] = statistics.median(ratios)
    return found


def built(name: str) -> nn.Module:
    """Return a trunk of the table in test mode, with numbers."""
    torch.manual_seed(0)
    return build_backbone(config_of(TRUNKS[name])).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trunks", nargs="+", default=list(TRUNKS), choices=list(TRUNKS), metavar="TRUNK")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--record", type=Path, default=RESULTS / SPEED, help="file to write instead of the results'")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    networks = {name: built(name) for name in args.trunks}
    found = summary(measure(networks, torch.rand(args.batch, 3, *SIZE), args.rounds), args.batch)
    facts: dict[str, Any] = {"size": SIZE, "batch": args.batch, "rounds": args.rounds}
    for name, row in found.items():
        print(f"{name:22} {row['images_per_second']:8.1f} images/s  {row.get('ratio', float('nan')):6.2f} times")
    print("written to", write_record(Path(SPEED).stem, found, args.record, **facts))


if __name__ == "__main__":
    main()
