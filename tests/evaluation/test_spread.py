"""Mean, spread and best of several seeds, the table and the box plot."""

import math

import pytest
from matplotlib.figure import Figure
from PIL import Image

from fastreid_ext.evaluation.spread import draw_box_plots, format_table, summarise


def runs(*values, name="Market1501"):
    return {seed: {name: {"Rank-1": value, "mAP": value - 10}} for seed, value in enumerate(values)}


def test_by_hand():
    """90, 92, 97: mean 93, deviations -3, -1, 4, so a sample's variance of 26 / 2."""
    rank1 = summarise(runs(90.0, 92.0, 97.0))["Market1501"]["Rank-1"]
    assert rank1["mean"] == pytest.approx(93, rel=1e-12)
    assert rank1["spread"] == pytest.approx(math.sqrt(13), rel=1e-12)
    assert rank1["best"] == 97.0 and rank1["by_seed"] == {"0": 90.0, "1": 92.0, "2": 97.0}


def test_best_is_of_every_metric_alone():
    results = {0: {"a": {"Rank-1": 90.0, "mAP": 70.0}}, 5: {"a": {"Rank-1": 80.0, "mAP": 75.0}}}
    summary = summarise(results)["a"]
    assert (summary["Rank-1"]["best"], summary["mAP"]["best"]) == (90.0, 75.0)
    assert list(summary["mAP"]["by_seed"]) == ["0", "5"]


def test_a_single_seed_has_no_spread():
    rank1 = summarise(runs(90.0))["Market1501"]["Rank-1"]
    assert rank1 == {"by_seed": {"0": 90.0}, "mean": 90.0, "spread": None, "best": 90.0}


def test_equal_seeds_have_a_spread_of_zero():
    assert summarise(runs(90.0, 90.0))["Market1501"]["Rank-1"]["spread"] == 0.0


def test_metrics_that_only_some_runs_have_are_left_out():
    results = runs(90.0, 92.0)
    results[0]["Market1501"]["erased/mAP"] = 3.0
    assert list(summarise(results)["Market1501"]) == ["Rank-1", "mAP"]


def test_refusals():
    with pytest.raises(ValueError, match="there is no run to summarise"):
        summarise({})
    said = r"seeds 0 and 1 were tested on different data sets \(\['Market1501'\] and \['DukeMTMC'\]\): delete"
    with pytest.raises(ValueError, match=said):
        summarise({0: runs(90.0)[0], 1: runs(90.0, name="DukeMTMC")[0]})


def test_table():
    summaries = {"ALM": summarise(runs(90.0, 92.0, 97.0)), "none": summarise(runs(80.0))}
    head, _, alm, none = format_table(summaries).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, alm, none)]
    assert cells == [
        ["config", "test set", "seeds", "Rank-1", "mAP"],
        ["ALM", "Market1501", "3", "93.0 ± 3.6 (best 97.0)", "83.0 ± 3.6 (best 87.0)"],
        ["none", "Market1501", "1", "80.0 (best 80.0)", "70.0 (best 70.0)"],
    ]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """``drawn(summaries, ...)``: (figure, path) of the plot."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *args, **kw: (figures.append(self), save(self, *args, **kw)))

    def draw(summaries, **settings):
        path = tmp_path / "new" / "plot.png"
        draw_box_plots(summaries, path, **settings)
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.size[0] > 300
        return figures[-1]

    return draw


def dots(panel):
    """The runs of every box."""
    return [list(line.get_ydata()) for line in panel.lines if line.get_marker() == "o" and len(line.get_ydata())]


def test_box_plot(drawn):
    summaries = {"ALM": summarise(runs(90.0, 92.0, 97.0)), "none": summarise(runs(80.0))}
    figure = drawn(summaries, title="figure 5")
    assert len(figure.axes) == 2 and figure.get_suptitle() == "figure 5"
    for panel, metric, shift in zip(figure.axes, ("Rank-1", "mAP"), (0, 10), strict=True):
        assert panel.get_title() == "Market1501" and panel.get_ylabel() == f"{metric} (%)"
        assert [label.get_text() for label in panel.get_xticklabels()] == ["ALM", "none"]
        assert dots(panel) == [[90 - shift, 92 - shift, 97 - shift], [80 - shift]]


def test_configs_of_different_test_sets(drawn):
    """Market1501 and DukeMTMC repeated by one call: a row of panels each, with the configs that were tested there."""
    both = summarise({0: runs(50.0)[0] | runs(60.0, name="DukeMTMC")[0]})
    summaries = {"market": summarise(runs(90.0)), "duke": summarise(runs(80.0, name="DukeMTMC")), "both": both}
    figure = drawn(summaries, metrics=("mAP",))
    found = {p.get_title(): ([label.get_text() for label in p.get_xticklabels()], dots(p)) for p in figure.axes}
    assert found == {
        "Market1501": (["market", "both"], [[80.0], [40.0]]),
        "DukeMTMC": (["duke", "both"], [[70.0], [50.0]]),
    }
    assert len(format_table(summaries).splitlines()) == 2 + 4


@pytest.mark.parametrize("text", ["$\\foo$", "$5", "two\nlines", "\udcff"])
def test_a_title_or_a_config_of_any_name(text, drawn):
    drawn({text: summarise(runs(90.0))}, title=text)
