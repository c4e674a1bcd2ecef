"""Writes the table of docs/upstream.md: every fault of FastReID that fastreid_ext.compat heals, with its smallest fix.

python tools/write_heals.py            writes it
python tools/write_heals.py --check    says if it differs, and ends with 1 then
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext import compat
from fastreid_ext.compat import imports, patch
from fastreid_ext.upstream.host_edits import EDITS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "upstream.md"
BEGIN, END = "<!-- heals: python tools/write_heals.py -->", "<!-- end of heals -->"
HEAD = ("patch", "file and line", "symptom", "needed by", "cause", "smallest fix", "`--heals`")


def rows() -> list[tuple[str, ...]]:
    """Return a row for each fault, in the order in which they are healed."""
    for area in compat.AREAS:
        importlib.import_module(f"fastreid_ext.compat.{area}")
    areas = [f"fastreid_ext.compat.{area}" for area in compat.AREAS]
    patches = sorted(patch.PATCHES, key=lambda each: areas.index(each.apply.__module__))
    faults = [imports.ALIASES, *({key: getattr(each, key) for key in imports.ALIASES} for each in patches)]
    written = {edit.patch for edit in EDITS}
    keys = ("heals", "if_skipped", "needed_by", "cause", "fix")
    return [
        (f"`{each['name']}`", *(each[key] for key in keys), "yes" if each["name"] in written else "") for each in faults
    ]


def page(text: str) -> str:
    """Return the page with the table of today between its two marks."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    lines = [HEAD, ("---",) * len(HEAD), *rows()]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args(argv)
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text)
    if args.check:
        if wanted != text:
            print("docs/upstream.md differs: run python tools/write_heals.py", file=sys.stderr)
        return int(wanted != text)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
