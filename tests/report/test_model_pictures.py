"""What a run's own model draws of its hardest queries."""

import base64
import io

import pytest
import tiny_resnet  # noqa: F401  (its backbones have names now)
import torch
from fastreid.modeling import build_model
from PIL import Image

from fastreid_ext.model_zoo import get_config
from fastreid_ext.report.model_pictures import draw_model_pictures
from fastreid_ext.report.page import content_of, render
from fastreid_ext.report.run_files import read_run

TINY = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "build_tiny_resnet_backbone",
    "MODEL.BACKBONE.PRETRAIN": False,
    "MODEL.HEADS.NUM_CLASSES": 5,
    "INPUT.SIZE_TRAIN": [64, 32],
    "INPUT.SIZE_TEST": [64, 32],
}
MODELS = {
    "baseline": ({"MODEL.BACKBONE.FEAT_DIM": 64}, ["Grad-CAM"]),
    "msreid": ({"MODEL.MSREID.DIM": 32, "MODEL.MSREID.ATTENTION": False}, ["Grad-CAM", "Masks"]),
    "mgre": ({"MODEL.HEADS.EMBEDDING_DIM": 16}, ["Grad-CAM", "Regions"]),
}


@pytest.fixture
def with_model(make_run):
    """``with_model("mgre")``: a run's folder with the config and random weights of a tiny model."""

    def make(name):
        folder = make_run(name)
        cfg = get_config(f"demo/{name}.yml")
        cfg.merge_from_list([x for pair in (TINY | MODELS[name][0]).items() for x in pair])
        torch.save({"model": build_model(cfg).state_dict()}, folder / "model_best.pth")
        (folder / "config.yaml").write_text(cfg.dump())
        return folder

    return make


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_has_is_drawn(with_model, name):
    run = read_run(with_model(name))
    drawn, notes = draw_model_pictures(run, 2)
    assert notes == [] and [kind.kind for kind in drawn] == MODELS[name][1]
    for kind in drawn:
        assert len(kind.rows) == 2 and all(len(pictures) > 1 for _, pictures in kind.rows)
        assert bool(kind.legend) == (kind.kind == "Regions")
        for _, pictures in kind.rows:
            sizes = {Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size for _, uri in pictures}
            assert sizes == {(112, 224)}
    html = render(content_of([run], "", 2, 2), "")
    assert all(f"<h3>{kind.kind}</h3>" in html for kind in drawn) and "What is missing" not in html


def test_weights_that_do_not_fit_are_a_sentence(with_model):
    folder = with_model("baseline")
    torch.save({"model": {"x": torch.zeros(1)}}, folder / "model_best.pth")
    drawn, (note,) = draw_model_pictures(read_run(folder), 2)
    assert drawn == [] and note.startswith("What the model looks at is not drawn: ")
    (folder / "model_best.pth").write_bytes(b"x")
    drawn, (note,) = draw_model_pictures(read_run(folder), 2)
    assert drawn == [] and "model_best.pth" in note


def test_a_model_without_that_layer_is_a_sentence(with_model, monkeypatch):
    monkeypatch.setattr("fastreid_ext.report.model_pictures.last_layer", lambda model: "backbone.layer5")
    drawn, (note,) = draw_model_pictures(read_run(with_model("msreid")), 1)
    assert [kind.kind for kind in drawn] == ["Masks"] and note.startswith("Grad-CAM is not drawn: ")
