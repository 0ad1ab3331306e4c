"""Several outputs on one trunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np

from fastnn.layers.base import Array, Layer, Shape, Sink
from fastnn.layers.sequence import Chain


class Heads(Layer):
    """One output per name, all fed with the same x: ``Heads({"domain": Dense(3), …})``.

    A value is a layer or a list of layers. The output is a dict by name; the gradients of the
    heads add up in the trunk, dx = Σ dx_head.
    """

    def __init__(
        self, heads: Mapping[str, Layer | Sequence[Layer]], name: str | None = None
    ) -> None:
        super().__init__(name)
        if not isinstance(heads, Mapping) or not heads:
            raise ValueError(f"Heads: expected a dict of layers by name, got {heads!r}")
        if not all(isinstance(head, str) and head for head in heads):
            raise ValueError(f"Heads: names must be strings, got {list(heads)}")
        self.heads = {
            head: layer if isinstance(layer, Layer) else Chain(layer)
            for head, layer in heads.items()
        }
        for head, layer in self.heads.items():
            layer.name = layer.name or head
        self.children = list(self.heads.values())

    def build(self, input_shape: Shape) -> dict[str, Shape]:
        return {head: layer.connect(input_shape, self.dtype) for head, layer in self.heads.items()}

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.unchecked = {"forward", "backward"}
        for layer in self.children:
            layer.bind(n, kernels, needs_dx)
        self.backwards = [head for head in self.heads if needs_dx or self.heads[head].learns]
        self.dx = self.buffer("dx", (n, *self.input_shape)) if needs_dx else None

    def forward(self, x: Array, training: bool) -> dict[str, Array]:
        y = {head: layer.forward(x, training) for head, layer in self.heads.items()}
        if "forward" in self.unchecked:
            for head, layer in self.heads.items():
                layer.check_result("forward", y[head], len(x), layer.output_shape)
            self.unchecked.discard("forward")
        return y

    def backward(self, dy: dict[str, Array], sink: Sink) -> Array | None:
        gradients = [self.heads[head].backward(dy[head], sink) for head in self.backwards]
        if self.dx is None:
            return None
        if "backward" in self.unchecked:
            for layer, gradient in zip(self.children, gradients, strict=True):
                layer.check_result("backward", gradient, len(self.dx), self.input_shape)
            self.unchecked.discard("backward")
        np.copyto(self.dx, gradients[0])  # type: ignore[arg-type]
        for gradient in gradients[1:]:
            self.dx += gradient
        return self.dx

    def describe(self) -> str:
        return f"Heads({', '.join(self.heads)})"
