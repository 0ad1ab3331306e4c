"""The page and its charts: well-formed, escaped, alone, honest about gaps, strict about input."""

from __future__ import annotations

import base64
import io
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from fastnn import charts
from fastnn.charts import number, thin, ticks
from fastnn.page import Page

NASTY = "<script>alert('1')</script> & \"quotes\" \udcff"


class Balanced(HTMLParser):
    """Checks that every element is closed in order, and collects what the page shows."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), tag
        assert not any(name.startswith("on") for name in names)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parsed(page: Page) -> Balanced:
    """The page, which must be well-formed and refer to nothing outside."""
    html = page.render()
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert not parser.open
    assert "script" not in parser.seen
    assert "://" not in html
    assert not re.search(r"\bhref\s*=", html)
    assert all(s.startswith("data:") for s in re.findall(r'\bsrc="([^"]*)', html))
    assert all(s.startswith("#") for s in re.findall(r"url\(([^)]*)", html))
    for value in ("nan", "inf", "None"):
        assert not re.search(rf'[="M L]-?{value}\b', "".join(re.findall("<[^>]*>", html))), value
    return parser


def chart(make, *args, **kwargs) -> ET.Element:
    """The SVG of one chart, in a page that is checked."""
    page = Page("t")
    getattr(page, make)(*args, **kwargs)
    parsed(page)
    svg = ET.fromstring(getattr(charts, make)(*args, **kwargs)).find("svg")
    assert svg is not None
    assert svg.get("role") == "img"
    assert svg.get("aria-label")
    return svg


def texts(svg: ET.Element) -> list[str]:
    return [t.text or "" for t in svg.iter("text")]


def line_data(svg: ET.Element) -> list[str]:
    """The path data of the lines of data."""
    return [g.find("path").get("d") for g in svg.iter("g") if g.find("path") is not None]


def test_everything_is_escaped_and_balanced(tmp_path):
    page = Page(NASTY, NASTY)
    page.heading(NASTY)
    page.text(NASTY)
    page.note(NASTY)
    page.table([NASTY, "x"], [[NASTY, 1.5], [NASTY, None]])
    page.bars(NASTY, [NASTY, "b"], {NASTY: [1, 2], "c": [3, 4]}, NASTY, reference=(NASTY, 2))
    page.bars(NASTY, [NASTY], {NASTY: [1]}, stacked=True, marks=(NASTY, [2]))
    page.lines(NASTY, {NASTY: ([1, 2], [3, 4])}, NASTY, NASTY, bands={NASTY: [([2, 3], [4, 5])]})
    page.roofline(NASTY, {NASTY: (1, 2)}, 10, {NASTY: 20})
    page.regions(NASTY, {NASTY: [[0]]}, (0, 1, 0, 1), [NASTY], ([0.5], [0.5], [0]), NASTY, NASTY)
    page.image(np.zeros((2, 3), np.uint8), NASTY)
    shown = parsed(page)
    assert shown.texts.count(NASTY) > 10
    page.write(tmp_path / "p.html")
    written = (tmp_path / "p.html").read_text("utf-8")
    assert written == page.render().replace("\udcff", "?")
    assert [p.name for p in tmp_path.iterdir()] == ["p.html"]


@pytest.mark.parametrize(
    ("low", "high", "log", "major"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 1380, False, [0, 500, 1000]),
        (-3, 4, False, [-2, 0, 2, 4]),
        (0.30001, 0.30005, False, [0.30001, 0.30002, 0.30003, 0.30004, 0.30005]),
        (0.003, 2.5, True, [0.01, 0.1, 1]),
        (8, 90, True, [10, 20, 50]),
        (0.31, 0.38, True, [0.32, 0.34, 0.36, 0.38]),
        (1e-9, 1e9, True, [1e-9, 1e-6, 1e-3, 1, 1e3, 1e6, 1e9]),
    ],
)
def test_ticks_are_round(low, high, log, major):
    found, minor = ticks(low, high, log)
    assert found == major
    assert set(found) <= set(minor)
    assert all(low * (1 - 1e-9) <= v <= high * (1 + 1e-9) for v in minor if low > 0)


def test_there_are_always_a_few_ticks(rng):
    for _ in range(2000):
        low = 10 ** rng.uniform(-12, 12)
        high = low * 10 ** rng.uniform(0.01, 8)
        for log in (False, True):
            major, minor = ticks(low, high, log)
            assert 2 <= len(major) <= 10
            assert len({number(v, 6) for v in major}) == len(major)
            assert major == sorted(major)
            assert len(minor) <= 80


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (1234, "1,234"), (1_234_567, "1,234,567"), (12345.0, "12,300"),
        (-0.25, "−0.25"), (0.001, "0.001"), (1e-4, "10⁻⁴"), (-1e7, "−10⁷"), (2.5e-7, "2.5×10⁻⁷"),
        (3e38, "3×10³⁸"), (math.nan, "–"), (-math.inf, "–"), (None, "–"), (0.9996, "1"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_a_page_of_long_series_stays_small(rng):
    n = 200_000
    y = rng.standard_normal(n)
    y[123_456] = 40
    y[50_000:60_000] = np.nan
    svg = chart("lines", "t", {"a": (np.arange(n), y)}, bands={"a": [(y - 1, y + 1)]})
    (line,) = line_data(svg)
    assert line.count("M") == 2, "the gap is gone"
    assert line.count("L") < 500
    top = min(float(v) for v in re.findall(r" ([\d.]+)", line))
    assert top < 40, "the one high point is gone"
    assert len(ET.tostring(svg)) < 40_000


def test_thin_keeps_the_extremes_of_each_column(rng):
    x = np.sort(rng.uniform(0, 400, 5000))
    y = rng.standard_normal(5000)
    kept = thin(x, y)
    assert (np.diff(kept) > 0).all()
    assert len(kept) <= 402
    for column in np.unique(x // 2):
        inside = x // 2 == column
        found = kept[(x // 2 == column)[kept]]
        assert {y[inside].min(), y[inside].max()} <= set(y[found])
    assert (thin(x[:400], y[:400]) == np.arange(400)).all()


def test_gaps():
    """NaN and infinity part a line; a point alone is seen; what a log axis can't hold is a gap."""
    y = [1, 2, math.nan, 4, math.inf, 3, 2]
    (line,) = line_data(chart("lines", "t", {"a": (range(7), y)}))
    assert line.count("M") == 3
    assert line.count("h2") == 1
    (line,) = line_data(chart("lines", "t", {"a": (range(5), [1, 2, 0, 4, -1])}, logy=True))
    assert line.count("M") == 2
    band = {"a": [([0, 1, math.nan, 0, 0], [2, 3, 3, 2, 2])]}
    svg = chart("lines", "t", {"a": (range(5), [1, 2, 2, 1, 1])}, bands=band)
    assert [p.get("d").count("Z") for p in svg.iter("path") if p.get("fill-opacity")] == [2]


