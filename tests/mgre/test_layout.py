"""Which maps MGRe locates regions on and describes, row by row of tables 4, 5 and 7."""

import dataclasses

import pytest

from fastreid_ext.mgre import TABLE_1, RegionLayout, regions_from_rows
from fastreid_ext.model_zoo import get_config

REGIONS = regions_from_rows(TABLE_1)
NAMES = {1: ["head", "left_torso", "right_torso", "legs"], 2: ["upper_body", "lower_body"], 3: ["whole_body"]}
# settings -> (stages of the boxes, pooled vectors by stage, sources, guided stages)
ROWS = {
    "MGRe": ({}, {1, 2, 3}, {1: 4, 2: 2, 3: 1, 4: 1}, [1, 2, 3, 4], [1, 2]),
    "baseline": ({"stages": []}, set(), {4: 1}, [1, 2, 3, 4], []),
    "stage 2": ({"stages": [2]}, {2}, {2: 2, 4: 1}, [1, 2, 3, 4], [2]),
    "single-grained features": ({"maps": "last"}, {1, 2, 3}, {1: 4, 2: 2, 3: 1, 4: 1}, [4, 4, 4, 4], []),
    "single-grained regions": (
        {"stages": [], "whole_image": [4, 1, 3, 2]},
        set(),
        {1: 1, 2: 1, 3: 1, 4: 1},
        [1, 2, 3, 4],
        [1, 2],
    ),
    "stage 3 whole": (
        {"stages": [2, 1], "whole_image": [3, 4]},
        {1, 2},
        {1: 4, 2: 2, 3: 1, 4: 1},
        [1, 2, 3, 4],
        [1, 2],
    ),
    "baseline + JO": ({"sample": False}, {1, 2, 3}, {4: 1}, [1, 2, 3, 4], []),
    "baseline + JO, fused": (
        {"sample": False, "location_input": "fused"},
        {1, 2, 3},
        {4: 1},
        [1, 2, 3, 4],
        [1, 2],
    ),
    "without JO": ({"boxes": "labelled"}, {1, 2, 3}, {1: 4, 2: 2, 3: 1, 4: 1}, [1, 2, 3, 4], [1, 2]),
}


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_papers_tables(row):
    settings, located, counts, source, guided = ROWS[row]
    layout = RegionLayout(REGIONS, **settings)
    assert {i: [region.name for region in regions] for i, regions in layout.regions_of_stage.items()} == {
        i: NAMES[i] for i in sorted(located)
    }
    assert list(layout.counts.items()) == sorted(counts.items())
    assert list(layout.source.values()) == source and layout.guided == guided
    assert layout.sampled == (layout.regions_of_stage if layout.sample else {})
    regions = {name: i for i in layout.sampled for name in NAMES[i]}
    assert layout.extracted == regions | {f"image{i}": i for i in layout.whole_image}


def test_the_config_of_the_paper():
    layout = RegionLayout.from_config(get_config("MGRe/Market1501_R50.yml"))
    assert layout == RegionLayout(REGIONS)


def test_it_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RegionLayout(REGIONS).maps = "last"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stages": [4]}, r"STAGES must name each stage once, out of \(1, 2, 3\); got \[4\]"),
        ({"whole_image": [1, 4]}, r"may name each stage that MODEL.MGRE.STAGES leaves; got \[1, 4\]"),
        ({"boxes": "drawn"}, r"BOXES must be one of \('located', 'labelled'\), got 'drawn'"),
        ({"stages": [], "sample": False}, "are about regions, and MODEL.MGRE.STAGES is empty"),
        ({"sample": False, "boxes": "labelled"}, "BOXES labelled would do nothing"),
        ({"maps": "last", "stages": [1], "whole_image": [2, 4]}, r"WHOLE_IMAGE must be \[4\], not \[2, 4\]"),
        ({"regions": REGIONS[:4]}, r"STAGES has \[2, 3\], for which MODEL.MGRE.REGIONS has no region"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        RegionLayout(**{"regions": REGIONS} | settings)
