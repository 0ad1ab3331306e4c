"""Cases of pooling. Letters as in ``fastnn.geometry``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cases import Data
from fastnn.geometry import Geometry2D, pool2d_geometry

Cases = Iterator[tuple[str, tuple[Any, ...]]]


class Shape(NamedTuple):
    n: int
    h: int
    w: int
    c: int
    size: tuple[int, int]
    strides: Any = None
    padding: Any = "valid"
    dilation: Any = 1

    @property
    def image(self) -> tuple[int, int, int, int]:
        return self.n, self.h, self.w, self.c

    @property
    def geometry(self) -> Geometry2D:
        return pool2d_geometry(
            "max_pool2d", self.image[1:], self.size, self.strides, self.padding, self.dilation
        )

    @property
    def out(self) -> tuple[int, int, int, int]:
        return (self.n, *self.geometry.out_shape)

    @property
    def text(self) -> str:
        more = {k: v for k, v in self._asdict().items() if k in self._field_defaults}
        more = {k: v for k, v in more.items() if v != self._field_defaults[k]}
        return f"{self.image}, {self.size}" + "".join(f", {k}={v}" for k, v in more.items())


TINY = [
    Shape(1, 1, 1, 1, (1, 1)),
    Shape(2, 4, 6, 2, (2, 3)),
    Shape(1, 5, 4, 3, (3, 3), 2, "same"),
    Shape(1, 5, 6, 2, (3, 2), (1, 2), ((1, 2), (0, 1))),
    Shape(1, 6, 7, 1, (2, 3), (3, 1), "same", 2),
    Shape(2, 3, 4, 2, (3, 4)),
    Shape(1, 7, 5, 2, (2, 1), (3, 2)),
    Shape(0, 4, 4, 2, (2, 2)),
]

FULL = [
    Shape(1, 1, 1, 1, (1, 1)),
    Shape(0, 8, 6, 3, (3, 3), 2, "same"),
    Shape(2, 8, 6, 3, (2, 2)),
    Shape(1, 9, 11, 15, (3, 3), 2, "same"),
    Shape(2, 8, 10, 16, (3, 3), 2, "same"),
    Shape(7, 7, 5, 17, (3, 3), 2, ((1, 1), (1, 1))),
    Shape(1, 13, 11, 64, (3, 3), 1, "same"),
    Shape(1, 11, 13, 5, (3, 2), (1, 3), ((2, 0), (0, 1))),
    Shape(2, 13, 9, 7, (2, 5), (3, 2), "same"),
    Shape(1, 12, 13, 4, (4, 3), 3, ((1, 3), (2, 1))),
    Shape(1, 17, 16, 3, (5, 5), 2, 2),
    # Windows smaller than the stride: some pixels are in no window.
    Shape(2, 7, 8, 6, (1, 1), (2, 3)),
    Shape(2, 11, 13, 3, (2, 2), 3),
    Shape(1, 12, 13, 5, (3, 3), 1, "same", 2),
    # A common factor of stride and dilation: the taps of a window meet every other element.
    Shape(1, 13, 12, 5, (3, 2), 2, "same", 2),
    Shape(1, 16, 14, 2, (2, 3), (4, 2), ((1, 0), (2, 1)), 2),
    # The whole image, as global pooling; a window as large as the padded image.
    Shape(13, 7, 6, 65, (7, 6)),
    Shape(2, 4, 3, 9, (6, 4), 1, ((1, 1), (0, 1))),
    # The largest window whose index is a byte, and larger ones.
    Shape(1, 17, 18, 3, (16, 16), (1, 2)),
    Shape(2, 18, 19, 2, (17, 16), 1),
    Shape(1, 20, 17, 3, (20, 17)),
    # Parallel: from some 100,000 taps on.
    Shape(5, 33, 31, 65, (3, 3), 2, "same"),
    Shape(2, 24, 26, 130, (2, 2)),
    Shape(2, 31, 29, 64, (3, 3), (1, 2), "same"),
    Shape(17, 14, 15, 131, (14, 15)),
]


def _shapes(size: str) -> list[Shape]:
    return TINY if size == "tiny" else FULL


def _index(s: Shape, fill: int) -> np.ndarray:
    return np.full(s.out, fill, s.geometry.index_dtype)


def max_pool2d(data: Data, size: str) -> Cases:
    """Integers have many ties. Where all is negative, a 0 from the padding would win."""
    for s in _shapes(size):
        x = data.array(*s.image)
        for sign, images in (("", x), (", negative", -1 - np.abs(x))):
            yield s.text + sign, (images, s.geometry, data.output(*s.out), _index(s, 255))


def max_pool2d_backward(data: Data, size: str) -> Cases:
    """Any tap may have won; those in the padding, and what is no tap at all, add nothing."""
    for s in _shapes(size):
        taps = s.geometry.taps
        index = data.rng.integers(0, taps, s.out).astype(s.geometry.index_dtype)
        index.reshape(-1)[7::19] = min(taps, 255)
        if s.geometry.index_dtype == np.int32:
            index.reshape(-1)[3::23] = [-1, taps, 2**31 - 1][s.h % 3]
        yield s.text, (data.array(*s.out), index, s.geometry, data.output(*s.image))


def average_pool2d(data: Data, size: str) -> Cases:
    for s in _shapes(size):
        yield s.text, (data.array(*s.image), s.geometry, data.output(*s.out))


def average_pool2d_backward(data: Data, size: str) -> Cases:
    """Exact: multiples of all the numbers that dy is divided by."""
    for s in _shapes(size):
        rows, columns = s.geometry.rows, s.geometry.columns
        down, across = ({len(a.taps_inside(o)) for o in range(a.out)} for a in (rows, columns))
        multiple = math.lcm(*(i * j for i in down for j in across)) if data.kind == "exact" else 1
        assert 4 * multiple * s.geometry.taps < 2**24, s.text
        dy = data.array(*s.out) * np.asarray(multiple, data.dtype)
        yield s.text, (dy, s.geometry, data.output(*s.image))
