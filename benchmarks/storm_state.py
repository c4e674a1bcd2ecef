"""The end state of a run, and where two of them differ in a bit."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# What says when or how a run went, and not what it made; locks; kept images, which are a cache.
PASSING = ("log.txt*", "events.out.*", "metrics.json", "*.lock", ".lock")
PASSING_FOLDERS = ("cache",)
# The same in files whose other keys count.
PASSING_KEYS = {"report.json": ("finished", "command", "commit"), "details_*.json": ("images_per_second",)}
TEXT = (".json", ".yaml", ".csv", ".txt", "")


def state(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of all that a run has made: of checkpoints entry by entry, of other files by their bytes.

    Where a text names the folder itself, a placeholder is hashed, so that two folders can be compared.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        passing = any(path.match(pattern) for pattern in PASSING) or name.parts[0] in PASSING_FOLDERS
        if passing or not path.is_file():
            continue
        if path.suffix == ".pth":
            found.update((f"{name}:{entry}", digest) for entry, digest in checkpoint_entries(path))
        else:
            content = _without_passing_keys(path)
            if path.suffix in TEXT:
                content = content.replace(str(folder).encode(), b"<folder>")
            found[str(name)] = _hash(content)
    return found


def _without_passing_keys(path: Path) -> bytes:
    keys = next((keys for pattern, keys in PASSING_KEYS.items() if path.match(pattern)), ())
    content = path.read_bytes()
    try:
        record = json.loads(content) if keys else None
    except ValueError:  # cut short, which is a difference
        return content
    if not isinstance(record, dict):
        return content
    return json.dumps({key: value for key, value in record.items() if key not in keys}).encode()


def checkpoint_entries(path: Path) -> Iterator[tuple[str, str]]:
    """Yield name and SHA-256 of every tensor and value of a checkpoint."""
    import torch

    try:
        # The storm's own file, but cut short perhaps, which is a difference and no error of ours.
        content = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        yield "", f"can't be read: {error!r}"
        return
    yield from _entries("", content)


def _entries(name: str, value: Any) -> Iterator[tuple[str, str]]:
    import torch

    if isinstance(value, Mapping):
        for key in value:
            yield from _entries(f"{name}/{key}", value[key])
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _entries(f"{name}/{number}", item)
    elif isinstance(value, torch.Tensor):
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        yield name, _hash(f"{value.dtype} {tuple(value.shape)}".encode() + raw)
    else:
        yield name, _hash(repr(value).encode())


def differences(reference: Mapping[str, str], found: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return what is missing or differs in a bit, and what is there in addition."""
    wrong = [name for name, digest in reference.items() if found.get(name) != digest]
    files = {name.partition(":")[0] for name in reference}
    return wrong, sorted({name.partition(":")[0] for name in found} - files)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
