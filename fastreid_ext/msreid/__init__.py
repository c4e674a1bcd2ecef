"""MSReID: soft attention, and global and local features that a mask separates."""

from fastreid_ext.msreid.config import add_msreid_config
from fastreid_ext.msreid.convert import convert_authors_weights
from fastreid_ext.msreid.heads import MaskSeparatedHead
from fastreid_ext.msreid.meta_arch import MSReID

__all__ = ["MSReID", "MaskSeparatedHead", "add_msreid_config", "convert_authors_weights"]
