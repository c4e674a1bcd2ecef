"""MGRe: multi-granularity features from located body regions."""

from fastreid_ext.mgre.config import add_mgre_config
from fastreid_ext.mgre.heads import MGReLocationHead
from fastreid_ext.mgre.layout import RegionLayout
from fastreid_ext.mgre.location import LocationModule, location_loss, pseudo_boxes
from fastreid_ext.mgre.meta_arch import MGRe
from fastreid_ext.mgre.regions import COCO_JOINTS, TABLE_1, Region, regions_from_rows
from fastreid_ext.mgre.sampling import sample_regions

__all__ = [
    "COCO_JOINTS",
    "TABLE_1",
    "LocationModule",
    "MGRe",
    "MGReLocationHead",
    "Region",
    "RegionLayout",
    "add_mgre_config",
    "location_loss",
    "pseudo_boxes",
    "regions_from_rows",
    "sample_regions",
]
