"""The command ``doctor``: says whether this installation can work, and what to do if not."""

import argparse
from typing import Any

from fastreid_ext.engine.doctor import OK, PROBLEM, examine

MARKS = {OK: "ok", PROBLEM: "PROBLEM"}


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to argparse's ``commands`` and return its parser; ``run`` is its entry point."""
    parser = commands.add_parser(
        "doctor",
        help="say what is installed, patched and found, and what to do about the rest",
        description="Says what is installed, what became of each patch of FastReID, which data sets, weights and "
        "caches are found, and what to do about the rest. The exit status is 1 if something can't work.",
        epilog="example: FASTREID_DATASETS=~/datasets fastreid-ext doctor",
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 1 if one of them is a problem."""
    findings = examine()
    section = None
    for finding in findings:
        if finding.section != section:
            section = finding.section
            print(f"{section}:")
        print(f"  {MARKS.get(finding.status, finding.status):8} {finding.text}")
        if finding.advice:
            print(f"           -> {finding.advice}")
    problems = sum(finding.status == PROBLEM for finding in findings)
    print(f"{problems} problem{'s' * (problems != 1)}" if problems else "everything that is needed is there")
    return 1 if problems else 0
