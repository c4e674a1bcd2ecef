"""All files of a paper's project in a checkout."""

import importlib
from collections.abc import Mapping, Sequence

from fastreid.config import CfgNode
from fastreid.config import get_cfg as host_get_cfg

from fastreid_ext import __version__
from fastreid_ext.model_zoo.shipped import describe_config
from fastreid_ext.upstream import plan, templates
from fastreid_ext.upstream.configs import config_files, configs_of, rows_of
from fastreid_ext.upstream.printing import SHARED, files_of, place_of
from fastreid_ext.upstream.slicing import slice_of
from fastreid_ext.upstream.sources import PACKAGE, parsed, text_of

HEADER = "# SPDX-License-Identifier: Apache-2.0"
TESTS = "tests/"


def project_files(paper: plan.Paper) -> dict[str, str]:
    """Return path below ``projects/<Project>`` -> text.

    Raises:
        ValueError: more lines than a project may have.
    """
    _, all_roots = slice_of(paper, {"LOSSES": (), "AUGMENTATIONS": ()})
    configs = configs_of(paper, [name for name in all_roots if name.endswith("_backbone")])
    part, roots = slice_of(paper, rows_of(configs))
    files = {f"{paper.package}/{path}": text for path, text in files_of(part, paper.package, HEADER).items()}
    files[f"{paper.package}/{SHARED}/__init__.py"] = f'{HEADER}\n"""What several papers have in common."""\n'
    words = {
        "header": HEADER,
        "project": paper.project,
        "package": paper.package,
        "title": paper.title,
        "docstring": parsed(paper.package, text_of(f"{PACKAGE}.{paper.package}")).docstring,
        "config": next(name for name in sorted(configs) if name.startswith("Market1501")),
        "place": f"projects/{paper.project}/{TESTS}two_steps.py",
    }
    tables = [module for module in part.names if any(map(part.changes_table, part.nodes(module)))]
    files[f"{paper.package}/__init__.py"] = _init(roots, tables, words)
    texts = config_files(paper, configs, known_keys(roots))
    files |= {f"configs/{name}": text for name, text in texts.items()}
    files["train_net.py"] = templates.TRAIN_NET.format(**words)
    files[f"{TESTS}two_steps.py"] = templates.TWO_STEPS.format(**words)
    files["README.md"] = _readme(paper, configs, roots, words)
    lines = count_lines(files)
    if lines > plan.MOST_LINES:
        raise ValueError(f"{paper.project} has {lines} lines, and {plan.MOST_LINES} are the most")
    return dict(sorted(files.items()))


def count_lines(files: Mapping[str, str]) -> int:
    """Return the lines of a project's files, its tests aside."""
    return sum(len(text.splitlines()) for path, text in files.items() if not path.startswith(TESTS))


def known_keys(roots: Mapping[str, str]) -> CfgNode:
    """Return FastReID's config with the keys that a project adds."""
    cfg = host_get_cfg()
    for name in adders(roots):
        getattr(importlib.import_module(roots[name]), name)(cfg)
    return cfg


def adders(roots: Mapping[str, str]) -> list[str]:
    """Return the names of the roots that add config keys, the shared ones first."""
    return sorted(
        (name for name in roots if name.startswith("add_")), key=lambda name: (name != "add_shared_config", name)
    )


def _init(roots: Mapping[str, str], tables: Sequence[str], words: Mapping[str, str]) -> str:
    package = words["package"]
    places: dict[str, list[str]] = {}
    for name, module in roots.items():
        places.setdefault(place_of(module, package).replace("/", "."), []).append(name)
    for module in tables:  # one without a root is imported for the row that it puts into a table
        places.setdefault(place_of(module, package), [])
    lines = ["from fastreid.config import CfgNode", ""]
    for place in sorted(places):
        given = ", ".join(sorted(places[place]))
        lines.append(f"from .{place} import {given}" if given else f"from . import {place}")
    return templates.INIT.format(**words, imports="\n".join(lines), adders=", ".join(adders(roots)))


def _readme(
    paper: plan.Paper, configs: Mapping[str, CfgNode], roots: Mapping[str, str], words: Mapping[str, str]
) -> str:
    rows = [f"| [{name}](configs/{name}) | {describe_config(f'{paper.project}/{name}')} |" for name in configs]
    own = [name for name in roots if name.endswith("_backbone")]
    return templates.README.format(
        **words,
        configs="\n".join(rows),
        notes=templates.NOTES.get(paper.project, ""),
        version=__version__,
        own_trunk=f" and {' and '.join(own)}" if own else "",
    )
