"""The command ``reproduce`` for figures that are pictures: what is drawn of which models, and what is refused."""

import numpy as np
import pytest
import torch
from fastreid.modeling import build_model
from PIL import Image
from small_figures import OPTS, call

from fastreid_ext.cli import main
from fastreid_ext.config import get_cfg
from fastreid_ext.data.catalog import load_dataset
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import config_file_of, load_trained
from fastreid_ext.inference.extractor import Extractor
from fastreid_ext.reproduce.figures import sheets
from fastreid_ext.reproduce.figures.figure_models import runs_of
from fastreid_ext.reproduce.figures.pictures import KINDS
from fastreid_ext.reproduce.figures.rankings import rankings
from fastreid_ext.reproduce.paper_tables import projects, tables_of

pytestmark = pytest.mark.usefixtures("tiny")
PICTURES = [(project, name) for project in projects() for name in tables_of(project).pictures]


# ---- pictures -------------------------------------------------------------------------------------------------------


SHOWN = {  # columns of the grid, and its rows
    ("DeepMiner", "figure 2"): (["image", "global branch", "IE2 branch", "IE3 branch", "local branch"], 2),
    ("MSReID", "figure 1"): (["image", "global mask", "local mask"], 2),
    ("MSReID", "figure 6"): (["image", "L and M", "L", "M", "neither"], 4),
    ("MGRe", "figure 4"): (["image", *(f"stage {i}" for i in (1, 2, 3, 4)), "all together"], 2),
}


@pytest.mark.slow
@pytest.mark.parametrize(("project", "name"), PICTURES)
def test_every_picture_by_one_command(project, name, output, finished, monkeypatch, capsys):
    tables = tables_of(project)
    picture = tables.pictures[name]
    runs = runs_of(tables, picture, "synthreid")
    for run in runs.values():
        finished(run)
    seen = {}

    def keep(lines, columns, *rest):
        seen.update(lines=lines, columns=columns)
        return sheets_grid(lines, columns, *rest)

    sheets_grid = sheets.labelled_grid
    monkeypatch.setattr(sheets, "labelled_grid", keep)
    count = () if picture.kind == "losses" else ("--count", 2)
    assert call(output, project, name, "--seeds", "0", *count) == 0
    printed = capsys.readouterr().out
    for label, run in runs.items():
        assert f"- {label}: {run.config}" in printed and "seed 0, is done" in printed
    (path,) = (line.removeprefix("the picture is ") for line in printed.splitlines() if line.startswith("the picture"))
    assert np.asarray(Image.open(path)).std() > 10
    if (project, name) in SHOWN:
        columns, rows = SHOWN[project, name]
        assert seen["columns"][: len(columns)] == columns and len(seen["lines"]) == rows
        for line in seen["lines"]:
            pictures = [cell for cell in line.cells if cell is not None]
            assert len({cell.tobytes() for cell in pictures}) == len(pictures)  # each column is of its own
    else:
        assert picture.kind in ("ranks", "losses")


def test_kinds_are_those_of_the_tables():
    kinds = {tables_of(project).pictures[name].kind for project, name in PICTURES}
    assert kinds == {*KINDS, "ranks", "losses"}


@pytest.mark.slow
def test_a_picture_whose_model_is_trained_first(tmp_path, runs_in_this_process, capsys):
    """Of the images of a folder; the second call trains nothing, and another model of the user's is taken as it is."""
    folder = tmp_path / "people"
    folder.mkdir()
    Image.new("RGB", (32, 64), (200, 10, 10)).save(folder / "a.png")
    shown = ("--images", folder, "--seeds", "3")
    assert call(tmp_path / "out", "DeepMiner", "figure 2", *shown) == 0
    assert "seed 3, is to be trained" in capsys.readouterr().out and len(runs_in_this_process) == 1
    picture = tmp_path / "out/figure2_synthreid.png"
    before = picture.read_bytes()
    assert call(tmp_path / "out", "DeepMiner", "figure 2", *shown) == 0 and len(runs_in_this_process) == 1
    assert picture.read_bytes() == before
    run = tmp_path / "out/runs/synthreid/deepminer/seed3"
    own = ("--model", "Deep Miner", run / "config.yaml", run / "model_final.pth")
    assert call(tmp_path / "other", "DeepMiner", "figure 2", *shown, *own) == 0 and len(runs_in_this_process) == 1
    height = 256  # of the pictures; the words below differ
    pixels = [np.asarray(Image.open(path)) for path in (picture, tmp_path / "other/figure2_synthreid.png")]
    assert all((one[:height] == pixels[0][:height]).all() for one in pixels)


