"""One HTML page with text, tables, charts and images, for a browser, a phone or paper.

The file needs nothing but itself: no script, no font, no network, which its content policy forbids
too. It takes the reader's light or dark scheme, and prints in light. Every text is escaped.
"""

from __future__ import annotations

import base64
import functools
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import charts
from fastnn.charts import Markup, number, tag
from fastnn.files import write_atomically

Cell = str | float | None
P = ParamSpec("P")


def _block(make: Callable[P, Markup]) -> Callable[Concatenate[Page, P], None]:
    """The method that appends what ``make`` returns."""

    @functools.wraps(make)
    def add(self: Page, /, *args: P.args, **kwargs: P.kwargs) -> None:
        self._blocks.append(make(*args, **kwargs))

    return add


class Page:
    """A page that grows block by block; charts stand side by side where there is room."""

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._blocks = [tag("h1", title)]
        if subtitle:
            self.note(subtitle)

    def heading(self, text: str) -> None:
        """A section begins."""
        self._blocks.append(tag("h2", text))

    def text(self, text: str) -> None:
        """A paragraph."""
        self._blocks.append(tag("p", text))

    def note(self, text: str) -> None:
        """A paragraph in small print."""
        self._blocks.append(tag("p", text, class_="small"))

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Cell]], left: int = 1) -> None:
        """A table that scrolls in its own box where it is too wide.

        Numbers are rounded, None is a dash. The first ``left`` columns are aligned left. Raises
        ``ValueError`` for a row of another length than ``head``.
        """
        for i, row in enumerate(rows):
            if len(row) != len(head):
                raise ValueError(f"table: row {i} must have {len(head)} cells, got {len(row)}")

        def line(cells: Sequence[Cell], first: str, others: str) -> Markup:
            texts = [c if isinstance(c, str) else number(c) for c in cells]
            return tag("tr", *(
                tag(others if j else first, text, class_="left" if j < left else None)
                for j, text in enumerate(texts)
            ))  # fmt: skip

        body = tag("tbody", *(line(row, "th", "td") for row in rows))
        table = tag("table", tag("thead", line(head, "th", "th")), body)
        # A box that scrolls must be reachable by keyboard.
        box = {"class_": "box", "tabindex": 0, "role": "region", "aria_label": ", ".join(head)}
        self._blocks.append(tag("div", table, **box))

    def image(self, data: ArrayLike | bytes, caption: str, zoom: int = 1) -> None:
        """A PNG, or an array of uint8, each pixel ``zoom`` wide: (H, W), (H, W, 3) or, with alpha,
        (H, W, 4).

        Raises ``ValueError`` for anything else.
        """
        png = data if isinstance(data, bytes) else _png(np.asarray(data))
        if png[:8] != _SIGNATURE:
            raise ValueError(f"image: data must be a PNG or an array, got bytes {png[:8]!r}")
        width, height = struct.unpack(">2I", png[16:24])
        source = "data:image/png;base64," + base64.b64encode(png).decode()
        picture = tag("img", src=source, alt=caption, width=zoom * width, height=zoom * height)
        self._blocks.append(tag("figure", picture, tag("figcaption", caption)))

    bars = _block(charts.bars)
    lines = _block(charts.lines)
    regions = _block(charts.regions)
    roofline = _block(charts.roofline)

    def render(self) -> str:
        """The page as HTML."""
        style = Path(__file__).with_suffix(".css").read_text("utf-8")
        head = tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
            tag("meta", http_equiv="Content-Security-Policy",
                 content="default-src 'none';style-src 'unsafe-inline';img-src data:"),
            tag("title", self._title),
            tag("style", Markup(style)),
        )  # fmt: skip
        body = tag("body", charts.HATCHES, tag("main", *self._blocks))
        return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the page, whole or not at all. Raises ``OSError`` as ``write_atomically`` does."""
        write_atomically(path, self.render().encode("utf-8", "replace"))


_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _png(pixels: NDArray[Any]) -> bytes:
    """An array (H, W), (H, W, 3) or (H, W, 4) of uint8 as PNG."""
    if (
        pixels.dtype != np.uint8
        or pixels.shape[2:] not in ((), (3,), (4,))
        or 0 in pixels.shape
        or pixels.ndim < 2
    ):
        raise ValueError(
            f"image: array must be uint8 (H, W), (H, W, 3) or (H, W, 4), got {pixels.dtype} "
            f"{pixels.shape}"
        )

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    height, width = pixels.shape[:2]
    lines = np.insert(pixels.reshape(height, -1), 0, 0, axis=1)  # filter 0 before each line
    colour = {(): 0, (3,): 2, (4,): 6}[pixels.shape[2:]]
    header = struct.pack(">2I5B", width, height, 8, colour, 0, 0, 0)
    data = zlib.compress(lines.tobytes(), 9)
    return _SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
