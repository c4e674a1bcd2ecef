"""A paper's figures and ours, row by row, and whether the rows are in the paper's order."""

import html
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from fastreid_ext.reproduce.table_runs import Row

Summary = Mapping[str, Mapping[str, Any]]  # metric -> {"mean", "spread", "by_seed"}

STYLE = """\
body{font:16px system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse}th,td{padding:.35em .8em;text-align:right;border-bottom:1px solid #ddd}
th:first-child,td:first-child{text-align:left}td:not(:first-child){white-space:nowrap}
caption{text-align:left;font-weight:600;padding:.5em 0}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}}"""


@dataclass(frozen=True)
class Comparison:
    """Of one table.

    Attributes:
        title: of paper and table.
        metrics: of the paper's figures.
        rows: each with our summary, None where none of its runs is done.
        made: how, in a sentence.
        lacks: what is not done, and why, a sentence each.
    """

    title: str
    metrics: Sequence[str]
    rows: Sequence[tuple[Row, Summary | None]]
    made: str
    lacks: Sequence[str] = ()

    def headers(self) -> list[str]:
        """Return the titles of the columns."""
        of_metric = ("{}, paper", "{}, ours", "difference")
        return ["row", "data", *(title.format(metric) for metric in self.metrics for title in of_metric)]

    def cells(self) -> list[list[str]]:
        """Return the rows as texts: for each metric the paper's figure, ours, and the difference on the same data."""
        lines = []
        for row, summary in self.rows:
            ours_on = row.data
            line = [row.what, ours_on if ours_on == row.paper_data else f"{ours_on}; the paper's: {row.paper_data}"]
            for metric in self.metrics:
                paper, ours = row.paper.get(metric), summary and summary[metric]
                same = paper is not None and ours is not None and ours_on == row.paper_data
                line += [
                    "-" if paper is None else f"{paper:.2f}".removesuffix("0"),
                    "missing" if ours is None else _written(ours),
                    f"{ours['mean'] - paper:+.1f}" if same else "-",
                ]
            lines.append(line)
        return lines

    def order(self) -> list[str]:
        """Return, for each data set and metric, how many pairs of rows are in the paper's order.

        Pairs that are equal in the paper have no order; pairs that are equal here do not keep it.
        """
        return [
            sentence
            for data in dict.fromkeys(row.paper_data for row, _ in self.rows)
            for metric in self.metrics
            if (sentence := self._order(data, metric))
        ]

    def _order(self, data: str, metric: str) -> str:
        of_paper = [(row, summary) for row, summary in self.rows if row.paper_data == data and metric in row.paper]
        ranked = [(row.paper[metric], summary[metric]["mean"]) for row, summary in of_paper if summary is not None]
        pairs = [(a, b) for a, b in itertools.combinations(ranked, 2) if a[0] != b[0]]
        kept = sum((a[0] < b[0]) == (a[1] < b[1]) and a[1] != b[1] for a, b in pairs)
        missing = len(of_paper) - len(ranked)
        lacking = f"; {missing} of {len(of_paper)} rows are missing" if missing else ""
        if pairs:
            holds = "the paper's order holds" if kept == len(pairs) else "the paper's order does not hold"
            return f"{metric} on {data}: {holds} ({kept} of {len(pairs)} pairs of rows{lacking})"
        return f"{metric} on {data}: no pair of rows to compare{lacking}" if missing else ""

    def markdown(self) -> str:
        """Return table and order in Markdown."""
        table = tabulate(self.cells(), headers=self.headers(), tablefmt="github", disable_numparse=True)
        said = "".join(f"\n- {sentence}" for sentence in (*self.order(), *self.lacks))
        return f"## {self.title}\n\n{table}\n{said}\n\n{self.made}\n"

    def page(self) -> str:
        """Return the same as a page of HTML."""
        head = "".join(f"<th>{html.escape(title)}</th>" for title in self.headers())
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in line)}</tr>" for line in self.cells())
        order = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in (*self.order(), *self.lacks))
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(self.title)}</title>'
            f"<style>{STYLE}</style><table><caption>{html.escape(self.title)}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table><ul>{order}</ul><p>{html.escape(self.made)}</p></html>\n"
        )

    def numbers(self) -> dict[str, Any]:
        """Return all of it for a JSON file."""
        rows = [
            {
                "row": row.what,
                "config": row.run.config,
                "overrides": list(row.run.overrides),
                "data": row.data,
                "paper": {"data": row.paper_data, **row.paper},
                "ours": summary and {metric: summary[metric] for metric in self.metrics},
            }
            for row, summary in self.rows
        ]
        return {"title": self.title, "rows": rows, "order": self.order(), "made": self.made, "lacks": list(self.lacks)}


def _written(ours: Mapping[str, Any]) -> str:
    spread = "" if ours["spread"] is None else f" ± {ours['spread']:.1f}"
    return f"{ours['mean']:.1f}{spread} (n = {len(ours['by_seed'])})"
