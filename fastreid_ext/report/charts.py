"""The charts of a report, as plain data for Plotly: the page gives them colours, by number, that fit its theme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastreid_ext.report.comparing import Group, Member

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
CMC_SHOWN, RATES_SHOWN, EPOCHS_SHOWN = (1, 5, 10, 20, 50), (1e-4, 1e-3, 1e-2, 1e-1), 8


@dataclass(frozen=True)
class Chart:
    """A chart, and its most important numbers as a table for who can't see it.

    Attributes:
        key: unique on the page.
        title, caption: what it shows, and how to read it.
        traces: Plotly's, with "meta": {"colour": number of a group}.
        x, y: Plotly's axes.
        head: of the table's columns.
        rows: of the table.
        choice: what the reader chooses the chart by, such as the name of a loss; "" = it is always shown.
    """

    key: str
    title: str
    caption: str
    traces: Sequence[Mapping[str, Any]]
    x: Mapping[str, Any]
    y: Mapping[str, Any]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    choice: str = ""


def members_of(groups: Sequence[Group]) -> list[Member]:
    """Return the runs of all groups."""
    return [member for group in groups for member in group.members]


def trace(member: Member, x: Sequence[float], y: Sequence[float], **more: Any) -> dict[str, Any]:
    """Return a line of a run: the colour is its group's, the dashes tell seeds apart."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": member.name,
        "x": list(x),
        "y": list(y),
        "line": {"width": 2, "dash": DASHES[member.place % len(DASHES)]},
        "meta": {"colour": member.group},
        **more,
    }


# ---- over training --------------------------------------------------------------------------------------------------


def epochs_of(member: Member) -> tuple[list[float], str]:
    """Return where a run's history lies on the x axis, and what that counts: epochs where they can be told."""
    iterations = [line["iteration"] + 1 for line in member.run.history]
    epochs = member.run.config.get("SOLVER.MAX_EPOCH", "")
    if member.run.results and not member.run.record.get("eval_only") and iterations and epochs.isdecimal():
        per_epoch = iterations[-1] / max(1, int(epochs[:9]))
        if per_epoch >= 1 and per_epoch == int(per_epoch):
            return [iteration / per_epoch for iteration in iterations], "epoch"
    return iterations, "iteration"


def history_charts(groups: Sequence[Group]) -> list[Chart]:
    """Return charts of losses, the learning rate, and metrics during training."""
    members = [member for member in members_of(groups) if member.run.history]
    names = dict.fromkeys(key for m in members for line in m.run.history for key in line)
    losses = sorted(name for name in names if name.startswith("loss_"))
    losses = [*(["total_loss"] if "total_loss" in names else []), *losses]
    metrics = sorted(name for name in names if name.endswith(("/mAP", "/Rank-1")))
    metrics.sort(key=lambda name: (name.count("/"), not name.endswith("/mAP")))
    charts = []
    for name in losses:
        charts.append(_over_training(members, name, "loss", f"Loss: {name}", "Smoothed over the last 20 steps."))
    if "lr" in names:
        charts.append(_over_training(members, "lr", "lr", "Learning rate", "At the end of each epoch."))
    often = [name for name in metrics if any(sum(name in line for line in m.run.history) > 1 for m in members)]
    for name in often:  # of one evaluation at the end, the results say it
        text = "Of every evaluation during training, in percent."
        charts.append(_over_training(members, name, "metric", f"During training: {name}", text))
    return charts


