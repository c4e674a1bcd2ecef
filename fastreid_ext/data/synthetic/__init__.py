"""SynthReID: drawn people for person re-identification, made on the spot from a seed.

Nothing here imports PyTorch or FastReID.
"""

from fastreid_ext.data.synthetic.sheet import contact_sheet
from fastreid_ext.data.synthetic.sizes import RENDERER_VERSION, SIZES
from fastreid_ext.data.synthetic.splits import GALLERY, QUERY, QUERY_OCCLUDED, TRAIN
from fastreid_ext.data.synthetic.writer import find, generate

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
