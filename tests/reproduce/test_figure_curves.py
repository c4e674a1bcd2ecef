"""The command ``reproduce`` for figures that are curves: the numbers that they show."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from small_figures import call
from torch import nn

from fastreid_ext.errors import ConfigError
from fastreid_ext.reproduce.figures import curves, drawn_tables, loss_curves, searched_weights
from fastreid_ext.reproduce.paper_tables import tables_of
from fastreid_ext.reproduce.table_runs import rows_of

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def figures(monkeypatch):
    """The Matplotlib figures that are written."""
    written = []
    for module in (curves, loss_curves, searched_weights):
        monkeypatch.setattr(module, "write_figure", lambda path, figure: written.append(figure))
    return written


def lines_of(panel):
    return {line.get_label(): line.get_xydata() for line in panel.lines if not line.get_label().startswith("_")}


def draw(tables, table, rows):
    """Draw a curve of which every number is 50, by one seed."""
    summary = {metric: {"mean": 50.0, "spread": None, "by_seed": {"0": 50.0}} for metric in table.metrics}
    found = SimpleNamespace(rows=[(row, summary) for row in rows], title="t")
    curves.draw_curves(tables, table, found, None)


def test_a_curve_is_of_the_results_of_its_runs(output, finished, figures, capsys):
    """Figure 7 of Deep Miner: means and spread of the seeds, the printed number, and the baseline of both."""
    tables = tables_of("DeepMiner")
    taus = [f"tau = {tau} with one IE branch after block 3" for tau in (0.8, 0.1)]  # not in their order
    only = ["baseline (only the global branch)", *taus]
    rows = rows_of(tables, tables.tables["figure 7"], size="synthreid", only=only)
    for number, row in enumerate(rows):
        for seed in (0, 1):
            finished(row.run, {"mAP": 40.0 + number + 2 * seed, "Rank-1": 60.0 + number}, seed, weights=False)
    assert call(output, "DeepMiner", "figure 7", "--seeds", 0, 1, "--only", *only) == 0
    assert f"the figure is {output / 'figure7_synthreid.png'}" in capsys.readouterr().out
    (figure,) = figures
    ours, paper, *_ = figure.axes
    (bars,) = ours.containers
    line, _, (spread,) = bars.lines
    assert line.get_xdata().tolist() == [0.1, 0.8]
    assert line.get_ydata().tolist() == [42.0, 43.0]  # the first row is the baseline
    ends = [segment[:, 1].tolist() for segment in spread.get_segments()]
    np.testing.assert_allclose(ends, [[mean - math.sqrt(2), mean + math.sqrt(2)] for mean in (42, 43)])
    assert bars.get_label() == "ours, SynthReIDTiny, seeds 0, 1: mean ± standard deviation"
    assert lines_of(ours)["ours, baseline (only the global branch)"][:, 1].tolist() == [41.0, 41.0]
    printed = lines_of(paper)
    assert printed["paper, Market1501, as it prints it"].tolist() == [[0.8, 88.0]]
    assert printed["paper, baseline (only the global branch)"][0, 1] == 84.7
    assert (ours.get_xlabel(), ours.get_ylabel()) == ("erasing threshold τ", "mAP (%)")
    assert [panel.get_ylabel() for panel in figure.axes] == ["mAP (%)"] * 2 + ["Rank-1 (%)"] * 2


@pytest.mark.parametrize(
    ("project", "name", "axes", "printed"),
    [
        (
            "OccludedReID",
            "figure 5",
            {"α of the BED loss": [0.1, 0.3], "β of momentum elimination": [0.5, 0.7]},
            [[[0.3, 65.8]], [[0.3, 67.2]], [[0.9, 65.8]], [[0.9, 67.2]]],
        ),
        (
            "MGRe",
            "figure 5",
            {"length of the final feature": [256, 512, 1024, 2048, 4096]},
            [[[2048, 90.1]], [[2048, 96.2]]],
        ),
    ],
)
def test_axes_of_the_other_curves(project, name, axes, printed, figures):
    tables = tables_of(project)
    draw(tables, tables.tables[name], rows_of(tables, tables.tables[name], size="synthreid"))
    found = {}
    for panel in figures[0].axes:
        if panel.containers:
            found[panel.get_xlabel()] = panel.containers[0].lines[0].get_xdata().tolist()
    assert list(found) == list(axes)
    assert all(found[label][: len(values)] == values for label, values in axes.items())
    stars = [lines_of(panel) for panel in figures[0].axes]
    stars = [lines[label].tolist() for lines in stars for label in lines if "as it prints it" in label]
    assert stars == printed


def test_numbers_of_the_papers_data_stand_among_ours(figures):
    """On the same data set there is one panel for both."""
    tables = tables_of("DeepMiner")
    draw(tables, tables.tables["figure 7"], rows_of(tables, tables.tables["figure 7"]))
    panels = figures[0].axes
    assert [panel.get_ylabel() for panel in panels] == ["mAP (%)", "Rank-1 (%)"]
    assert lines_of(panels[1])["paper, Market1501, as it prints it"].tolist() == [[0.8, 94.7]]
    assert panels[0].containers[0].get_label() == "ours, Market1501, seed 0"


def test_several_data_sets_have_a_panel_each(figures):
    tables = tables_of("OccludedReID")
    table = tables.tables["figure 5"]
    draw(tables, table, rows_of(tables, table))
    panels = figures[0].axes
    assert len(panels) == 12 and {panel.get_title() for panel in panels} == {"OPReID", "OccludedDuke", "OccludedREID"}
    with pytest.raises(ConfigError, match="none of the rows of figure 7 is on its curve"):
        miner = tables_of("DeepMiner")
        only = ["baseline (only the global branch)"]
        draw(miner, miner.tables["figure 7"], rows_of(miner, miner.tables["figure 7"], only=only))


def test_box_plots_have_the_papers_letters(output, finished, monkeypatch, capsys):
    tables, only = tables_of("MSReID"), ["soft attention", "local branch, mask"]
    for number, row in enumerate(rows_of(tables, tables.tables["figure 5"], size="synthreid", only=only)):
        finished(row.run, {"mAP": 30.0 + number, "Rank-1": 50.0 + number}, weights=False)
    seen = []
    plots = drawn_tables.draw_box_plots
    monkeypatch.setattr(drawn_tables, "draw_box_plots", lambda *given: (seen.append(given[0]), plots(*given)))
    assert call(output, "MSReID", "figure 5", "--seeds", 0, "--only", *only) == 0
    assert "the figure is" in capsys.readouterr().out
    assert {name: of["SynthReIDTiny"]["mAP"]["mean"] for name, of in seen[0].items()} == {"A": 30.0, "LM": 31.0}
    assert np.asarray(Image.open(output / "figure5_synthreid.png")).std() > 10


@pytest.mark.slow
def test_curves_of_the_weights_of_parts(output, finished, figures, monkeypatch):
    """Figure 6 of MGRe: as in the numbers beside it, with the paper's choice."""
    monkeypatch.setattr(searched_weights, "GRID", (0.5, 1.0, 0.25))
    tables = tables_of("MGRe")
    opts = ["DATASETS.VALIDATION", "4"]
    (row,) = rows_of(tables, tables.tables["figure 6"], size="synthreid")
    finished(row.run, opts=opts)
    assert call(output, "MGRe", "figure 6", "--seeds", 0, opts=opts) == 0
    numbers = json.loads((output / "figure6_synthreid/seed0/weights.json").read_text())
    panels = dict(zip(numbers["curves"], figures[0].axes, strict=True))
    assert list(panels) == ["stage1", "stage2", "stage3", "stage4"]
    for (part, panel), choice in zip(panels.items(), (0.35, 0.5, 0.7, 0.8), strict=True):
        assert lines_of(panel)["ours, seed 0"].tolist() == numbers["curves"][part]
        assert lines_of(panel)["the paper's choice, on Market1501"][0, 0] == choice
        assert panel.get_xlabel() == f"weight of {part}"


