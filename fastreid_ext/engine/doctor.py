"""What ``fastreid-ext doctor`` finds: whether the installation can work, what is there, and what to do about the rest.

Nothing but the standard library is imported before it is known to be there, so a broken installation is examined too.
"""

import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import fastreid_ext
from fastreid_ext import compat
from fastreid_ext.compat.imports import INSTALL_COMMAND
from fastreid_ext.data.datasets.folders import accepted_folders
from fastreid_ext.data.published import DESCRIBED_AT, EXPECTED_TREES, SAME_FILES
from fastreid_ext.engine.providers import providers_of, too_many, where_galleries_are_searched
from fastreid_ext.errors import UserError
from fastreid_ext.modeling.downloads import host_downloads, torch_downloads

__all__ = ["NOTE", "OK", "PROBLEM", "Finding", "examine"]

OK, NOTE, PROBLEM = "ok", "note", "problem"

# Module -> what to install.
LIBRARIES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "faiss": "faiss-cpu",
    "PIL": "Pillow",
    "sklearn": "scikit-learn",
    "yacs": "yacs",
    "yaml": "PyYAML",
    "tabulate": "tabulate",
    "termcolor": "termcolor",
    "tensorboard": "tensorboard",
    "gdown": "gdown",
    "h5py": "h5py",
    "scipy": "scipy",
    "matplotlib": "matplotlib",
    "tqdm": "tqdm",
}
SHOWN = ("torch", "torchvision", "numpy", "cv2", "faiss", "PIL")  # the others are mentioned only if they fail
BAD_TORCH = "2.13.0"  # excluded in setup.py


@dataclass(frozen=True)
class Finding:
    """One line of the examination.

    Attributes:
        section: "installed", "patches", "data sets", "pretrained weights" or "caches".
        status: "ok", "note" (something is missing that not everyone needs) or "problem" (something can't work).
        text: what was found.
        advice: what to do about it, or empty.
    """

    section: str
    status: str
    text: str
    advice: str = ""


def installed() -> Iterator[Finding]:
    """Python, the libraries that matter, CUDA, FastReID."""
    finding = functools.partial(Finding, "installed")
    yield finding(OK, f"Python {platform.python_version()} ({sys.executable})")
    yield finding(OK, f"fastreid-ext {fastreid_ext.__version__} ({Path(fastreid_ext.__file__).parent})")
    for name, distribution in LIBRARIES.items():
        try:
            module = importlib.import_module(name)
        except Exception as error:
            advice = f"pip install {distribution}"
            if name == "torchvision" and _version_of("torchvision"):
                advice = _torchvision_advice()
            elif not isinstance(error, ModuleNotFoundError):
                advice = f"pip install --force-reinstall {distribution}"
            yield finding(PROBLEM, f"{name} can't be imported: {_one_line(error)}", advice)
        else:
            if name in SHOWN:
                named = f" ({', '.join(providers)})" if (providers := providers_of(name)) else ""
                yield finding(OK, f"{name} {getattr(module, '__version__', None) or _version_of(distribution)}{named}")
                if len(providers) > 1:
                    yield finding(NOTE, *too_many(name, providers))
            if name == "torch":
                yield finding(OK, _cuda(module))
            if name == "faiss" and hasattr(module, "StandardGpuResources"):
                yield finding(OK, where_galleries_are_searched())
    yield _host()


def _torchvision_advice() -> str:
    torch = (_version_of("torch") or "").partition("+")[0]
    if torch == BAD_TORCH:
        return (
            f"torch {BAD_TORCH} may come as a CPU build whose torchvision does not import: "
            f"pip install -U 'torch!={BAD_TORCH}' torchvision"
        )
    return f"install torch and torchvision together, so that they fit: pip install -U torch=={torch} torchvision"


def _cuda(torch: ModuleType) -> str:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"CUDA {torch.version.cuda}: {', '.join(names)}"
    build = f"torch is built for {torch.version.cuda}" if torch.version.cuda else "torch is built without it"
    return f"no CUDA device ({build}): training and evaluation run on the CPU"


def _host() -> Finding:
    try:
        spec = importlib.util.find_spec("fastreid")
    except Exception as error:
        return Finding("installed", PROBLEM, f"FastReID is not found: {_one_line(error)}", INSTALL_COMMAND)
    if spec is None or spec.origin is None:
        return Finding("installed", PROBLEM, "FastReID is not installed", INSTALL_COMMAND)
    folder = Path(spec.origin).resolve().parent
    try:
        wheel = importlib.metadata.distribution("fastreid")
    except importlib.metadata.PackageNotFoundError:
        wheel = None
    if wheel and Path(str(wheel.locate_file("fastreid"))).resolve() == folder:
        return Finding("installed", OK, f"FastReID {wheel.version}, the wheel ({folder})")
    named = re.search(r'__version__ = "(.+?)"', Path(spec.origin).read_text(encoding="utf-8", errors="replace"))
    called = f" that calls itself {named[1]}" if named else ""
    return Finding("installed", OK, f"FastReID, a checkout{called} ({folder})")


