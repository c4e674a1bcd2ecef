"""The body regions of table 1 and the joints that define them, as data."""

from collections.abc import Sequence

from fastreid_ext.mgre.regions import Region


def regions_from_rows(rows: Sequence[Sequence]) -> list[Region]:
    """Read the rows of a region table, such as ``TABLE_1`` or a config's."""
    return [
        Region(name, stage, (cx, cy), (rows_out, columns_out), (height, width), tuple(joints))
        for name, stage, cx, cy, rows_out, columns_out, height, width, joints in rows
    ]
