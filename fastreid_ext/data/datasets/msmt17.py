"""Which of its two versions FastReID's MSMT17 finds."""

import logging
from pathlib import Path

from fastreid_ext.data.datasets.files import LayoutError, log_once

# Version -> its folder, and the folders of images in it. FastReID takes the first whose folder is there.
VERSIONS = {"V1": ("MSMT17_V1", ("train", "test")), "V2": ("MSMT17_V2", ("mask_train_v2", "mask_test_v2"))}


def msmt17_version(root: str | Path) -> str:
    """Return "V1" or "V2" (faces are blurred in V2), the one that FastReID reads.

    Raises:
        LayoutError: there is neither, or one lacks its images, or has those of the other version.
    """
    root = Path(root)
    there = [version for version, (folder, _) in VERSIONS.items() if (root / folder).is_dir()]
    if not there:
        raise LayoutError(f"there is no folder {' or '.join(folder for folder, _ in VERSIONS.values())}")
    version = there[0]
    folder = root / VERSIONS[version][0]
    for other, (name, subfolders) in VERSIONS.items():
        if other != version and all((folder / subfolder).is_dir() for subfolder in subfolders):
            raise LayoutError(f"{folder} has the images of {other}: rename it to {name}")
    missing = [subfolder for subfolder in VERSIONS[version][1] if not (folder / subfolder).is_dir()]
    if missing:
        raise LayoutError(f"{folder} has no {' and no '.join(missing)}")
    if len(there) > 1:
        log_once(logging.WARNING, f"both versions of MSMT17 are in {root}: {version} is used")
    return version