@pytest.mark.parametrize(
    ("make", "args"),
    [
        ("lines", [{}]),
        ("lines", [{"a": ([], [])}]),
        ("lines", [{"a": ([1, 2], [math.nan, math.inf])}]),
        ("bars", [[], {}]),
        ("bars", [["x"], {}]),
        ("bars", [["x", "y"], {"a": [None, math.nan], "b": [math.inf, None]}]),
        ("roofline", [{}, 10, {"memory": 20}]),
        ("roofline", [{"a": (math.nan, 1), "b": (0, 2)}, 10, {"memory": 20}]),
    ],
)
def test_nothing_to_draw_is_said(make, args):
    assert texts(chart(make, "t", *args)) == ["no data"]


@pytest.mark.parametrize(
    "y", [[5, 5, 5], [0, 0, 0], [1e-320, 0, 0], [-1e99, 0, 1e99], [1, 1 + 1e-12, 1]]
)
def test_flat_and_extreme_lines(y):
    svg = chart("lines", "t", {"a": ([0, 1, 2], y)})
    labels = [t.text for t in svg.iter("text") if t.get("class") == "tick"]
    assert len(set(labels)) > 4
    chart("lines", "t", {"a": ([1, 1, 1], np.abs(y) + 1e-99)}, logx=True, logy=True)


def rectangles(svg: ET.Element) -> list[list[float]]:
    return [[float(r.get(k)) for k in ("x", "width")] for r in svg.iter("rect")]


