"""docs/evidence.md, written from the record of evidence.py: what each paper claims, what was run, and what came out."""

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from evidence_questions import HOLISTIC, KEPT, OCCLUDED, Arm, Claim, Question
from evidence_runs import SCALE, Trial, key
from evidence_statistics import DRAWS, Difference, Scores, difference
from tabulate import tabulate

Runs = Mapping[str, Mapping[str, Any]]
NOT_RUN = "not run here"
HEAD = f"""# Evidence

<!-- Written by `python benchmarks/evidence.py --page` from benchmarks/results/evidence.json; do not edit. -->

What the papers claim, asked on SynthReID's demo size with the demos' recipes (ResNet-18 and the like, 128x64 images).
Two CPU cores train this size; it does not replace the papers' data sets. The questions and their runs are in
[`evidence_questions.py`](../benchmarks/evidence_questions.py), the most valuable first.
`python benchmarks/evidence.py --hours 8` carries on with the first run that is missing, one run at a time.

**How it is judged.** Two methods are compared on the same queries and the same seeds. The difference is that of mAP in
percentage points, averaged over queries and seeds, or of the share of its mAP that each keeps when half of the test
images lose a rectangle (`TEST.OCCLUSION`). The interval is the middle 95 % of {DRAWS:,} draws of a paired bootstrap: as
many queries and as many seeds with replacement, the same for both. *Seen*: the whole interval is above 0; *not seen*:
all of it is at or below 0; otherwise, or with one seed, *undecided at this size*. With three seeds the interval is
somewhat too narrow, because a bootstrap of n seeds has (n - 1) / n of their variance; with one seed it is that of the
queries alone. No interval is corrected for the number of claims.
"""


def page(questions: Sequence[Question], runs: Runs, trial: Trial) -> str:
    """Return the page.

    Args:
        questions: in the order of the page.
        runs: of the record, by name.
        trial: the size that the runs have.
    """
    parts = [HEAD, _summary(questions, runs, trial)]
    return "\n".join([*parts, *(_section(question, runs, trial) for question in questions)])


def judge(claim: Claim, question: Question, runs: Runs, trial: Trial) -> Difference | None:
    """Return how far the two arms of a claim are apart, over the seeds that both have; None if there is none.

    Raises:
        ValueError: their runs were not tested on the same queries.
    """
    ahead, of = question.arms[claim.ahead], question.arms[claim.of]
    seeds = [seed for seed in ahead.seeds if all(key(arm, seed, trial) in runs for arm in (ahead, of))]
    if not seeds:
        return None
    name = trial.test_set(claim.test_set)
    tested = [[runs[key(arm, seed, trial)]["queries"][name] for seed in seeds] for arm in (ahead, of)]
    first = tested[0][0]
    if any(one["images"] != first["images"] for side in tested for one in side):
        raise ValueError(f"the runs of {claim.ahead!r} and {claim.of!r} were tested on different images of {name}")
    chosen = _queries(claim, first)
    return difference(*(_scores(side, chosen) for side in tested), kept=claim.measure == KEPT)


def _queries(claim: Claim, tested: Mapping[str, Any]) -> np.ndarray:
    """Return the indices of the queries that count: those with a match, of the claim's group if it has one."""
    scored = np.flatnonzero(np.array(tested["first_rank"]) > 0)
    if not claim.group:
        return scored
    label = next(label for label in tested["groups"] if label.startswith(claim.group))
    return np.intersect1d(scored, tested["groups"][label])


def _scores(side: Sequence[Mapping[str, Any]], chosen: np.ndarray) -> Scores:
    clean, erased = (
        np.array([one[kind] for one in side], dtype=float)[:, chosen] / SCALE if kind in side[0] else None
        for kind in ("average_precision", "erased")
    )
    return Scores(clean, erased)


def _summary(questions: Sequence[Question], runs: Runs, trial: Trial) -> str:
    rows = []
    for question in questions:
        verdicts = [found.verdict if found else NOT_RUN for found in _outcomes(question, runs, trial)]
        counts = [f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts)]
        rows.append([f"[{question.title}](#{_anchor(question.title)})", len(verdicts), "; ".join(counts)])
    return tabulate(rows, headers=["question", "claims", "verdicts"], tablefmt="github", disable_numparse=True) + "\n"


