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
        self.output_shape = input_shape
        for layer in self.children:
            self.connect_next(layer)
        return self.output_shape

    def connect_next(self, layer: Layer) -> None:
        """Connect one more layer to what the chain gives so far."""
        if isinstance(self.output_shape, dict):
            raise ValueError(f"{layer.name!r} can't follow Heads: heads must be the last layer")
        self.output_shape = layer.connect(self.output_shape, self.dtype)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.unchecked = {"forward", "backward"}
        self.needs_dx = needs_dx
        self.n = n
        #: those whose backward runs, last first, and whether a gradient of their input is needed
        self.backwards: list[tuple[Layer, bool]] = []
        for layer in self.children:
            layer.bind(n, kernels, needs_dx)
            # Below the first parameter that is trained nobody reads a gradient.
            learns = needs_dx or layer.learns
            if learns:
                self.backwards.insert(0, (layer, needs_dx))
            needs_dx = learns

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
        for layer, needed in self.backwards:
            gradient = layer.backward(gradient, sink)
            if needed and "backward" in self.unchecked:
                layer.check_result("backward", gradient, self.n, layer.input_shape)
        self.unchecked.discard("backward")
        return gradient if self.needs_dx else None
