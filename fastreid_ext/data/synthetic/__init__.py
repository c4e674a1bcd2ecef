"""SynthReID: drawn people for person re-identification, made on the spot from a seed.

Nothing here imports PyTorch or FastReID.
"""

from .sheet import contact_sheet
from .sizes import SIZES
from .skeleton import KEYPOINT_NAMES, SKELETON
from .splits import GALLERY, QUERY, QUERY_OCCLUDED, TRAIN
from .writer import RENDERER_VERSION, find, generate

__all__ = [
    "GALLERY",
    "KEYPOINT_NAMES",
    "QUERY",
    "QUERY_OCCLUDED",
    "RENDERER_VERSION",
    "SIZES",
    "SKELETON",
    "TRAIN",
    "contact_sheet",
    "find",
    "generate",
]
