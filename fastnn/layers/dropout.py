"""Dropout."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from fastnn.backends.reference.activation import SELU_ALPHA, SELU_SCALE
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
        kind = type(self).__name__
        self.rate = check_number(kind, "rate", rate, 0, 1)
        whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
        if seed is not None and (not whole or seed < 0):
            raise ValueError(f"{kind}: seed must be an integer >= 0 or None, got {seed!r}")
        self.seed = seed
        self.rng = np.random.default_rng(seed)

    def take_seed(self, seed: np.random.SeedSequence) -> None:
        # A generator of its own: a layer built again, or a copy, begins as the first did.
        self.rng = np.random.default_rng(seed if self.seed is None else self.seed)

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
            self.draw(1 / (1 - self.rate))
            self.y = np.multiply(x, self.mask, out=self.y_buffer)
        return self.y

    def draw(self, scale: float) -> None:
        """A new mask: 0 with probability ``rate``, else ``scale``."""
        self.rng.random(dtype=np.float32, out=self.uniform)
        np.greater_equal(self.uniform, self.rate, out=self.mask)
        self.mask *= scale

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        if not self.needs_dx:
            return None
        return np.multiply(dy, self.mask, out=self.dx) if self.drops else dy

    def describe(self) -> str:
        return f"{type(self).__name__}({self.rate:g})"


class AlphaDropout(Dropout):
    """In training x → α′ with probability ``rate``, then y = a · x + b; y = x else.

    α′ = −λα is what SELU tends to far below 0, and a and b keep mean 0 and variance 1, as a network
    of SELUs has them: a = (q + α′² q (1 − q))^(−½), q = 1 − rate, b = −a (1 − q) α′. Klambauer et
    al. (2017). Masks as those of ``Dropout``.
    """

    def forward(self, x: Array, training: bool) -> Array:
        self.drops = training and self.rate > 0
        self.y = x
        if self.drops:
            kept, low = 1 - self.rate, -SELU_SCALE * SELU_ALPHA
            scale = (kept + low**2 * kept * self.rate) ** -0.5
            self.draw(scale)
            # a (x m + α′ (1 − m)) + b, with a m as the mask.
            self.y = np.subtract(x, low, out=self.y_buffer)
            self.y *= self.mask
            self.y += scale * low * kept
        return self.y
