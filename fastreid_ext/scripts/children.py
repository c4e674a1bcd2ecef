"""Spawned processes import the script anew: there, too, FastReID is to be healed before the script imports it.

Python starts a spawned process by running the main program once more, under the name ``__mp_main__``: by its file, or
by the name of its module if it was started by ``-m``. A script of ours is a file; its children are told the name of
:mod:`.spawned` in its place, which prepares everything and then runs that file in its own namespace.
"""

import functools
import json
import multiprocessing.spawn
import os
from collections.abc import Sequence
from typing import Any

__all__ = ["remember", "remembered"]

VARIABLE = "FASTREID_EXT_SCRIPT"  # environment variable: what a child has to know
CHILD = "fastreid_ext.scripts.spawned"


def remember(script: str, installed: Sequence[str]) -> None:
    """Have every process that this one spawns run ``script`` by way of :mod:`.spawned`.

    Args:
        script: absolute path.
        installed: see :func:`fastreid_ext.scripts.host.installed_paths`.
    """
    os.environ[VARIABLE] = json.dumps({"script": script, "installed": list(installed)})
    original = multiprocessing.spawn.get_preparation_data

    @functools.wraps(original)
    def get_preparation_data(name: str) -> dict[str, Any]:
        data = original(name)
        if data.get("init_main_from_path") == os.path.normpath(script):  # as Python tells it
            del data["init_main_from_path"]
            data["init_main_from_name"] = CHILD
        return data

    multiprocessing.spawn.get_preparation_data = get_preparation_data


def remembered() -> tuple[str, list[str]]:
    """What :func:`remember` was told, in a process that was spawned."""
    told = json.loads(os.environ[VARIABLE])
    return told["script"], told["installed"]
