"""Finds the shipped yamls: below this package in a wheel, at the top of the tree in a checkout."""

from pathlib import Path

from fastreid.config import CfgNode

from fastreid_ext.config import get_cfg


def config_folder() -> Path:
    """Return the folder of the shipped configs."""
    here = Path(__file__).resolve().parent
    for folder in (here / "configs", here.parents[1] / "configs"):
        if (folder / "Base-ReID.yml").is_file():
            return folder
    raise FileNotFoundError("the shipped configs are missing from this installation of fastreid-ext: reinstall it")


def list_config_files() -> list[str]:
    """Return the names of all shipped configs, such as "DeepMiner/Market1501_R50.yml"; bases are left out."""
    folder = config_folder()
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.yml") if not p.name.startswith("Base-"))


def get_config_file(config_path: str) -> str:
    """Return the full path of a shipped config, such as "DeepMiner/Market1501_R50.yml".

    Raises:
        FileNotFoundError: there is none of that name; the names that there are are listed.
    """
    path = config_folder() / config_path
    if not path.is_file():
        raise FileNotFoundError(f"no config {config_path!r} is shipped; there are {', '.join(list_config_files())}")
    return str(path)


def get_config(config_path: str) -> CfgNode:
    """Return a shipped config, merged into the defaults."""
    cfg = get_cfg()
    cfg.merge_from_file(get_config_file(config_path))
    return cfg