def test_rankings_are_those_of_the_features(output, finished):
    """Against distances one by one; images of the query's own person and camera are left out."""
    tables = tables_of("MSReID")
    run = runs_of(tables, tables.pictures["figure 4"], "synthreid")["FastReID's Baseline"]
    finished(run)
    cfg = get_cfg()
    weights = output / "runs" / run.folder / "seed0/model_final.pth"
    merge_config(cfg, config_file_of(run.config), [*OPTS, "MODEL.WEIGHTS", str(weights)])
    model = load_trained(cfg).eval()
    found = rankings(cfg, model, "SynthReIDTiny", 3, 1000)
    dataset = load_dataset("SynthReIDTiny", ("query", "gallery"))
    queries, gallery = sorted(dataset.query), sorted(dataset.gallery)
    extractor = Extractor.of_model(cfg, model)
    features = [extractor([item[0] for item in items]) for items in (queries, gallery)]
    assert len(found) == 3 and found[0].query == queries[0][0] and found[-1].query == queries[-1][0]
    for ranked in found:
        query = [item[0] for item in queries].index(ranked.query)
        _, person, camera = queries[query]
        near = sorted(
            (1 - float(features[0][query] @ features[1][i]), path, pid == person)
            for i, (path, pid, camid) in enumerate(gallery)
            if (pid, camid) != (person, camera)
        )
        assert ranked.gallery[:4] == [path for _, path, _ in near[:4]]
        assert dict(zip(ranked.gallery, ranked.right, strict=True)) == {path: right for _, path, right in near}
        assert len(near) < len(gallery)


# ---- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DeepMiner", "figure 9"], "DeepMiner has no 'figure 9': choose from table 1, "),
        (["MSReID", "figure 1", "--model", "X", "a.yml", "b.pth"], "--model is 'X', and figure 1 has 'MSReID'"),
        (["MSReID", "figure 1", "--model", "MSReID", "a.yml", "b.pth"], "there is no config file a.yml"),
        (["MSReID", "figure 4", "--images", "people"], "figure 4 ranks the gallery of a test set: leave it out"),
        (["MSReID", "figure 1", "--count", "0"], "--count is 0 and must be 1 or more"),
        (["MSReID", "figure 1", "--only", "x"], "--only is for a table, and figure 1 is a picture: leave it out"),
        (["MSReID", "figure 1", "--jobs", "2"], "--jobs is for a table, and figure 1 is a picture: leave it out"),
        (["MSReID", "figure 1", "--opts", "SEED", "3"], "--opts has SEED"),
        (["MSReID", "figure 1"], "data set Market1501 is missing"),
        (["MSReID", "figure 5", "--count", "2"], "--count is for a picture, and figure 5 is none: leave it out"),
        (["OccludedReID", "figure 3", "--images", "people"], "figure 3 is drawn from formulas: leave it out"),
        (["OccludedReID", "figure 3", "--count", "2"], "--count is for pictures of images, and figure 3 is drawn from"),
        (["OccludedReID", "figure 3", "--model", "X", "a", "b"], "--model is 'X', and figure 3 needs no model"),
        (["zoo", "--images", "people"], "--images is for a paper"),
    ],
)
def test_wrong_calls_are_a_sentence(tmp_path, monkeypatch, sentence_of, arguments, message):
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert message in sentence_of(main(["reproduce", *arguments]))
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_model_of_the_figure(output, tmp_path, sentence_of):
    """Masks of a model without any, and a folder without images."""
    tables = tables_of("MSReID")
    run = runs_of(tables, tables.pictures["figure 4"], "synthreid")["FastReID's Baseline"]
    cfg = get_cfg()
    merge_config(cfg, config_file_of(run.config), [*OPTS, "MODEL.HEADS.NUM_CLASSES", "9"])
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "b.pth")
    (tmp_path / "b.yml").write_text(cfg.dump())
    given = ("--model", "MSReID", tmp_path / "b.yml", tmp_path / "b.pth")
    assert "Baseline has no spatial masks" in sentence_of(call(output, "MSReID", "figure 1", *given))
    status = call(output, "MSReID", "figure 1", *given, "--images", tmp_path / "none")
    assert f"the folder {tmp_path / 'none'} holds no image" in sentence_of(status)


def test_pictures_are_listed_with_the_tables(capsys):
    assert main(["reproduce", "OccludedReID"]) == 0
    assert "figure 3: the BED loss of a pair by its distance" in capsys.readouterr().out


def test_a_dry_run_of_a_picture_does_nothing(tmp_path, capsys):
    assert call(tmp_path / "out", "MGRe", "figure 4", "--dry-run", "--seeds", 0) == 0
    printed = capsys.readouterr().out
    assert "- baseline: MGRe/ablation/SynthReID_baseline.yml, seed 0, is to be trained" in printed
    assert not (tmp_path / "out").exists()
