"""Cases of the activations: 1-D arrays around the sizes of vectors and of the threads' chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cases import Data

Cases = Iterator[tuple[str, tuple[Any, ...]]]

TINY = [1, 7, 40, 0]
#: A chunk is 16384 elements. The last one is parallel on every backend: the cheapest op takes
#: 0.2 ns an element and the threshold is 20 µs on Cython (100,000 elements), 0.3 ns and 60 µs on
#: Numba (200,000).
FULL = [1, 3, 15, 16, 17, 31, 101, 16383, 16384, 16385, 250_007, 0]


def _sizes(size: str) -> list[int]:
    return TINY if size == "tiny" else FULL


def _forward(data: Data, size: str) -> Cases:
    for n in _sizes(size):
        x = data.fractions(n)
        if n > 40:  # so far out that exp underflows, and so near 0 that its series begins
            x[3:11] = [-200, 200, -800, 800, 1e-4, -1e-4, 1e-30, 0.625]
        yield f"(size {n})", (x, data.output(n))


def _backward(data: Data, size: str) -> Cases:
    for n in _sizes(size):
        y = data.fractions(n, limit=1.0)
        yield f"(size {n})", (data.array(n), y, data.output(n))


relu = sigmoid = tanh = _forward
relu_backward = sigmoid_backward = tanh_backward = _backward


def relu_of_nan(dtype: str) -> np.ndarray:
    """Numbers that aren't finite, among others, over more than one vector."""
    x = np.linspace(-3, 3, 67).astype(dtype)
    x[[0, 20, 66]] = np.nan
    x[[1, 30]] = np.inf
    x[[2, 40]] = -np.inf
    return x
