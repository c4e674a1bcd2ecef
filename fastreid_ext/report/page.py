"""The page of a report: one HTML file with everything in it, which no network and no text from a file can change."""

import base64
import hashlib
import html
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from fastreid_ext import __version__
from fastreid_ext.errors import MissingExtraError
from fastreid_ext.files import make_folder, write_text
from fastreid_ext.report.charts import Chart, curve_charts, history_charts, members_of, similarities
from fastreid_ext.report.comparing import Group, Member, grouped
from fastreid_ext.report.model_pictures import ModelPictures, draw_model_pictures
from fastreid_ext.report.run_files import Run, read_run
from fastreid_ext.report.tables import (
    Table,
    costs_table,
    differences_table,
    environment_table,
    groups_table,
    results_table,
)
from fastreid_ext.report.thumbnails import Thumbnails


@dataclass
class Content:
    """Everything that a report shows.

    Attributes:
        title: of the page.
        groups: runs of one config with different seeds.
        charts: over training; curves: of each test set.
        tables: key -> table.
        queries: the hardest ones, of every run and test set.
        thumbnails: data URIs of the pictures that queries name by number.
        pictures: (run, pictures by its model).
        notes: (run, sentences on what is missing).
    """

    title: str
    groups: Sequence[Group]
    charts: Sequence[Chart]
    curves: Sequence[Chart]
    tables: dict[str, Table]
    queries: Sequence[dict[str, Any]]
    thumbnails: Sequence[str]
    pictures: Sequence[tuple[Member, Sequence[ModelPictures]]]
    notes: Sequence[tuple[Member, Sequence[str]]] = field(default_factory=list)


def write_report(folders: Sequence[Path], output: Path, title: str, queries: int, pictures: int) -> str:
    """Write a report on runs as one HTML file, and return a sentence on it.

    Args:
        folders: OUTPUT_DIR of each run.
        output: the file.
        title: of the page; "" = named after the runs.
        queries: rank lists of each run and test set, at most.
        pictures: images that each run's model draws what it looks at of; 0 = none.

    Raises:
        MissingExtraError: Jinja2 or Plotly is not installed.
        FileError, ConfigError: a folder of no run, one that is named twice, or a file that can't be written.
    """
    plotly = plotly_script()
    content = content_of([read_run(folder) for folder in folders], title, queries, pictures)
    make_folder(output.parent)
    page = render(content, plotly)
    write_text(output, page)
    count = len(folders)
    return f"{output} ({len(page) / 2**20:.1f} MB) is the report on {count} run{'' if count == 1 else 's'}"


def content_of(runs: Sequence[Run], title: str, queries: int, pictures: int) -> Content:
    """Gather what a report shows; see :func:`write_report`."""
    groups = grouped(runs)
    members = sorted(members_of(groups), key=lambda member: member.number)
    thumbnails = Thumbnails()
    hardest = [
        _entry(member, test_set, place, query, details, thumbnails)
        for member in members
        for test_set, details in member.run.details.items()
        for place, query in enumerate(details["hardest"][:queries], 1)
    ]
    drawn = [(member, *draw_model_pictures(member.run, pictures)) for member in members] if pictures else []
    notes = [(member, [*member.run.missing, *_of(drawn, member)]) for member in members]
    makers = (results_table, groups_table, costs_table, differences_table, environment_table)
    names = ", ".join(group.name for group in groups)
    return Content(
        title=title or f"Report on {names if len(names) <= 80 else f'{len(runs)} runs'}",
        groups=groups,
        charts=history_charts(groups),
        curves=curve_charts(groups),
        tables={table.key: table for table in (maker(groups) for maker in makers)},
        queries=hardest,
        thumbnails=thumbnails.uris,
        pictures=[(member, found) for member, found, _ in drawn if found],
        notes=[(member, sentences) for member, sentences in notes if sentences],
    )


def _of(drawn: Sequence[tuple[Member, Any, list[str]]], member: Member) -> list[str]:
    return next((sentences for each, _, sentences in drawn if each is member), [])


def _entry(
    member: Member, test_set: str, place: int, query: dict[str, Any], details: dict[str, Any], thumbnails: Thumbnails
) -> dict[str, Any]:
    """Return what a query's card shows."""

    def image(found: dict[str, Any]) -> dict[str, Any]:
        shown, name = "", ""
        if found["distance"] is not None:
            (value,), name = similarities([found["distance"]], details)
            shown = f"{value:.3f}" if name == "cosine similarity" else f"{value:.4g}"
        file = Path(found["path"]).name.encode(errors="replace").decode()
        return {**found, "thumbnail": thumbnails.number(found["path"]), "file": file, "shown": shown, "of": name}

    listed = [image(one) for one in query["list"]]
    return {
        **image(query),
        "member": member,
        "set": test_set,
        "place": place,
        "average_precision": query["average_precision"],
        "first_match": query["first_match"],
        "images": listed,
        "first_right": image(query["first_right"]) if query["first_right"] else None,
        "erased": details["erased"],
        "order": next((one["of"] for one in listed if one["of"]), ""),
        "wrong": not (listed and listed[0]["right"]),
    }


# ---- HTML -----------------------------------------------------------------------------------------------------------


def plotly_script() -> str:
    """Return Plotly's own script.

    Raises:
        MissingExtraError: it, or Jinja2, is not installed.
    """
    try:
        import jinja2  # noqa: F401
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingExtraError(
            f"a report needs Plotly and Jinja2 ({error}): pip install 'fastreid-ext[report]'"
        ) from error
    return get_plotlyjs()


def render(content: Content, plotly: str) -> str:
    """Return the page of a report.

    Every text is escaped by Jinja2. A policy in the page forbids any network, and any script but Plotly's and ours.
    """
    import jinja2

    folder = resources.files("fastreid_ext.report") / "templates"
    files = {name: (folder / name).read_text(encoding="utf-8") for name in ("report.html", "style.css", "report.js")}
    loader = jinja2.DictLoader(files)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests["match_start"] = str.startswith
    scripts = [plotly.replace("\r\n", "\n").strip(), files["report.js"].strip()]
    if any("</script" in script.lower() or "<!--" in script for script in scripts):
        raise ValueError("a script would end its own element")
    return environment.get_template("report.html").render(
        content=content,
        made=time.strftime("%F %H:%M"),
        version=__version__,
        policy=policy_of(scripts),
        style=files["style.css"],
        plotly=scripts[0],
        script=scripts[1],
        charts=[_plain(chart) for chart in (*content.charts, *content.curves)],
    )


def policy_of(scripts: Sequence[str]) -> str:
    """Return the Content-Security-Policy of a page with these scripts: no network, and no other script."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    # Plotly writes its own style sheet; its pictures for saving are blobs.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none';"
        " form-action 'none'"
    )


def _plain(chart: Chart) -> dict[str, Any]:
    """Return what the page's script needs of a chart."""
    drawn = {"traces": chart.traces, "x": chart.x, "y": chart.y}
    plain = {"key": chart.key, "title": chart.title, **_escaped(drawn)}
    return json.loads(json.dumps(plain, allow_nan=False))


def _escaped(value: Any) -> Any:
    """Return what Plotly draws with escaped texts: of tags in them it makes elements, links too."""
    if isinstance(value, Mapping):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return html.escape(value, quote=False) if isinstance(value, str) else value
