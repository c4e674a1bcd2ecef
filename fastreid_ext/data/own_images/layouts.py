"""The layouts that someone's own images may have: a folder per person, Market1501's names, or a listing."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from fastreid_ext.data.labels import JUNK, MARKET_NAME, UNKNOWN
from fastreid_ext.data.own_images.entries import SPLITS, Entry, Listing, check_text
from fastreid_ext.errors import ConfigError
from fastreid_ext.foreign_files import read_json, read_table, shown
from fastreid_ext.image_files import list_folder

FOLDERS, MARKET, LISTING = "folders", "market", "listing"
LAYOUTS = (FOLDERS, MARKET, LISTING)
NAMES, OF_FOLDERS, NONE = "names", "folders", "none"
CAMERAS = (NAMES, OF_FOLDERS, NONE)

CAMERA = re.compile(r"(?:^|_)c(\d+)(?=s\d|[_.-])", re.IGNORECASE)  # c1, and not the c1 of c1a2f
MARKET_SPLITS = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
# What is written into the folder of the result.
SHEET, REPORT_JSON, REPORT_MD = "contact_sheet.png", "report.json", "report.md"
OWN_FILES = (
    *(f"{split}.csv" for split in SPLITS),
    *("occlusion.csv", "occlusion_sheet.png", SHEET, REPORT_JSON, REPORT_MD),
)
TREE = ("bounding_box_train", "bounding_box_test")  # either makes it Market1501's tree; query alone may be a person
# Names of folders that are rather a split than a person.
SPLIT_FOLDERS = {*MARKET_SPLITS, *SPLITS, "test", "val", "valid", "validation", "training", "testing"}


def list_entries(source: Path, layout: str = "", cameras: str = "", output: Path | None = None) -> Listing:
    """List someone's images with their persons and cameras.

    Args:
        source: a folder, or a listing (CSV or JSON).
        layout: out of ``LAYOUTS``; "" guesses it.
        cameras: "none" uses none; where a folder per person tells the camera: "names" (``_c3`` in file names) or
            "folders" (the folder below the person's), "" = names if every image has such a name, else none.
        output: folder of the result, which may lie among the images and is not looked at.

    Raises:
        ConfigError: no image, a layout that does not fit, or a name that a CSV file can't hold.
        FileError: a folder or listing that can't be read.
    """
    if not source.exists():
        raise ConfigError(f"there is no folder or listing {source}: name the folder of your images")
    if source.is_file():
        if layout not in ("", LISTING):
            raise ConfigError(f"--layout is {layout}, but {source} is a file: name a folder, or use --layout {LISTING}")
        if cameras not in ("", NONE):
            raise ConfigError(f"--cameras {cameras} is for a folder per person: a listing has a column camera")
        return _with_cameras(read_listing(source), cameras)
    if layout == LISTING:
        raise ConfigError(f"--layout is {LISTING}, but {source} is a folder: name the CSV or JSON file")
    root = source.resolve()
    names, left_out = _images_below(root, output)
    if not names:
        why = "; ".join(f"{len(found)} {reason}" for reason, found in left_out.items())
        raise ConfigError(f"{source} holds no image" + (f" ({why})" if why else ""))
    for name in names:
        check_text(name, "image")
    chosen = layout or _guess(names)
    if chosen == MARKET and cameras not in ("", NONE):
        raise ConfigError(f"--cameras {cameras} is for a folder per person: Market1501's names tell the camera")
    listing = _with_cameras(_market(root, names), cameras) if chosen == MARKET else _folders(root, names, cameras)
    listing.said.insert(0, f"the layout is {chosen}" + ("" if layout else ", as guessed from the names (--layout)"))
    for reason, found in left_out.items():
        listing.left_out[reason] += found
    return listing


def _images_below(root: Path, output: Path | None) -> tuple[list[str], dict[str, list[str]]]:
    """Return the names of the images, and of all else by reason; the files of an earlier result are neither."""
    output = output and output.resolve()
    found = list_folder(root, without=output)
    own = OWN_FILES if output == root else ()
    left_out = {reason: [name for name in names if name not in own] for reason, names in found.left_out.items()}
    names = sorted(path.relative_to(root).as_posix() for path in found.files)
    if output and output != root and output.is_relative_to(root):
        inside = [path for path in list_folder(output).files if path.parent != output or path.name not in OWN_FILES]
        left_out["in --output, which holds the result and no images"] = [
            path.relative_to(root).as_posix() for path in sorted(inside)
        ]
    return [name for name in names if name not in own], {reason: names for reason, names in left_out.items() if names}


def _with_cameras(listing: Listing, cameras: str) -> Listing:
    if cameras == NONE:
        listing.entries = [replace(entry, camera=UNKNOWN) for entry in listing.entries]
        listing.said.append("cameras are not used (--cameras none)")
    return listing


def _guess(names: list[str]) -> str:
    """Market1501's names are those of all images, and some folder has several persons by them; or its folders are."""
    if any(PurePosixPath(name).parts[0] in TREE for name in names):
        return MARKET
    persons = defaultdict(set)
    for name in names:
        match = MARKET_NAME.match(PurePosixPath(name).name)
        if match is None:
            return FOLDERS
        persons[PurePosixPath(name).parent].add(match[1])
    below_root = PurePosixPath(".") in persons
    return MARKET if below_root or any(len(of_folder) > 1 for of_folder in persons.values()) else FOLDERS


# ---- Market1501's names ---------------------------------------------------------------------------------------------


def _market(root: Path, names: list[str]) -> Listing:
    listing = Listing(MARKET)
    split = any(PurePosixPath(name).parts[0] in TREE for name in names)
    zeros = False
    for name in names:
        match = MARKET_NAME.match(PurePosixPath(name).name)
        part = MARKET_SPLITS.get(PurePosixPath(name).parts[0], UNKNOWN) if split else UNKNOWN
        distractor = match is not None and not match[1].strip("0")
        if split and not part:
            listing.left_out["in another folder than bounding_box_train, query and bounding_box_test"].append(name)
        elif match is None:
            listing.left_out["not named like 0001_c1_2.jpg: person 0001, camera 1"].append(name)
        elif match[1] == JUNK:
            listing.left_out["junk, the person -1"].append(name)
        elif distractor and part in ("train", "query"):
            listing.left_out["the person 0, who is nobody in particular, outside the gallery"].append(name)
        else:
            zeros |= distractor
            listing.entries.append(Entry(root / name, name, match[1], match[2], part, distractor))
    listing.said.append("person and camera are those of the file names, such as 0001_c1_2.jpg: person 0001, camera 1")
    if split:
        listing.said.append("bounding_box_train, query and bounding_box_test are taken as the split")
    if zeros:
        listing.said.append("the person 0 is nobody in particular, as in Market1501: in the gallery alone")
    return listing


# ---- a folder per person --------------------------------------------------------------------------------------------


def _folders(root: Path, names: list[str], cameras: str) -> Listing:
    listing = Listing(FOLDERS)
    inside = []
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) == 1:
            listing.left_out["not in the folder of a person"].append(name)
        elif parts[0] == JUNK:
            listing.left_out["junk, the person -1"].append(name)
        else:
            inside.append((name, parts))
    if not inside:
        told = [name for name, match in ((name, MARKET_NAME.match(name)) for name in names) if match]
        if told:
            odd = next(name for name in names if name not in told)
            raise ConfigError(
                f"{len(told)} of the {len(names)} images of {root} have names like 0001_c1_2.jpg, and others, such as"
                f" {shown(odd)}, do not: rename or remove those, or leave them out by --layout market"
            )
        raise ConfigError(
            f"{root} has no folder of a person with images: make one folder per person, name the images like"
            " 0001_c1_2.jpg, or name a CSV file of path, person and camera"
        )
    firsts = {parts[0] for _, parts in inside}
    if len(firsts) > 1 or any(len(parts) > 2 for _, parts in inside):
        splits = sorted(first for first in firsts if first.lower() in SPLIT_FOLDERS)
        if splits and len(splits) == len(firsts):
            raise ConfigError(
                f"{root} has the folders {', '.join(splits)}, which are no persons: name the one whose folders"
                " are persons, or a CSV file with a column split"
            )
        if splits:
            listing.said.append(f"{', '.join(splits)} is taken for a person, although it is named like a part of a set")
    for first in firsts:
        check_text(first, "folder")
    by_name = {name: CAMERA.search(PurePosixPath(name).name) for name, _ in inside}
    if not cameras:
        cameras = NAMES if all(by_name.values()) else NONE
        some = sum(match is not None for match in by_name.values())
        if 0 < some < len(by_name):
            first = next(name for name, match in by_name.items() if match is None)
            listing.said.append(
                f"{some} of {len(by_name)} file names tell a camera, such as _c1, and the others, such as {first}, do"
                " not: no camera is used"
            )
    listing.said.append("the folder is the person")
    if cameras == NONE and any(len(parts) > 2 for _, parts in inside):
        listing.said.append(
            "images in folders below a person's are that person's (--cameras folders: they are cameras)"
        )
    if cameras != NONE:
        told = {NAMES: "the file name tells the camera, such as _c1", OF_FOLDERS: "the folder below it is the camera"}
        listing.said.append(told[cameras])
    for name, parts in inside:
        if cameras == OF_FOLDERS and len(parts) != 3:
            listing.left_out["not in the folder of a camera below that of a person"].append(name)
        elif cameras == NAMES and by_name[name] is None:
            listing.left_out["its name tells no camera, such as _c1"].append(name)
        else:
            camera = parts[1] if cameras == OF_FOLDERS else by_name[name][1] if cameras == NAMES else UNKNOWN
            check_text(camera, "folder")
            listing.entries.append(Entry(root / name, name, parts[0], camera))
    return listing


