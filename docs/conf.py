"""The docs site, `make docs`. Its sources are the Markdown files of the whole tree, as they are read in a checkout."""

import logging
import os
import re
from pathlib import Path

import fastreid_ext

ROOT = Path(__file__).parents[1]

logging.getLogger("faiss.loader").setLevel(logging.WARNING)

project = "fastreid-ext"
author = "The fastreid-ext authors"
copyright = f"2026, {author}. Apache-2.0"
version = release = fastreid_ext.__version__

root_doc = "docs/index"  # site/index.html leads there
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
include_patterns = ["*.md", "docs/**.md", "projects/**.md", "benchmarks/*.md", "fastreid_ext/zoo/*.md"]
exclude_patterns = [".*", "build", "dist", "datasets", "logs", "output", "configs", "tests", "benchmarks/results"]
myst_heading_anchors = 4
highlight_language = "none"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = "fastreid-ext"
html_static_path = ["site/static"]
html_extra_path = ["site/root"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"sidebar_hide_name": False, "navigation_with_keys": True}

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def lead_to_pages(app, docname: str, source: list[str]) -> None:
    """Let links to folders lead to the README in them, and be plain text where there is none."""
    folder = (ROOT / docname).parent

    def link(match: re.Match) -> str:
        text, target, anchor = match.groups()
        if ":" in target or not (folder / target).is_dir():
            return match[0]
        readme = folder / target / "README.md"
        return f"[{text}]({os.path.relpath(readme, folder)}{anchor or ''})" if readme.is_file() else text

    source[0] = LINK.sub(link, source[0])


def setup(app) -> None:
    """Register what Sphinx is to call."""
    app.connect("source-read", lead_to_pages)
