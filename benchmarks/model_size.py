"""Parameters and FLOPs of every shipped model, by torch's own counter: one test image, forward pass.

    python benchmarks/model_size.py

FLOPs count a multiply and an add as two, as torch does; papers often print half of that and call it FLOPs.

"""

import torch
from record import write_record
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.model_zoo import get_config, list_config_files

# isort: split
# FastReID, which fastreid_ext has healed by now.
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

TRAINING_IDENTITIES = {
    "Market1501": 751,
    "DukeMTMC": 702,
    "CUHK03Labeled": 767,
    "CUHK03Detected": 767,
    "MSMT17TrainVal": 1041,
    "OccludedDuke": 702,
    "OPReID": 1744,
    "PDukeMTMC": 665,
    "SynthReID": 100,
}


def measure(config_file: str) -> dict[str, float]:
    """Return the parameters (with classifiers) and the FLOPs of one test image of a shipped config."""
    cfg = get_config(config_file)
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.MODEL.HEADS.NUM_CLASSES = TRAINING_IDENTITIES[cfg.DATASETS.NAMES[0]]
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg).eval()
    image = torch.zeros(1, 3, *cfg.INPUT.SIZE_TEST)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        feature = model(image)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops_per_image": counter.get_total_flops(),
        "feature_dim": feature.shape[1],
        "input": list(cfg.INPUT.SIZE_TEST),
        "identities": cfg.MODEL.HEADS.NUM_CLASSES,
    }


def main() -> None:
    results = {}
    for config_file in list_config_files():
        results[config_file] = row = measure(config_file)
        print(f"{config_file:45s} {row['parameters'] / 1e6:8.2f} M  {row['flops_per_image'] / 2e9:8.2f} GMACs")
    print("written to", write_record("model_size", results))


if __name__ == "__main__":
    main()