def _anchor(title: str) -> str:
    """Return what a heading is linked by, on the site and where Markdown is shown."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _outcomes(question: Question, runs: Runs, trial: Trial) -> list[Difference | None]:
    return [judge(claim, question, runs, trial) for claim in question.claims]


def _section(question: Question, runs: Runs, trial: Trial) -> str:
    lines = [f"## {question.title}", "", f"{question.paper}. {question.note}".strip(), ""]
    rows = [
        _claim_row(claim, found, question)
        for claim, found in zip(question.claims, _outcomes(question, runs, trial), strict=True)
    ]
    headers = ["claim", "compared", "difference", "95 % interval", "seeds", "queries", "verdict"]
    lines += [tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True), ""]
    headers = ["run", "config and keys", "seeds", "holistic Rank-1", "mAP", "occluded Rank-1", "mAP"]
    rows = [_arm_row(name, arm, runs, trial) for name, arm in question.arms.items()]
    lines += [tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True), ""]
    made = [run for arm in question.arms.values() for run in _runs_of(arm, runs, trial)]
    return "\n".join([*lines, *_trunks(made), *_made(made)])


def _claim_row(claim: Claim, found: Difference | None, question: Question) -> list[str]:
    group = f", {claim.group}" if claim.group else ""
    measure = f"{claim.measure}, {claim.test_set}{group}"
    says = f"{claim.says} (our question)" if claim.ours and question.paper != "ours" else claim.says
    compared = f"{claim.ahead} against {claim.of}: {measure}"
    if found is None:
        return [says, compared, "", "", "", "", NOT_RUN]
    planned = len(set(question.arms[claim.ahead].seeds) & set(question.arms[claim.of].seeds))
    seeds = str(found.seeds) if found.seeds == planned else f"{found.seeds} of {planned}"
    interval = f"{found.low:+.1f} to {found.high:+.1f}"
    return [says, compared, f"{found.value:+.1f}", interval, seeds, str(found.queries), found.verdict]


def _arm_row(name: str, arm: Arm, runs: Runs, trial: Trial) -> list[str]:
    keys = [f"{one} {value}" for one, value in zip(arm.overrides[::2], arm.overrides[1::2], strict=True)]
    tested = [f"tested with {' '.join(arm.tested_with)}"] if arm.tested_with else []
    trunk = [f"from the trunk {arm.trunk}"] if arm.trunk else []
    what = "; ".join([f"`{arm.config}`", *(f"`{one}`" for one in keys), *trunk, *tested])
    made = _runs_of(arm, runs, trial)
    if not made:
        return [name, what, f"0 of {len(arm.seeds)}", *[NOT_RUN] * 4]
    sets = [trial.test_set(test_set) for test_set in (HOLISTIC, OCCLUDED)]
    cells = [_spread([run["results"][one][metric] for run in made]) for one in sets for metric in ("Rank-1", "mAP")]
    return [name, what, str(len(made)) if len(made) == len(arm.seeds) else f"{len(made)} of {len(arm.seeds)}", *cells]


def _runs_of(arm: Arm, runs: Runs, trial: Trial) -> list[Mapping[str, Any]]:
    names = [key(arm, seed, trial) for seed in arm.seeds]
    return [runs[name] for name in names if name in runs]


def _spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation over the seeds."""
    return f"{statistics.fmean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def _trunks(made: Sequence[Mapping[str, Any]]) -> list[str]:
    found = {run["trunk"]: next(iter(run["trunk_results"].values())) for run in made if run["trunk"]}
    if not found:
        return []
    words = [f"{name} {values['Rank-1']:.1f} / {values['mAP']:.1f}" for name, values in sorted(found.items())]
    return [f"Trunks on their own test people, Rank-1 / mAP: {', '.join(words)}.", ""]


def _made(made: Sequence[Mapping[str, Any]]) -> list[str]:
    if not made:
        return []
    commits = ", ".join(dict.fromkeys(run["commit"] for run in made))
    machines = dict.fromkeys(f"{run['hardware']['cores']} cores of an {run['hardware']['cpu']}" for run in made)
    torch = ", ".join(dict.fromkeys(run["versions"]["torch"] for run in made))
    hours = sum(run["seconds"] for run in made) / 3600
    return [f"Commit {commits}; {', '.join(machines)}; torch {torch}; {hours:.1f} hours.", ""]
