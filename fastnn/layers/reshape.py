"""Layers that change the shape and no value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastnn.geometry import pads
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

    @property
    def output_size(self) -> int:
        return 0


class ZeroPadding2D(Layer):
    """Zeros around the images: (N, H, W, C) → (N, top + H + bottom, left + W + right, C).

    ``padding`` is a number for all sides, a pair (height, width) or
    ``((top, bottom), (left, right))``.
    """

    def __init__(self, padding: int | Sequence[Any] = 1, name: str | None = None) -> None:
        super().__init__(name)
        sides: Any = padding
        if isinstance(padding, (list, tuple)) and all(isinstance(p, int) for p in padding):
            sides = tuple((p, p) for p in padding)
        if isinstance(padding, str):
            raise ValueError(f"ZeroPadding2D: padding must be numbers, got {padding!r}")
        self.padding = pads("ZeroPadding2D", sides)

    def build(self, input_shape: Shape) -> Shape:
        height, width, channels = self.image_shape(input_shape)
        (top, bottom), (left, right) = self.padding
        self.inside = np.s_[:, top : top + height, left : left + width]
        return top + height + bottom, left + width + right, channels

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.y = self.buffer("y", (n, *self.output_shape))  # zeros, and only the inside is written
        self.dx = self.buffer("dx", (n, *self.input_shape)) if needs_dx else None

    def forward(self, x: Array, training: bool) -> Array:
        self.y[self.inside] = x
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        if self.dx is not None:
            np.copyto(self.dx, dy[self.inside])
        return self.dx

    def describe(self) -> str:
        (top, bottom), (left, right) = self.padding
        return f"ZeroPadding2D(({top}, {bottom}), ({left}, {right}))"
