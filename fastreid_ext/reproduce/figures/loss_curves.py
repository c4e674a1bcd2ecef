"""Figure 3 of Yan et al.: what losses of pairs make of a distance, by the functions of :mod:`fastreid_ext.losses`."""

from pathlib import Path

import torch

from fastreid_ext.files import write_figure
from fastreid_ext.losses.pair_penalties import (
    bounded_exponential_penalty,
    contrastive_penalty,
    focal_penalty,
    triplet_penalty,
)
from fastreid_ext.reproduce.figures.style import COLOURS, finish

ALPHA, MARGIN, GAMMA = 0.3, 0.3, 2.0  # of the paper, but for gamma, which is that of the focal loss's authors
OTHER = 1.0  # distance of the triplet's other pair, which the paper does not name
LONGEST, POINTS = 8.0, 801
HIGHEST = 2.0  # of the drawing; what is unbounded leaves it at the top
UNIT = 2.0  # the largest distance of two features of length 1
STYLES = ("-", "--", "-.", ":")

Curves = dict[str, dict[str, tuple[list[float], list[float]]]]


def loss_curves() -> Curves:
    """Return panel -> loss -> (distances, penalties), panel "same person" or "different persons"."""
    d = torch.linspace(0, LONGEST, POINTS, dtype=torch.float64)
    other = torch.full_like(d, OTHER)
    panels = {"same person": True, "different persons": False}
    curves: Curves = {}
    for panel, same in panels.items():
        penalties = {
            "BED": bounded_exponential_penalty(d, same, ALPHA),
            "contrastive": contrastive_penalty(d, same, MARGIN),
            "triplet": triplet_penalty(d, other, MARGIN) if same else triplet_penalty(other, d, MARGIN),
            "focal": focal_penalty(d, same, ALPHA, GAMMA),
        }
        curves[panel] = {name: (d.tolist(), penalty.tolist()) for name, penalty in penalties.items()}
    return curves


def draw_loss_curves(path: Path) -> None:
    """Draw both panels into a PNG."""
    from matplotlib.figure import Figure  # needs neither pyplot nor a display

    labels = {
        "BED": f"BED, α = {ALPHA:g}",
        "contrastive": f"contrastive, margin {MARGIN:g}",
        "triplet": f"triplet, margin {MARGIN:g}, its other distance {OTHER:g}",
        "focal": f"focal, γ = {GAMMA:g}, p = exp(−{ALPHA:g} d)",
    }
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, letter, (title, curves) in zip(panels, "ab", loss_curves().items(), strict=True):
        panel.axvspan(0, UNIT, color="#f2f2f2", zorder=0)
        x, side = (0.08, "left") if letter == "a" else (UNIT - 0.08, "right")  # where no curve is
        panel.text(x, HIGHEST * 0.97, "features of\nlength 1", ha=side, va="top", fontsize=9, color="#777777")
        for (name, (x, y)), colour, style in zip(curves.items(), COLOURS, STYLES, strict=True):
            thick = 2.8 if name == "BED" else 1.8
            panel.plot(x, y, style, color=colour, linewidth=thick, label=labels[name], zorder=3 if name == "BED" else 2)
        panel.set_xlim(0, LONGEST)
        panel.set_ylim(0, HIGHEST)
        panel.set_xlabel("distance d of the two images' features")
        panel.set_title(f"({letter}) two images of {'one person' if title == 'same person' else 'different persons'}")
        finish(panel)
    panels[0].set_ylabel("loss of the pair")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    write_figure(path, figure)
