"""Cases of the convolutions. Letters as in ``fastnn.geometry``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cases import Data
from fastnn.geometry import Conv2DGeometry, conv2d_geometry
from fastnn.ops import FUSED_ACTIVATIONS

Cases = Iterator[tuple[str, tuple[Any, ...]]]


class Shape(NamedTuple):
    n: int
    h: int
    w: int
    c: int
    kh: int
    kw: int
    o: int
    strides: Any = 1
    padding: Any = "valid"
    dilation: Any = 1
    groups: int = 1

    @property
    def kernel(self) -> tuple[int, int, int, int]:
        return self.kh, self.kw, self.c // self.groups, self.o

    @property
    def geometry(self) -> Conv2DGeometry:
        image = (self.h, self.w, self.c)
        return conv2d_geometry(
            "conv2d", image, self.kernel, self.strides, self.padding, self.dilation, self.groups
        )

    @property
    def text(self) -> str:
        more = {k: v for k, v in self._asdict().items() if k in self._field_defaults}
        more = {k: v for k, v in more.items() if v != self._field_defaults[k]}
        return (
            f"({self.n}, {self.h}, {self.w}, {self.c}) ∗ {self.kh}x{self.kw}, O={self.o}"
            + "".join(f", {k}={v}" for k, v in more.items())
        )


TINY = [
    Shape(1, 1, 1, 1, 1, 1, 1),
    Shape(2, 4, 3, 2, 2, 3, 3),
    Shape(1, 5, 4, 1, 3, 3, 2, padding="same"),
    Shape(1, 4, 5, 2, 3, 2, 2, strides=(2, 1), padding="same"),
    Shape(1, 5, 5, 1, 2, 2, 3, strides=(1, 3), padding=((0, 2), (1, 0))),
    Shape(1, 6, 5, 1, 2, 3, 2, strides=(3, 2), padding=1, dilation=2),
    Shape(2, 3, 4, 4, 2, 2, 6, groups=2),
    Shape(1, 4, 4, 3, 3, 3, 6, padding="same", groups=3),
    Shape(1, 3, 4, 1, 4, 5, 2, padding=((0, 1), (1, 0))),
    Shape(0, 4, 4, 2, 3, 3, 2),
]

#: Tiles have 16 … 64 outputs and 4 … 12 pixels, Cython's sums are cut into pieces of up to 1536.
#: From about a million multiply-adds on the fast backends use threads.
FULL = [
    Shape(1, 1, 1, 1, 1, 1, 1),
    Shape(0, 7, 5, 3, 3, 3, 4, padding="same"),
    Shape(1, 5, 7, 3, 3, 3, 16, padding="same"),
    Shape(2, 11, 13, 2, 3, 3, 17),
    Shape(13, 6, 6, 3, 3, 3, 15, padding="same"),
    Shape(2, 13, 11, 3, 5, 3, 15, strides=(2, 1), padding="same"),
    Shape(2, 13, 11, 5, 3, 5, 16, strides=(1, 2), padding="same"),
    Shape(1, 17, 19, 3, 3, 3, 17, strides=(3, 2), padding=((1, 2), (0, 3))),
    Shape(1, 23, 19, 3, 7, 7, 64, strides=2, padding=3),
    Shape(2, 7, 7, 15, 1, 1, 65),
    # Kernels smaller than the stride: some pixels are in no window.
    Shape(2, 9, 10, 6, 1, 1, 64, strides=(2, 3)),
    Shape(2, 11, 14, 3, 2, 2, 63, strides=3),
    Shape(1, 12, 9, 4, 3, 3, 15, padding="same", dilation=2),
    # A common factor of stride and dilation: the taps of a window meet every other element.
    Shape(1, 13, 17, 3, 3, 2, 16, strides=2, dilation=2),
    Shape(1, 14, 15, 3, 3, 3, 3, strides=(3, 2), padding="same", dilation=(2, 1)),
    Shape(1, 16, 13, 2, 3, 3, 5, strides=(1, 2), padding=((2, 1), (3, 0)), dilation=(1, 2)),
    Shape(1, 15, 18, 2, 2, 3, 17, strides=(4, 2), padding=((1, 3), (2, 2)), dilation=2),
    # A kernel as large as the padded input.
    Shape(3, 5, 4, 3, 5, 4, 130),
    Shape(2, 4, 5, 2, 6, 8, 3, padding=((1, 1), (1, 2))),
    # Windows that lie wholly in the padding.
    Shape(1, 5, 4, 2, 2, 2, 7, padding=((2, 0), (0, 2))),
    Shape(2, 9, 9, 6, 3, 3, 8, padding="same", groups=2),
    Shape(1, 10, 7, 34, 3, 3, 34, strides=(2, 1), padding="same", groups=2),
    Shape(3, 5, 5, 12, 1, 1, 18, groups=3),
    # Depthwise, and with two outputs a channel.
    Shape(2, 9, 11, 17, 3, 3, 17, padding="same", groups=17),
    Shape(2, 9, 8, 5, 3, 3, 10, strides=2, padding="same", groups=5),
    Shape(1, 13, 12, 16, 5, 5, 16, padding="same", dilation=2, groups=16),
    # Long sums over the taps.
    Shape(2, 5, 5, 80, 5, 5, 7, padding="same"),
    Shape(1, 3, 3, 521, 2, 2, 33),
    # The rest is parallel: many pixels, few of them, a long sum over the batch, depthwise, 1x1.
    Shape(3, 15, 17, 16, 3, 3, 65, padding="same"),
    Shape(2, 31, 29, 3, 5, 5, 64, padding="same"),
    Shape(1, 7, 7, 131, 3, 3, 130, padding="same"),
    Shape(2, 12, 13, 130, 3, 3, 16, strides=2, padding="same"),
    Shape(29, 17, 16, 3, 3, 3, 17, padding="same"),
    Shape(7, 40, 37, 35, 3, 3, 35, padding="same", groups=35),
    Shape(2, 6, 7, 90, 3, 3, 90, strides=2, padding="same", groups=90),
    Shape(13, 8, 8, 64, 1, 1, 63),
    Shape(5, 41, 43, 16, 3, 3, 5, padding="same"),  # and more windows than Numba's panel has
    Shape(2, 29, 31, 32, 3, 3, 64, strides=(2, 3), padding="same", groups=2),
]


def _shapes(size: str) -> list[Shape]:
    return TINY if size == "tiny" else FULL


def _images(data: Data, s: Shape) -> np.ndarray:
    return data.array(s.n, s.h, s.w, s.c)


def _columns(s: Shape) -> tuple[int, int]:
    oh, ow, _ = s.geometry.out_shape
    return s.n * oh * ow, s.kh * s.kw * s.c


def _windows(size: str) -> Iterator[Shape]:
    """Columns know nothing of filters and groups, and cost much memory."""
    for s in dict.fromkeys(s._replace(o=s.c, groups=1) for s in _shapes(size)):
        rows, width = _columns(s)
        if rows * width < 500_000:
            yield s


def im2col(data: Data, size: str) -> Cases:
    for s in _windows(size):
        yield s.text, (_images(data, s), s.geometry, data.output(*_columns(s)))


def col2im(data: Data, size: str) -> Cases:
    for s in _windows(size):
        yield s.text, (data.array(*_columns(s)), s.geometry, data.output(s.n, s.h, s.w, s.c))


def conv2d(data: Data, size: str) -> Cases:
    for i, s in enumerate(_shapes(size)):
        x, w, b = _images(data, s), data.array(*s.kernel), data.array(s.o)
        # As in the dense cases: sums of a size that sigmoid and tanh can tell apart.
        scale = 64 if data.kind == "exact" else np.prod(s.kernel[:3]) ** 0.5
        small = w / np.asarray(scale, data.dtype)
        for bias in (b, None):
            for name, code in FUSED_ACTIVATIONS.items():
                # Every shape in two of the eight forms, and every form on many shapes.
                if size == "tiny" or (code + i) % 4 == 2 * (bias is None):
                    text = f"{s.text}, {'no ' * (bias is None)}bias, {name}"
                    y = data.output(s.n, *s.geometry.out_shape)
                    yield text, (x, small if code > 1 else w, bias, s.geometry, code, y)


def conv2d_dx(data: Data, size: str) -> Cases:
    for s in _shapes(size):
        dz = data.array(s.n, *s.geometry.out_shape)
        dx = data.output(s.n, s.h, s.w, s.c)
        yield s.text, (dz, data.array(*s.kernel), s.geometry, dx)


def conv2d_dw(data: Data, size: str) -> Cases:
    for s in _shapes(size):
        dz = data.array(s.n, *s.geometry.out_shape)
        yield s.text, (_images(data, s), dz, s.geometry, data.output(*s.kernel))
