"""What a run's bits depend on beside config, data and seed: threads, processes, processor, device and versions."""

import logging
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from fastreid.utils import comm

from fastreid_ext.engine.providers import SEVERAL, providers_of

PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "Pillow", "fastreid", "fastreid-ext")

logger = logging.getLogger(__name__)


def environment(device: str) -> dict[str, str | int]:
    """Return it as plain text and numbers, which every checkpoint holds.

    Args:
        device: MODEL.DEVICE.
    """
    kind = torch.device(device)
    name = torch.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type
    return {
        "threads": torch.get_num_threads(),
        "processes": comm.get_world_size(),
        "device": name,
        "processor": processor_name(),
        **{package: _version(package) for package in PACKAGES},
    }


def warn_if_elsewhere(saved: Any, device: str) -> None:
    """Warn, once, if a run goes on elsewhere than its checkpoint was made, as far as that says where.

    Args:
        saved: what the checkpoint holds.
        device: MODEL.DEVICE.
    """
    now = environment(device)
    saved = saved if isinstance(saved, dict) else {}
    differing = [
        f"{key} {saved[key]!s:.80} before and {value} now"
        for key, value in now.items()
        if saved.get(key, value) != value
    ]
    if differing:
        logger.warning(
            "the run goes on with %s: from here on it need not be equal to the last bit to a run that never stopped",
            ", ".join(differing),
        )


@cache
def processor_name() -> str:
    """Return the name of the processor's model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def _version(package: str) -> str:
    """Return a version; of a relative that is there in a package's place, as opencv-python may be, with its name."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a checkout, or a relative
        module = next((module for module, packages in SEVERAL.items() if package in packages), "")
        others = [f"{name} {metadata.version(name)}" for name in providers_of(module)]
        return ", ".join(others) or "not installed under this name"
