"""The page in a browser: nothing outside the screen, no error, no request, no label on another.

Needs Chromium and its driver (Debian: ``chromium``, ``chromium-driver``). Without them the tests
are skipped, but where ``CI`` is set they fail.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ledgers import ledger

from fastnn import Dense, Recorder, Sequential, optimizers
from fastnn.experiments.ledger_page import ledger_page
from fastnn.page import Page
from fastnn.recorder_page import record_page

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars",
)  # fmt: skip
PHONE, DESK = 390, 1200

#: Pairs of texts of one chart whose boxes overlap by more than a pixel, and texts cut off.
OVERLAPS = """
const bad = [];
for (const svg of document.querySelectorAll("figure > svg")) {
  const frame = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll("text")]
    .filter(t => t.textContent && !t.closest("[transform]"))
    .map(t => [t.textContent, t.getBoundingClientRect()]);
  boxes.forEach(([a, p], i) => {
    if (p.left < frame.left - 1 || p.right > frame.right + 1 ||
        p.top < frame.top - 1 || p.bottom > frame.bottom + 1) bad.push([a, "cut off"]);
    for (const [b, q] of boxes.slice(i + 1))
      if (Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
          Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 3) bad.push([a, b]);
  });
}
return bad;
"""
#: Elements of the page that have no size, or reach beyond the screen; a box may scroll inside.
OUTSIDE = """
return [...document.querySelectorAll("main > *, figure > *, .key > li")].filter(e => {
  const r = e.getBoundingClientRect();
  return !e.checkVisibility() || r.width < 1 || r.height < 1 || r.left < 0 ||
    r.right > innerWidth + 1;
}).map(e => e.outerHTML.slice(0, 80));
"""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One headless Chromium for all tests of this file."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        message = "Chromium or its driver is missing: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(f"{message}; a skipped browser test fails CI")
        pytest.skip(message)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "localhost,127.0.0.1")  # the driver is on this machine
        # With both paths given, selenium looks for nothing on the network.
        started = webdriver.Chrome(options=options, service=Service(driver))
        try:
            yield started
        finally:
            started.quit()


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a ledger's page, of a training's, and of one with every block and awkward
    data.
    """
    folder = tmp_path_factory.mktemp("pages")
    ledger_page(ledger()).write(folder / "ledger.html")
    rng = np.random.default_rng(3)
    record_training(folder / "run.html", rng)
    page = Page("A title that is long enough to take two lines on a phone, or three", "small print")
    page.heading("Curves")
    x = np.arange(100_000)
    y = np.exp(-x / 2e4) + 0.01 * rng.random(len(x))
    y[40_000:45_000] = np.nan
    page.lines("Log on both axes", {"a": (x + 1, y), "b": (x + 1, 2 * y)}, "step", "loss",
               logx=True, logy=True)  # fmt: skip
    around = {"median": [(y - 0.3, y + 0.3), (y - 0.1, y + 0.1)]}
    page.lines("Bands", {"median": (x, y)}, "step", "weights", bands=around)
    page.lines("Large and small", {"a": ([0, 1e6], [-1e-7, 1e-7])}, "x", "y")
    page.lines("Narrow", {"a": ([0, 1e5], [0.30001, 0.30004])}, logy=True)
    page.lines("Nothing", {"a": ([], [])})
    series = {"one": [1e-7, 2e6], "two " * 12: [3e5, None]}
    page.bars("Long", ["a name " * 9, "b"], series, "ms", log=True, reference=("limit", 1e3))
    page.bars("Around zero", ["up", "down"], {"a": [1, -2]})
    page.bars("Taller than paper", [f"a long name, number {i}" for i in range(70)],
              {"a": [14_000 * i for i in range(70)]})  # fmt: skip
    page.regions("Far from 0", {f"step {i}": rng.integers(0, 9, (20, 30)) for i in (0, 10**6, 2)},
                 (-1e6, -0.99e6, 1e-4, 2e-4), ["a class " * 7, *"bcdefghi"],
                 (-1e6 + 1e4 * rng.random(60), 1e-4 * (1 + rng.random(60)),
                  rng.integers(0, 9, 60)), "x", "y")  # fmt: skip
    page.roofline(
        "Two memories", {"a": (0.2, 1.5), "b" * 60: (30, 70)}, 95, {"memory": 18, "L2": 90}
    )
    page.image(rng.integers(0, 255, (40, 200, 3)).astype(np.uint8), "Filters " * 20, zoom=4)
    page.table([f"column {i}" for i in range(30)], [["w" * 30, *range(29)]] * 3)
    page.write(folder / "all.html")
    return {name: (folder / f"{name}.html").as_uri() for name in ("ledger", "run", "all")}


