"""A report in a real browser: opens without an error, finds, sorts, opens units, fits a phone."""

import shutil
import time
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import draw_sample

import jcausal as jc

pytestmark = pytest.mark.browser
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def browser():
    if find_spec("playwright") is None:
        pytest.skip("playwright is not installed: pip install 'jcausal[browser]'")
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the path")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def found():
    sample = draw_sample(3, n=150, p=2, category=3, id=[f"u{k}" for k in range(150)])
    return jc.estimate(sample, jc.NearestNeighbors(), adjust=jc.Ridge(), key=0)


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
    return jc.report(found, tmp_path_factory.mktemp("page") / "report.html", by=["x2"])


def opened(browser, path, width=1280, scheme="light"):
    """The page, and what its console says."""
    context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    return page, said


def ids(page):
    return page.locator("#rows tbody .open-unit").all_inner_texts()


def test_it_finds_sorts_and_turns_pages(browser, path, found):
    page, said = opened(browser, path)
    assert page.inner_text("#count") == "50 of 50" and len(ids(page)) == 25
    first = ids(page)
    page.click("#after")
    assert page.inner_text("#page") == "page 2 of 2" and not set(first) & set(ids(page))
    page.fill("#search", first[0])
    wanted = [one for one in found.matching.sample.id[found.matching.query] if first[0] in one]
    assert sorted(ids(page)) == sorted(wanted)
    page.fill("#search", "no such unit")
    assert page.inner_text("#count") == "0 of 50" and ids(page) == []
    page.fill("#search", "")
    page.click("#rows thead button:has-text('effect')")
    order = np.argsort(np.asarray(found.ite), kind="stable")
    units = found.matching.sample.id[np.asarray(found.matching.query)[order]]
    assert ids(page) == units[:25].tolist()
    assert page.get_attribute("th[aria-sort=ascending]", "scope") == "col"
    page.keyboard.press("Enter")  # the focus has stayed on the column
    assert ids(page) == units[::-1][:25].tolist() and said == []


def test_a_unit_opens_by_the_keyboard(browser, path, found):
    page, said = opened(browser, path)
    page.focus("#rows tbody .open-unit")
    page.keyboard.press("Enter")
    assert page.locator("#group").is_visible()
    row = int(np.flatnonzero(found.matching.sample.id == ids(page)[0])[0])
    place = int(np.flatnonzero(np.asarray(found.matching.query) == row)[0])
    told = page.locator("#group-body tbody th").all_inner_texts()
    assert set(told) == set(found.matching.sample.id[found.matching.group(place)[0]])
    assert found.matching.describe(place) in page.inner_text("#group-body")
    page.keyboard.press("Escape")
    assert not page.locator("#group").is_visible()
    assert page.evaluate("document.activeElement.className") == "open-unit" and said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(browser, path, scheme):
    page, said = opened(browser, path, 390, scheme)
    for one in page.locator("summary").all():
        one.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.locator(".open-unit").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390 and said == []
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") == (scheme == "light")


def test_words_of_a_user_run_nothing(browser, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    sample = jc.Sample(
        np.arange(40.0)[:, None] % 7,
        np.arange(40) % 2,
        np.arange(40.0),
        names=[evil],
        id=[f"{evil}{k}" for k in range(40)],
    )
    found = jc.estimate(sample, jc.NearestNeighbors())
    page, said = opened(browser, jc.report(found, tmp_path / "r.html", treatment=evil))
    page.locator(".open-unit").first.click()
    assert (
        page.locator("img").count() == 0 and evil in page.inner_text("#group-body") and said == []
    )


def test_other_results_open_too(browser, tmp_path):
    panel = jc.complete(jc.datasets.prop99(), jc.TwoWayFixedEffects())
    average = jc.estimate(draw_sample(1, n=80), jc.IPTW())
    chosen = jc.allocate(np.linspace(0, 1, 60), jc.TopK(9), rho=0.1)
    for result, rows in ((panel, 25), (average, 25), (chosen, 25)):
        page, said = opened(browser, jc.report(result, tmp_path / "r.html"), 390)
        assert page.locator("#rows tbody tr").count() == rows and said == []
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        if page.locator(".open-unit").count():
            page.locator(".open-unit").first.click()
            assert page.locator("#group-body tbody tr").count() > 0 and said == []


@pytest.mark.extended
def test_twenty_thousand_units_open_quickly(browser, tmp_path):
    sample = draw_sample(0, n=60_000, p=6)
    found = jc.estimate(sample, jc.Subclassification(groups=40))
    path = jc.report(found, tmp_path / "r.html", interval=jc.Bootstrap(draws=50), key=0, by=[])
    assert path.stat().st_size < 10e6
    seconds = []
    for _ in range(3):  # the best of three, since other programs run beside
        began = time.perf_counter()
        page, said = opened(browser, path)
        page.wait_for_selector("#rows tbody tr")
        seconds.append(time.perf_counter() - began)
        assert said == []
    assert min(seconds) < 3
    assert page.inner_text("#count") == "20,000 of 20,000"
