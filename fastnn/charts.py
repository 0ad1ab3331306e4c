"""Charts as SVG for a page: bars, lines, regions and a roofline, from numbers to markup.

Each chart is a figure of HTML with an accessible name, drawn in units of about a phone's pixel.
Lines differ in their dashes too, bars in place or hatch, points in shape, so that a chart says the
same in grey; what a mark is shows as a tooltip. Colours are variables of the page's style sheet.
Every text is escaped: names from data are shown as they are.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
#: Values to draw; None, NaN and infinity have no place in a chart.
Values = ArrayLike | Sequence[float | None]

_DASHES = ("", "7 3", "7 3 1.5 3", "2 2.5", "12 3", "7 2 1.5 2 1.5 2", "4 2")
_MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", "M-3.5-3.5h7v7h-7z", "M0-5L5 0L0 5L-5 0z",
    "M0-5L4.5 3.5h-9z", "M0 5L4.5-3.5h-9z", "M-1-4h2v3h3v2h-3v3h-2v-3h-3v-2h3z",
    "M-4-4L4-4L-4 4L4 4z",
)  # fmt: skip
#: In units of the picture, which is about as wide as a phone: width, text, and a line of bars.
_WIDTH, _FONT, _ROW = 400, 12, 18
_CHARACTER = 0.64 * _FONT
_BOTTOM = 224  # where the horizontal axis of lines and roofs is


class Markup(str):
    """Text that is HTML already."""


def tag(name: str, /, *children: str, **attributes: object) -> Markup:
    """An element. Children and attributes are escaped, but for elements; ``class_`` is class."""
    parts = []
    for key, value in attributes.items():
        text = f"{value:.1f}" if isinstance(value, float) else str(value)
        if value is not None:
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{html.escape(text)}"')
    inside = "".join(c if isinstance(c, Markup) else html.escape(c) for c in children)
    end = ">" if name in ("img", "meta") else f">{inside}</{name}>"
    return Markup(f"<{name}{''.join(parts)}{end}")


def _text(
    x: float, y: float, text: str, anchor: str = "start", class_: str | None = None
) -> Markup:
    """A line of text whose middle is at y."""
    return tag("text", text, x=x, y=y + 0.35 * _FONT, text_anchor=anchor, class_=class_)


def _width(texts: Sequence[str]) -> float:
    """Of the longest; a minus sign is wider than a digit."""
    return max((len(text) + text.count("−") / 2 for text in texts), default=0) * _CHARACTER


def _fit(text: str, width: float) -> str:
    most = int(width / _CHARACTER)
    return text if len(text) <= most else text[: most - 1] + "…"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits: 1,234 or 2×10⁻⁷; – for None, NaN and infinity.

    >>> number(0.12345), number(30_000), number(-2e-7), number(None)
    ('0.123', '30,000', '−2×10⁻⁷', '–')
    """
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0 or 1e-3 <= abs(rounded) < 1e6:
        return f"{rounded:,.12g}".replace("-", "−")
    mantissa, exponent = f"{rounded:.{digits - 1}e}".split("e")
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    short = f"{float(mantissa):g}×".replace("-", "−")
    return {"1×": "", "−1×": "−"}.get(short, short) + power


def ticks(low: float, high: float, log: bool = False) -> tuple[list[float], list[float]]:
    """Round numbers in low … high: about five to be labelled, and those between them."""
    if log:
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        step = max(1, math.ceil(math.log10(high / low) / 6))

        def powers(multiples: Sequence[int], step: int = 1) -> list[float]:
            all_ = [float(f"{m}e{e}") for e in exponents if e % step == 0 for m in multiples]
            return [v for v in all_ if low <= v <= high]

        for major in (powers([1], step), powers([1, 2, 5])):
            if len(major) >= 3:
                return major, powers(range(1, 10) if step == 1 else [1])
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step_ = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)

    def multiples(step: float) -> list[float]:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return [float(f"{i * step:.12g}") for i in range(first, last + 1)]

    return multiples(step_), multiples(step_ / 2)


