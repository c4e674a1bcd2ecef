"""What the command writes: one commit for the repairs of FastReID, and one for each project."""

from collections.abc import Sequence

from fastreid_ext import __version__
from fastreid_ext.errors import counted
from fastreid_ext.upstream import plan
from fastreid_ext.upstream.checkout import Checkout, CheckoutError
from fastreid_ext.upstream.host_edits import EDITS, healed
from fastreid_ext.upstream.project import HEADER, count_lines, project_files

HEALS_SUBJECT = "Run on today's Python, torch and NumPy, with and without CUDA"


def write(checkout: Checkout, papers: Sequence[plan.Paper], heals: bool, branch: str, update: bool) -> list[str]:
    """Commit to a branch of a checkout, change to it, and return a line on each commit.

    Raises:
        CheckoutError: what :class:`Checkout` refuses. The checkout is then as it was.
    """
    projects = {f"projects/{paper.project}": (paper, project_files(paper)) for paper in papers}
    placed = {
        folder: {f"{folder}/{path}": text.encode() for path, text in files.items()}
        for folder, (_, files) in projects.items()
    }
    base = checkout.begin(branch, update)
    for folder, files in placed.items():
        checkout.check_free(base, folder, update, files)
    lines = [f"branch {branch} of {checkout.folder}"]
    if heals:
        changed = healed(lambda path: checkout.content_of(base, path))
        base = checkout.commit(base, changed, heals_message(list(changed))) if changed else base
        lines.append(
            f"FastReID itself: {len(changed)} file{'s' * (len(changed) > 1)} repaired"
            if changed
            else "FastReID itself: nothing to repair"
        )
    for folder, (paper, files) in projects.items():
        commit = checkout.commit(base, placed[folder], project_message(paper), replaces=folder)
        about = f"{counted(len(files), 'file')}, {counted(count_lines(files), 'line')} without its tests"
        lines.append(f"{folder}: {about}" if commit != base else f"{folder}: as it should be")
        base = commit
    if papers:
        lines.append(
            f'every Python file begins with "{HEADER}", which is FastReID\'s own licence too, and names no author'
        )
    checkout.move(branch, base)
    return lines


def heals_message(files: Sequence[str]) -> str:
    """Return the message of the commit that repairs FastReID."""
    named = [f"- {edit.file}: {edit.what}" for edit in EDITS if f"fastreid/{edit.file}" in files]
    return (
        f"{HEALS_SUBJECT}\n\nThe smallest changes with which training and evaluation run in one process:\n\n"
        + "\n".join(named)
    )


def project_message(paper: plan.Paper) -> str:
    """Return the message of the commit that adds a project."""
    return (
        f"Add {paper.project}: {paper.title}\n\n"
        f"Self-contained: {paper.package}/ is the paper, {paper.package}/shared/ what it needs besides FastReID.\n"
        f"python projects/{paper.project}/tests/two_steps.py builds every config and trains two steps.\n"
        f"Made from fastreid-ext {__version__} (Apache-2.0)."
    )


def papers_named(names: Sequence[str]) -> list[plan.Paper]:
    """Return the papers of some names, in the plan's order.

    Raises:
        CheckoutError: a name that no project has.
    """
    known = {paper.project: paper for paper in plan.PAPERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CheckoutError(f"there is no project {unknown[0]}: --papers takes {', '.join(known)}")
    return [paper for name, paper in known.items() if name in names]
