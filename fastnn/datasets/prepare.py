"""Before training: sets for validation and test apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def split(
    x: Array, y: Array, test_fraction: float = 0.2, seed: int = 0
) -> tuple[Array, Array, Array, Array]:
    """(x_train, y_train, x_test, y_test): a random part of the rows goes to the test set.

    The test set has ``test_fraction`` (0 <= … < 1) of the rows, rounded up. The same seed gives
    the same split. Raises ``ValueError`` for unequal lengths, and if no row is left to train on.

    >>> x = np.arange(10).reshape(5, 2)
    >>> [len(part) for part in split(x, x[:, 0], test_fraction=0.3)]
    [3, 3, 2, 2]
    """
    if len(x) != len(y):
        raise ValueError(f"split: x and y must have the same length, got {len(x)} and {len(y)}")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"split: test_fraction must be in 0 <= … < 1, got {test_fraction}")
    tests = math.ceil(test_fraction * len(x))
    if tests >= len(x):
        raise ValueError(
            f"split: no row is left to train on ({len(x)} rows, test_fraction {test_fraction})"
        )
    order = np.random.default_rng(seed).permutation(len(x))
    train, test = np.sort(order[tests:]), np.sort(order[:tests])
    return x[train], y[train], x[test], y[test]


def course_split(n: int, seed: int) -> tuple[Array, Array, Array]:
    """(train, validation, test): n row numbers, int64, shuffled and cut as in the course's text.

    80 % are for training, rounded down to tens, 5 % for validation, rounded down, the rest for
    the test. NumPy's legacy generator shuffles: with n = 4110 and seed 1234 the test set is the
    text's own. Raises ``ValueError`` for n < 20: then one of the three would be empty.

    >>> [len(part) for part in course_split(4110, seed=1234)]
    [3280, 205, 625]
    """
    if n < 20:
        raise ValueError(f"course_split: needs at least 20 rows for its three parts, got {n}")
    order = np.arange(n)
    np.random.RandomState(seed).shuffle(order)
    train = n * 8 // 10 // 10 * 10
    validation = n // 20
    return order[:train], order[train : train + validation], order[train + validation :]
