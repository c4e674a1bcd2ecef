"""The docs site: every page is in its navigation; it is built without a warning, with pictures and search, offline."""

import os
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
import warm
from pages import PAGES, REPOSITORY

NAMES = sorted(page.removesuffix(".md") for page in PAGES)
HOME = "docs/index"


def listed():
    """Pages that the trees of contents in docs/index.md name."""
    text = (REPOSITORY / f"{HOME}.md").read_text(encoding="utf-8")
    for tree in re.findall(r"^```\{toctree\}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in filter(None, (line for line in tree.splitlines() if not line.startswith(":"))):
            target = re.sub(r"^.*<(.*)>$", r"\1", line)
            yield (REPOSITORY / "docs" / target).resolve().relative_to(REPOSITORY.resolve()).as_posix()


def test_every_page_is_in_the_navigation():
    """A new page: name it in one of the trees of contents in docs/index.md."""
    pages = list(listed())
    assert sorted([*pages, HOME]) == NAMES
    assert len(pages) > 35


class Resources(HTMLParser):
    """What a page loads, and what it leads to."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and named.get("src"):
            self.loaded.append(named["src"])
        elif tag == "link" and named.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loaded.append(named["href"])
        elif tag == "a" and named.get("href"):
            self.links.append(named["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("furo")
    pytest.importorskip("myst_parser")
    out = tmp_path_factory.mktemp("site")
    build = ["-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-c", "docs", ".", str(out)]  # as `make docs`
    done = warm.run(build, os.environ, cwd=REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.mark.slow
def test_the_site(site):
    """One test, since the site is built for it once and no other process needs it."""
    pages = {page: Resources((site / f"{page}.html").read_text(encoding="utf-8")) for page in (*NAMES, "search")}
    for page, found in pages.items():
        for resource in found.loaded:
            parts = urlsplit(resource)
            assert not parts.netloc, f"{page} loads {resource} from elsewhere"
            assert parts.scheme == "data" or (site / f"{page}.html").parent.joinpath(unquote(parts.path)).is_file()
        for link in map(urlsplit, found.links):
            if not link.netloc and not link.scheme and link.path:
                assert (site / f"{page}.html").parent.joinpath(unquote(link.path)).exists(), f"{page}: {link.path}"
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles and not any(re.search(r"@import|url\([\"']?(https?:)?//", text) for text in styles)
    assert any(link.endswith("docs/index.html") for link in Resources((site / "index.html").read_text()).links)
    assert len([name for name in pages["docs/wide"].loaded if "_images" in name]) == 5
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert "bounded_exponential_distance_loss" in index and "faiss" in index
    shown = (site / "docs" / "api" / "losses.html").read_text(encoding="utf-8")
    assert 'id="fastreid_ext.losses.bounded_exponential_distance_loss"' in shown
