"""The tests that are marked gpu, each noted as soon as it has ended; without CUDA all of them are skipped."""

import os
from pathlib import Path
from typing import Any

import pytest
from on_gpu.call import Call

ROOT = Path(__file__).parents[2]
MARK = "mark.gpu"


class Notes:
    """A plug-in of pytest that counts how the tests ended, and names those that neither passed nor were skipped."""

    def __init__(self, call: Call):
        self.call = call
        call.results |= {"counts": {}, "failed": {}}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            counts = self.call.results["counts"]
            counts[report.outcome] = counts.get(report.outcome, 0) + 1
            if report.outcome == "failed":
                self.call.results["failed"][report.nodeid] = str(report.longrepr).strip().splitlines()[-1]
            if not self.call.toy:
                self.call.write()


def files() -> list[str]:
    """Return the files and folders of tests in which the mark stands; that of a conftest is its folder's."""
    marked = [path for path in sorted((ROOT / "tests").rglob("*.py")) if MARK in path.read_text(encoding="utf-8")]
    found = dict.fromkeys(path.parent if path.name == "conftest.py" else path for path in marked)
    return [str(path.relative_to(ROOT)) for path in found if path != ROOT / "tests"]


def measure(call: Call) -> None:
    """Run them."""
    os.chdir(ROOT)
    options = ["-m", "gpu", "-p", "no:cacheprovider", "-p", "no:xdist"]
    status = pytest.main([*options, *call.few(files())], plugins=[Notes(call)])
    call.results["pytest_status"] = int(status)
    call.write()
