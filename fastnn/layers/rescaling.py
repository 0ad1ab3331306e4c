"""Inputs brought to another scale inside the model."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

from fastnn.layers.base import Array, Layer, Sink


class Rescaling(Layer):
    """y = x · scale + offset, any shape, no parameters: ``Rescaling(1 / 255)`` for images.

    As the first layer it computes no dx.
    """

    def __init__(self, scale: float, offset: float = 0.0, name: str | None = None) -> None:
        super().__init__(name)
        for argument, value in (("scale", scale), ("offset", offset)):
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ValueError(f"Rescaling: {argument} must be a finite number, got {value!r}")
        self.scale, self.offset = float(scale), float(offset)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.y = self.buffer("y", (n, *self.input_shape))
        self.dx = self.buffer("dx", (n, *self.input_shape)) if needs_dx else None

    def forward(self, x: Array, training: bool) -> Array:
        np.multiply(x, self.scale, out=self.y)
        if self.offset:
            self.y += self.offset
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        return None if self.dx is None else np.multiply(dy, self.scale, out=self.dx)

    def describe(self) -> str:
        offset = f", {self.offset:g}" if self.offset else ""
        return f"Rescaling({self.scale:g}{offset})"
