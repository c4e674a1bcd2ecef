"""The page: whole, without network, and with no text from a file as HTML."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from fastreid_ext.cli import main
from fastreid_ext.errors import MissingExtraError
from fastreid_ext.report import page
from fastreid_ext.report.page import content_of, plotly_script, policy_of, render
from fastreid_ext.report.run_files import read_run
from fastreid_ext.report.thumbnails import Thumbnails

HOSTILE = "</script></style><img src=x onerror=alert(1)>\"'&lt;{{ 7 * 7 }}<!--\u2028"


class Page(HTMLParser):
    """Elements of a page with their attributes, and the text of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.raw = [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] == "script":
            self.raw.setdefault(len(self.elements), data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def rendered(runs, queries=3):
    return render(content_of(runs, "", queries, 0), "window.Plotly = {react() {}};")


@pytest.fixture
def html(make_run):
    return rendered([read_run(make_run("tiny/seed1")), read_run(make_run("tiny/seed2", seed=2))])


def test_nothing_is_fetched(html):
    found = Page(html)
    for _, attributes in found.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (name, value)
    assert not found.all("iframe") and not found.all("object") and not found.all("base")
    assert "@import" not in html and "url(" not in html


def test_the_policy_allows_two_scripts_and_no_network(html):
    found = Page(html)
    (policy,) = [a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert (
        "connect-src" not in policy and "http" not in policy and "'unsafe-inline'" not in policy.split("style-src")[0]
    )
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    assert len(scripts) == 2 and policy == policy_of(scripts)
    # Before anything that it is to rule.
    assert html.index("Content-Security-Policy") < html.index("<style") < html.index("<script")


def spoiled(value, key=""):
    """Every text with HTML at its end, but what says which format a file has; so are the names of some dicts."""
    if isinstance(value, dict):
        names = {name: f"{name}{HOSTILE}" if key in ("results", "environment") else name for name in value}
        return {names[name]: spoiled(one, name) for name, one in value.items()}
    if isinstance(value, list):
        return [spoiled(one, key) for one in value]
    return value + HOSTILE if isinstance(value, str) and key not in ("format", "config") else value


def test_every_text_of_a_file_is_escaped(make_run):
    """All texts of all files are HTML: the page has the elements of a harmless one, and no other."""
    folder = make_run("tiny<b>")
    before = Page(rendered([read_run(folder)])).elements
    for path in [*folder.glob("*_*.json"), folder / "report.json", folder / "results.json"]:
        path.write_text(json.dumps(spoiled(json.loads(path.read_text()))))
        if "_" in path.name:
            path.rename(path.with_name(path.name.replace("People", "<b>P&amp;")))
    lines = [{"iteration": n, f"loss_{HOSTILE}": 1.0, f"{HOSTILE}/mAP": 2.0, "lr": 1.0} for n in (1, 2)]
    (folder / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    (folder / "config.yaml").write_text(json.dumps({"MODEL": {"NAME": HOSTILE, f"A{HOSTILE}": 1}}))
    html = rendered([read_run(folder)])
    found = Page(html)
    # Of paths, results, groups, queries, losses, config, environment: Jinja2 wrote all of them.
    assert html.count("onerror=alert(1)") > 30 and html.count("&lt;/script&gt;") > 30
    assert {name for name, _ in found.elements} <= {name for name, _ in before}
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert {a.get("src") for a in found.all("img")} <= {None}
    assert len(re.findall("(?i)</script", html)) == 3 and len(re.findall("(?i)</style", html)) == 1
    assert "{{ 7 * 7 }}" in html and "49 " not in re.search(r"<h1>(.*?)</h1>", html)[1]
    titles = [chart["title"] for chart in json.loads(re.search(r'id="data">(.*?)</script>', html)[1])["charts"]]
    assert f"Loss: loss_{HOSTILE}" in titles  # and a script gets the text itself


def test_what_it_shows(html):
    found = Page(html)
    ids = [a["id"] for _, a in found.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for name in ("results", "training", "curves", "groups", "queries", "cost", "config", "environment"):
        assert name in ids and {"href": f"#{name}"} in found.all("a"), name
    cards = [a for a in found.all("article")]
    assert len(cards) == 2 * 3  # two runs, three queries each
    assert all("alt" in a for a in found.all("img")) and "what is missing" not in html.lower()
    data = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])
    shown = {int(a["data-picture"]) for a in found.all("img")}
    assert shown == set(range(len(data["thumbnails"]))) and len(shown) <= 18  # every photo is there once
    assert {a["data-chart"] for a in found.all("div") if "data-chart" in a} == {c["key"] for c in data["charts"]}


def test_it_can_be_read_aloud(html):
    """Headings without gaps, a scope for every head of a table, captions, labels of all that can be operated."""
    found = Page(html)
    levels = [int(name[1]) for name, _ in found.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert {a["scope"] for a in found.all("th")} == {"col", "row"}
    assert len(found.all("caption")) == len(found.all("table"))
    for start in re.findall(r"<(?:select|input)\b[^>]*>", html):
        before = html[: html.index(start)]
        assert before.rfind("<label") > before.rfind("</label"), start
    assert all("aria-label" in a for a in found.all("div") if a.get("class") == "chart" or a.get("role") == "region")
    assert found.all("html")[0]["lang"] == "en"


def test_images_that_are_gone_are_said_to_be(make_run, photos):
    run = read_run(make_run("tiny"))
    for query in run.details["People"]["hardest"]:
        query["path"] = "/nowhere/at all.png"
    html = rendered([run])
    assert html.count("the file is not there any more") == 3 and "at all.png" in html


def test_only_image_files_of_this_machine_are_shown(tmp_path, monkeypatch):
    opened = []
    thumbnails = Thumbnails(read=lambda path: opened.append(path) or (_ for _ in ()).throw(OSError()))
    (tmp_path / "secret.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "photo.png").write_bytes(b"no image")
    monkeypatch.chdir(tmp_path)
    names = ["secret.txt", "folder.png", "photo.png", "absent.png"]
    paths = [*(str(tmp_path / name) for name in names), "photo.png", "https://example.org/a.png", "", "\udce9.png"]
    assert [thumbnails.number(path) for path in paths] == [None] * len(paths)
    assert opened == [str(tmp_path / "photo.png")] and thumbnails.missing == len(set(paths))


def test_thumbnails_are_small_and_once(photos):
    thumbnails = Thumbnails()
    path = str(next(photos.iterdir()))
    large = photos.parent / "large.png"
    Image.new("RGB", (900, 600), "red").save(large)
    assert [thumbnails.number(path), thumbnails.number(str(large)), thumbnails.number(path)] == [0, 1, 0]
    assert all(uri.startswith("data:image/jpeg;base64,") and len(uri) < 12_000 for uri in thumbnails.uris)
    large.unlink()


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_command(make_run, tmp_path, capsys):
    folder, output = make_run("tiny"), tmp_path / "new" / "report.html"
    assert main(["report", str(folder), "--output", str(output), "--title", HOSTILE, "--queries", "2"]) == 0
    printed, html = capsys.readouterr().out, output.read_text(encoding="utf-8")
    assert printed.startswith(f"{output} (") and "is the report on 1 run\n" in printed
    assert html.count("plotly.js v") >= 1 and len(html) < 8e6
    assert "What the model looks at is not drawn: the folder has no weights and config." in html
    assert html.count("<article") == 2


def test_mistakes(make_run, tmp_path, sentence_of):
    folder = str(make_run("tiny"))
    out = str(tmp_path / "r.html")
    for words, said in {
        (folder, "--output", str(tmp_path / "r.txt")): "must be named like an HTML file",
        (str(tmp_path / "nowhere"), "--output", out): "is no folder: name the OUTPUT_DIR of a run",
        (folder, folder, "--output", out): "one run is named twice",
        (folder, "--output", out, "--queries", "-1"): "--queries is -1 and must be 0 or more",
        (folder, "--output", out, "--pictures", "-1"): "--pictures is -1 and must be 0 or more",
    }.items():
        assert said in sentence_of(main(["report", *words])), words
    assert not Path(out).exists()


@pytest.mark.parametrize("package", ["plotly", "jinja2"])
def test_a_missing_extra_is_named(package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    if package == "plotly":
        monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fastreid-ext\[report\]'"):
        plotly_script()


def test_a_script_can_not_end_its_element(make_run):
    with pytest.raises(ValueError, match="its own element"):
        page.render(content_of([read_run(make_run("tiny"))], "", 1, 0), "</SCRIPT>")


def test_names_are_no_links_in_charts(make_run):
    """Plotly makes elements of some tags in its texts; a name is a text."""
    link = '<a href="https://evil.example">open</a>&amp;'
    folder = make_run("tiny<a href='x'>")
    lines = [{"iteration": n, f"loss_{link}": 1.0, "lr": 1.0} for n in (1, 2)]
    (folder / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    html = rendered([read_run(folder)])
    charts = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])["charts"]
    loss = next(chart for chart in charts if chart["key"].startswith("loss-"))
    assert loss["key"] == f"loss-loss_{link}"  # the page finds it by this
    assert loss["y"]["title"]["text"] == 'loss_&lt;a href="https://evil.example"&gt;open&lt;/a&gt;&amp;amp;'
    drawn = json.dumps([(chart["traces"], chart["x"], chart["y"]) for chart in charts])
    assert "tiny&lt;a href='x'&gt;" in drawn and "<" not in drawn and ">" not in drawn
