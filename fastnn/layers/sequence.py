"""Layers one after another."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from fastnn.layers.base import Array, Layer, Shape, Sink


class Chain(Layer):
    """The layers in ``layers``, each fed with the output of the one before it."""

    def __init__(self, layers: Sequence[Layer], name: str | None = None) -> None:
        super().__init__(name)
        self.children = list(layers)

    def build(self, input_shape: Shape) -> Any:
        shape: Any = input_shape
        for layer in self.children:
            if isinstance(shape, dict):
                raise ValueError(f"{layer.name!r} can't follow Heads: heads must be the last layer")
            shape = layer.connect(shape, self.dtype)
        return shape

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        for layer in self.children:
            layer.bind(n, kernels, needs_dx)
            # Below the first parameter nobody reads a gradient.
            needs_dx = needs_dx or any(True for _ in layer.parameters())

    def forward(self, x: Array, training: bool) -> Any:
        y: Any = x
        for layer in self.children:
            y = layer.forward(y, training)
        return y

    def backward(self, dy: Any, sink: Sink) -> Array | None:
        gradient: Any = dy
        for layer in reversed(self.children):
            gradient = layer.backward(gradient, sink)
            if gradient is None:
                return None
        return gradient
