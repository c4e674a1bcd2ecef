"""The images of a folder: one lister for every command and data set, which says what it left out and why.

What is named like a file need not be one: opening a FIFO waits for ever, a device may never end.
"""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# In order of preference, for a picture that exists in several formats: lossless ones first.
IMAGE_SUFFIXES = (
    *(".tif", ".tiff", ".png", ".apng", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".webp", ".gif"),
    *(".jpg", ".jpeg", ".jpe", ".jfif"),
)
UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".svg", ".psd", ".dng", ".raw", ".tga", ".exr")

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
MADE_BY_A_SHELL = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")  # of <(...): a pipe that somebody writes into
SHOWN = 3

# Why something is left out; the first ones are of little interest, since nobody takes those for pictures.
HIDDEN, OTHER = "hidden", "not named like an image"
UNREAD = "in a format that is not read"
NO_FILE = "no file"
AGAIN = "the same picture in another format"
LINKED_AGAIN = "a folder that is listed by another path"
TOO_DEEP = "a folder below those that are looked into"
LOCKED = "a folder that can't be read"
EXPECTED = (HIDDEN, OTHER)


def kind_of_no_file(path: str | os.PathLike) -> str | None:
    """Return what a path, or what it links to, is instead of a file: "a FIFO"; None for a file, or for nothing."""
    try:
        return KINDS.get(stat.S_IFMT(os.stat(path).st_mode))
    except (OSError, ValueError):  # whoever opens it says why
        return None


def check_is_file(path: str | os.PathLike) -> None:
    """Check, before a path is opened, that this will not wait for ever.

    Raises:
        OSError: it is no file.
    """
    kind = kind_of_no_file(path)
    if kind is not None:
        raise OSError(f"it is {kind}, not a file")


def is_image(path: Path) -> bool:
    """Whether a name is that of an image; hidden files, such as macOS's ``._x.jpg``, aren't."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


@dataclass
class Listing:
    """The images of a folder.

    Attributes:
        folder: where they lie.
        files: the images that are taken, as the file system gives them.
        left_out: reason -> what else there is.
    """

    folder: Path
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def surprises(self) -> bool:
        """Whether something is left out that may be taken for a picture."""
        return bool(set(self.left_out) - set(EXPECTED))

    def sentence(self) -> str:
        """Return what was taken and what was left out, by reason."""
        taken = f"{len(self.files)} image{'' if len(self.files) == 1 else 's'} of {self.folder}"
        reasons = [
            f"{len(names)} {reason} ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''})"
            for reason, names in self.left_out.items()
        ]
        return f"{taken}; left out: {', '.join(reasons)}" if reasons else taken

    def leave_out(self, reason: str, path: Path, about: str = "") -> None:
        """Note something that is not taken; ``about`` is added to its name."""
        name = str(path.relative_to(self.folder)).encode(errors="replace").decode()
        self.left_out.setdefault(reason, []).append(f"{name}: {about}" if about else name)


def list_folder(folder: Path, depths: Collection[int] | None = None, without: Path | None = None) -> Listing:
    """List the images of a folder and of those in it; links to folders are followed, each folder is listed once.

    Of a picture in several formats, which are files of one name but for the suffix, one is taken.

    Args:
        folder: where to look.
        depths: 1 for the folder itself, 2 for those in it, and so on; None: all of them.
        without: a folder in it that is not looked into, such as one that pictures were drawn into.
    """
    listing = Listing(folder)
    for depth, entries in _folders(listing, depths, without):
        for entry in entries if depths is None or depth in depths else ():
            path = Path(entry.path)
            if entry.name.startswith("."):
                listing.leave_out(HIDDEN, path)
            elif path.suffix.lower() in UNREAD_SUFFIXES:
                listing.leave_out(UNREAD, path)
            elif path.suffix.lower() not in IMAGE_SUFFIXES:
                listing.leave_out(OTHER, path)
            elif kind := kind_of_no_file(path):
                listing.leave_out(NO_FILE, path, kind)
            else:
                listing.files.append(path)
    listing.files = _one_of_each(listing)
    return listing


def _folders(
    listing: Listing, depths: Collection[int] | None, without: Path | None
) -> Iterator[tuple[int, list[os.DirEntry]]]:
    """Yield (depth, entries that are no folders) of each folder; what is there by its own path comes before links."""
    own, linked = [(listing.folder, 1)], list[tuple[Path, int]]()
    unwanted, seen = without and _identity(without), set[tuple[int, int] | None]()
    while own or linked:
        folder, depth = (own or linked).pop(0)
        identity = _identity(folder)
        if folder != listing.folder and identity and identity == unwanted:
            continue
        if identity and identity in seen:
            listing.leave_out(LINKED_AGAIN, folder)
            continue
        seen.add(identity)
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            if folder != listing.folder:  # of that one, who asked for it knows better
                listing.leave_out(LOCKED, folder, error.strerror or "")
            continue
        others = []
        for entry in found:
            if not _is_folder(entry):
                others.append(entry)
            elif entry.name.startswith("."):
                listing.leave_out(HIDDEN, Path(entry.path))
            elif depths is not None and depth >= max(depths):
                listing.leave_out(TOO_DEEP, Path(entry.path))
            else:
                (linked if entry.is_symlink() else own).append((Path(entry.path), depth + 1))
        yield depth, others


def _one_of_each(listing: Listing) -> list[Path]:
    order = {suffix: place for place, suffix in enumerate(IMAGE_SUFFIXES)}
    kept: dict[Path, Path] = {}
    for path in sorted(listing.files, key=lambda path: (order[path.suffix.lower()], path.suffix)):
        if kept.setdefault(path.with_suffix(""), path) != path:
            listing.leave_out(AGAIN, path)
    return list(kept.values())


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
