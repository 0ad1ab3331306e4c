"""Cases of the activations: 1-D arrays around the sizes of vectors and of the threads' chunks, and
rows around the same.
"""

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

#: (R, C). A thread takes 16384 elements of rows at a time, of the last but two more rows than that.
TINY_ROWS = [(1, 1), (3, 1), (4, 7), (2, 17), (0, 3)]
FULL_ROWS = [
    (1, 1), (5, 1), (3, 15), (2, 16), (7, 17), (31, 33), (2, 1031), (0, 4), (2, 20_011),
    (16_385, 1), (5003, 50),
]  # fmt: skip


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


def _rows(size: str) -> list[tuple[int, int]]:
    return TINY_ROWS if size == "tiny" else FULL_ROWS


relu = sigmoid = tanh = selu = swish = gelu = gelu_tanh = softplus = heaviside = _forward
relu_backward = sigmoid_backward = tanh_backward = selu_backward = _backward


def leaky_relu(data: Data, size: str) -> Cases:
    for text, (x, y) in _forward(data, size):
        yield text, (x, 0.125, y)


def leaky_relu_backward(data: Data, size: str) -> Cases:
    for text, (dy, y, dx) in _backward(data, size):
        yield text, (dy, y, 0.125, dx)


def elu(data: Data, size: str) -> Cases:
    for text, (x, y) in _forward(data, size):
        yield text, (x, 1.5, y)


def elu_backward(data: Data, size: str) -> Cases:
    for text, (dy, y, dx) in _backward(data, size):
        yield text, (dy, y, 1.5, dx)


def _from_input(data: Data, size: str) -> Cases:
    for text, (x, dx) in _forward(data, size):
        yield text, (data.array(x.size), x, dx)


swish_backward = gelu_backward = gelu_tanh_backward = _from_input


def softplus_backward(data: Data, size: str) -> Cases:
    for text, (x, dx) in _forward(data, size):
        yield text, (data.array(x.size), np.abs(x), dx)


def prelu(data: Data, size: str) -> Cases:
    for r, c in _rows(size):
        slope = data.fractions(c, limit=1.0)  # of either sign
        yield f"(R={r}, C={c})", (data.fractions(r, c), slope, data.output(r, c))


def prelu_backward(data: Data, size: str) -> Cases:
    for r, c in _rows(size):
        x, slope = data.fractions(r, c), data.fractions(c, limit=1.0)
        arrays = data.array(r, c), x, slope, data.output(r, c), data.output(r, c)
        yield f"(R={r}, C={c})", arrays


def softmax(data: Data, size: str) -> Cases:
    for r, c in _rows(size):
        yield f"(R={r}, C={c})", (data.fractions(r, c), data.output(r, c))
        huge = data.fractions(r, c) + np.asarray(1e4, data.dtype)  # exp alone would overflow
        yield f"(R={r}, C={c}), huge", (huge, data.output(r, c))


def softmax_backward(data: Data, size: str) -> Cases:
    for r, c in _rows(size):
        yield f"(R={r}, C={c})", (data.array(r, c), data.share(r, c), data.output(r, c))


def relu_of_nan(dtype: str) -> np.ndarray:
    """Numbers that aren't finite, among others, over more than one vector."""
    x = np.linspace(-3, 3, 67).astype(dtype)
    x[[0, 20, 66]] = np.nan
    x[[1, 30]] = np.inf
    x[[2, 40]] = -np.inf
    return x
