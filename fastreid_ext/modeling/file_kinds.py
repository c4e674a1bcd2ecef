"""What a file that is no file of weights really is, by its first bytes, and what to do about it."""

import os
import stat
import struct
import zipfile
from pathlib import Path

__all__ = ["is_safetensors", "what_it_is"]

AGAIN = "download it again"
HEAD = 1024  # bytes that are looked at
LONGEST_HEADER = 100 << 20  # bytes of the JSON before the tensors of safetensors, by its own rules
MARKUP = (b"<!doctype html", b"<html", b"<head", b"<body", b"<?xml", b"<error", b"<!--")
OLD_TORCH = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # behind the version of pickle: a number of torch's own
TENSORS = (".pth", ".pt", ".pyth", ".tar", ".bin", ".ckpt")

# First bytes -> what such a file is, and what to do.
UNPACK = "unpack it and name the file of weights that is in it"
SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a pointer of Git LFS to the file",
        "run `git lfs pull` where it is from",
    ),
    (b"\x1f\x8b", "packed by gzip", UNPACK),
    (b"BZh", "packed by bzip2", UNPACK),
    (b"\xfd7zXZ\0", "packed by xz", UNPACK),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "an archive of 7z", UNPACK),
    (b"Rar!", "an archive of rar", UNPACK),
    (b"\x89HDF\r\n\x1a\n", "a file of HDF5, as Keras writes it", "convert it to torch's format"),
    (b"\x93NUMPY", "an array of NumPy", "name the file of weights"),
    (b"\x89PNG", "a picture", "name the file of weights"),
    (b"\xff\xd8\xff", "a picture", "name the file of weights"),
    (b"%PDF", "a PDF", "name the file of weights"),
    (b"\x7fELF", "a program", "name the file of weights"),
)


def what_it_is(path: str | Path) -> str:
    """Return what a file is and what to do, as "is ...; ...", for the end of a sentence; "" = not recognised.

    Args:
        path: a file that can't be read as weights, or any other path.
    """
    try:
        kind = os.stat(path).st_mode
        if stat.S_ISDIR(kind):
            return "is a folder; name a file in it"
        if not stat.S_ISREG(kind):
            return "is no file but a device or pipe; name the file of weights"
        with open(path, "rb") as file:
            head = file.read(HEAD)
            size = file.seek(0, os.SEEK_END)
    except (OSError, ValueError):
        return ""
    if not size:
        return f"is empty; {AGAIN}"
    found = next(((what, do) for start, what, do in SIGNATURES if head.startswith(start)), None) or _told(path, head)
    return "is {}; {}".format(*found) if found else ""


def _told(path: str | Path, head: bytes) -> tuple[str, str] | None:
    """Return (what a file is, what to do) where more than its first bytes tell."""
    if not head.strip(b"\0"):
        return "full of zeros, as a download that broke off leaves it", AGAIN
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head.startswith(b"PK\x05\x06"):
        return "an empty zip archive", AGAIN
    if is_safetensors(head):
        return (
            "in the format of safetensors",
            "convert it by torch.save(safetensors.torch.load_file(OLD), NEW) and name the new file",
        )
    if head[257:262] == b"ustar":
        return "a tar archive", UNPACK
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(MARKUP):
        return "a web page, as a server sends it instead of a file", f"open its address in a browser, and {AGAIN}"
    if head[2:14] == OLD_TORCH:
        return "in the format of torch before 1.6, and cut off, damaged or more than weights", AGAIN
    if _is_text(head):
        return "a text", "name the file of weights"
    return None


def _archive(path: str | Path) -> tuple[str, str] | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises half a dozen types
        return "cut off or damaged: its end, which lists what is in it, can't be read", AGAIN
    inner = [name.partition("/")[2] for name in names]
    if "constants.pkl" in inner:
        return "a program of TorchScript", "save the state_dict() of the model that it was made from"
    if "data.pkl" in inner:
        return None  # torch's own, and refused for what is in it
    weights = next((name for name in names if name.lower().endswith(TENSORS) and name.isprintable()), None)
    return f"a zip archive{f' with {weights[:60]} in it' if weights else ' of something else'}", UNPACK


def is_safetensors(head: bytes) -> bool:
    """Whether the first bytes of a file are the length of a JSON object and that object."""
    length = struct.unpack("<Q", head[:8])[0] if len(head) > 8 else 0
    return 2 <= length <= LONGEST_HEADER and head[8:9] == b"{"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # a letter may be cut in two
            return False
        text = head[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\t\r\n\f" for letter in text)