def patches() -> Iterator[Finding]:
    """What became of each patch of FastReID, after healing it."""
    finding = functools.partial(Finding, "patches")
    try:
        importlib.import_module("fastreid")
        compat.heal()
    except Exception as error:
        advice = "fix the errors above, then run this again"
        yield finding(PROBLEM, f"FastReID can't be healed: {_one_line(error)}", advice)
        return
    for outcome in compat.report():
        patch = outcome.patch
        text = f"{patch.name} ({patch.heals}): {outcome.status}"
        if outcome.status == "skipped":
            status = PROBLEM if patch.critical else NOTE
            advice = f"without it {patch.if_skipped}; {INSTALL_COMMAND} has what it heals"
            yield finding(status, f"{text}, {outcome.reason}", advice)
        else:
            yield finding(OK, f"{text}{', ' if outcome.reason else ''}{outcome.reason}")


def data_sets() -> Iterator[Finding]:
    """Which data sets lie in the folder that FASTREID_DATASETS names."""
    finding = functools.partial(Finding, "data sets")
    named = os.environ.get("FASTREID_DATASETS")
    root = Path(named or "datasets")
    where = f"FASTREID_DATASETS={named}" if named else f"FASTREID_DATASETS is not set, so {root.resolve()} counts"
    if not root.is_dir():
        advice = "set FASTREID_DATASETS to the folder of your data sets"
        yield finding(NOTE, f"{where}: there is no such folder", advice)
    else:
        yield finding(OK, where)
    for name, folders in _known_folders().items():
        there = accepted_folders(root, folders)
        if there:
            yield finding(OK, f"{name}: {there[0]}")
        else:
            described = f"; see {DESCRIBED_AT[name]}" if name in DESCRIBED_AT else ""
            advice = f"put it at {root / folders[0]}{described}"
            yield finding(NOTE, f"{name}: not there", "" if name == "CSVDataset" else advice)
    made = sorted(path.name for path in root.glob("SynthReID-*") if path.is_dir())
    yield finding(OK, f"SynthReID: {', '.join(made) if made else 'not there yet; it is made on first use'}")


def _known_folders() -> dict[str, list[str]]:
    """Registered name -> the folders below the root that may hold it, the usual one first."""
    known = {}
    for name, tree in EXPECTED_TREES.items():
        if name in SAME_FILES:
            continue
        tops = [word.lstrip("(").split("/")[0] for line in tree for word in line.split() if "/" in word]
        folders = [folder for folder in getattr(_registered(name), "folders", ()) if folder != "."]
        known[name] = list(dict.fromkeys([*tops, *folders]))
    return known


def _registered(name: str) -> Any:
    """The class of a data set, or None if there is none or FastReID can't be imported."""
    registries = sys.modules.get("fastreid.data.datasets")
    return registries and registries.DATASET_REGISTRY._obj_map.get(name)


def pretrained_weights() -> Iterator[Finding]:
    """Whether the ImageNet weights of the shipped configs are there."""
    from fastreid_ext.model_zoo import get_config, list_config_files
    from fastreid_ext.modeling.backbones import published_weights, trunk_title

    finding = functools.partial(Finding, "pretrained weights")
    users: dict[tuple[str, str], list[str]] = {}  # (file, what to do if it is not there) -> configs
    for config in list_config_files():
        cfg = get_config(config)
        node = cfg.MODEL.BACKBONE
        if not node.PRETRAIN:
            continue
        try:
            file, url = published_weights(cfg)
            advice = f"downloaded when it is first needed, from {url}; without a network, put it there yourself"
            found = str(file), "" if file.is_file() or not url else advice
        except UserError as error:
            found = f"the weights of {trunk_title(cfg)}", str(error)
        users.setdefault(found, []).append(config)
    for (file, advice), configs in users.items():
        missing = ", not there" if advice else ""
        text = f"{file}{missing} ({len(configs)} configs, such as {configs[0]})"
        yield finding(NOTE if advice else OK, text, advice)


def caches() -> Iterator[Finding]:
    """The folders of downloads, and whether they can be written."""
    finding = functools.partial(Finding, "caches")
    for folder in (host_downloads(), torch_downloads()):
        if folder.is_dir():
            size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
            yield finding(OK, f"{folder}: {size / 1e6:.0f} MB of downloaded weights")
        else:
            yield finding(OK, f"{folder}: not there yet; it is made by the first download")
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not os.access(there, os.W_OK):
            yield finding(NOTE, f"{there} can't be written", "set TORCH_HOME to a folder that can")
    yield finding(
        NOTE,
        "decoded images: no shipped config keeps them",
        "DATALOADER.CACHE_DIR FOLDER keeps resized images for later epochs and runs",
    )


def _version_of(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


SECTIONS: dict[str, Callable[[], Iterator[Finding]]] = {
    "installed": installed,
    "patches": patches,
    "data sets": data_sets,
    "pretrained weights": pretrained_weights,
    "caches": caches,
}


def examine() -> list[Finding]:
    """Examine the installation; no exception of a broken one gets out."""
    findings = []
    for section, find in SECTIONS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what they would say stands in the findings
                findings += find()
        except Exception as error:
            findings.append(Finding(section, NOTE, f"not examined: {_one_line(error)}"))
    return findings
