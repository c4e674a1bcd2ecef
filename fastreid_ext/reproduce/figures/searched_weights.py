"""Figure 6 of MGRe: mAP over the weight of each part of the test feature, searched on the run's validation set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastreid_ext.config import get_cfg
from fastreid_ext.data.validation import VALIDATION
from fastreid_ext.engine.merging import merge_config
from fastreid_ext.engine.trained import config_file_of, load_trained
from fastreid_ext.engine.weight_search import check_parts, check_search, search_weights, write_search
from fastreid_ext.evaluation.part_weights import Search, weight_grid
from fastreid_ext.files import make_folder, write_figure
from fastreid_ext.reproduce.comparison import Comparison
from fastreid_ext.reproduce.figures.style import COLOURS, PAPER, entitle, finish
from fastreid_ext.reproduce.paper_tables import Table

GRID, ROUNDS = (0.05, 1.0, 0.05), 10  # first, last and step of the weights; rounds over all parts, at most
STYLES = ("o-", "s--", "^-.", "v:")


def draw_searched_weights(
    table: Table, comparison: Comparison, seeds: Sequence[int], output: Path, opts: Sequence[str], path: Path
) -> None:
    """Search the weights of every seed's model, and draw a panel for each part with a line for each seed.

    Numbers and curves of a seed are in a folder of its own beside the picture.

    Args:
        table: of one row; its ``drawn["weights"]`` are part -> the paper's choice.
        comparison: the row.
        seeds: of the runs; one without results has no line.
        output: folder of the runs.
        opts: KEY VALUE pairs that every run had.
        path: of the PNG.

    Raises:
        ConfigError: a model without parts, or no validation set.
    """
    ((row, summary),) = comparison.rows
    run, done = row.run, summary[table.metrics[0]]["by_seed"]
    searches = {}
    for seed in (seed for seed in seeds if str(seed) in done):
        weights = output / "runs" / run.folder / f"seed{seed}" / "model_final.pth"
        cfg = get_cfg()
        pairs = [*run.overrides, *opts, "SEED", str(seed), "MODEL.WEIGHTS", str(weights)]
        merge_config(cfg, config_file_of(run.config), pairs)
        check_search(cfg, VALIDATION, ROUNDS)
        model = load_trained(cfg).eval()
        check_parts(model)
        searches[seed], option, warnings = search_weights(cfg, model, VALIDATION, weight_grid(*GRID), ROUNDS)
        folder = make_folder(path.with_suffix("") / f"seed{seed}")
        write_search(folder, cfg, VALIDATION, searches[seed], option, warnings)
    draw_searches(searches, table.drawn["weights"], f"{comparison.title} ({run.config}, validation identities)", path)


def draw_searches(searches: Mapping[int, Search], paper: Mapping[str, float], title: str, path: Path) -> None:
    """Draw the curves of several seeds, and what the paper chose.

    Args:
        searches: seed -> search, all over the same parts.
        paper: part -> its weight.
        title: above them.
        path: of the PNG.
    """
    from matplotlib.figure import Figure  # needs neither pyplot nor a display

    parts = list(next(iter(searches.values())).curves)
    across = min(2, len(parts))
    figure = Figure(figsize=(4.6 * across, 3.0 * -(-len(parts) // across) + 0.9), layout="constrained")
    panels = figure.subplots(-(-len(parts) // across), across, squeeze=False, sharey=True)
    for panel, part in zip(panels.flat, parts, strict=False):
        for number, (seed, search) in enumerate(searches.items()):
            style, colour = STYLES[number % len(STYLES)], COLOURS[number % len(COLOURS)]
            curve = list(zip(*search.curves[part], strict=True))
            panel.plot(*curve, style, color=colour, markersize=3.5, label=f"ours, seed {seed}")
            circle = {"markersize": 10, "fillstyle": "none", "linestyle": "none", "label": f"best of seed {seed}"}
            panel.plot([search.best[part]], [search.best_score], "o", color=colour, **circle)
        if part in paper:
            panel.axvline(paper[part], color=PAPER, linestyle="--", label="the paper's choice, on Market1501")
        panel.set_xlabel(f"weight of {part}")
        panel.set_ylabel("mAP (%)")
        finish(panel)
    for panel in panels.flat[len(parts) :]:
        panel.set_axis_off()
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    entitle(figure, title)
    write_figure(path, figure)
