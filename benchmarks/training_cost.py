"""What training a paper's main model takes: operations and memory, counted on a CPU for a GPU that is not here.

    python benchmarks/training_cost.py

Operations are torch's count of a training forward of one image, times three for forward and backward. Memory is that of
weights, gradients and the optimiser's state, and of what autograd keeps for the backward pass of a whole batch in
bfloat16: counted at 8 and 12 images, of which the rest follows. cuDNN's workspaces, fragments and CUDA itself are not
counted: about a GB more.
"""

import torch
from fastreid.config import CfgNode
from record import write_record
from tabulate import tabulate
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.data.body import COCO_JOINTS
from fastreid_ext.engine.optimizer import build_optimizer
from fastreid_ext.model_zoo import get_config

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY
from fastreid.utils.events import EventStorage

CONFIGS = {
    **{name: f"{name}/Market1501_R50.yml" for name in ("Baseline", "DeepMiner", "MSReID", "MGRe", "OccludedReID")},
    "Res2NetMultiTask": "Res2NetMultiTask/Market1501_Res2Net50.yml",
}
IDENTITIES, IMAGES = 751, 12_936  # of Market1501's training set
COUNTED = (8, 12)  # images of the batches that are counted
RATE = 40e12  # operations a second that a step reaches: an assumption


def main() -> None:
    torch.set_num_threads(1)
    results = {}
    for project, config in CONFIGS.items():
        results[project] = row = cost(config)
        print(project, row, flush=True)
    print("written to", write_record("training_cost", results, rate=RATE))
    print(table(results))


def cost(config: str) -> dict[str, float]:
    """Return what a config's training takes: ``gflops`` an image and step, ``gigabytes``, and so on."""
    cfg = get_config(config)
    cfg.MODEL.DEVICE, cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.HEADS.NUM_CLASSES = "cpu", False, IDENTITIES
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).train()
    few, more = (kept_by_autograd(model, cfg, images) for images in COUNTED)
    per_image = (more - few) / (COUNTED[1] - COUNTED[0])
    batch = cfg.SOLVER.IMS_PER_BATCH
    weights = sum(parameter.numel() for parameter in model.parameters())
    state = 1 + len(moments(cfg, model))
    with FlopCounterMode(display=False) as counter:
        forward(model, cfg, COUNTED[0])
    flops = 3 * counter.get_total_flops() / COUNTED[0]
    return {
        "batch": batch,
        "epochs": cfg.SOLVER.MAX_EPOCH,
        "flops_per_image": flops,
        "bytes_of_weights": 4 * weights * (1 + state),
        "bytes_per_image": per_image,
        "gigabytes": (4 * weights * (1 + state) + few + per_image * (batch - COUNTED[0])) / 1e9,
        "gigabytes_in_two_parts": (4 * weights * (1 + state) + few + per_image * (batch / 2 - COUNTED[0])) / 1e9,
        "hours": flops * IMAGES * cfg.SOLVER.MAX_EPOCH / RATE / 3600,
    }


def kept_by_autograd(model: nn.Module, cfg: CfgNode, images: int) -> int:
    """Return the bytes of the tensors that autograd keeps of a training forward, the weights aside."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive = []  # so that no storage takes the place of another

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        alive.append(tensor)
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        forward(model, cfg, images)
    return sum(kept.values())


def forward(model: nn.Module, cfg: CfgNode, images: int) -> None:
    """Run a training forward on noise in bfloat16; four images an identity, as the losses need."""
    batch = {
        "images": torch.rand(images, 3, *cfg.INPUT.SIZE_TRAIN) * 255,
        "targets": torch.arange(images) // 4,
        "camids": torch.zeros(images, dtype=torch.long),
    }
    if cfg.INPUT.JOINTS.ENABLED:
        batch["joints"] = torch.rand(images, len(COCO_JOINTS), 3)
    with EventStorage(), torch.autocast("cpu", dtype=torch.bfloat16):
        model(batch)


def moments(cfg: CfgNode, model: nn.Module) -> list[str]:
    """Return the names of the optimiser's tensors of a weight's size."""
    optimizer = build_optimizer(cfg, model)
    parameter = optimizer.param_groups[0]["params"][0]
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = optimizer.state[parameter]
    return [name for name, value in state.items() if torch.is_tensor(value) and value.shape == parameter.shape]


def table(results: dict[str, dict[str, float]]) -> str:
    """Return a Markdown table, a row for each project."""
    rows = [
        [
            name,
            row["batch"],
            row["epochs"],
            f"{row['flops_per_image'] / 2e9:.1f}",
            f"{row['gigabytes']:.1f}",
            f"{row['gigabytes_in_two_parts']:.1f}",
            f"{row['hours']:.1f}",
        ]
        for name, row in results.items()
    ]
    headers = ["", "batch", "epochs", "G multiply-adds an image", "GB", "GB in two parts", "hours"]
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
