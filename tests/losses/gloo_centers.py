"""Two gloo processes that train the same centers on halves of the same batches; started by test_center.py."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

WORLD = 2


def work(rank: int, folder: str) -> None:
    from fastreid_ext.losses import CenterLoss  # not needed, and slow to import, in the process that starts the two

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", world_size=WORLD, rank=rank)
    given = torch.load(Path(folder) / "in.pt")
    loss = CenterLoss(*given["centers"].shape, rate=0.5).double()
    loss.centers.copy_(given["centers"])
    losses = [loss(x.chunk(WORLD)[rank], y.chunk(WORLD)[rank]) for x, y in given["batches"]]
    torch.save({"centers": loss.centers, "losses": torch.stack(losses)}, Path(folder) / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(work, args=(sys.argv[1],), nprocs=WORLD)
