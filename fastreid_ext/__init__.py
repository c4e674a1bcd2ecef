"""fastreid-ext: five re-identification papers as plug-ins for FastReID, on today's Python and PyTorch.

Importing it heals the installed FastReID (see :mod:`fastreid_ext.compat`) and registers every backbone,
meta-architecture and data set, so a config can name them.
"""

from fastreid_ext.compat import heal

heal()

from fastreid_ext import deepminer, mgre, model_zoo, msreid, occluded, res2net  # noqa: E402
from fastreid_ext.config import get_cfg  # noqa: E402
from fastreid_ext.data import datasets  # noqa: E402

__version__ = "0.1.0"
__all__ = ["__version__", "datasets", "deepminer", "get_cfg", "mgre", "model_zoo", "msreid", "occluded", "res2net"]
