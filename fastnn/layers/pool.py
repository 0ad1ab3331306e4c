"""Pooling: maxima and means of windows of images."""

from __future__ import annotations

from types import SimpleNamespace

from fastnn.geometry import Padding, Size, pads, pair, pool2d_geometry
from fastnn.layers.base import Array, Layer, Shape, Sink, window_words


class _Pool2D(Layer):
    """What all pools share: window, shapes and buffers."""

    def __init__(
        self,
        pool_size: Size = 2,
        strides: Size | None = None,
        padding: Padding = "valid",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.pool_size = pair(kind, "pool_size", pool_size)
        self.strides = self.pool_size if strides is None else pair(kind, "strides", strides)
        pads(kind, padding)
        self.padding = padding

    def build(self, input_shape: Shape) -> Shape:
        self.geometry = pool2d_geometry(
            f"{type(self).__name__} {self.name!r}", self.image_shape(input_shape),
            self.pool_size, self.strides, self.padding,
        )  # fmt: skip
        return self.geometry.out_shape

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.kernels = kernels
        self.y = self.buffer("y", (n, *self.output_shape))
        self.windows = self.y.reshape(n, *self.geometry.out_shape)
        self.dx = self.buffer("dx", (n, *self.input_shape)) if needs_dx else None

    def describe(self) -> str:
        words = window_words(self.pool_size, self.strides, self.pool_size, self.padding)
        return f"{type(self).__name__}({', '.join(words)})"


class MaxPool2D(_Pool2D):
    """y[n, oy, ox, c] = max x[n, oy·SH + ky − top, ox·SW + kx − left, c] over the window.

    x (N, H, W, C), y (N, OH, OW, C). ``strides`` None is ``pool_size``; ``padding`` as in
    ``functional.conv2d``, and it never wins. The gradient goes to the maximum, to the first of
    equal ones. ``MaxPooling2D`` is another name.
    """

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        super().bind(n, kernels, needs_dx)
        self.index = self.buffer("index", self.windows.shape, self.geometry.index_dtype)

    def forward(self, x: Array, training: bool) -> Array:
        self.kernels.max_pool2d(x, self.geometry, self.windows, self.index)
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        if self.dx is not None:
            dy = dy.reshape(self.windows.shape)
            self.kernels.max_pool2d_backward(dy, self.index, self.geometry, self.dx)
        return self.dx


class AveragePooling2D(_Pool2D):
    """y[n, oy, ox, c] = mean x[n, oy·SH + ky − top, ox·SW + kx − left, c] over the window.

    Arguments and shapes as in ``MaxPool2D``; the padding is left out of the mean.
    """

    def forward(self, x: Array, training: bool) -> Array:
        self.kernels.average_pool2d(x, self.geometry, self.windows)
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        if self.dx is not None:
            dy = dy.reshape(self.windows.shape)
            self.kernels.average_pool2d_backward(dy, self.geometry, self.dx)
        return self.dx


class _WholeImage(_Pool2D):
    """Pooling with the image for a window: (N, H, W, C) → (N, C)."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__(name=name)

    def build(self, input_shape: Shape) -> Shape:
        self.pool_size = self.strides = self.image_shape(input_shape)[:2]
        return super().build(input_shape)[2:]

    def describe(self) -> str:
        return type(self).__name__


class GlobalMaxPooling2D(_WholeImage, MaxPool2D):
    """y[n, c] = max x[n, iy, ix, c] over iy, ix. x (N, H, W, C), y (N, C)."""


class GlobalAveragePooling2D(_WholeImage, AveragePooling2D):
    """y[n, c] = mean x[n, iy, ix, c] over iy, ix. x (N, H, W, C), y (N, C)."""


MaxPooling2D = MaxPool2D
