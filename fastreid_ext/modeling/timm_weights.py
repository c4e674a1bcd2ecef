"""Pretrained weights of timm's networks: from the hub, from timm's addresses, or from a file, read by us alone."""

import functools
import logging
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from fastreid.config import CfgNode
from torch import Tensor, nn

from fastreid_ext.errors import first_line
from fastreid_ext.modeling.backbones import Weights
from fastreid_ext.modeling.downloads import torch_downloads
from fastreid_ext.modeling.token_trunk import on_own_grid
from fastreid_ext.modeling.weights import NotHereYet, WeightsError, states_in

__all__ = ["HUB", "TIMM", "file_here"]

logger = logging.getLogger(__name__)

HUB = "hf-hub:"
FILE = "model.safetensors"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@\w[\w./-]*)?")
SHOWN = 160  # characters of an error of the network
INSTEAD = "name a file in MODEL.BACKBONE.PRETRAIN_PATH, or set PRETRAIN False"


def _published(trunk: nn.Module, node: CfgNode) -> Path:
    """Return the file of timm's own weights, those of the tag in TIMM.NAME or of timm's default.

    Raises:
        WeightsError: timm has none, or they can't be had.
    """
    about, name = trunk.pretrained_cfg, node.TIMM.NAME
    hub, url, foreign = about.get("hf_hub_id"), about.get("url"), about.get("custom_load")
    if hub and foreign != "hf":  # the hub has timm's own file where an address has another framework's
        return _of_hub(hub, name)
    if foreign:
        raise WeightsError(f"timm's weights of {name} are in a format of their authors', which is not read: {INSTEAD}")
    if not url:
        raise WeightsError(f"MODEL.BACKBONE.PRETRAIN is True, and timm has no weights of {name}: {INSTEAD}")
    return _of_address(url, name)


def file_here(about: Mapping[str, Any], name: str) -> Path:
    """Return the file of weights of the hub or of an address on this machine.

    Args:
        about: what timm says of the network's weights.
        name: what they are called, for the message.

    Raises:
        NotHereYet: it is downloaded when it is first needed.
        WeightsError: it is not here, and the hub must not be asked (HF_HUB_OFFLINE).
    """
    from huggingface_hub import constants, try_to_load_from_cache

    hub, url = about.get("hf_hub_id"), about.get("url")
    owner, _, revision = (hub or "").partition("@")
    in_hub = functools.partial(try_to_load_from_cache, owner, FILE, revision=revision or None)
    there = in_hub() if hub else url and torch_downloads() / url.rpartition("/")[2]
    if there and Path(str(there)).is_file():
        return Path(str(there))
    if hub and constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"the weights of {name} are not on this machine, and HF_HUB_OFFLINE forbids to ask the hub for {hub}: unset"
            " it, or name a file in MODEL.BACKBONE.PRETRAIN_PATH"
        )
    raise NotHereYet(
        f"the weights of {name} are downloaded when they are first needed, from {hub or url}; without a network,"
        " name a file in MODEL.BACKBONE.PRETRAIN_PATH"
    )


def _of_hub(repository: str, name: str) -> Path:
    """Return the file of a repository, out of the hub's folder on this machine or downloaded into it."""
    if not REPOSITORY.fullmatch(repository):
        raise WeightsError(
            f"MODEL.BACKBONE.PRETRAIN_PATH is {HUB}{repository[:SHOWN]!r} and must be written {HUB}OWNER/REPOSITORY, or"
            f" {HUB}OWNER/REPOSITORY@REVISION"
        )
    owner, _, revision = repository.partition("@")
    try:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        there = try_to_load_from_cache(owner, FILE, revision=revision or None)
        if not isinstance(there, str):
            _ask_once(owner, revision or None)
            there = hf_hub_download(owner, FILE, revision=revision or None)
        return Path(there)
    except Exception as error:  # of the network, the hub, its library
        raise WeightsError(
            f"the weights of {name} are not on this machine, and {FILE} of {repository} could not be had from the hub"
            f" ({first_line(error)[:SHOWN]}): download it elsewhere and name the file in MODEL.BACKBONE.PRETRAIN_PATH,"
            " or set PRETRAIN False"
        ) from error


def _ask_once(repository: str, revision: str | None) -> None:
    """Raise what the network says where there is no way to the hub.

    A download asks seven times over half a minute before it says so, and several minutes where packets get lost. This
    asks once (HF_HUB_ETAG_TIMEOUT, 10 seconds). Once the hub has answered, the download decides, and may repeat.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import HfHubHTTPError

    with suppress(HfHubHTTPError):
        get_hf_file_metadata(hf_hub_url(repository, FILE, revision=revision))


def _of_address(url: str, name: str) -> Path:
    file = torch_downloads() / url.rpartition("/")[2]
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), progress=False)
    except Exception as error:  # of the network, of the disk
        raise WeightsError(
            f"the weights of {name} are not at {file} and could not be downloaded from {url}"
            f" ({first_line(error)[:SHOWN]}): put the file there, {INSTEAD}"
        ) from error
    return file


def _named(path: str) -> Path | None:
    """Return the file of a repository that a PRETRAIN_PATH names; None for another path."""
    return _of_hub(path.removeprefix(HUB), path) if path.startswith(HUB) else None


def _in_timms_names(trunk: nn.Module, loaded: Any) -> Any:
    """Bring a file of the network's authors to timm's names, by the function that timm has for that.

    A file with timm's names, or one that the function can't use, stays as it is.
    """
    convert = getattr(sys.modules[trunk.source], "checkpoint_filter_fn", None)
    own = trunk.state_dict()
    if convert is None:
        return loaded
    for at, state in states_in(loaded):
        if _shared(state, own) == len(own):
            return loaded
        try:
            converted = convert(dict(state), trunk)
        except Exception as error:  # the function reads names that another network's file has not
            logger.debug("timm's function for %s can't use the file's %s: %s", trunk.name, at or "names", error)
            continue
        if isinstance(converted, dict) and _shared(converted, own) > _shared(state, own):
            logger.info("brought the file's names to timm's by %s.checkpoint_filter_fn", trunk.source)
            return converted
    return loaded


def _shared(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> int:
    return sum(key in own for key in state)


TIMM = Weights(_published, {"rename": _in_timms_names, "adapt": on_own_grid}, named=_named)
