"""docs/trunks.md is what its script writes."""

import pytest
from trunk_table import PAGE, PROJECTS, TEXT, TRUNKS, row

QUICK = ("OSNet x0.5, IBN", "MobileNetV3 Small", "ResNet-18", "RegNetX-200MF")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in TRUNKS])
def test_a_row(name):
    line = row(name, TRUNKS[name])
    assert line in PAGE.read_text(encoding="utf-8").splitlines()
    assert line.count("|") == len(PROJECTS) + 6


def test_the_text():
    """All but the rows."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    text = TEXT.format(
        height=256,
        width=128,
        projects=" | ".join(PROJECTS.values()),
        lines="---|" * len(PROJECTS),
        rows="\n".join(rows[2:]),
    )
    assert text.splitlines() == lines and len(rows) == 2 + len(TRUNKS)
