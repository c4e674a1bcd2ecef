"""Two steps with every config of a written project, in a process that can't import this package."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fastreid_ext.upstream.checkout import CheckoutError

# Imports of ours fail, wherever they are installed. The script gets its arguments and its name as if it ran alone.
WITHOUT_US = """
import runpy, sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "fastreid_ext":
            raise ModuleNotFoundError("a project in a checkout must do without fastreid_ext", name=name)

sys.meta_path.insert(0, Without())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
LAST_LINES = 15


def run_without_us(checkout: Path, script: str, arguments: Sequence[str] = ()) -> str:
    """Run a script of a checkout from its top and return what it prints.

    Raises:
        CheckoutError: it fails; the message ends with the last lines that it printed.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_US, str(checkout / script), *arguments],
        cwd=checkout,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        said = "\n".join((ran.stdout + ran.stderr).strip().splitlines()[-LAST_LINES:])
        raise CheckoutError(
            f"{script} does not run in {checkout}; if FastReID itself is what fails, --heals commits what it needs on"
            f" this machine. Its last lines:\n{said}"
        )
    return ran.stdout
