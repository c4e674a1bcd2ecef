"""Files of torch.export (.pt2), for programs that have torch and neither FastReID nor us.

``torch.export.load`` unpickles: a file from elsewhere could run anything. So nothing of ours loads one, but for the
check of the very bytes that it has just written.
"""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from fastreid_ext.errors import FileError
from fastreid_ext.files import read_bytes, write_atomically
from fastreid_ext.inference.record import KEY, ModelRecord


def write_program(path: Path, program: torch.export.ExportedProgram, record: ModelRecord) -> str:
    """Write a traced model with its record among the extra files, whole or not at all, and return its SHA-256.

    Raises:
        FileError: it can't be written.
    """
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={KEY: record.text()})
    data = buffer.getvalue()
    write_atomically(path, lambda file: file.write(data))
    return hashlib.sha256(data).hexdigest()


def open_program(path: Path, sha256: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return what runs a file that this process has written: images (B, 3, H, W) -> features (B, D).

    Args:
        path: the file.
        sha256: what :func:`write_program` returned.

    Raises:
        FileError: other bytes than those that were written.
    """
    data = read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise FileError(f"{path} is not what was just written: another process writes there, or the disk is damaged")
    module = torch.export.load(io.BytesIO(data)).module()

    @torch.no_grad()
    def run(images: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(images)).numpy()

    return run