@dataclass(frozen=True)
class _Scale:
    """Takes low … high to start … end of the picture; NaN where there is no place."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: ArrayLike) -> Array:
        ends = np.array([self.low, self.high])
        v = np.asarray(values, np.float64)
        if self.log:
            v, ends = np.log10(np.where(v > 0, v, np.nan)), np.log10(ends)
        return self.start + (v - ends[0]) / (ends[1] - ends[0]) * (self.end - self.start)


def _floats(what: str, values: Values, length: int | None = None) -> Array:
    """1-D float64; NaN stands for what can't be drawn: None, NaN, infinite, beyond 10¹⁰⁰."""
    try:
        a = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be numbers, got {values!r:.80}") from None
    if a.ndim != 1 or (length is not None and len(a) != length):
        expected = "1-D" if length is None else f"1-D of length {length}"
        raise ValueError(f"{what} must be {expected}, got shape {a.shape}")
    size = np.abs(a)
    return np.where(size < 1e100, np.where(size > 1e-100, a, 0.0), np.nan)


def _limits(what: str, values: Sequence[Array], log: bool, pad: float = 0.0) -> tuple[float, float]:
    """The ends of an axis for the values, of which one is finite. The ends are never equal."""
    known = np.concatenate(values)
    known = known[np.isfinite(known)]
    if log:
        if not (known > 0).any():
            raise ValueError(
                f"{what} must have a value > 0 for a log axis, got {known.max():g} at most"
            )
        low, high = np.log10(known[known > 0].min()), np.log10(known.max())
    else:
        low, high = known.min(), known.max()
    # Ends that are almost equal would give ticks with the same label.
    if high - low <= 1e-4 * max(abs(low), abs(high)):
        middle, half = (low + high) / 2, 0.3 if log else 0.1 * abs(high) or 1.0
        low, high = middle - half, middle + half
    low, high = low - pad * (high - low), high + pad * (high - low)
    return (10.0**low, 10.0**high) if log else (float(low), float(high))


def thin(x: Array, y: Array) -> Array:
    """Indices of the points that a picture can show, in order: at most three in 2 units of x.

    ``x`` (N,) rising and ``y`` (N,) are places in the picture. Of each column stay the lowest and
    the highest point, and a NaN, which is a gap.
    """
    if len(x) <= _WIDTH:
        return np.arange(len(x))
    column = np.nan_to_num(x, nan=-1.0) // 2
    order = np.lexsort((y, column))  # NaN comes last in its column
    first = np.flatnonzero(np.diff(column[order], prepend=-np.inf))
    last = np.append(first[1:], len(x)) - 1
    finite = np.add.reduceat(np.isfinite(y[order]).astype(int), first)
    highest = np.maximum(first + finite - 1, first)
    return np.unique([0, len(x) - 1, *order[first], *order[highest], *order[last]])


