"""Every backbone in FastReID's registry, of every depth, in every project: it builds and runs, or one sentence."""

import pytest
import shapes
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY, build_backbone

from fastreid_ext.compat.names import plain_names
from fastreid_ext.engine.model import build_model
from fastreid_ext.errors import UserError
from fastreid_ext.model_zoo import get_config
from fastreid_ext.modeling.trunk import output_channels

PROJECTS = {
    "DeepMiner": "demo/deepminer.yml",
    "MSReID": "demo/msreid.yml",
    "MGRe": "demo/mgre.yml",
    "OccludedReID": "demo/occluded.yml",
    "Res2NetMultiTask": "demo/res2net.yml",
    "Baseline": "demo/baseline.yml",
}
REGNETS = (200, 400, 800, 1600, 3200, 4000, 6400)
# Builder -> its depths, the smallest first; for timm's networks, their names.
DEPTHS = {
    "resnet": ("18x", "34x", "50x", "101x"),
    "narrow_resnet": ("10x", "18x", "34x"),
    "deep_resnet": ("152x",),
    "dnl_resnet": ("34x", "18x", "50x", "101x"),
    "dnl": ("34x", "18x"),  # what it adds to is MODEL.BACKBONE.DNL.TRUNK, a ResNet
    "resnext": ("50x", "101x", "152x"),
    "resnest": ("50x", "101x", "200x", "269x"),
    "res2net": ("26x", "50x", "101x"),
    "regnet": tuple(f"{size}{kind}" for size in REGNETS for kind in "xy"),
    "effnet": ("b0", "b1", "b2", "b3", "b4", "b5"),
    "mobilenetv2": ("0.1x", "0.25x", "0.35x", "0.5x", "0.75x", "1.0x"),
    "mobilenetv3": ("Small", "Large"),
    "shufflenetv2": ("0.5x", "1.0x", "1.5x", "2.0x"),
    "osnet": ("x0_25", "x0_5", "x0_75", "x1_0"),
    "repvgg": ("A0", "A1", "A2", "B0", "B1", "B1g2", "B1g4", "B2", "B2g2", "B2g4", "B3", "B3g2", "B3g4"),
    "vit": ("small", "base"),
    "timm": (
        "convnextv2_atto",
        "mobilenetv4_conv_small",
        "repvgg_a0",
        "vgg11",
        "vit_tiny_patch16_224",
        "resnet51q",
        "no_such_network",
        "",
    ),
}
STAGED = ("DeepMiner", "MSReID", "MGRe")
PAIRS = [(builder, DEPTHS[builder][0], project) for builder in DEPTHS for project in PROJECTS]
PAIRS += [  # another depth has more and wider blocks: one project each
    (builder, depth, list(PROJECTS)[place % len(PROJECTS)])
    for builder, depths in DEPTHS.items()
    for place, depth in enumerate(depths[1:])
]
PAIRS += [("timm", "fastvit_t8", project) for project in ("MGRe", "OccludedReID")]
# Of the fast tier: every second builder, in turn in the projects that need most.
QUICK = [(builder, DEPTHS[builder][0], STAGED[place % len(STAGED)]) for place, builder in enumerate(list(DEPTHS)[::2])]
ALL = tuple(PROJECTS)
# (builder, depth; None = each) -> who refuses it
REFUSED = {
    ("res2net", None): ("MSReID", "MGRe"),  # their demos have IBN
    ("dnl", "18x"): tuple(project for project in ALL if project != "OccludedReID"),  # its demo places fewer blocks
    ("dnl_resnet", "18x"): tuple(project for project in ALL if project != "OccludedReID"),
    ("resnext", "152x"): ALL,  # one of FastReID's two tables has it
    ("vit", None): STAGED,
    ("timm", "hrnet_w18_small"): ALL,  # its stages run in parallel
    ("timm", "fastvit_t8"): ("MGRe",),  # what ends its last stage gives a block no room to follow
    ("timm", "vgg11"): ("MGRe",),  # it has no residual blocks
    ("timm", "no_such_network"): ALL,
    ("timm", ""): ALL,
}


def test_the_table_is_whole():
    ours = [name for name in plain_names(BACKBONE_REGISTRY) if _module(name).startswith(("fastreid.", "fastreid_ext."))]
    assert {f"build_{name}_backbone" for name in DEPTHS} == set(ours)


def _module(name):
    return BACKBONE_REGISTRY.get(name).__module__


def config(builder, depth, project):
    """What a user types: a demo's config and another backbone."""
    key = "TIMM.NAME" if builder == "timm" else "DEPTH"
    cfg = get_config(PROJECTS[project])
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", f"build_{builder}_backbone", f"MODEL.BACKBONE.{key}", depth])
    cfg.merge_from_list(["MODEL.HEADS.NUM_CLASSES", 12, "MODEL.DEVICE", "cpu" if builder == "vit" else "meta"])
    return cfg


@pytest.mark.parametrize(
    ("builder", "depth", "project"),
    [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in PAIRS],
)
def test_it_builds_and_runs_or_says_why_not(builder, depth, project):
    cfg = config(builder, depth, project)
    sentence = ""
    numbers = builder == "vit"  # FastReID's transformer reads some off its tensors
    with shapes.WithoutDraws() if numbers else shapes.OnMeta(), torch.no_grad():
        try:
            if project == "Baseline":  # FastReID's own measures nothing
                cfg.MODEL.BACKBONE.FEAT_DIM = output_channels(build_backbone(cfg))
            model = build_model(cfg).eval()
            feature = model({"images": torch.zeros(2, 3, *cfg.INPUT.SIZE_TEST)})
            assert feature.dim() == 2 and len(feature) == 2
        except UserError as error:
            sentence = str(error)
    refused = (*REFUSED.get((builder, depth), ()), *REFUSED.get((builder, None), ()))
    assert bool(sentence) is (project in refused), sentence
    assert "\n" not in sentence and len(sentence) < 600
