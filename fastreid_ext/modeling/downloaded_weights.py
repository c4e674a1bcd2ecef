"""The published weights of FastReID's backbones: where they lie, and how they come there."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from fastreid.config import CfgNode
from fastreid.utils import comm
from torch import nn

from fastreid_ext.errors import first_line
from fastreid_ext.modeling.downloads import host_downloads, torch_downloads
from fastreid_ext.modeling.weights import WeightsError

__all__ = ["downloaded", "resnet_key", "unpublished"]

SHOWN = 120  # characters of an error of the network


def downloaded(
    key: Callable[[CfgNode], str], name: str = "", hub: bool = False
) -> Callable[[nn.Module, CfgNode], Path]:
    """Return what finds FastReID's download of weights, and has FastReID make it if it is not there.

    Args:
        key: node -> key of the backbone's table ``model_urls``.
        name: of the file, for a key; "" = as in the address.
        hub: torch.hub downloads it.
    """

    def place(module: ModuleType, node: CfgNode) -> tuple[Path, str]:
        url = module.model_urls.get(key(node))
        if url is None:
            unpublished(None, node)
        folder = torch_downloads() if hub else host_downloads()
        return folder / (name.format(key(node)) or url.rpartition("/")[2]), url

    def find(backbone: nn.Module, node: CfgNode) -> Path:
        module = sys.modules[type(backbone).__module__]
        file, url = place(module, node)
        if all(comm.all_gather(file.is_file())):  # all processes download, or none: FastReID's wait for each other
            return file
        why = ""
        try:
            if hub:
                torch.hub.load_state_dict_from_url(url, str(file.parent), map_location="cpu", weights_only=True)
            else:
                module.init_pretrained_weights(*([backbone] if name else []), key(node))
        except Exception as error:  # of the network, of gdown, of torch for what was sent instead
            why = f" ({first_line(error)[:SHOWN]})"
        if not file.is_file():
            raise WeightsError(
                f"MODEL.BACKBONE.PRETRAIN is True and {file} is not there and could not be downloaded from {url}{why}:"
                " put it there yourself, or name a file in MODEL.BACKBONE.PRETRAIN_PATH, or set PRETRAIN False"
            )
        return file

    find.place = place  # (module of the backbone, node) -> (file, address); nothing is built or downloaded
    return find


def unpublished(backbone: nn.Module | None, node: CfgNode) -> Path:
    """Raise a WeightsError that says what to do where FastReID knows no weights."""
    parts = [key for key in ("WITH_IBN", "WITH_SE") if node[key]]
    raise WeightsError(
        f"MODEL.BACKBONE.PRETRAIN is True, but FastReID knows no ImageNet weights of {node.NAME} {node.DEPTH}"
        f"{' and '.join(['', *parts])}: name a file of your own in MODEL.BACKBONE.PRETRAIN_PATH, or set PRETRAIN False"
    )


def resnet_key(node: CfgNode) -> str:
    """Return the key of a ResNet in its table of addresses."""
    return f"{'se_' * node.WITH_SE}{'ibn_' * node.WITH_IBN}{node.DEPTH}"