def test_bars_are_as_long_as_their_values():
    svg = chart("bars", "t", ["x", "y"], {"a": [1, 2], "b": [4, None]}, "ms")
    (x, one), (_, four), (_, two) = rectangles(svg)
    assert (two, four) == (pytest.approx(2 * one, abs=0.2), pytest.approx(4 * one, abs=0.4))
    assert {"x", "y", "1", "2", "4", "ms", "a", "b"} <= set(texts(svg))
    assert [t.text for t in svg.iter("title")] == ["x, a: 1 ms", "x, b: 4 ms", "y, a: 2 ms"]
    below, above = rectangles(chart("bars", "t", ["x", "y"], {"a": [-1, 1]}))
    assert below[0] + below[1] == pytest.approx(above[0], abs=0.2)
    assert x > 0


def test_bars_on_a_log_axis():
    svg = chart("bars", "t", ["x", "y", "z"], {"a": [0.1, 10, 0]}, log=True)
    (_, short), (_, long) = rectangles(svg)
    assert 3 < short < long
    assert "no data" in "".join(texts(svg))


def test_stacked_bars_and_their_marks():
    svg = chart(
        "bars", "t", ["x", "y"], {"a": [1, 2], "b": [3, None], "c": [4, 5]},
        stacked=True, marks=("peak", [9, 1000]),
    )  # fmt: skip
    plain = [r for r in svg.iter("rect") if not r.get("fill").startswith("url")]
    ends = [float(r.get("x")) + float(r.get("width")) for r in plain]
    starts = [float(r.get("x")) for r in plain]
    assert starts[1:3] == pytest.approx(ends[:2], abs=0.2)
    assert starts[4] == pytest.approx(ends[3], abs=0.2)
    assert {r.get("fill") for r in svg.iter("rect")} >= {"url(#hatch0)", "url(#hatch2)"}
    assert {"8 | 9", "7 | 1,000"} <= set(texts(svg))
    # A mark far outside doesn't squeeze the bars.
    assert max(ends) > 150


def test_a_reference_line_is_inside_the_picture():
    page = Page("t")
    page.bars("t", ["x"], {"a": [1]}, reference=("limit", 5))
    assert "limit: 5" in parsed(page).texts


def test_a_roofline():
    points = {"SGD": (0.2, 2.0), "Adam": (0.5, 5.0), "product": (50.0, 80.0)}
    svg = chart("roofline", "t", points, 100, {"memory": 20, "cache": 200})
    assert {"memory, 20 GB/s", "cache, 200 GB/s", "100 GFLOP/s"} <= set(texts(svg))
    marks = [p for p in svg.iter("path") if p.find("title") is not None]
    assert len({p.get("d") for p in marks}) == 3, "points must differ in shape"
    x, y = zip(*(map(float, re.findall(r"[\d.]+", p.get("transform"))) for p in marks), strict=True)
    assert x[0] < x[1] < x[2]
    assert y[0] > y[1] > y[2]
    # The same factor is the same distance on both: log axes.
    assert (x[1] - x[0]) / (x[2] - x[0]) == pytest.approx(math.log(2.5) / math.log(250), abs=0.01)


def test_a_point_above_the_roof_is_in_the_picture():
    svg = chart("roofline", "t", {"a": (400.0, 7e16)}, 100, {"memory": 20})
    (mark,) = (p for p in svg.iter("path") if p.find("title") is not None)
    _, y = map(float, re.findall(r"[\d.]+", mark.get("transform")))
    assert 24 < y < 224


def test_lines_can_be_told_apart_without_colour():
    svg = chart("lines", "t", {str(i): ([0, 1], [i, i]) for i in range(14)})
    drawn = [g.find("path") for g in svg.iter("g")]
    looks = [(p.get("stroke"), p.get("stroke-dasharray")) for p in drawn]
    assert len({dashes for _, dashes in looks}) == 7
    assert len(set(looks)) == 14


def areas(svg: ET.Element) -> list[list[tuple[int, list[float]]]]:
    """Of each panel the rectangles (colour, [x0, y0, x1, y1])."""
    found: dict[float, list[tuple[int, list[float]]]] = {}
    for path in svg.iter("path"):
        if path.get("fill-opacity") is None:
            continue
        for cell in path.get("d").split("z")[:-1]:
            x0, y0, x1, y1, _ = map(float, re.findall(r"[\d.]+", cell))
            found.setdefault(x0 > 200, []).append((path.get("fill"), [x0, y0, x1, y1]))
    return list(found.values())


