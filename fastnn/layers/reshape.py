"""Layers that only change the shape."""

from __future__ import annotations

import math
from types import SimpleNamespace

from fastnn.layers.base import Array, Layer, Shape, Sink


class Flatten(Layer):
    """(N, A, B, …) → (N, A·B·…), without a copy."""

    def build(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.needs_dx = needs_dx

    def forward(self, x: Array, training: bool) -> Array:
        self.y = x.reshape(len(x), *self.output_shape)
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        return dy.reshape(len(dy), *self.input_shape) if self.needs_dx else None
