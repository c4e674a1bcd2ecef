"""Config files: a yaml and those that it is based on, read without trusting any of them."""

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml
from fastreid.config.config import BASE_KEY

from fastreid_ext.errors import ConfigError
from fastreid_ext.files import reason

MOST_BYTES = 2**20
MOST_VALUES = 20_000  # with every alias written out; a complete config has about 250
MOST_BASES = 20
DEEPEST = 100  # brackets inside brackets


class _Loader(yaml.SafeLoader):
    """Reads plain values, and refuses what a config has no use for and a mistake looks like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(f"line {line}: a key must be a name")
            if key.value in seen and key.value != "<<":
                raise ConfigError(
                    f"the key {key.value} stands in line {seen[key.value]} and again in line {line}: keep one"
                )
            seen[key.value] = line
        return super().construct_mapping(node, deep)


def read_with_bases(config_file: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (path, its own keys as a tree) of a yaml and of those that it is based on, the first base first.

    Raises:
        ConfigError: a file that is missing, unreadable, no yaml, too large, or based on itself.
    """
    chain: list[tuple[str, dict[str, Any]]] = []
    path, seen = config_file, set[Path]()
    while path:
        tree = _read(path)
        seen.add(Path(path).resolve())
        chain.insert(0, (path, tree))
        path = _base_of(path, tree.pop(BASE_KEY), seen) if BASE_KEY in tree else ""
    return chain


def _base_of(path: str, base: Any, seen: set[Path]) -> str:
    if not isinstance(base, str):
        raise ConfigError(f"{path}: {BASE_KEY} is {base!r} and must be the path of a yaml")
    if "://" in base:
        raise ConfigError(f"{path}: {BASE_KEY} is {base}, and nothing is downloaded: save that file and name it")
    found = os.path.expanduser(base)
    if not os.path.isabs(found):
        found = os.path.join(os.path.dirname(path), found)
    if Path(found).resolve() in seen:
        raise ConfigError(f"{path} is based on itself by its {BASE_KEY} {base}: remove one of the two")
    if len(seen) >= MOST_BASES:
        raise ConfigError(f"{path} is based on more than {MOST_BASES} files, one on the other, by {BASE_KEY}")
    if os.path.isdir(found):
        raise ConfigError(f"{path}: {BASE_KEY} is {base}, which is a folder: name a yaml in it")
    return found


def _read(path: str) -> dict[str, Any]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigError(f"the config file {path} can't be read: it is not a file")
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise ConfigError(f"{path} is no config: it has more than {MOST_BYTES // 2**20} MB")
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path}") from error
    except OSError as error:
        raise ConfigError(f"the config file {path} can't be read: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}, or a file that it is based on, is not in UTF-8: save it in UTF-8") from error
    return tree_of(text, path)


def tree_of(text: str, path: str) -> dict[str, Any]:
    """Return the keys of a yaml as a tree; bases are not looked for.

    Args:
        text: of the yaml.
        path: where it is from, for messages.

    Raises:
        ConfigError: it is no yaml, or too large.
    """
    try:
        tree = _parsed(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {_yaml_sentence(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{path} is nested too deeply") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValueError as error:  # a date that is none, a number of too many digits
        raise ConfigError(f"{path} has a value that can't be read: {error}") from error
    if not isinstance(tree, dict):
        what = "is empty" if tree is None else "has no keys"
        raise ConfigError(f"{path} {what}: a config has keys with values below them, such as SOLVER: {{MAX_EPOCH: 60}}")
    return tree


def _parsed(text: str) -> Any:
    if _depth(text) > DEEPEST:
        raise ConfigError("it is nested too deeply")  # before the parser, which would take seconds for that
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        size = _written_out(node, {}, set())
        if size > MOST_VALUES:
            raise ConfigError(f"its aliases (*name) stand for more than {MOST_VALUES} values: write them out")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r"[][{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _written_out(node: yaml.Node, sizes: dict[int, int], above: set[int]) -> int:
    """Return how many values a node has, those of its aliases counted as often as they stand there."""
    if id(node) in above:
        raise ConfigError("an alias (*name) stands below its own anchor (&name)")
    if id(node) not in sizes:
        above.add(id(node))
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        children = [part for entry in parts for part in (entry if isinstance(entry, tuple) else (entry,))]
        sizes[id(node)] = 1 + sum(_written_out(child, sizes, above) for child in children)
        above.remove(id(node))
    return sizes[id(node)]


def _yaml_sentence(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
    said = getattr(error, "problem", None) or " ".join(str(error).split())
    if "'\\t'" in said:
        said = "a tab, where yaml wants spaces"
    return f"{where}{said}"
