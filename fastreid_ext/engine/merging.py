"""Merges a yaml and KEY VALUE pairs into a config; every way to fail has its own sentence."""

import difflib

import yaml
from fastreid.config import CfgNode

from fastreid_ext.engine.key_tracking import leaves
from fastreid_ext.errors import ConfigError
from fastreid_ext.files import reason


def merge_config(cfg: CfgNode, config_file: str, overrides: list[str]) -> None:
    """Merge a yaml and KEY VALUE pairs into cfg.

    Raises:
        ConfigError: no such file, a key that does not exist (the message has similar ones), a value of the wrong
            type, an odd number of overrides, or an option behind them.
    """
    defaults = dict(leaves(cfg))
    known = list(defaults)
    late = [item for item in overrides if str(item).startswith("--")]
    if late:
        raise ConfigError(f"the command line: {late[0]} must stand before the KEY VALUE pairs")
    source = config_file
    try:
        if config_file:
            cfg.merge_from_file(config_file)
        source = "the command line"
        cfg.merge_from_list(overrides)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {error.filename or config_file}") from error
    except OSError as error:
        raise ConfigError(f"the config file {error.filename or config_file} can't be read: {reason(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{config_file} is based on itself by its _BASE_, or nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{config_file}, or a file that it is based on, is not in UTF-8: save it in UTF-8") from error
    except (KeyError, AssertionError, ValueError, yaml.YAMLError) as error:
        message = " ".join(str(error.args[0] if error.args else error).split())
        raise ConfigError(f"{source}: {message}{_suggest(message, known)}") from error
    except (AttributeError, TypeError) as error:  # how yacs meets a value where it looks for further keys
        below = [key for key in overrides[::2] if any(str(key).startswith(f"{leaf}.") for leaf in known)]
        message = f"Non-existent key: {below[0]}" if below else "expected keys with values below them"
        raise ConfigError(f"{source}: {message}") from error
    # yacs takes None for a value of any type; what reads the key does not.
    empty = [key for key, value in leaves(cfg) if value is None and defaults.get(key) is not None]
    if empty:
        raise ConfigError(f"{', '.join(empty)} has no value: give it one, such as {defaults[empty[0]]!r}")


def _suggest(message: str, known: list[str]) -> str:
    if "Non-existent" not in message:
        return ""
    key = message.split(":")[-1].strip()
    # yacs prints only the last part of a key that came from a list
    near = (
        difflib.get_close_matches(key, known, n=3, cutoff=0.5)
        or [k for k in known if difflib.get_close_matches(key.split(".")[-1], [k.split(".")[-1]], cutoff=0.7)][:3]
    )
    return f"; did you mean {' or '.join(near)}?" if near else ""
