"""Cases of the optimizer updates: 1-D arrays, both conventions of every rule."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from cases import Data

Cases = Iterator[tuple[str, tuple[Any, ...]]]

TINY = [1, 13]
#: A chunk is 16384 elements; the last one is parallel on every backend (SGD, the cheapest, from
#: 40,000 elements on Cython and 150,000 on Numba).
FULL = [1, 3, 15, 16, 17, 101, 16383, 16384, 16385, 250_007, 0]


def _sizes(size: str) -> list[int]:
    return TINY if size == "tiny" else FULL


def _gradient(data: Data, n: int) -> np.ndarray:
    """With zeros, and numbers so small that their squares are denormal or zero."""
    grad = data.array(n)
    if n > 10:
        grad[2:9] = [0, 1e-22, -1e-21, 1e-30, 3e-20, 1e-39, 0]
    return grad


def sgd_update(data: Data, size: str) -> Cases:
    for n in _sizes(size):
        yield f"(size {n})", (data.array(n), _gradient(data, n), 0.03)


def momentum_update(data: Data, size: str) -> Cases:
    for n, nesterov, inside in product(_sizes(size), (False, True), (True, False)):
        yield (
            f"(size {n}), nesterov={nesterov}, rate_in_velocity={inside}",
            (data.array(n), _gradient(data, n), data.array(n), 0.03, 0.9, nesterov, inside),
        )


def adagrad_update(data: Data, size: str) -> Cases:
    for n, inside in product(_sizes(size), (True, False)):
        yield (
            f"(size {n}), epsilon_inside_root={inside}",
            (data.array(n), _gradient(data, n), data.positive(n), 0.03, 1e-8, inside),
        )


def rmsprop_update(data: Data, size: str) -> Cases:
    for n, inside in product(_sizes(size), (True, False)):
        yield (
            f"(size {n}), epsilon_inside_root={inside}",
            (data.array(n), _gradient(data, n), data.positive(n), 0.003, 0.9, 1e-8, inside),
        )


def adam_update(data: Data, size: str) -> Cases:
    for n, inside, correct in product(_sizes(size), (True, False), (True, False)):
        step = 1 + n % 7
        yield (
            f"(size {n}), step {step}, epsilon_inside_root={inside}, bias_correction={correct}",
            (data.array(n), _gradient(data, n), data.array(n), data.positive(n), step,
             1e-3, 0.9, 0.999, 1e-8, inside, correct),
        )  # fmt: skip