def test_a_seed_without_results_has_no_line(output, monkeypatch):
    """What is drawn of a table whose run with seed 1 failed."""
    drawn = []
    search = SimpleNamespace(), "", []
    for name in ("load_trained", "check_parts", "write_search", "search_weights"):
        monkeypatch.setattr(
            searched_weights, name, lambda *given, name=name: search if name[0] == "s" else nn.Identity()
        )
    monkeypatch.setattr(searched_weights, "draw_searches", lambda searches, *rest: drawn.extend(searches))
    tables = tables_of("MGRe")
    table = tables.tables["figure 6"]
    (row,) = rows_of(tables, table, size="synthreid")
    found = SimpleNamespace(rows=[(row, {"mAP": {"by_seed": {"0": 1.0, "2": 1.0}}})], title="t")
    opts = ["DATASETS.VALIDATION", "4"]
    searched_weights.draw_searched_weights(table, found, [0, 1, 2], output, opts, output / "f.png")
    assert drawn == [0, 2]


def test_the_seeds_of_a_curve():
    one, two, other = ({"by_seed": dict.fromkeys(seeds)} for seeds in ("0", "03", "01"))
    assert curves.seeds_of([one, one]) == "seed 0"
    assert curves.seeds_of([two]) == "seeds 0, 3: mean ± standard deviation"
    assert curves.seeds_of([two, one]) == "1 to 2 seeds a point: mean ± standard deviation"
    assert curves.seeds_of([two, other]) == "2 seeds a point: mean ± standard deviation"


def test_curves_of_losses_are_the_formulas(tmp_path, figures):
    """In Python's own numbers, at every distance that is drawn."""
    loss_curves.draw_loss_curves(tmp_path / "f.png")
    formulas = [
        {
            "BED": lambda d: 1 - math.exp(-0.3 * d),
            "contrastive": lambda d: d,
            "triplet": lambda d: max(0.0, 0.3 + d - 1.0),
            "focal": lambda d: -((1 - math.exp(-0.3 * d)) ** 2) * math.log(math.exp(-0.3 * d)),
        },
        {
            "BED": lambda d: math.exp(-0.3 * d),
            "contrastive": lambda d: max(0.0, 0.3 - d),
            "triplet": lambda d: max(0.0, 0.3 + 1.0 - d),
            "focal": lambda d: math.inf if d == 0 else -(math.exp(-0.3 * d) ** 2) * math.log(1 - math.exp(-0.3 * d)),
        },
    ]
    for panel, expected in zip(figures[0].axes, formulas, strict=True):
        drawn = lines_of(panel)
        assert [label.split(",")[0] for label in drawn] == list(expected)
        for points, formula in zip(drawn.values(), expected.values(), strict=True):
            assert len(points) > 500 and points[0, 0] == 0
            np.testing.assert_allclose(points[:, 1], [formula(d) for d in points[:, 0]], rtol=1e-9, atol=1e-12)