# ---- listings -------------------------------------------------------------------------------------------------------


def read_listing(file: Path) -> Listing:
    """Read a CSV file with a first line ``path,person`` and perhaps ``camera`` and ``split``, or the same as JSON.

    JSON is a list of objects with these keys, or one object of person -> list of paths. Paths start at the file's
    folder, unless they are absolute.

    Raises:
        ConfigError: a row without path or person, or with an unknown split.
        FileError: it can't be read.
    """
    is_json = file.suffix.lower() == ".json"
    rows = list(_json_rows(file) if is_json else _csv_rows(file))
    listing = Listing(LISTING, said=[f"the layout is {LISTING}: {file.name} has {len(rows)} rows"])
    splits = {row.get("split", "") for _, row in rows}
    for where, row in rows:
        path, person, camera, split = (row.get(key, "") for key in ("path", "person", "camera", "split"))
        if not path or not person:
            raise ConfigError(f"{where} of {file} has no {'person' if path else 'path'}: fill it in or remove the row")
        for text, what in ((path, "image"), (person, "person"), (camera, "camera")):
            check_text(text, what)
        if splits != {""} and split not in SPLITS:
            raise ConfigError(
                f"{where} of {file} has the split {shown(split)}: it is train, query or gallery in all rows"
            )
        if person == JUNK:
            listing.left_out["junk, the person -1"].append(path)
            continue
        listing.entries.append(Entry(file.parent.resolve() / path, path, person, camera, split))
    if splits != {""} and rows:
        listing.said.append("its column split is taken")
    listing.entries.sort(key=lambda entry: entry.name)
    if not listing.entries:
        raise ConfigError(f"{file} names no image")
    return listing


def _csv_rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    names, rows = read_table(file)
    absent = [column for column in ("path", "person") if column not in names]
    if absent:
        raise ConfigError(
            f"the first line of {file} names no column {' and no '.join(absent)}: it should be path,person,camera"
        )
    for line, row in rows:
        yield f"line {line}", row


def _json_rows(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    content = read_json(file, once=True)
    if isinstance(content, dict):
        content = [{"path": path, "person": person} for person, paths in content.items() for path in _list(file, paths)]
    for number, row in enumerate(_list(file, content), start=1):
        if not isinstance(row, dict):
            raise ConfigError(f"entry {number} of {file} is {shown(row)}: it should be an object with path and person")
        yield f"entry {number}", {key: _word(file, number, key, row[key]) for key in _known(row)}


def _known(row: dict) -> list[str]:
    return [key for key in ("path", "person", "camera", "split") if row.get(key) is not None]


def _list(file: Path, value: object) -> list:
    if not isinstance(value, list):
        raise ConfigError(
            f"{file} has {shown(value)} where a list should be: list objects with path, person and camera"
        )
    return value


def _word(file: Path, number: int, key: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int and key != "path":
        return str(value)
    raise ConfigError(f"entry {number} of {file} has the {key} {shown(value)}: it should be text")
