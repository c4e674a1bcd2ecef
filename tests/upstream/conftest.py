"""FastReID's wheel laid out as a git checkout, and all projects written into it once."""

import shutil
from pathlib import Path

import fastreid
import pytest
from git_checkouts import make_repository

from fastreid_ext.upstream.checkout import Checkout
from fastreid_ext.upstream.plan import PAPERS
from fastreid_ext.upstream.writing import write


@pytest.fixture(scope="session")
def wheel_checkout(tmp_path_factory):
    """A git checkout of the installed FastReID."""
    folder = tmp_path_factory.mktemp("upstream") / "fast-reid"
    source = Path(fastreid.__file__).parent
    shutil.copytree(source, folder / "fastreid", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return make_repository(folder)


@pytest.fixture(scope="session")
def written(wheel_checkout):
    """The checkout with the repairs and all five projects, and the lines that the writing gave."""
    return wheel_checkout, write(Checkout(wheel_checkout), PAPERS, True, "fastreid-ext", False)
