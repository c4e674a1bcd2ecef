#!/usr/bin/env python3
"""A train_net.py for tests: as projects/*/train_net.py, with a tiny ResNet, and able to stall inside a checkpoint."""

import os
import signal
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [os.environ.get("FASTREID_EXT_PATH", str(TESTS.parent)), str(TESTS)]

import torch  # noqa: E402

import fastreid_ext  # noqa: E402, F401  (heals the host)

# isort: split

import tiny_resnet  # noqa: E402, F401  (its backbones have names now)
from fastreid.utils import comm  # noqa: E402

from fastreid_ext.cli import main  # noqa: E402
from fastreid_ext.engine import compiling, launching, run  # noqa: E402
from fastreid_ext.engine.trainer import Trainer  # noqa: E402


class DumpingTrainer(Trainer):
    """Leaves rank<n>.pth of every rank in OUTPUT_DIR."""

    def train(self):
        results = super().train()
        if comm.get_world_size() > 1:
            torch.save(self.checkpointer.model.state_dict(), Path(self.cfg.OUTPUT_DIR) / f"rank{comm.get_rank()}.pth")
        return results


def stall_in_save(number: int) -> None:
    """Write only the first half of the checkpoint ``number`` and wait to be killed."""
    save, calls = torch.save, iter(range(number + 1))

    def stalling(data, file):
        if next(calls) < number:
            return save(data, file)
        save(data, file)
        file.truncate(file.tell() // 2)
        file.flush()
        print("STALLED", flush=True)
        return signal.pause()

    torch.save = stalling


if __name__ in ("__main__", "__mp_main__"):
    run.Trainer = DumpingTrainer
if __name__ == "__main__":
    if "FORK_RANKS" in os.environ:  # nothing has to be imported again; spawned is what a user's are
        launching.START = "fork"
    if "COMPILE_BACKEND" in os.environ:
        compiling.BACKEND = os.environ["COMPILE_BACKEND"]
    if "STALL_IN_SAVE" in os.environ:
        stall_in_save(int(os.environ["STALL_IN_SAVE"]))
    sys.exit(main(["train", *sys.argv[1:]]))
