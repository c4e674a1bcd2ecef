"""What became of someone's own images: a report as JSON, Markdown and lines for the screen."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from fastreid_ext.data.catalog import dataset_root
from fastreid_ext.data.labels import alike
from fastreid_ext.data.own_images.entries import SPLITS, Entry, Listing
from fastreid_ext.data.own_images.layouts import REPORT_JSON, REPORT_MD
from fastreid_ext.data.own_images.splitting import Split
from fastreid_ext.files import write_text
from fastreid_ext.foreign_files import caption

SHOWN = 5


def report_of(
    source: Path, listing: Listing, split: Split, errors: Sequence[Sequence[Entry]], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the report as plain values.

    Args:
        source: folder or listing.
        listing: what was found, with all that was left out.
        split: the three subsets.
        errors: groups of the same image under several persons.
        settings: options that led here.
    """
    train, test = ({e.person for e in found} for found in (split.train, [*split.query, *split.gallery]))
    words = {"persons": {e.person for name in SPLITS for e in split.of(name)}}
    words["cameras"] = {e.camera for name in SPLITS for e in split.of(name)}
    both = sorted(train & test)
    warnings = []
    for group in errors:
        named = ", ".join(f"{entry.name} (person {entry.person})" for entry in group)
        warnings.append(f"a label error: the same image is under several persons, and left out: {named}")
    for kind, found in words.items():
        for group in alike(found):
            warnings.append(f"{kind} that may be one, but count as several, since the text decides: {', '.join(group)}")
    if both:
        warnings.append(f"{len(both)} persons are trained on and tested: {', '.join(both[:SHOWN])}")
    return {
        "source": str(source),
        "layout": listing.layout,
        **settings,
        "rules": [*listing.said, *split.said],
        "splits": {name: counts_of(split.of(name)) for name in SPLITS},
        "warnings": warnings,
        "left_out": {reason: sorted(names) for reason, names in sorted(listing.left_out.items()) if names},
    }


def counts_of(entries: Sequence[Entry]) -> dict[str, int]:
    """Return the numbers of images, persons and cameras."""
    return {
        "images": len(entries),
        "persons": len({entry.person for entry in entries}),
        "cameras": len({entry.camera for entry in entries}),
    }


def lines_of(report: Mapping[str, Any], shown: int = 3) -> Iterator[str]:
    """Yield the report for the screen, without its warnings."""
    for rule in report["rules"]:
        yield f"- {' '.join(rule.split())}"
    for name, counts in report["splits"].items():
        yield f"{name}: " + ", ".join(
            f"{count} {what.rstrip('s') if count == 1 else what}" for what, count in counts.items()
        )
    for reason, names in report["left_out"].items():
        ends = ["/".join(PurePosixPath(name).parts[-2:]) for name in names[:shown]]  # the report has the whole paths
        more = ", ..." if len(names) > shown else ""
        yield f"left out, {reason}: {len(names)} ({', '.join(map(caption, ends))}{more})"


def config_line(output: Path) -> str:
    """Return how a config names the folder of a CSV set."""
    folder, root = output.resolve(), dataset_root().resolve()
    path = folder.relative_to(root) if folder.is_relative_to(root) and folder != root else folder
    name = re.sub(r"[^\w.-]+", "_", folder.name).strip("-._") or "Own"
    known = caption(json.dumps([[name, str(path)]], ensure_ascii=False))
    return f'in a config: DATASETS.CSV: {known}, and "{name}" in DATASETS.NAMES and DATASETS.TESTS'


def write_report(output: Path, report: Mapping[str, Any], title: str) -> None:
    """Write report.json and report.md.

    Raises:
        FileError: one can't be written.
    """
    write_text(output / REPORT_JSON, json.dumps(report, indent=1, ensure_ascii=True) + "\n")
    write_text(output / REPORT_MD, "\n".join(_markdown(report, title)) + "\n")


def _markdown(report: Mapping[str, Any], title: str) -> Iterator[str]:
    yield f"# {_cell(title)}"
    yield ""
    yield f"From {_cell(report['source'])}."
    yield ""
    columns = list(next(iter(report["splits"].values())))
    yield f"| split | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, counts in report["splits"].items():
        yield f"| {name} | {' | '.join(str(counts[column]) for column in columns)} |"
    for heading, sentences in (("Rules", report["rules"]), ("Warnings", report["warnings"])):
        if sentences:
            yield from ("", f"## {heading}", "", *(f"- {_cell(sentence)}" for sentence in sentences))
    if report["left_out"]:
        yield from ("", "## Left out", "", "| reason | images | the first |", "|---|---|---|")
    for reason, names in report["left_out"].items():
        yield f"| {reason} | {len(names)} | {_cell(', '.join(names[:SHOWN]))} |"


def _cell(text: str) -> str:
    """Return a text from elsewhere for Markdown: in one line, and without its marks."""
    return "".join(f"\\{letter}" if letter in "\\|`*_<>[]#" else letter for letter in caption(text))
