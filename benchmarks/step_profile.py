"""Where a training step spends its time, by kind of operation, and how near Adam is to the speed of the memory.

    python benchmarks/step_profile.py                             # demo/deepminer.yml, half of its batch
    python benchmarks/step_profile.py --config demo/mgre.yml=64

Shares are of torch's profiler. Adam reads weight, gradient and two moments and writes three of them: 28 bytes a weight.
Its seconds, of the processor, stand beside those of plain copies of as many bytes.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from on_gpu.papers import training_step
from record import write_record
from res2net_profile import shares

from fastreid_ext.model_zoo import get_config

# isort: split
from fastreid.utils.events import EventStorage

BYTES_A_WEIGHT = 7 * 4  # of float32


def processor_seconds(work: Callable[[], Any], rounds: int) -> float:
    """Return the median of a piece of work's seconds of the processor."""
    found = []
    for _ in range(rounds + 1):  # the first touches new memory
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="demo/deepminer.yml=32", metavar="CONFIG=IMAGES")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    name, _, images = args.config.partition("=")
    cfg = get_config(name)
    settings = {"MODEL.DEVICE": "cpu", "MODEL.BACKBONE.PRETRAIN": False, "MODEL.HEADS.NUM_CLASSES": 751}
    settings |= {"SOLVER.IMS_PER_BATCH": int(images), "SOLVER.FREEZE_ITERS": 0}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    step = training_step(cfg)
    weights = sum(p.numel() for p in step.model.parameters())
    with EventStorage(0):
        step.run_step()
        rounds = [shares(step.run_step, torch.device("cpu")) for _ in range(args.rounds)]
        moved = torch.zeros(2, BYTES_A_WEIGHT * weights // 8, dtype=torch.float32)  # a copy reads and writes
        adam = processor_seconds(step.optimizer.step, args.rounds)
        copies = processor_seconds(lambda: moved[0].copy_(moved[1]), args.rounds)
    kinds = {kind: statistics.median(one.get(kind, 0.0) / sum(one.values()) for one in rounds) for kind in rounds[0]}
    results = {
        "config": name,
        "images": int(images),
        "autocast": str(step.autocast),
        "weights": weights,
        "shares": {kind: round(kinds[kind], 4) for kind in sorted(kinds, key=kinds.get, reverse=True)},
        "optimiser_seconds": round(adam, 4),
        "seconds_of_copies_of_as_many_bytes": round(copies, 4),
    }
    for kind, share in results["shares"].items():
        print(f"{kind:26s} {share:6.1%}")
    print(f"Adam {adam:.3f} s, copies of as many bytes {copies:.3f} s")
    print("written to", write_record("step_profile", results))


if __name__ == "__main__":
    main()
