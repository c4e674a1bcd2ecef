"""Imports the host with aliases for names that it imports and that no longer exist."""

import collections
import collections.abc
import contextlib
import importlib
import sys
import types
import warnings
from collections.abc import Iterator

__all__ = ["ALIASES", "INSTALL_COMMAND", "import_aliases", "import_host", "what_is_missing"]

INSTALL_COMMAND = "pip install --no-deps fastreid==1.4.0"

# Every module that is patched or that binds a patched function by name.
HOST_MODULES = (
    "fastreid.config",
    "fastreid.utils.comm",
    "fastreid.utils.params",
    "fastreid.utils.checkpoint",
    "fastreid.utils.compute_dist",
    "fastreid.data.data_utils",
    "fastreid.data.build",
    "fastreid.data.transforms.functional",
    "fastreid.data.transforms.transforms",
    "fastreid.data.transforms.build",
    "fastreid.solver.build",
    "fastreid.modeling",
    "fastreid.evaluation.rank",
    "fastreid.evaluation.roc",
    "fastreid.evaluation.reid_evaluation",
    "fastreid.engine",
    "fastreid.engine.train_loop",
    "fastreid.engine.hooks",
    "fastreid.engine.defaults",
    "fastreid.engine.launch",
)

# What :func:`import_aliases` heals, in the words of :class:`fastreid_ext.compat.patch.Patch`.
ALIASES = {
    "name": "imports",
    "heals": "data/build.py:11,12; evaluation/testing.py:5",
    "needed_by": "torch >= 2.0 and Python >= 3.10",
    "if_skipped": "FastReID does not import",
    "cause": "torch._six and collections.Mapping are gone",
    "fix": "collections.abc.Mapping, and str for torch's string_classes",
}

NEVER_MISSING = "fastreid.config"  # a folder that is called fastreid by chance has none

# Where the name to install is not the name to import.
_DISTRIBUTIONS = {
    "PIL": "Pillow",
    "cv2": "opencv-python-headless",
    "faiss": "faiss-cpu",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}


@contextlib.contextmanager
def import_aliases() -> Iterator[None]:
    """Offer ``torch._six`` and ``collections.Mapping`` while the host is imported, and only then.

    Heals data/build.py:11-12 and evaluation/testing.py:5 (in the git checkout data/build.py:18). Needed by
    torch >= 2.0 and Python >= 3.10.
    """
    six = types.ModuleType("torch._six")
    six.string_classes = (str, bytes)
    lent_six = sys.modules.setdefault("torch._six", six) is six
    lent_mapping = not hasattr(collections, "Mapping")
    if lent_mapping:
        collections.Mapping = collections.abc.Mapping
    try:
        yield
    finally:
        # Other libraries probe for these names to tell versions apart, so they must not stay.
        if lent_six:
            del sys.modules["torch._six"]
        if lent_mapping:
            del collections.Mapping


def import_host() -> None:
    """Import the host's modules; one that a fork lacks is passed over, and the patches that need it are skipped.

    Raises:
        ImportError: FastReID, or a package that it imports, is missing; says the command that installs it.
    """
    with import_aliases(), warnings.catch_warnings():
        # "Cython rank evaluation (very fast so highly recommended) is unavailable": ours is as fast.
        warnings.filterwarnings("ignore", message="Cython .* evaluation")
        for name in HOST_MODULES:
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                if (error.name or "").startswith("fastreid.") and name != NEVER_MISSING:
                    continue
                raise ImportError(what_is_missing(error.name or str(error))) from error


def what_is_missing(module: str) -> str:
    """Say in one sentence that FastReID, or a module that it needs, is missing, and what to do."""
    package = module.partition(".")[0]
    if package not in ("fastreid", module) and package in sys.modules:  # torchvision.models.utils is gone, say
        return (
            f"this FastReID imports {module}, which the installed {package} does not have: take FastReID 1.4.0, or a"
            " fork of December 2021 or later."
        )
    if package != "fastreid":
        distribution = _DISTRIBUTIONS.get(package, package)
        return f"FastReID needs the package {package!r}, which is missing: run `pip install {distribution}`."
    where = "" if module == package else f" (the one found has no {module})"
    return f"fastreid_ext extends FastReID 1.4.0, which is not installed{where}: run `{INSTALL_COMMAND}`."
