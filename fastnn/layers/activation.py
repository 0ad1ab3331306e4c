"""Activations as layers of their own."""

from __future__ import annotations

from types import SimpleNamespace

from fastnn.functional import activation_code
from fastnn.layers.base import Array, Layer, Sink


class Activation(Layer):
    """y = f(x) for ``"relu"``, ``"sigmoid"``, ``"tanh"`` or ``"identity"``, any shape.

    ``Dense(units, activation=…)`` does the same in one kernel.
    """

    def __init__(self, activation: str, name: str | None = None) -> None:
        super().__init__(name)
        self.code = activation_code("Activation", activation)
        self.activation = activation

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.needs_dx = needs_dx
        self.y = self.buffer("y", (n, *self.input_shape))
        if self.code:
            self.apply = getattr(kernels, self.activation)
            self.undo = getattr(kernels, f"{self.activation}_backward")
            self.dx = self.buffer("dx", (n, *self.input_shape))

    def forward(self, x: Array, training: bool) -> Array:
        if not self.code:
            self.y = x
            return x
        self.apply(x.reshape(-1), self.y.reshape(-1))
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        if not self.needs_dx or not self.code:
            return dy if self.needs_dx else None
        self.undo(dy.reshape(-1), self.y.reshape(-1), self.dx.reshape(-1))
        return self.dx

    def describe(self) -> str:
        return f"Activation({self.activation})"
