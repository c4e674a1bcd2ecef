"""The page in a real browser: no complaint, pictures, filters, sorting by keyboard, dark mode, a phone."""

import os

import pytest
from headless_browser import Browser, find_browser

from fastreid_ext.report.page import write_report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(  # a user need not have a browser; CI must: .ci/run installs one, or these tests fail there
        find_browser() is None and "CI" not in os.environ, reason="needs Chromium: apt-get install chromium"
    ),
]
SHOWN = "[...document.querySelectorAll('.query')].filter((query) => !query.hidden)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def report(make_run, tmp_path):
    folders = [make_run(f"tiny/seed{n}", seed=n, test_sets=("People", "Others")) for n in (1, 2)]
    folders += [make_run("base", test_sets=("People", "Others"), SOLVER__BASE_LR=0.5), make_run("old", bare=True)]
    write_report(folders, tmp_path / "report.html", "", 5, 0)
    return tmp_path / "report.html"


def test_a_report(browser, report):
    """One page for all: to open it costs more than to look at it."""
    browser.open(report)
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [report.as_uri()]
    assert browser.run("document.querySelectorAll('h1').length") == 1
    _charts(browser)
    _queries(browser)
    _tables(browser)
    _themes(browser, report)
    _phone(browser, report)
    assert browser.complaints == []


def _charts(browser):
    drawn = "[...document.querySelectorAll('.chart')].filter((chart) => chart.querySelector('svg .trace'))"
    keys = set(browser.run(f"{drawn}.map((chart) => chart.dataset.chart)"))
    assert {"loss-total_loss", "lr-lr", "metric-People/mAP", "cmc-People", "roc-People", "pairs-People"} <= keys
    assert "cmc-Others" not in keys
    choose = "(() => {{ const s = document.querySelector('[data-chooser={}]'); s.value = '{}'; {} }})()"
    change = "s.dispatchEvent(new Event('change'))"
    browser.run(choose.format("curves", "Others", change))
    keys = set(browser.run(f"{drawn}.filter((c) => c.offsetParent).map((c) => c.dataset.chart)"))
    assert "cmc-Others" in keys and "cmc-People" not in keys


def _queries(browser):
    assert browser.run(f"{SHOWN}.length") == 5
    assert browser.run("document.getElementById('query-count').textContent") == "5 of 5 queries"
    loaded = f"{SHOWN}.flatMap((q) => [...q.querySelectorAll('img')])"
    sizes = browser.run(f"Promise.all({loaded}.map((i) => i.decode().then(() => i.naturalHeight)))")
    assert len(sizes) > 5 * 5 and set(sizes) == {32}
    browser.run("document.querySelector('[name=run]').value = ''")
    browser.run("document.querySelector('[name=set]').value = ''")
    browser.run("document.querySelector('[name=order]').focus()")
    browser.run("document.querySelector('[name=words]').focus()")
    browser.type("img src=x")  # of the photo whose name is HTML: a query of every run and test set, if it is hard
    found = browser.run(f"{SHOWN}.map((query) => query.dataset.file)")
    assert found and set(found) == {"<img src=x onerror=alert(1)>&amp;.png"}
    browser.run("document.querySelector('[name=words]').value = ''")
    for order, key, sign in (("ap", "ap", 1), ("first", "first", -1)):
        browser.run(f"document.querySelector('[name=order]').value = '{order}'")
        browser.run("document.getElementById('query-filters').dispatchEvent(new Event('input'))")
        values = [sign * float(value) for value in browser.run(f"{SHOWN}.map((query) => query.dataset.{key})")]
        assert values == sorted(values) and len(set(values)) > 1
    assert browser.run(f"{SHOWN}.length") == 10  # the first of 30
    browser.run("document.getElementById('more-queries').click()")
    assert browser.run(f"{SHOWN}.length") == 20
    browser.run("document.querySelector('[name=wrong]').click()")
    assert set(browser.run(f"{SHOWN}.map((query) => query.dataset.wrong)")) == {"1"}


def _tables(browser):
    column = (
        "[...document.querySelectorAll('#table-results tbody tr')].map((row) => Number(row.children[6].dataset.order))"
    )
    browser.run("document.querySelectorAll('#table-results .sort')[6].focus()")
    browser.press("Enter", 13)
    assert browser.run(column) == sorted(browser.run(column), reverse=True)
    heads = "[...document.querySelectorAll('#table-results th')].map((head) => head.getAttribute('aria-sort'))"
    assert browser.run(heads)[6] == "descending" and browser.run(heads).count("descending") == 1
    browser.press("Enter", 13)
    assert browser.run(column) == sorted(browser.run(column)) and browser.run(heads)[6] == "ascending"
    rows = "[...document.querySelectorAll('#table-groups tbody tr')].filter((row) => !row.hidden).length"
    before = browser.run(rows)
    browser.run("document.querySelector('[data-filter=groups]').focus()")
    browser.type("occluded others")
    assert (before, browser.run(rows)) == (8, 1)
    assert browser.run("document.querySelector('[data-count=groups]').textContent") == "1 of 8 rows"


COLOURS = """(() => {
  const style = getComputedStyle(document.body), chart = document.querySelector('.chart text');
  return [style.backgroundColor, style.color, getComputedStyle(chart).fill];
})()"""


def _themes(browser, report):
    light = browser.run(COLOURS)
    browser.run("document.getElementById('theme').click(); document.getElementById('theme').click()")
    dark = browser.run(COLOURS)
    assert browser.run("document.getElementById('theme').textContent") == "Colours: dark"
    browser.open(report, dark=True)
    assert browser.run(COLOURS) == dark  # as the system asks, without a click
    for paper, ink, letters in (light, dark):
        assert _contrast(paper, ink) > 7 and _contrast(paper, letters) > 7
    assert light[0] != dark[0]


def _contrast(first, second):
    """The contrast of two colours, as WCAG 2 defines it."""

    def luminance(colour):
        values = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
        return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _phone(browser, report):
    browser.open(report, width=390, height=844, touch=True)
    assert browser.run("document.documentElement.scrollWidth") == 390
    assert browser.run("Math.max(...[...document.querySelectorAll('.chart svg')].map((svg) => svg.clientWidth))") < 390
