"""Cases of normalisation: M rows, C channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cases import Data
from fastnn.ops import FUSED_ACTIVATIONS

Cases = Iterator[tuple[str, tuple[Any, ...]]]

EPSILON = 1 / 16

#: Fewer than 64 channels go side by side on Cython: 3 leave a rest, 63 don't fit twice.
TINY = [(1, 1), (2, 3), (7, 5), (40, 2), (33, 4)]
FULL = [
    (1, 1), (1, 70), (2, 1), (22, 3), (131, 3), (31, 17), (33, 16), (64, 32), (65, 63), (97, 64),
    (100, 65), (33, 128), (1050, 67), (2100, 33), (35, 2100),
    # Several parts, and parallel on every backend.
    (5000, 65), (30011, 7), (1030, 256),
]  # fmt: skip
EMPTY = (0, 5)

RELU = FUSED_ACTIVATIONS["relu"]


def _shapes(size: str) -> list[tuple[int, int]]:
    return TINY if size == "tiny" else FULL


def _statistics(data: Data, c: int) -> tuple[np.ndarray, ...]:
    """Mean, variance, gamma, beta. Exact: σ² + ε is a power of 4, so that no root is rounded."""
    if data.kind == "exact":
        variance = data.rng.choice([0.25, 1.0, 4.0], c) - EPSILON
        gamma, beta = data.rng.choice([-2, -1, 1, 2, 3], c), data.array(c, low=-1, high=2)
    else:
        variance, gamma = data.rng.random(c) + 0.1, data.rng.random(c) - 1.5
        beta = 0.2 * data.array(c)
    return data.array(c, low=-1, high=1), *(a.astype(data.dtype) for a in (variance, gamma, beta))


def batch_norm_statistics(data: Data, size: str) -> Cases:
    for m, c in _shapes(size):
        if m == 1 < c:
            continue  # a variance of nothing but zeros
        x = data.array(m, c) + data.array(c, low=-9, high=9) * np.asarray(8, data.dtype)
        yield f"({m}, {c})", (x, data.output(c), data.output(c))


def batch_norm(data: Data, size: str) -> Cases:
    for m, c in [*_shapes(size), EMPTY]:
        for activation in (0, RELU):
            numbers = *_statistics(data, c), EPSILON, activation
            yield f"({m}, {c}), {activation}", (data.array(m, c), *numbers, data.output(m, c))


def batch_norm_sums(data: Data, size: str) -> Cases:
    for m, c in [*_shapes(size), EMPTY]:
        for activation in (0, RELU):
            numbers = *_statistics(data, c), EPSILON, activation
            arrays = data.array(m, c), data.array(m, c)
            yield f"({m}, {c}), {activation}", (*arrays, *numbers, data.output(c), data.output(c))


def batch_norm_dx(data: Data, size: str) -> Cases:
    """Any sums will do. Exact: multiples of M."""
    for m, c in [*_shapes(size), EMPTY]:
        for activation in (0, RELU):
            numbers = *_statistics(data, c), EPSILON, activation
            arrays = data.array(m, c), data.array(m, c)
            sums = (data.array(c) * np.asarray(m, data.dtype) for _ in range(2))
            yield f"({m}, {c}), {activation}", (*arrays, *numbers, *sums, data.output(m, c))


def _response(data: Data, size: str) -> Iterator[tuple[str, tuple[int, int], tuple[Any, ...]]]:
    """Windows of odd and even size, wider than the channels too; β with roots and without."""
    numbers = [(5, 0.5, 0.75, 1.0), (4, 2.0, 0.6, 2.0), (1, 1.0, 0.75, 0.5), (8, 1.0, 1.0, 1.0)]
    shapes = _shapes(size) if size == "tiny" else [*FULL[:10], FULL[-1]]
    for i, (m, c) in enumerate([*shapes, EMPTY]):
        for four in numbers if c < 70 and m < 70 else numbers[i % 2 :][:1]:
            yield f"({m}, {c}), {four}", (m, c), four


def local_response_norm(data: Data, size: str) -> Cases:
    for text, shape, numbers in _response(data, size):
        yield text, (data.array(*shape), *numbers, data.output(*shape))


def local_response_norm_backward(data: Data, size: str) -> Cases:
    for text, shape, numbers in _response(data, size):
        yield text, (data.array(*shape), data.array(*shape), *numbers, data.output(*shape))
