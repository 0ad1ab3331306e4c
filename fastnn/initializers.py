"""Initial values of weights. Each fills a given array in place, without a second copy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import unknown

Array = NDArray[Any]


class Initializer:
    """Base: ``fill(out, rng)`` writes the initial values into ``out``."""

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        """Write initial values into ``out`` (C-contiguous float32 or float64)."""
        raise NotImplementedError


class Constant(Initializer):
    """Every element is ``value``."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        out[...] = self.value


class RandomNormal(Initializer):
    """Normal distribution with ``mean`` and ``stddev``."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05) -> None:
        self.mean, self.stddev = mean, stddev

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        rng.standard_normal(dtype=out.dtype, out=out)
        out *= self.stddev
        if self.mean:
            out += self.mean


class TruncatedNormal(Initializer):
    """Normal distribution with ``mean`` and ``stddev``; what is more than two of them from the
    mean is drawn again, so the spread of what is left is 0.88 · ``stddev``.
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05) -> None:
        self.mean, self.stddev = mean, stddev

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        flat = out.reshape(-1)
        rng.standard_normal(dtype=out.dtype, out=flat)
        far = np.flatnonzero((flat < -2) | (flat > 2))
        while len(far):
            flat[far] = rng.standard_normal(len(far), dtype=out.dtype)
            far = far[np.abs(flat[far]) > 2]
        out *= self.stddev
        if self.mean:
            out += self.mean


class RandomUniform(Initializer):
    """Uniform distribution on [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05) -> None:
        self.minval, self.maxval = minval, maxval

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        rng.random(dtype=out.dtype, out=out)
        out *= self.maxval - self.minval
        out += self.minval


class VarianceScaling(Initializer):
    """Variance ``scale / fan``: the family of Glorot, He and LeCun.

    ``fan`` is ``"in"``, ``"out"`` or ``"avg"`` of the two; for a weight (…, in, out) fan_in is
    the size of all axes but the last, fan_out that of all but the one before the last.
    ``distribution`` is ``"normal"`` or ``"uniform"`` (limit √(3 · scale / fan)).
    """

    def __init__(self, scale: float = 1.0, fan: str = "avg", distribution: str = "uniform") -> None:
        if fan not in ("in", "out", "avg"):
            raise unknown("fan", fan, ("in", "out", "avg"))
        if distribution not in ("normal", "uniform"):
            raise unknown("distribution", distribution, ("normal", "uniform"))
        self.scale, self.fan, self.distribution = scale, fan, distribution

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        field = math.prod(out.shape[:-2])
        fan_in, fan_out = (field * n for n in (out.shape[-2:] if out.ndim > 1 else out.shape * 2))
        fan = {"in": fan_in, "out": fan_out, "avg": (fan_in + fan_out) / 2}[self.fan]
        variance = self.scale / max(fan, 1)
        if self.distribution == "normal":
            RandomNormal(stddev=math.sqrt(variance)).fill(out, rng)
        else:
            limit = math.sqrt(3 * variance)
            RandomUniform(-limit, limit).fill(out, rng)


_NAMED: dict[str, Callable[[], Initializer]] = {
    "zeros": lambda: Constant(0.0),
    "ones": lambda: Constant(1.0),
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "glorot_uniform": lambda: VarianceScaling(1, "avg", "uniform"),
    "glorot_normal": lambda: VarianceScaling(1, "avg", "normal"),
    "he_uniform": lambda: VarianceScaling(2, "in", "uniform"),
    "he_normal": lambda: VarianceScaling(2, "in", "normal"),
    "lecun_uniform": lambda: VarianceScaling(1, "in", "uniform"),
    "lecun_normal": lambda: VarianceScaling(1, "in", "normal"),
}


def get(initializer: str | float | Initializer) -> Initializer:
    """An initializer by name, a number (constant) or an instance."""
    if isinstance(initializer, Initializer):
        return initializer
    if isinstance(initializer, (int, float)):
        return Constant(float(initializer))
    if not isinstance(initializer, str) or initializer not in _NAMED:
        raise unknown("initializer", initializer, _NAMED)
    return _NAMED[initializer]()