def test_regions_are_where_the_classes_are():
    """Row 0 is at the bottom; the cells of a panel fill it and don't overlap."""
    grids = {"one": [[0, 0, 1], [2, 1, 1]], "two": np.ones((2, 3), int)}
    svg = chart("regions", "t", grids, (-1, 2, 10, 12), ["a", "b", "c"],
                ([-0.9, 1.9, 7.0, math.nan], [10.1, 11.9, 11, 11], [0, 2, 1, 1]))  # fmt: skip
    one, two = areas(svg)
    assert len({colour for colour, _ in one}) == 3
    assert len({colour for colour, _ in two}) == 1
    left, right = min(b[0] for _, b in one), max(b[2] for _, b in one)
    assert len(one) == 4, "runs of a class are one rectangle"
    size = right - left
    assert sum((b[2] - b[0]) * abs(b[3] - b[1]) for _, b in one) == pytest.approx(size * size, 0.01)
    # Class 0 takes two thirds of the lower half, class 2 the first third of the upper one.
    (a,), (c,) = ([b for colour, b in one if colour == f"var(--c{i})"] for i in (1, 3))
    assert a[2] - a[0] == pytest.approx(size * 2 / 3, abs=0.2)
    assert c[2] - c[0] == pytest.approx(size / 3, abs=0.2)
    assert min(a[1], a[3]) == pytest.approx(max(c[1], c[3]), abs=0.2)
    assert max(a[1], a[3]) > max(c[1], c[3])
    # Two of the points are inside; each is drawn in both panels.
    marks = [p.get("transform") for p in svg.iter("path") if "scale" in p.get("transform", "")]
    places = [[float(v) for v in re.findall(r"[\d.]+", m)[:2]] for m in marks]
    assert len(places) == 4
    assert places[0][0] < left + 0.1 * size
    assert places[0][1] > a[1] - 0.5 * size
    assert places[1][0] > right - 0.1 * size
    assert places[1][1] < places[0][1]


def test_regions_of_nothing():
    assert "no data" in texts(chart("regions", "t", {}, (0, 1, 0, 1), ["a"]))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
def test_images(rng, shape):
    pixels = rng.integers(0, 256, shape).astype(np.uint8)
    page = Page("t")
    page.image(pixels, "filters", zoom=8)
    html = page.render()
    assert 'alt="filters" width="40" height="32"' in html
    parsed(page)
    png = io.BytesIO(base64.b64decode(re.search(r'base64,([^"]*)', html)[1]))
    with Image.open(png) as image:
        assert (np.asarray(image) == pixels).all()
    again = Page("t")
    again.image(png.getvalue(), "filters", zoom=8)
    assert again.render() == html


def colours() -> list[dict[str, str]]:
    """The light and the dark scheme of the style sheet."""
    css = Page("t").render()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#\w{6});", scheme)) for scheme in (light, dark)]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2."""

    def luminance(colour: str) -> float:
        c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1])
def test_contrast(scheme):
    found = colours()[scheme]
    assert set(found) == {"paper", "ink", "soft", "grid", "faint", *(f"c{i}" for i in range(7))}
    for name, colour in found.items():
        least = {"ink": 7, "soft": 4.5, "grid": 1.3, "faint": 1.1, "paper": 1}.get(name, 3)
        assert contrast(colour, found["paper"]) >= least, name


