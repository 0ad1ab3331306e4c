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
        self.unchecked = {"forward", "backward"}
        self.n, self.needs = n, []
        for layer in self.children:
            self.needs.append(needs_dx)
            layer.bind(n, kernels, needs_dx)
            # Below the first parameter nobody reads a gradient.
            needs_dx = needs_dx or any(True for _ in layer.parameters())

    def look_ahead(self, x_next: Array) -> None:
        if self.children:
            self.children[0].look_ahead(x_next)

    def forward(self, x: Array, training: bool) -> Any:
        y: Any = x
        for layer in self.children:
            y = layer.forward(y, training)
            if "forward" in self.unchecked:
                layer.check_result("forward", y, self.n, layer.output_shape)
        self.unchecked.discard("forward")
        return y

    def backward(self, dy: Any, sink: Sink) -> Array | None:
        gradient: Any = dy
        for layer, needed in zip(reversed(self.children), reversed(self.needs), strict=True):
            gradient = layer.backward(gradient, sink)
            if not needed:
                gradient = None
                break
            if "backward" in self.unchecked:
                layer.check_result("backward", gradient, self.n, layer.input_shape)
        self.unchecked.discard("backward")
        return gradient
