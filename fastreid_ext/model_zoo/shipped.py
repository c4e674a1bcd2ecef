"""Finds the shipped yamls: below this package in a wheel, at the top of the tree in a checkout."""

import difflib
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from fastreid_ext.errors import ConfigError, FileError

if TYPE_CHECKING:
    from fastreid.config import CfgNode


TABLES = "tables.yml"  # of a project: the rows of its paper, which is no config (fastreid_ext.reproduce.paper_tables)


def config_folder() -> Path:
    """Return the folder of the shipped configs."""
    here = Path(__file__).resolve().parent
    for folder in (here / "configs", here.parents[1] / "configs"):
        if (folder / "Base-ReID.yml").is_file():
            return folder
    raise FileError("the shipped configs are missing from this installation of fastreid-ext: reinstall it")


def list_config_files() -> list[str]:
    """Return the names of all shipped configs, such as "DeepMiner/Market1501_R50.yml"; bases are left out."""
    folder = config_folder()
    files = (path for path in folder.rglob("*.yml") if not path.name.startswith("Base-") and path.name != TABLES)
    return sorted(path.relative_to(folder).as_posix() for path in files)


def get_config_file(config_path: str) -> str:
    """Return the full path of a shipped config, such as "DeepMiner/Market1501_R50.yml".

    Raises:
        ConfigError: there is none of that name; says the nearest ones.
    """
    path = config_folder() / config_path
    if not path.is_file():
        near = difflib.get_close_matches(config_path, list_config_files(), n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "there is nothing like it"
        raise ConfigError(f"no config {config_path!r} is shipped: {hint} (fastreid-ext configs lists all)")
    return str(path)


def describe_config(config_path: str) -> str:
    """Return what the comment at the top of a shipped config says, in one line."""
    lines = Path(get_config_file(config_path)).read_text(encoding="utf-8").splitlines()
    return " ".join(line.lstrip("# ") for line in itertools.takewhile(lambda line: line.startswith("#"), lines))


def get_config(config_path: str) -> "CfgNode":
    """Return a shipped config, merged into the defaults."""
    from fastreid_ext.config import get_cfg  # it loads FastReID, which a list of names does not need

    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(config_path))
    return cfg
