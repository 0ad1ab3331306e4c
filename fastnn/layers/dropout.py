"""Dropout."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from fastnn.functional import check_number
from fastnn.layers.base import Array, Layer, Sink


class Dropout(Layer):
    """y = x · mask in training, x else; mask is 0 with probability ``rate``, else 1 / (1 − rate).

    Srivastava et al. (2014), inverted: the mean of y is that of x, so that nothing is scaled in
    evaluation. Any shape. The masks follow from ``seed``; if it is None, from the model's seed
    and the layer's place in the model. They are the same for any number of threads.
    """

    def __init__(self, rate: float, seed: int | None = None, name: str | None = None) -> None:
        super().__init__(name)
        self.rate = check_number("Dropout", "rate", rate, 0, 1)
        whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
        if seed is not None and (not whole or seed < 0):
            raise ValueError(f"Dropout: seed must be an integer >= 0 or None, got {seed!r}")
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def take_seed(self, seed: np.random.SeedSequence) -> None:
        if self.seed is None:
            self.rng = np.random.default_rng(seed)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.needs_dx = needs_dx
        shape = (n, *self.input_shape)
        self.y_buffer = self.buffer("y", shape)
        # Drawn in float32 for both dtypes, so that a network has the same masks in both.
        self.uniform = self.buffer("uniform", shape, np.float32)
        self.mask = self.buffer("mask", shape)
        self.dx = self.buffer("dx", shape)

    def forward(self, x: Array, training: bool) -> Array:
        self.drops = training and self.rate > 0
        self.y = x
        if self.drops:
            self.rng.random(dtype=np.float32, out=self.uniform)
            np.greater_equal(self.uniform, self.rate, out=self.mask)
            self.mask *= 1 / (1 - self.rate)
            self.y = np.multiply(x, self.mask, out=self.y_buffer)
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        if not self.needs_dx:
            return None
        return np.multiply(dy, self.mask, out=self.dx) if self.drops else dy

    def describe(self) -> str:
        return f"Dropout({self.rate:g})"
