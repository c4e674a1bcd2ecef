"""Training steps that make the processor wait for no device, and that torch.compile captures in one graph."""

import pytest
import shapes
import small_training
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model

from fastreid_ext.data.batches import TARGETS_ON_CPU
from fastreid_ext.errors import ConfigError
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.scalars import collected_scalars

NARROW = {"MODEL.BACKBONE.NAME": "build_narrow_resnet_backbone", "MODEL.BACKBONE.DEPTH": "10x"}
# MSReID's attention divides the channels by 16.
NARROW |= {"MODEL.BACKBONE.NARROW.WIDTH": 16, "MODEL.BACKBONE.LAST_STRIDE": 1, "MODEL.DEVICE": "cpu"}
SIZES = {"MODEL.HEADS.NUM_CLASSES": 12, "INPUT.SIZE_TRAIN": [64, 32], "INPUT.SIZE_TEST": [64, 32]}
PAPERS = {
    "deepminer": {},
    "msreid": {},
    "mgre": {"MODEL.BACKBONE.WITH_IBN": False},
    "res2net": {"MODEL.MULTITASK.DESCRIPTOR": "linear32"},
    "occluded": {
        "MODEL.BACKBONE.NAME": "build_dnl_backbone",
        "MODEL.BACKBONE.DNL.TRUNK": "build_narrow_resnet_backbone",
        "MODEL.BACKBONE.DNL.BLOCKS": [0, 1, 1, 0],
    },
}


@pytest.fixture(params=PAPERS)
def cfg(request):
    cfg = get_config(f"demo/{request.param}.yml")
    settings = {**NARROW, **SIZES, **PAPERS[request.param]}
    cfg.merge_from_list([item for pair in settings.items() for item in pair])
    return cfg


def batch():
    return {**small_training.batch(), "targets": torch.tensor([3, 3, 7, 7])}


def test_a_step_reads_nothing_off_its_device(cfg):
    """The meta device has nothing to read: a wait for a GPU is an error there. Bad targets are refused nevertheless."""
    cfg.MODEL.DEVICE = "meta"
    with shapes.OnMeta():
        model = build_model(cfg).train()
    data = {key: value.to("meta") for key, value in batch().items()}
    with collected_scalars() as scalars:
        losses = model({**data, TARGETS_ON_CPU: (3, 3, 7, 7)})
        sum(losses.values()).backward()
    assert losses and all(loss.is_meta for loss in losses.values())
    assert any(name == "accuracy/global" or name == "accuracy/stage4" for names, _ in scalars for name in names)
    with pytest.raises(ConfigError, match="targets outside 0 to 11"):
        model({**data, TARGETS_ON_CPU: (3, 3, 7, 12)})
    with pytest.raises(RuntimeError, match="meta"):  # torch refuses to read targets that are on the device alone
        model(data)


@pytest.mark.slow
def test_one_graph_with_the_same_losses(cfg, storage):
    """Of forward, losses and augmentation, from the batch to the dict of losses: no graph break, the same bits."""
    torch._dynamo.reset()
    model, found = build_model(cfg).train(), []
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for forward in (model, torch.compile(model, backend="eager", fullgraph=True)):
        model.load_state_dict(state)
        torch.manual_seed(1)
        found.append(forward(batch()))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    with pytest.raises(RuntimeError, match="targets outside 0 to 11"):
        forward({**batch(), "targets": torch.tensor([3, 3, 7, 12])})