BAD = {
    "table: row 1 must have 2 cells, got 1": lambda p: p.table(["a", "b"], [[1, 2], [3]]),
    "bars: series 'a' must be 1-D of length 2, got shape (1,)": lambda p: p.bars(
        "t", ["x", "y"], {"a": [1]}
    ),
    "bars: series 'a' must be numbers, got ['one']": lambda p: p.bars("t", ["x"], {"a": ["one"]}),
    "bars: series must have a value > 0 for a log axis, got 0 at most": lambda p: p.bars(
        "t", ["x", "y"], {"a": [0, -1]}, log=True
    ),
    "stacked bars must be >= 0 on a linear axis, got -1": lambda p: p.bars(
        "t", ["x"], {"a": [-1]}, stacked=True
    ),
    "stacked bars must be >= 0 on a linear axis, got log=True": lambda p: p.bars(
        "t", ["x"], {"a": [1]}, stacked=True, log=True
    ),
    "bars: marks must go with stacked bars": lambda p: p.bars(
        "t", ["x"], {"a": [1]}, marks=("m", [1])
    ),
    "bars: marks 'm' must be 1-D of length 1, got shape (2,)": lambda p: p.bars(
        "t", ["x"], {"a": [1]}, stacked=True, marks=("m", [1, 2])
    ),
    "bars: reference 'r' must be > 0 on a log axis, got 0": lambda p: p.bars(
        "t", ["x"], {"a": [1]}, log=True, reference=("r", 0)
    ),
    "lines: y of 'a' must be 1-D of length 2, got shape (3,)": lambda p: p.lines(
        "t", {"a": ([1, 2], [1, 2, 3])}
    ),
    "lines: x of 'a' must be 1-D, got shape (1, 2)": lambda p: p.lines("t", {"a": ([[1, 2]], [1])}),
    "lines: x of 'a' must rise, got values that fall": lambda p: p.lines(
        "t", {"a": ([1, 3, 2], [1, 2, 3])}
    ),
    "lines: y must have a value > 0 for a log axis, got -1 at most": lambda p: p.lines(
        "t", {"a": ([1, 2], [-1, -2])}, logy=True
    ),
    "lines: bands must be of a, got 'b'": lambda p: p.lines(
        "t", {"a": ([1], [1])}, bands={"b": [([1], [2])]}
    ),
    "lines: band of 'a' must be 1-D of length 1, got shape (2,)": lambda p: p.lines(
        "t", {"a": ([1], [1])}, bands={"a": [([1, 1], [2, 2])]}
    ),
    "regions: panel 'a' must be (H, W) integers from 0 to 1, got int64 (1, 2)": lambda p: p.regions(
        "t", {"a": [[0, 2]]}, (0, 1, 0, 1), ["x", "y"]
    ),
    "regions: panel 'a' must be (H, W) integers from 0 to 0, got float64 (1, 1)": lambda p: (
        p.regions("t", {"a": [[0.0]]}, (0, 1, 0, 1), ["x"])
    ),
    "regions: panel 'a' must be (H, W) integers from 0 to 0, got int64 (2,)": lambda p: p.regions(
        "t", {"a": [0, 0]}, (0, 1, 0, 1), ["x"]
    ),
    "regions: extent must be left < right, bottom < top, got (0, 1, 1, 1)": lambda p: p.regions(
        "t", {"a": [[0]]}, (0, 1, 1, 1), ["x"]
    ),
    "regions: points must be x, y and class, integers from 0 to 0, of one length, got shapes (1,), "
    "(1,), (2,)": lambda p: p.regions("t", {"a": [[0]]}, (0, 1, 0, 1), ["x"], ([0], [0], [0, 0])),
    "regions: points must be x, y and class, integers from 0 to 0, of one length, got shapes (1,), "
    "(1,), (1,)": lambda p: p.regions("t", {"a": [[0]]}, (0, 1, 0, 1), ["x"], ([0], [0], [1])),
    "roofline: peak_gflops must be > 0, got nan": lambda p: p.roofline("t", {}, math.nan, {"m": 1}),
    "roofline: memory must be > 0, got 0": lambda p: p.roofline("t", {}, 1, {"memory": 0}),
    "roofline: 'a' must be 1-D of length 2, got shape (3,)": lambda p: p.roofline(
        "t", {"a": (1, 2, 3)}, 1, {"m": 1}
    ),
    "image: array must be uint8 (H, W), (H, W, 3) or (H, W, 4), got float64 (2, 2)": lambda p: (
        p.image(np.zeros((2, 2)), "c")
    ),
    "image: data must be a PNG or an array, got bytes b'GIF89a'": lambda p: p.image(b"GIF89a", "c"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_leaves_the_page_as_it_was(message):
    page = Page("t")
    before = page.render()
    with pytest.raises(ValueError, match=re.escape(message)):
        BAD[message](page)
    assert page.render() == before
