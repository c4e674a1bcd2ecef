"""The progress of an interrupted run: files of rows next to the future pose file, removed when it is complete."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from fastreid_ext.data.poses import PoseError, Poses
from fastreid_ext.errors import FileError
from fastreid_ext.files import locked, make_folder, write_text
from fastreid_ext.foreign_files import read_json

SETTINGS, LOCK = "settings.json", ".lock"


class SavedChunks:
    """Rows of joints in a folder, each file whole or absent, all of one model and one set of settings.

    Args:
        folder: made if it is not there.
        settings: what the rows depend on, as JSON holds it.

    Raises:
        PoseError: the folder has rows of other settings, or another process works on it.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder = folder
        make_folder(folder)
        with ExitStack() as stack:
            stack.enter_context(locked(folder / LOCK, busy=f"another process uses {folder}: wait for it, or stop it"))
            self._check(settings)
            self._lock = stack.pop_all()  # held until close()

    def load(self) -> dict[str, tuple[np.ndarray, tuple[int, int]]]:
        """Return joints (J, 3) and (width, height) of each image that has been done.

        Raises:
            PoseError: a chunk that can't be read.
        """
        rows = {}
        for path in self._files():
            try:
                poses = Poses.load(path)
            except PoseError as error:
                raise PoseError(f"{path} is damaged: delete it, then its images are processed again") from error
            rows.update((name, poses.of(name)) for name in poses.names)
        return rows

    def add(self, poses: Poses) -> None:
        """Write one more chunk."""
        numbers = [int(path.stem) for path in self._files()]
        poses.save(self.folder / f"{max(numbers, default=-1) + 1:06d}.npz")

    def remove(self) -> None:
        """Delete what :meth:`add` wrote; the folder goes when it is closed."""
        for path in self._files():
            path.unlink()

    def close(self) -> None:
        """Let another process work on the folder; without a chunk and files of others it goes."""
        done = not self._files()
        if done:
            for path in (self.folder / SETTINGS, *self.folder.glob(".*.tmp")):
                path.unlink(missing_ok=True)
        self._lock.close()
        if done:
            (self.folder / LOCK).unlink(missing_ok=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.npz") if path.stem.isdecimal())

    def _check(self, settings: Mapping[str, Any]) -> None:
        file = self.folder / SETTINGS
        settings = json.loads(json.dumps(settings))  # tuples become lists, as in the file
        if not self._files():  # whatever was wanted before, nothing came of it
            write_text(file, json.dumps(settings, indent=1))
            return
        try:
            before = dict(read_json(file))
        except (FileError, ValueError, TypeError) as error:  # JSON, but no object
            raise PoseError(f"{file} can't be read: {_start_again(self.folder)}") from error
        other = sorted(key for key in {**before, **settings} if before.get(key) != settings.get(key))
        if other:
            raise PoseError(
                f"{self.folder} holds an interrupted run with another {', '.join(other)}: use the same"
                f" again, or {_start_again(self.folder)}"
            )


def _start_again(folder: Path) -> str:
    return f"delete {folder} to start from scratch"
