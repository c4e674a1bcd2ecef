"""Where FastReID and torch keep the files that they download. Nothing but the standard library is needed for that."""

import os
from pathlib import Path

__all__ = ["host_downloads", "torch_downloads"]


def host_downloads() -> Path:
    """Return the folder of what FastReID downloads; torch's own is :func:`torch_downloads` beside it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "checkpoints"


def torch_downloads() -> Path:
    """Return the folder of what torch.hub downloads."""
    return host_downloads().parent / "hub" / "checkpoints"
