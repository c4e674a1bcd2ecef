"""Data sets in the manner of FastReID; importing this registers them."""

from fastreid_ext.data.datasets import body_images, csv_dataset, cuhk03, occluded_duke, opreid, synthreid

__all__ = ["body_images", "csv_dataset", "cuhk03", "occluded_duke", "opreid", "synthreid"]
