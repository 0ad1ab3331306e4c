"""Cases of the losses. N batch, C classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cases import Data

Cases = Iterator[tuple[str, tuple[Any, ...]]]

TINY = [(1, 1), (1, 2), (4, 3), (3, 17)]
#: The last one is parallel on Numba (the Cython losses have one thread).
FULL = [(1, 1), (1, 2), (10, 3), (10, 31), (64, 10), (63, 17), (7, 101), (2049, 10)]

WEIGHTS = (1.0, 0.7)


def _shapes(size: str) -> list[tuple[int, int]]:
    return TINY if size == "tiny" else FULL


def softmax_cross_entropy(data: Data, size: str) -> Cases:
    for n, c in _shapes(size):
        for weight in WEIGHTS:
            labels = data.rng.integers(0, c, n)
            labels[0], labels[-1] = 0, c - 1
            yield (
                f"(N={n}, C={c}), weight {weight}",
                (data.fractions(n, c), labels, weight, data.output(n, c)),
            )
        x = data.fractions(n, c) + np.asarray(1e4, data.dtype)  # exp alone would overflow
        yield f"(N={n}, C={c}), huge", (x, data.rng.integers(0, c, n), 1.0, data.output(n, c))


def softmax_cross_entropy_targets(data: Data, size: str) -> Cases:
    for n, c in _shapes(size):
        for weight in WEIGHTS:
            t = data.share(n, c) + np.asarray(0.01, data.dtype)
            t /= t.sum(axis=1, keepdims=True)
            yield (
                f"(N={n}, C={c}), weight {weight}",
                (data.fractions(n, c), t, weight, data.output(n, c)),
            )


def sigmoid_cross_entropy(data: Data, size: str) -> Cases:
    for n, c in _shapes(size):
        for weight in WEIGHTS:
            x = data.fractions(n * c)
            x[x.size // 2 :] *= 5  # far out
            yield f"(size {n * c}), weight {weight}", (x, data.share(n * c), weight,
                                                       data.output(n * c))  # fmt: skip


def mse(data: Data, size: str) -> Cases:
    sizes = [n * c for n, c in _shapes(size)] + ([100_003] if size == "full" else [])
    for n in sizes:
        for weight in WEIGHTS:
            yield f"(size {n}), weight {weight}", (data.array(n), data.array(n), weight,
                                                   data.output(n))  # fmt: skip
