"""Data sets in the manner of FastReID; importing this registers them."""

from fastreid_ext.data.datasets import cuhk03, synthreid

__all__ = ["cuhk03", "synthreid"]
