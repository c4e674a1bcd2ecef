"""The command ``doctor``: says whether this installation can work, and what to do if not."""

import argparse
from typing import Any

from fastreid_ext.commands.common import command_parser

MARKS = {"ok": "ok", "problem": "PROBLEM"}  # by fastreid_ext.engine.doctor's status; another one is shown as it is


def add_parser(commands: Any) -> None:
    """Add the command to an argparse ``subparsers``."""
    parser = command_parser(
        commands,
        "doctor",
        help="say what is installed, patched and found, and what to do about the rest",
        description="Say what is installed, what became of each patch of FastReID, which data sets, weights and caches"
        " are found, and what to do about the rest. The exit status is 1 if something can't work.",
        example="fastreid-ext doctor",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 1 if one of them is a problem."""
    from fastreid_ext.engine.doctor import PROBLEM, examine

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
