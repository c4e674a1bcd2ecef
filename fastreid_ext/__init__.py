"""fastreid-ext: five re-identification papers as plug-ins for FastReID, on today's Python and PyTorch.

Importing it makes sure that FastReID is healed when it is imported, or at once if it has been (see
:mod:`fastreid_ext.compat`), and that every backbone, head, meta-architecture and data set of ours is then registered,
so a config can name them. The import itself is light (see :mod:`fastreid_ext.compat.hook`): the names below are
imported when they are used.
"""

import importlib
from typing import Any

from fastreid_ext import compat
from fastreid_ext.compat.warn import warn_user

__version__ = "0.1.0"
__all__ = [
    *("Extractor", "__version__", "datasets", "deepminer", "get_cfg"),
    *("mgre", "model_zoo", "msreid", "occluded", "res2net", "zoo"),
]

# They register themselves in FastReID's registries when they are imported.
_DATA_SETS = (
    *("market1501", "cuhk03", "msmt17", "host_sets", "listed_sets"),
    *("body_images", "csv_dataset", "occluded_duke", "occluded_posetrack", "opreid", "synthreid"),
)
_REGISTERING = (
    "modeling.backbones",  # before ours, which are built on them
    *("modeling.narrow_resnet", "modeling.deep_resnet", "modeling.timm_trunk"),
    *("deepminer", "mgre", "msreid", "occluded", "res2net"),
    *(f"data.datasets.{name}" for name in _DATA_SETS),
)

# Name -> module, and the name in it where it is not the module itself.
_LAZY = {
    **{name: (name, None) for name in ("deepminer", "layers", "losses", "mgre", "model_zoo", "msreid", "occluded")},
    "Extractor": ("inference.extractor", "Extractor"),
    "datasets": ("data.datasets", None),
    "get_cfg": ("config", "get_cfg"),
    "res2net": ("res2net", None),
    "zoo": ("zoo", None),
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module_name, attribute = _LAZY[name]
    module = importlib.import_module(f"{__name__}.{module_name}")
    value = getattr(module, attribute) if attribute else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def _register() -> None:
    for name in _REGISTERING:
        try:
            importlib.import_module(f"{__name__}.{name}")
        except ImportError as error:
            if (error.name or "").partition(".")[0] != "fastreid":
                raise
            warn_user(f"{__name__}.{name} is left out, because this FastReID lacks what it extends: {error}")


compat.install(_register)