def _runs(mask: Array) -> list[slice]:
    """Where the mask holds, as slices."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    return [slice(a, b) for a, b in edges.reshape(-1, 2)]


def _points(x: Array, y: Array) -> str:
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _line(x: Array, y: Array) -> str:
    """Path data, with gaps at NaN; a point alone is a short dash."""
    runs = _runs(np.isfinite(x + y))
    return "".join(f"M{_points(x[r], y[r])}{'h2' if r.stop - r.start == 1 else ''}" for r in runs)


def _band(x: Array, low: Array, high: Array) -> str:
    """Path data of the area between, with gaps at NaN."""
    return "".join(
        f"M{_points(x[r], low[r])}L{_points(x[r][::-1], high[r][::-1])}Z"
        for r in _runs(np.isfinite(x + low + high))
    )


def _grid(scale: _Scale, start: float, end: float, across: bool = False) -> list[Markup]:
    """Lines at the ticks, from start to end, and numbers where there is room.

    The axis is horizontal with start below; ``across``, it is vertical with start at the left.
    """
    major, minor = ticks(scale.low, scale.high, scale.log)
    shapes = []
    for values, colour in ((minor, "faint"), (major, "grid")):
        d = [
            f"M{start:.1f} {v:.1f}H{end:.1f}" if across else f"M{v:.1f} {start:.1f}V{end:.1f}"
            for v in scale(values)
        ]
        shapes.append(tag("path", d="".join(d), fill="none", stroke=f"var(--{colour})"))
    labels, at = [number(v, 6) for v in major], scale(major)
    if across:
        anchors = zip(labels, at.tolist(), strict=True)
        return shapes + [_text(start - 5, y, text, "end", "tick") for text, y in anchors]
    half = np.array([_width([text]) / 2 for text in labels])
    at = np.clip(at, half, _WIDTH - half)
    left, right = at - half, at + half
    # Every label, or every second, third …: the first step with which none touches another.
    steps = range(1, len(labels) + 1)
    step = next(k for k in steps if (left[k::k] - right[:-k:k] > 5).all())
    anchors = zip(labels[::step], at[::step].tolist(), strict=True)
    return shapes + [_text(x, start + 11, text, "middle", "tick") for text, x in anchors]


def _frame(
    x: tuple[float, float, bool], y: tuple[float, float, bool], labels: tuple[str, str]
) -> tuple[_Scale, _Scale, list[Markup]]:  # fmt: skip
    """Both scales, from (low, high, log), and the grid with its labels."""
    right = _WIDTH - 12.0
    left = _width([number(v, 6) for v in ticks(*y)[0]]) + 6
    across = _Scale(*x[:2], left, right, x[2])
    up = _Scale(*y[:2], _BOTTOM, 24, y[2])
    return across, up, [
        *_grid(across, _BOTTOM, 24), *_grid(up, left, right, across=True),
        _text((left + right) / 2, _BOTTOM + 28, labels[0], "middle", "name"),
        _text(0, 8, labels[1], class_="name"),
    ]  # fmt: skip


def _stroke(d: str, i: int, dashes: str = "") -> Markup:
    return tag("path", d=d, fill="none", stroke=_colour(i), stroke_width=1.8,
               stroke_linejoin="round", stroke_dasharray=dashes or None)  # fmt: skip


def _colour(i: int) -> str:
    # After a round of seven, colours and dashes (or shapes) pair up anew.
    return f"var(--c{(i + i // 7) % 7})"


def _bar(x: float, y: float, width: float, height: float, i: int, hatch: bool) -> Markup:
    place = {"x": x, "y": y, "width": width, "height": height}
    plain = tag("rect", fill=_colour(i + 1), **place)  # from blue on: black is for lines
    return Markup(plain + tag("rect", fill=f"url(#hatch{i % 4})", **place)) if hatch else plain


def _swatch(shape: Markup) -> Markup:
    return tag("svg", shape, viewBox="0 0 28 12", width=28, height=12, aria_hidden="true")


def _figure(
    title: str, height: float, shapes: Sequence[Markup], names: Iterable[str],
    key: Sequence[tuple[Markup, str]] = (),
) -> Markup:  # fmt: skip
    """The chart under its title, and a key of swatches and names."""
    picture = tag("svg", *shapes, viewBox=f"0 0 {_WIDTH} {height:.0f}", role="img",
                  aria_label=f"{title}: {', '.join(names)}")  # fmt: skip
    below = [tag("ul", *(tag("li", *item) for item in key), class_="key")] if key else []
    # A tall chart takes several rows, so that others fit beside it.
    style = f"--rows:{max(1, round(height / 290))}"
    return tag("figure", tag("figcaption", title), picture, *below, style=style)


def _nothing(title: str, names: Iterable[str]) -> Markup:
    return _figure(title, 24, [_text(0, 10, "no data", class_="name")], names)


def _bar_row(
    scale: _Scale, y: float, name: str, value: str, bars: Sequence[tuple[int, float, float]],
    mark: float, hatch: bool,
) -> list[Markup]:  # fmt: skip
    """A name, bars (colour, from, to), a mark unless it is NaN, and the value at the end."""
    ends = [(i, *scale([start, end]).tolist()) for i, start, end in bars]
    row = [_bar(min(a, b), y + 2, abs(b - a), _ROW - 4, i, hatch) for i, a, b in ends]
    edge = max(v for _, *places in ends for v in places)
    if np.isfinite(mark):
        place = float(scale(mark))
        # An arrow where the mark is beyond the axis: it must not squeeze the bars.
        beyond = f"M{scale.end - 5:.1f} {y + 4:.1f}l5 5l-5 5"
        row.append(_stroke(beyond if mark > scale.high else f"M{place:.1f} {y:.1f}v{_ROW}", 0))
        edge = max(edge, min(place, scale.end))
    name = _text(scale.start - 6, y + _ROW / 2, _fit(name, scale.start), "end")
    return [*row, name, _text(edge + 4, y + _ROW / 2, value)]


#: Patterns over stacked bars; the first bar is plain.
HATCHES = tag(
    "svg",
    *(
        tag("pattern", tag("path", d=d, stroke="var(--paper)", stroke_width=1.4, fill="none"),
            id=f"hatch{i}", width=6, height=6, patternUnits="userSpaceOnUse")
        for i, d in enumerate(
            ["", "M-1 1L1-1M-1 7L7-1M5 7L7 5", "M3 0V6M0 3H6", "M-1 5L1 7M-1-1L7 7M5-1L7 1"]
        )
    ),
    width=0, height=0, style="position:absolute", aria_hidden="true",
)  # fmt: skip


def bars(
    title: str, labels: Sequence[str], series: Mapping[str, Sequence[float | None]],
    unit: str = "", *, log: bool = False, stacked: bool = False,
    reference: tuple[str, float] | None = None,
    marks: tuple[str, Sequence[float | None]] | None = None,
) -> Markup:  # fmt: skip
    """Horizontal bars: a group for each label, in it a bar for each series, or one ``stacked``.

    ``series[name][i]`` belongs to ``labels[i]``; a bar without a finite value is left out.
    ``reference`` is a line through all groups, with its name. ``marks``, a name and a value
    for each label, are ticks on stacked bars. Raises ``ValueError`` for other lengths than
    that of ``labels``, for a log axis without a positive value, and for stacked bars below 0
    or on a log axis.
    """
    n = len(labels)
    columns = [_floats(f"bars: series {name!r}", values, n) for name, values in series.items()]
    table = np.array(columns).reshape(len(columns), n)
    mark, values = marks or ("", [None] * n)
    at_marks = _floats(f"bars: marks {mark!r}", values, n)
    line, at_line = reference or ("", None)
    (at_reference,) = _floats(f"bars: reference {line!r}", [at_line])
    if reference and not at_reference > (0 if log else -np.inf):
        expected = "> 0 on a log axis" if log else "finite"
        raise ValueError(f"bars: reference {line!r} must be {expected}, got {at_line}")
    if marks and not stacked:
        raise ValueError("bars: marks must go with stacked bars, got stacked=False")
    if stacked and (log or (table < 0).any()):
        got = "log=True" if log else f"{np.nanmin(table):g}"
        raise ValueError(f"bars: stacked bars must be >= 0 on a linear axis, got {got}")
    if not np.isfinite(table).any():
        return _nothing(title, labels)
    ends = np.cumsum(np.nan_to_num(table), axis=0) if stacked else table
    low, high = _limits("bars: series", [*ends, np.zeros(0 if log else 1)], log, 0.1 * log)
    if reference:
        low, high = min(low, at_reference), max(high, at_reference)
    if np.isfinite(at_marks).any():
        high = max(high, min(np.nanmax(at_marks), 1.5 * high))

    base = low if log else 0.0
    grouped, names = len(table) > 1 and not stacked, list(series)
    left = min(_width(names if grouped else labels), 0.42 * _WIDTH) + 10
    right = _width([number(v) for v in ends.ravel()]) + (6 * _CHARACTER if marks else 0) + 6
    scale = _Scale(low, high, left, _WIDTH - right, log)
    shapes, heads, y = [], [], 0.0
    for j, label in enumerate(labels):
        found = np.flatnonzero(table[:, j] > (0 if log else -np.inf)).tolist()
        if grouped or not found:
            head = _fit(label if found else f"{label}: no data", _WIDTH)
            heads.append(_text(0, y + 0.8 * _ROW, head, class_="head"))
            y += 1.3 * _ROW
        for parts in [found] if found and not grouped else [[i] for i in found]:
            bars = [(i, ends[i, j] - table[i, j] if stacked else base, ends[i, j]) for i in parts]
            name, value = names[parts[0]] if grouped else label, number(ends[parts[-1], j])
            tip = f"{label}, {name}: {value} {unit}" if grouped else f"{name}: {value} {unit}"
            if np.isfinite(at_marks[j]):
                value += f" | {number(at_marks[j])}"
                tip += f", {mark} {number(at_marks[j])}"
            row = _bar_row(scale, y, name, value, bars, at_marks[j], stacked)
            shapes.append(tag("g", tag("title", tip), *row))
            y += _ROW
    key = [(_swatch(_bar(0, 0, 28, 12, i, True)), n) for i, n in enumerate(series) if stacked]
    if marks:
        key.append((_swatch(_stroke("M14 0V12", 0)), mark))
    if np.isfinite(at_reference):
        shapes.append(_stroke(f"M{scale(at_reference):.1f} 0V{y:.1f}", 0, "3 2"))
        name = f"{line}: {number(at_reference)}"
        key.append((_swatch(_stroke("M0 6H28", 0, "3 2")), name))
    shapes = [*_grid(scale, y + 2, 0), *shapes, *heads]
    shapes.append(_text((left + scale.end) / 2, y + 30, unit, "middle", "name"))
    return _figure(title, y + 38, shapes, labels, key)


def lines(
    title: str, series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    xlabel: str = "", ylabel: str = "", *, logx: bool = False, logy: bool = False,
    bands: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]] | None = None,
) -> Markup:  # fmt: skip
    """A line for each label through its points x (N,), y (N,); x rises, NaN is a gap.

    ``bands[label]`` are areas around that line, each (low (N,), high (N,)), say quantiles.
    Raises ``ValueError`` for unequal lengths, x that falls, bands of an unknown label, and
    for a log axis without a positive value.
    """
    data, areas = {}, {}
    for label, (x, y) in series.items():
        at = _floats(f"lines: x of {label!r}", x)
        data[label] = at, _floats(f"lines: y of {label!r}", y, len(at))
        if (np.diff(at[np.isfinite(at)]) < 0).any():
            raise ValueError(f"lines: x of {label!r} must rise, got values that fall")
    for label, pairs in (bands or {}).items():
        if label not in data:
            raise ValueError(f"lines: bands must be of {', '.join(data)}, got {label!r}")
        areas[label] = [
            [_floats(f"lines: band of {label!r}", edge, len(data[label][0])) for edge in pair]
            for pair in pairs
        ]
    if not any(np.isfinite(x + y).any() for x, y in data.values()):
        return _nothing(title, series)
    edges = [edge for pairs in areas.values() for pair in pairs for edge in pair]
    x_limits = _limits("lines: x", [x for x, _ in data.values()], logx)
    y_limits = _limits("lines: y", [y for _, y in data.values()] + edges, logy, pad=0.04)
    across, up, shapes = _frame((*x_limits, logx), (*y_limits, logy), (xlabel, ylabel))
    key = []
    for i, label in enumerate(data):
        px, py = across(data[label][0]), up(data[label][1])
        for low, high in areas.get(label, []):
            bottom, top = up(low), up(high)
            kept = np.union1d(thin(px, bottom), thin(px, top))
            d = _band(px[kept], bottom[kept], top[kept])
            shapes.append(tag("path", d=d, fill=_colour(i), fill_opacity="0.22"))
        kept = thin(px, py)
        line = _stroke(_line(px[kept], py[kept]), i, _DASHES[i % 7])
        shapes.append(tag("g", tag("title", label), line))
        key.append((_swatch(_stroke("M0 6H28", i, _DASHES[i % 7])), label))
    return _figure(title, _BOTTOM + 36, shapes, series, key)


def regions(
    title: str, panels: Mapping[str, ArrayLike], extent: tuple[float, float, float, float],
    names: Sequence[str], points: tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    xlabel: str = "", ylabel: str = "",
) -> Markup:  # fmt: skip
    """Pictures of the plane side by side, each cut into the regions of the classes ``names``.

    ``panels[label]`` (H, W) are numbers of classes on a grid over ``extent``, which is (left,
    right, bottom, top); row 0 is at the bottom. ``points`` are x (N,), y (N,) and class (N,), the
    same in all panels; those outside are left out. Raises ``ValueError`` for other shapes, numbers
    of no class, and an extent that is empty.
    """
    grids = {label: np.asarray(grid) for label, grid in panels.items()}
    for label, grid in grids.items():
        if grid.ndim != 2 or not grid.size or not _is_class(grid, len(names)):
            raise ValueError(
                f"regions: panel {label!r} must be (H, W) integers from 0 to {len(names) - 1}, "
                f"got {grid.dtype} {grid.shape}"
            )
    ends = _floats("regions: extent", extent, 4)
    if not (ends[1] > ends[0] and ends[3] > ends[2]):
        raise ValueError(f"regions: extent must be left < right, bottom < top, got {extent}")
    px, py, kind = points or ([], [], [])
    px, py = _floats("regions: x of points", px), _floats("regions: y of points", py)
    kinds = np.asarray(kind, None if len(px) else np.intp)
    if not len(px) == len(py) == kinds.size or not _is_class(kinds, len(names)):
        raise ValueError(
            f"regions: points must be x, y and class, integers from 0 to {len(names) - 1}, of one "
            f"length, got shapes {px.shape}, {py.shape}, {kinds.shape}"
        )
    if not grids:
        return _nothing(title, names)
    low, high = float(ends[2]), float(ends[3])
    left = _width([number(v, 6) for v in ticks(low, high)[0]]) + 6
    size, gap = (_WIDTH - left - 2 * _FONT - 12) / 2, 2 * _FONT
    shapes, height = [_text(0, 8, ylabel, class_="name")], size + 52
    for i, (label, grid) in enumerate(grids.items()):
        start, top = left + (i % 2) * (size + gap), 36 + (i // 2) * height
        across = _Scale(float(ends[0]), float(ends[1]), start, start + size)
        up = _Scale(low, high, top + size, top)
        rows = _grid(up, start, start + size, across=True)
        shapes += rows[: None if i % 2 == 0 else 2]  # numbers at the left only
        shapes += _grid(across, top + size + 4, top)  # clear of the numbers at the left
        shapes.append(_text(start, top - 10, label, class_="head"))
        edges_x = np.linspace(start, start + size, grid.shape[1] + 1)
        edges_y = np.linspace(top + size, top, grid.shape[0] + 1)
        for j, name in enumerate(names):
            if d := _cells(grid == j, edges_x, edges_y):
                area = tag("path", tag("title", name), d=d, fill=_colour(j + 1),
                           fill_opacity="0.3", shape_rendering="crispEdges")  # fmt: skip
                shapes.append(area)
        at = zip(across(px).tolist(), up(py).tolist(), kinds.tolist(), strict=True)
        for x, y, j in at:
            if start <= x <= start + size and top <= y <= top + size:
                place = f"translate({x:.1f} {y:.1f}) scale(0.6)"
                shapes.append(tag("path", d=_MARKS[j % 7], fill=_colour(j + 1), transform=place))
    end = 36 + -(-len(grids) // 2) * height
    shapes.append(_text((left + _WIDTH) / 2, end - 20, xlabel, "middle", "name"))
    key = [(_swatch(_class_mark(j)), name) for j, name in enumerate(names)]
    return _figure(title, end - 8, shapes, grids, key)


def _is_class(numbers: Array, classes: int) -> bool:
    whole = numbers.dtype.kind in "iu"
    return whole and (not numbers.size or (numbers.min() >= 0 and numbers.max() < classes))


def _class_mark(j: int) -> Markup:
    area = tag("path", d="M0 0H28V12H0z", fill=_colour(j + 1), fill_opacity="0.3")
    mark = tag("path", d=_MARKS[j % 7], fill=_colour(j + 1), transform="translate(14 6)")
    return Markup(area + mark)


def _cells(mask: Array, x: Array, y: Array) -> str:
    """Path data of the cells where the mask (H, W) holds, between edges x (W + 1,), y (H + 1,)."""
    return "".join(
        f"M{x[run.start]:.1f} {y[i]:.1f}H{x[run.stop]:.1f}V{y[i + 1]:.1f}H{x[run.start]:.1f}z"
        for i, row in enumerate(mask)
        for run in _runs(row)
    )


def roofline(
    title: str, points: Mapping[str, tuple[float, float]], peak_gflops: float,
    bandwidths: Mapping[str, float],
) -> Markup:  # fmt: skip
    """What was reached, ``points[label]`` = (flops per byte, GFLOP/s), and what could be.

    The roofs, on two log axes, are ``peak_gflops`` and intensity × GB/s for each memory of
    ``bandwidths``. Raises ``ValueError`` for roofs that aren't positive; points that aren't
    have no place and are left out.
    """
    for what, roof in [("peak_gflops", peak_gflops), *bandwidths.items()]:
        if not (math.isfinite(roof) and roof > 0):
            raise ValueError(f"roofline: {what} must be > 0, got {roof}")
    at = {label: _floats(f"roofline: {label!r}", point, 2) for label, point in points.items()}
    at = {label: point for label, point in at.items() if (point > 0).all()}
    if not at or not bandwidths:
        return _nothing(title, points)
    ridges = {name: peak_gflops / roof for name, roof in bandwidths.items()}
    x = np.array([*[x for x, _ in at.values()], *ridges.values()])
    low, high = x.min() / 3, x.max() * 4
    reached = [y for _, y in at.values()]
    bottom, top = min(peak_gflops, *reached) / 3, max(peak_gflops, *reached) * 2
    across, up, shapes = _frame(
        (low, high, True), (bottom, top, True), ("flops per byte", "GFLOP/s")
    )
    for name, ridge in ridges.items():
        roof = bandwidths[name]
        start = max(low, bottom / roof)
        px, py = across([start, ridge, high]), up([start * roof, peak_gflops, peak_gflops])
        shapes.append(_stroke("M" + _points(px, py), 0))
        angle = math.degrees(math.atan2(py[1] - py[0], px[1] - px[0]))
        middle = f"translate({px[:2].mean():.1f} {py[:2].mean():.1f}) rotate({angle:.1f})"
        text = _text(0, -10, f"{name}, {number(roof)} GB/s", "middle", "name")
        shapes.append(tag("g", text, transform=middle))
    roof_name = f"{number(peak_gflops)} GFLOP/s"
    shapes.append(_text(across.end, float(up(peak_gflops)) - 9, roof_name, "end", "name"))
    key = []
    for i, (label, point) in enumerate(at.items()):
        mark, fill = _MARKS[i % 7], _colour(i)
        place = f"translate({across(point[0]):.1f} {up(point[1]):.1f})"
        tip = f"{label}: {number(point[0])} flops per byte, {number(point[1])} GFLOP/s"
        shapes.append(tag("path", tag("title", tip), d=mark, fill=fill, transform=place))
        key.append((_swatch(tag("path", d=mark, fill=fill, transform="translate(14 6)")), label))
    return _figure(title, _BOTTOM + 36, shapes, points, key)