def record_training(path: Path, rng: np.random.Generator) -> None:
    """The page of a short training, with a boundary, and filters beside it."""
    layers = [Dense(6, "tanh", name="a layer with a name that is long"), Dense(6, "relu"), Dense(3)]
    net = Sequential(layers, seed=1)
    net.compile(optimizers.SGD(0.1), metrics=["accuracy"])
    x, recorder = rng.normal(100, 20, (90, 2)), Recorder(path)
    net.fit(x, (x[:, 0] // 15 % 3).astype(int), epochs=9, batch_size=10, validation_split=0.2,
            verbose=0, callbacks=[recorder])  # fmt: skip
    pictures = recorder.record.pictures
    pictures[:] = [replace(p, filters=rng.normal(size=(5, 5, 3, 20))) for p in pictures]
    recorder.record.filters = "a layer"
    record_page(recorder.record).write(path)


@pytest.fixture(params=["ledger", "run", "all"])
def shown(request: pytest.FixtureRequest, browser: Any, pages: dict[str, str]) -> Any:
    """Shows a page on a screen of that width, in that scheme; fails on errors and requests."""
    address = pages[request.param]

    def show(width: int, scheme: str = "light", media: str = "") -> Any:
        for log in ("browser", "performance"):
            browser.get_log(log)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": features}
        )
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        browser.get(address)
        return browser

    yield show
    errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    requests = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert address in requests, "the log of requests is empty"
    assert [
        url for url in requests if url != address and not url.startswith("data:image/png")
    ] == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_is_outside_or_on_top_of_another(shown, width):
    browser = shown(width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.execute_script(OUTSIDE) == []
    assert browser.execute_script(OVERLAPS) == []


def test_the_charts_of_a_ledger_are_there(browser, pages):
    browser.get(pages["ledger"])
    found = browser.execute_script(
        "return [...document.querySelectorAll('figure')].map(f => "
        "[f.querySelector('figcaption').textContent, f.querySelector('svg').getAttribute('role')])"
    )
    assert len(found) == 7 + 4
    assert {role for _, role in found} == {"img"}
    titles = {title for title, _ in found}
    assert {"Time per step", "Roofline of a step with fastnn cython"} <= titles
    count = "return document.querySelectorAll('{}').length"
    assert browser.execute_script(count.format("main > .box > table")) == 3
    assert browser.execute_script(count.format("rect")) > 100


def test_a_training_is_on_its_page(browser, pages):
    browser.get(pages["run"])
    titles, panels, filters = browser.execute_script(
        "const all = q => [...document.querySelectorAll(q)];"
        "return [all('figure').filter(f => f.querySelector('svg')).map(f => f.textContent),"
        "all('svg .head').map(t => t.textContent),"
        "all('figure > img').map(i => [i.complete, i.naturalWidth, i.naturalHeight])]"
    )
    for title in ("Decision boundary", "Loss by epoch", "Standard deviation of gradients"):
        assert any(title in text for text in titles), title
    assert panels[0] == "step 0"
    assert panels[-1] == "step 72"
    assert 4 <= len(panels) <= 8
    assert filters == [[True, 8 * 6 - 1, 3 * 6 - 1]] * len(panels)


def test_text_on_a_phone_can_be_read(shown):
    browser = shown(PHONE)
    heights = browser.execute_script(
        "return [...document.querySelectorAll('text, p, li, td, figcaption')].map(e => {"
        "const m = e.ownerSVGElement ? e.getScreenCTM() : {c: 0, d: 1};"
        "return parseFloat(getComputedStyle(e).fontSize) * Math.hypot(m.c, m.d)})"
    )
    assert min(heights) >= 10


def test_a_wide_table_scrolls_in_its_box(shown):
    browser = shown(PHONE)
    inside, box, moved = browser.execute_script(
        "const b = document.querySelector('.box'); b.scrollLeft = 99;"
        "return [b.scrollWidth, b.clientWidth, b.scrollLeft]"
    )
    assert inside > box
    assert moved == 99


def test_charts_stand_side_by_side_on_a_desk(shown):
    places = "return [...document.querySelectorAll('figure')].slice(0, 2).map(f => f.offsetLeft)"
    first, second = shown(DESK).execute_script(places)
    assert second > first + 300
    first, second = shown(PHONE).execute_script(places)
    assert second == first


def colours(browser: Any) -> tuple[str, str, str]:
    """Background, text, and the first line's or bar's colour, as the browser draws them."""
    return tuple(
        browser.execute_script(
            "const s = (q, p) => getComputedStyle(document.querySelector(q))[p];"
            "return [s('body', 'backgroundColor'), s('p', 'color'), s('figure text', 'fill')]"
        )
    )


def test_dark_and_print(shown):
    light = colours(shown(DESK, "light"))
    assert light[0] == "rgb(255, 255, 255)"
    dark = colours(shown(DESK, "dark"))
    assert dark[0] == "rgb(21, 24, 28)"
    assert all(a != b for a, b in zip(light, dark, strict=True))
    browser = shown(DESK, "dark", "print")
    assert colours(browser) == light, "a dark page on paper"
    boxes = "return [...document.querySelectorAll('.box')].map(b => getComputedStyle(b).overflowX)"
    assert set(browser.execute_script(boxes)) == {"visible"}
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF-")


def test_charts_and_pages_of_paper(shown):
    """On paper no chart is taller than a page, so that none has to be cut."""
    heights = shown(700, media="print").execute_script(
        "return [...document.querySelectorAll('figure')].map(f => f.getBoundingClientRect().height)"
    )
    assert max(heights) < 25 / 2.54 * 96
