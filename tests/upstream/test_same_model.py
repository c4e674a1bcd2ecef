"""The models of the written projects are ours: weights, training losses and features, to the bit."""

import json
import os
import subprocess

import pytest
import torch
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
from git_checkouts import git
from small_training import batch, copy_of

from fastreid_ext import model_zoo
from fastreid_ext.upstream.checking import run_without_us
from fastreid_ext.upstream.checkout import Checkout
from fastreid_ext.upstream.plan import PAPERS
from fastreid_ext.upstream.writing import write

pytestmark = pytest.mark.slow

SMALL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.HEADS.NUM_CLASSES": 9,
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.BACKBONE.DEPTH": "18x",
    "MODEL.BACKBONE.FEAT_DIM": 512,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
}
# A ResNet-18 has two blocks a stage; a Res2Net has no 18 layers.
OTHERS = {
    "OccludedReID": {"MODEL.BACKBONE.DNL.BLOCKS": [0, 1, 2, 0]},
    "Res2NetMultiTask": {"MODEL.BACKBONE.DEPTH": "26x", "MODEL.BACKBONE.FEAT_DIM": 2048},
}
CONFIGS = {"Res2NetMultiTask": "Market1501_Res2Net50.yml"}

THEIRS = """
import json, sys, torch
sys.path[:0] = [f"projects/{paper['project']}" for paper in json.load(open(sys.argv[1]))]
sys.path.insert(0, ".")
import importlib, logging
from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.utils.events import EventStorage
logging.disable(logging.WARNING)
torch.set_num_threads(1)
for paper in json.load(open(sys.argv[1])):
    cfg = get_cfg()
    importlib.import_module(paper["package"]).add_config(cfg)
    cfg.merge_from_file(f"projects/{paper['project']}/configs/{paper['config']}")
    for pair in paper["settings"].items():
        cfg.merge_from_list(list(pair))
    model, ours = build_model(cfg), torch.load(paper["file"], weights_only=True)
    state = model.state_dict()
    assert list(state) == list(ours["state"]), (paper["project"], set(state) ^ set(ours["state"]))
    model.load_state_dict(ours["state"])
    copy = lambda: {key: value.clone() for key, value in ours["batch"].items()}
    model.eval()
    with torch.no_grad():
        features = model(copy())
    assert torch.equal(features, ours["features"]), (paper["project"], (features - ours["features"]).abs().max())
    model.train()
    torch.manual_seed(5)
    with EventStorage(0):
        losses = model(copy())
    assert list(losses) == list(ours["losses"]), (paper["project"], list(losses))
    sum(losses.values()).backward()
    for name, loss in losses.items():
        assert torch.equal(loss.detach(), ours["losses"][name]), (paper["project"], name)
    gradient = torch.stack([p.grad.double().sum() for p in model.parameters() if p.grad is not None])
    assert torch.equal(gradient, ours["gradient"]), paper["project"]
    print("same", paper["project"])
"""


def ours(paper, settings, file):
    """Build our model and write its weights, a batch, and what it makes of that."""
    cfg = model_zoo.get_config(f"{paper.project}/{CONFIGS.get(paper.project, 'Market1501_R50.yml')}")
    for pair in settings.items():
        cfg.merge_from_list(list(pair))
    torch.manual_seed(1)
    model, images = build_model(cfg), batch()
    with torch.no_grad():  # gates and classifiers that start at zero would hide what is behind them
        for value in model.parameters():
            value.add_(0.01 * torch.randn_like(value))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    with torch.no_grad():
        features = model(copy_of(images))
    model.train()
    torch.manual_seed(5)
    with EventStorage(0):
        losses = model(copy_of(images))
    sum(losses.values()).backward()
    gradient = torch.stack([p.grad.double().sum() for p in model.parameters() if p.grad is not None])
    losses = {name: loss.detach() for name, loss in losses.items()}
    torch.save(
        {"state": state, "batch": images, "features": features, "losses": losses, "gradient": gradient}, file
    )  # fmt: skip


def test_same_model(written, tmp_path):
    papers = []
    for paper in PAPERS:
        settings = {**SMALL, **OTHERS.get(paper.project, {})}
        file = str(tmp_path / f"{paper.package}.pth")
        ours(paper, settings, file)
        config = CONFIGS.get(paper.project, "Market1501_R50.yml")
        names = {"project": paper.project, "package": paper.package, "config": config}
        papers.append({**names, "settings": settings, "file": file})
    listing, script = tmp_path / "papers.json", tmp_path / "theirs.py"
    listing.write_text(json.dumps(papers))
    script.write_text(THEIRS)
    said = run_without_us(written[0], str(script), [str(listing)])
    assert said.splitlines() == [f"same {paper.project}" for paper in PAPERS]


def test_two_steps(written):
    """The test that a project carries, as --check runs it."""
    small = ("MODEL.BACKBONE.DEPTH", "18x", "INPUT.SIZE_TRAIN", "[64,32]", "INPUT.SIZE_TEST", "[64,32]")
    said = run_without_us(written[0], "projects/MGRe/tests/two_steps.py", small)
    lines = [line for line in said.splitlines() if ".yml: " in line]  # FastReID prints too
    assert [line.partition(":")[0] for line in lines] == ["DukeMTMC_R50.yml", "Market1501_R50.yml"]
    assert all("2 steps" in line for line in lines)


# The tests above write into a checkout that is made of the installed wheel. FASTREID_CHECKOUT=path/to/fast-reid runs
# this one too.
@pytest.mark.skipif("FASTREID_CHECKOUT" not in os.environ, reason="needs a git checkout")  # whose files CI can't ship
def test_a_real_checkout(tmp_path):
    """In a clone of a checkout of FastReID or a fork: all projects are written and take their two steps."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", os.environ["FASTREID_CHECKOUT"], folder], check=True)
    for key, value in (("name", "Tester"), ("email", "tester@example.invalid")):
        git(folder, "config", f"user.{key}", value)
    write(Checkout(folder), PAPERS, True, "fastreid-ext", False)
    for paper in PAPERS:
        small = ["INPUT.SIZE_TRAIN", "[64,32]", "INPUT.SIZE_TEST", "[64,32]"]
        assert "2 steps" in run_without_us(folder, f"projects/{paper.project}/tests/two_steps.py", small)
