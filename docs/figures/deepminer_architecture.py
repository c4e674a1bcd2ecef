"""Draws deepminer_architecture.png: python docs/figures/deepminer_architecture.py"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import FancyBboxPatch  # noqa: E402

TRUNK, ATTENTION, ERASE, LOCAL, HEAD, INK = "#f3b562", "#b497d6", "#7cc08d", "#7fa8dc", "#e8e8e8", "#333333"
PALE = "#d8efdd"
ROW = {"global": 3.2, "ie2": 2.15, "ie3": 1.1, "local": 0.05}
COLUMN = {
    "image": 0.0,
    "B1": 1.2,
    "B2": 2.3,
    "ATT2": 3.3,
    "ErO2": 4.75,
    "B3": 5.85,
    "ATT3": 6.85,
    "ErO3": 8.3,
    "B4": 9.4,
    "pool": 10.65,
    "head": 12.75,
}
HEIGHT = 0.62


def box(ax, x, row, text, colour, width=0.8):
    y = ROW[row]
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - HEIGHT / 2),
            width,
            HEIGHT,
            boxstyle="round,pad=0.02,rounding_size=0.08",
            facecolor=colour,
            edgecolor=INK,
            linewidth=1.0,
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=9.5, color=INK)
    return x - width / 2 - 0.02, x + width / 2 + 0.02


def arrow(ax, start, end):
    ax.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.1})


def chain(ax, row, parts, start=None):
    """Draw boxes from left to right and join them; parts are (column, text, colour[, width])."""
    previous = start
    for column, *look in parts:
        left, right = box(ax, COLUMN[column], row, *look)
        if previous is not None:
            arrow(ax, (previous, ROW[row]), (left, ROW[row]))
        previous = right


def branch_off(ax, x, row):
    """A line from the global row down to another row, and its x."""
    ax.plot([x, x], [ROW["global"], ROW[row]], color=INK, linewidth=1.1)
    ax.plot([x], [ROW["global"]], marker="o", markersize=4, color=INK)
    return x


def main() -> None:
    figure, ax = plt.subplots(figsize=(13.2, 4.2))
    neck = ("head", "$f$ → BNNeck → classifier", HEAD, 2.5)
    chain(
        ax,
        "global",
        [
            ("image", "image", "white"),
            ("B1", "$B_1$", TRUNK),
            ("B2", "$B_2$", TRUNK),
            ("ATT2", "ATT", ATTENTION),
            ("B3", "$B_3$", TRUNK),
            ("ATT3", "ATT", ATTENTION),
            ("B4", "$B_4$", TRUNK),
            ("pool", "max", "white"),
            neck,
        ],
    )
    chain(
        ax,
        "ie2",
        [
            ("ErO2", "ErO", PALE),
            ("B3", "$B_3^{e_1}$", ERASE),
            ("ATT3", "ATT", ATTENTION),
            ("B4", "$B_4^{e_1}$", ERASE),
            ("pool", "max", "white"),
            neck,
        ],
        start=branch_off(ax, 3.95, "ie2"),
    )
    x3 = branch_off(ax, 7.5, "local")
    chain(
        ax,
        "ie3",
        [("ErO3", "ErO", PALE), ("B4", "$B_4^{e_2}$", ERASE), ("pool", "max", "white"), neck],
        start=x3,
    )
    chain(ax, "local", [("B4", "$B_4^{l}$", LOCAL), ("pool", "4 stripes,\naverage", "white", 0.98), neck], start=x3)
    names = {"global": "global branch", "ie2": "IE branch 1", "ie3": "IE branch 2", "local": "local branch"}
    for row, name in names.items():
        ax.text(14.25, ROW[row], name, va="center", fontsize=10.5, color=INK, weight="bold")
    ax.text(
        -0.4,
        0.72,
        "ATT = CHAM(SAM(Y)): spatial, then channel attention.\n"
        "ErO erases the most salient places (eq. 1).\n"
        "Every branch has its own weights, copied from the trunk\n"
        "before training, and the same three losses.\n"
        "Test feature: all branches after BNNeck, concatenated.",
        fontsize=9.5,
        color=INK,
        va="center",
        linespacing=1.5,
    )
    ax.set_xlim(-0.6, 15.9)
    ax.set_ylim(-0.45, 3.75)
    ax.axis("off")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main()
