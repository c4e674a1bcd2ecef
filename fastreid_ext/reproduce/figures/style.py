"""What all drawn curves share: colours that are told apart in print and by most colour-blind people, and a grid."""

import textwrap
from typing import Any

COLOURS = ("#c0392b", "#1f6fb2", "#2e8b57", "#8a5a00")
PAPER = "#555555"  # of what the paper reports


LETTERS = 10.5  # of a title, to the inch


def entitle(figure: Any, title: str) -> None:
    """Write a title above a Matplotlib figure, in as many lines as it needs."""
    lines = textwrap.wrap(title, int(LETTERS * figure.get_figwidth()))
    figure.suptitle("\n".join(lines), parse_math=False)


def finish(panel: Any) -> None:
    """Give a Matplotlib panel a light grid, and no frame at the top and at the right."""
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
