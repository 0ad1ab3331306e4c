"""Maxout."""

from __future__ import annotations

from types import SimpleNamespace

from fastnn.geometry import pool2d_geometry, positive
from fastnn.initializers import Initializer
from fastnn.layers.base import Array, Shape, Sink
from fastnn.layers.dense import Dense
from fastnn.regularizers import Regularizer


class Maxout(Dense):
    """y[n, u] = max over p of (x w + b)[n, p, u]: the largest of ``pieces`` dense layers.

    Goodfellow et al. (2013). x (N, K), w (K, pieces · units), b (pieces · units,), y (N, units).
    One product, and a max-pool over the pieces. The gradient goes to the largest, the first of
    equal ones. fan_out of the initializers counts all pieces.
    """

    def __init__(
        self,
        units: int,
        pieces: int = 2,
        use_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | float | Initializer = "zeros",
        kernel_regularizer: str | Regularizer | None = None,
        name: str | None = None,
    ) -> None:
        self.pieces = positive("Maxout", "pieces", pieces)
        self.outputs = positive("Maxout", "units", units)
        super().__init__(
            self.outputs * self.pieces, None, use_bias, kernel_initializer, bias_initializer,
            kernel_regularizer, name,
        )  # fmt: skip

    def build(self, input_shape: Shape) -> Shape:
        super().build(input_shape)
        # The pieces as the rows of an image of one column.
        image = (self.pieces, 1, self.outputs)
        self.geometry = pool2d_geometry(f"Maxout {self.name!r}", image, image[:2])
        return (self.outputs,)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        super().bind(n, kernels, needs_dx)
        shape = (n, *self.geometry.out_shape)
        self.image = self.z.reshape(n, *self.geometry.in_shape)
        self.windows = self.buffer("maximum", shape)
        self.index = self.buffer("index", shape, self.geometry.index_dtype)
        self.y = self.windows.reshape(n, self.outputs)
        self.dz = self.buffer("dz", self.z.shape)

    def forward(self, x: Array, training: bool) -> Array:
        super().forward(x, training)
        self.kernels.max_pool2d(self.image, self.geometry, self.windows, self.index)
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        self.kernels.max_pool2d_backward(
            dy.reshape(self.windows.shape), self.index, self.geometry,
            self.dz.reshape(self.image.shape),
        )  # fmt: skip
        return super().backward(self.dz, sink)

    def describe(self) -> str:
        return f"Maxout({self.outputs}, pieces {self.pieces})"