def _over_training(members: Sequence[Member], name: str, kind: str, title: str, caption: str) -> Chart:
    traces, rows, units = [], [], set()
    for member in members:
        where, unit = epochs_of(member)
        points = [(x, line[name]) for x, line in zip(where, member.run.history, strict=True) if name in line]
        if kind == "lr" and unit == "epoch":  # a step of training within an epoch has the next epoch's rate already
            points = [(x, y) for x, y in points if x == int(x)] or points
        if not points:
            continue
        units.add(unit)
        more = {"mode": "lines+markers", "marker": {"size": 6}} if len(points) < 30 else {}
        traces.append(trace(member, *zip(*points, strict=True), **more))
        step = -(-len(points) // EPOCHS_SHOWN)
        rows += [[member.name, f"{x:g}", f"{y:.4g}"] for x, y in points[::-1][::step][::-1]]
    unit = " or ".join(sorted(units))
    y = {
        "title": {"text": "learning rate" if kind == "lr" else name},
        **({"exponentformat": "power"} if kind == "lr" else {}),
    }
    choice = "" if kind == "lr" else name
    x = {"title": {"text": unit}}
    return Chart(f"{kind}-{name}", title, caption, traces, x, y, ("run", unit, name), rows, choice)


# ---- of an evaluation -----------------------------------------------------------------------------------------------


def cmc_chart(groups: Sequence[Group], test_set: str) -> Chart | None:
    """Return how many queries find their person among the first images, None if no run recorded it."""
    traces, rows = [], []
    for member, details in _with(groups, test_set):
        ranks, rates = details["cmc"]["ranks"], details["cmc"]["rates"]
        if ranks and len(ranks) == len(rates):
            traces.append(trace(member, ranks, [100 * rate for rate in rates]))
            by_rank = dict(zip(ranks, rates, strict=True))
            rows.append([member.name, *(f"{100 * by_rank[k]:.1f}" if k in by_rank else "" for k in CMC_SHOWN)])
    all_found = [x for one in traces for x, y in zip(one["x"], one["y"], strict=True) if y < 100]
    x = {"title": {"text": "rank"}, "range": [0.5, max([9.5, *all_found]) + 1]}
    y = {"title": {"text": "queries (%)"}, "range": [0, 103]}
    head = ("run", *(f"Rank-{k}" for k in CMC_SHOWN))
    text = "CMC: the share of queries whose first right image is at this rank or before it."
    return Chart(f"cmc-{test_set}", "Found by rank (CMC)", text, traces, x, y, head, rows, test_set) if traces else None


def roc_chart(groups: Sequence[Group], test_set: str) -> Chart | None:
    """Return how well a threshold tells pairs of one person from pairs of two, None if no run recorded it."""
    traces, rows = [], []
    for member, details in _with(groups, test_set):
        false, true = details["roc"]["false_positive_rates"], details["roc"]["true_positive_rates"]
        if false and len(false) == len(true):
            traces.append(trace(member, [100 * rate for rate in false], [100 * rate for rate in true]))
            cells = [_reached(false, true, rate) for rate in RATES_SHOWN]
            area = details["area"]
            rows.append([member.name, "" if area is None else f"{area:.4f}", *cells])
    x = {"title": {"text": "false positive rate (%), logarithmic"}, "type": "log", "tickformat": "~g"}
    y = {"title": {"text": "true positive rate (%)"}, "range": [0, 101]}
    head = ("run", "area", *(f"TPR at FPR {rate:g}" for rate in RATES_SHOWN))
    text = (
        "ROC: pairs of one person that a threshold accepts, by the share of pairs of two persons that it accepts too."
    )
    return (
        Chart(f"roc-{test_set}", "Same person or not (ROC)", text, traces, x, y, head, rows, test_set)
        if traces
        else None
    )


def _reached(false: Sequence[float], true: Sequence[float], rate: float) -> str:
    """Return the largest recorded true positive rate, in percent, whose false one is no more than a rate."""
    found = [t for f, t in zip(false, true, strict=True) if f <= rate]
    return f"{100 * max(found):.1f}%" if found else "too few pairs"


def histogram_chart(groups: Sequence[Group], test_set: str) -> Chart | None:
    """Return how similar pairs of one person and of two are, two lines of each run; None if no run recorded it."""
    traces, rows, names = [], [], set()
    for member, details in _with(groups, test_set):
        if member.place:  # of several seeds the first one: more lines would hide each other
            continue
        edges = details["histogram"]["edges"]
        middles = [(low + high) / 2 for low, high in zip(edges, edges[1:], strict=False)]
        values, name = similarities(middles, details)
        for kind, label in (("same", "one person"), ("different", "two persons")):
            shares = details["histogram"][kind]
            if not values or len(shares) != len(values):
                continue
            names.add(name)
            one = trace(member, values, [100 * share for share in shares], name=f"{member.name}, {label}")
            one["line"] = {"width": 2, "dash": "solid" if kind == "same" else "dot", "shape": "hvh"}
            traces.append({**one, **({"fill": "tozeroy"} if kind == "same" else {})})
            most = max(range(len(shares)), key=shares.__getitem__)
            rows.append([member.name, label, f"{values[most]:.3g}"])
    name = " or ".join(sorted(names))
    x, y = {"title": {"text": name}}, {"title": {"text": "pairs (%)"}, "rangemode": "tozero"}
    text = "Filled: pairs of one person. Dotted: pairs of two. Of several seeds, the first."
    head = ("run", "pairs of", f"most frequent {name}")
    key = f"pairs-{test_set}"
    return Chart(key, "How similar pairs are", text, traces, x, y, head, rows, test_set) if traces else None


def spread_chart(groups: Sequence[Group], test_set: str) -> Chart | None:
    """Return every run's metrics as dots, None if there are no several runs of one config."""
    traces, rows = [], []
    names = ("Rank-1", "mAP", "mINP")
    for group in groups:
        each = [member.run.results.get(test_set, {}) for member in group.members]
        points = [(name, one[name]) for one in each for name in names if name in one]
        if points:
            x, y = zip(*points, strict=True)
            symbol = ("circle", "square", "diamond", "cross", "triangle-up")[group.number % 5]
            dots = {"type": "scatter", "mode": "markers", "name": group.name, "x": list(x), "y": list(y)}
            dots |= {"marker": {"size": 10, "symbol": symbol, "opacity": 0.8}, "meta": {"colour": group.number}}
            traces.append(dots)
        known = zip(group.members, each, strict=True)
        rows += [[m.name, *(f"{one[name]:.1f}" if name in one else "" for name in names)] for m, one in known if one]
    if not any(len(group.members) > 1 for group in groups) or not traces:
        return None
    x, y = {"type": "category"}, {"title": {"text": "percent"}}
    text = "Every run a dot: how far seeds lie apart, and whether configs differ by more than that."
    key = f"spread-{test_set}"
    return Chart(key, "Spread over seeds", text, traces, x, y, ("run", *names), rows, test_set)


def precision_chart(groups: Sequence[Group], test_set: str) -> Chart | None:
    """Return how many queries have which average precision, None if no run recorded it."""
    traces, rows = [], []
    labels = [f"{10 * n} to {10 * n + 10}" for n in range(10)]
    for member, details in _with(groups, test_set):
        counts = details["average_precision"]
        if len(counts) == len(labels):
            bar = {"type": "bar", "name": member.name, "x": labels, "y": counts, "meta": {"colour": member.group}}
            patterns = ("", "/", "x", ".", "-")
            bar["marker"] = {"pattern": {"shape": patterns[member.place % len(patterns)]}}
            traces.append(bar)
            rows.append([member.name, *(f"{count:g}" for count in counts)])
    x, y = {"title": {"text": "average precision (%)"}, "type": "category"}, {"title": {"text": "queries"}}
    text = "Queries by how well their gallery images are ordered; those on the left are the hard ones listed below."
    key = f"precision-{test_set}"
    return Chart(key, "Hard and easy queries", text, traces, x, y, ("run", *labels), rows, test_set) if traces else None


def similarities(distances: Sequence[float], details: Mapping[str, Any]) -> tuple[list[float], str]:
    """Return what a reader is shown of distances, and its name: similarities where they are of two features' angle."""
    if details["metric"] == "cosine" and not details["changed_by"]:
        return [1 - distance for distance in distances], "cosine similarity"
    return list(distances), "distance after re-ranking" if "RERANK" in details["changed_by"] else "distance"


def _with(groups: Sequence[Group], test_set: str) -> list[tuple[Member, dict[str, Any]]]:
    return [(m, m.run.details[test_set]) for m in members_of(groups) if test_set in m.run.details]


def curve_charts(groups: Sequence[Group]) -> list[Chart]:
    """Return the charts of every test set."""
    members = members_of(groups)
    sets = dict.fromkeys(name for member in members for name in (*member.run.results, *member.run.details))
    kinds = (spread_chart, cmc_chart, roc_chart, histogram_chart, precision_chart)
    return [chart for name in sets for kind in kinds if (chart := kind(groups, name)) is not None]
