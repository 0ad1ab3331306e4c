"""Penalties on weights, which are part of the loss that is reported and minimised."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import unknown
from fastnn.functional import check_number

Array = NDArray[Any]

#: Elements that are worked on at a time, so that what is made of them stays in cache.
_PIECE = 1 << 14


class Regularizer:
    """Base: ``__call__(w)`` is the penalty, ``add_gradient(w, dw)`` adds its gradient to dw."""

    def __call__(self, w: Array) -> float:
        """The penalty on w, a contiguous array."""
        raise NotImplementedError

    def add_gradient(self, w: Array, dw: Array) -> None:
        """Add the penalty's gradient to ``dw``, in place."""
        raise NotImplementedError


class L1L2(Regularizer):
    """l1 · Σ|w| + l2 · Σw², as in Keras; its gradient is l1 · sign(w) + 2 · l2 · w.

    ``weight_decay`` λ of an optimizer is l2 = λ/2 on all parameters, biases too, and isn't part
    of the loss.

    >>> L1L2(l1=0.5, l2=0.25)(np.array([1.0, -2.0]))
    2.75
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0) -> None:
        kind = type(self).__name__
        self.l1 = check_number(kind, "l1", l1, 0)
        self.l2 = check_number(kind, "l2", l2, 0)

    def __call__(self, w: Array) -> float:
        total = 0.0
        for (piece,) in _pieces(w):
            if self.l1:
                total += self.l1 * float(np.sum(np.abs(piece), dtype=np.float64))
            if self.l2:
                total += self.l2 * float(np.sum(np.square(piece, dtype=np.float64)))
        return total

    def add_gradient(self, w: Array, dw: Array) -> None:
        for piece, gradient in _pieces(w, dw):
            if self.l1:
                gradient += self.l1 * np.sign(piece)
            if self.l2:
                gradient += 2 * self.l2 * piece


class L1(L1L2):
    """l1 · Σ|w|: many weights become about 0."""

    def __init__(self, l1: float = 0.01) -> None:
        super().__init__(l1=l1)


class L2(L1L2):
    """l2 · Σw²: all weights stay small."""

    def __init__(self, l2: float = 0.01) -> None:
        super().__init__(l2=l2)


#: By name, with Keras's numbers.
REGULARIZERS: dict[str, Callable[[], Regularizer]] = {"l1": L1, "l2": L2}


def get(regularizer: str | Regularizer | None) -> Regularizer | None:
    """A regularizer by name (0.01) or an instance; None for none."""
    if regularizer is None or isinstance(regularizer, Regularizer):
        return regularizer
    if not isinstance(regularizer, str) or regularizer not in REGULARIZERS:
        raise unknown("regularizer", regularizer, REGULARIZERS)
    return REGULARIZERS[regularizer]()


def _pieces(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Views of the same elements of each array."""
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, _PIECE):
        yield tuple(a[start : start + _PIECE] for a in flat)
