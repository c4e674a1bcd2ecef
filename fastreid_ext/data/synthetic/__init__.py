"""SynthReID: drawn people for person re-identification, made on the spot from a seed.

Nothing here imports PyTorch or FastReID.
"""

from .sheet import contact_sheet
from .sizes import SIZES
from .splits import GALLERY, QUERY, QUERY_OCCLUDED, TRAIN
from .writer import RENDERER_VERSION, find, generate

__all__ = [
    "GALLERY",
    "QUERY",
    "QUERY_OCCLUDED",
    "RENDERER_VERSION",
    "SIZES",
    "TRAIN",
    "contact_sheet",
    "find",
    "generate",
]
