"""Initial values of weights. Each fills a given array in place, without a second copy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import unknown
from fastnn.functional import check_number

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


class Zeros(Constant):
    """Every element is 0."""

    def __init__(self) -> None:
        super().__init__(0.0)


class Ones(Constant):
    """Every element is 1."""

    def __init__(self) -> None:
        super().__init__(1.0)


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
    mean is drawn again, so the spread of what is left is 0.8796 · ``stddev``, as Keras has it.
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
    """Uniform distribution on [minval, maxval); the course's uniform ±1 is ``(-1, 1)``."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05) -> None:
        self.minval, self.maxval = minval, maxval

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        rng.random(dtype=out.dtype, out=out)
        out *= self.maxval - self.minval
        out += self.minval


#: The standard deviation of a normal distribution cut at ±2.
_TRUNCATED = 0.87962566103423978


class VarianceScaling(Initializer):
    """Variance ``scale / fan``: the family of Glorot, He and LeCun.

    ``fan`` is ``"in"``, ``"out"`` or ``"avg"`` of the two; for a weight (…, in, out) fan_in is
    the size of all axes but the last, fan_out that of all but the one before the last.
    ``distribution`` is ``"uniform"`` (limit √(3 · scale / fan)), ``"untruncated_normal"``, or
    ``"truncated_normal"``: drawn again beyond two standard deviations, of a normal distribution
    that is wider by 1 / 0.8796, so that the variance is what it says (as Keras has it).
    """

    def __init__(self, scale: float = 1.0, fan: str = "avg", distribution: str = "uniform") -> None:
        if fan not in ("in", "out", "avg"):
            raise unknown("fan", fan, ("in", "out", "avg"))
        distributions = ("truncated_normal", "untruncated_normal", "uniform")
        if distribution not in distributions:
            raise unknown("distribution", distribution, distributions)
        self.scale = check_number("VarianceScaling", "scale", scale, 0)
        self.fan, self.distribution = fan, distribution

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        field = math.prod(out.shape[:-2])
        fan_in, fan_out = (field * n for n in (out.shape[-2:] if out.ndim > 1 else out.shape * 2))
        fan = {"in": fan_in, "out": fan_out, "avg": (fan_in + fan_out) / 2}[self.fan]
        variance = self.scale / max(fan, 1)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            RandomUniform(-limit, limit).fill(out, rng)
        elif self.distribution == "truncated_normal":
            TruncatedNormal(stddev=math.sqrt(variance) / _TRUNCATED).fill(out, rng)
        else:
            RandomNormal(stddev=math.sqrt(variance)).fill(out, rng)


class GlorotUniform(VarianceScaling):
    """Uniform with variance 2 / (fan_in + fan_out): limit √(6 / (fan_in + fan_out)).

    Glorot and Bengio (2010): for tanh and sigmoid.
    """

    def __init__(self) -> None:
        super().__init__(1, "avg", "uniform")


class GlorotNormal(VarianceScaling):
    """Truncated normal with variance 2 / (fan_in + fan_out); Glorot and Bengio (2010)."""

    def __init__(self) -> None:
        super().__init__(1, "avg", "truncated_normal")


class HeUniform(VarianceScaling):
    """Uniform with variance 2 / fan_in; He et al. (2015): for ReLU, which lets half through."""

    def __init__(self) -> None:
        super().__init__(2, "in", "uniform")


class HeNormal(VarianceScaling):
    """Truncated normal with variance 2 / fan_in; He et al. (2015)."""

    def __init__(self) -> None:
        super().__init__(2, "in", "truncated_normal")


class LecunUniform(VarianceScaling):
    """Uniform with variance 1 / fan_in; LeCun et al. (1998)."""

    def __init__(self) -> None:
        super().__init__(1, "in", "uniform")


class LecunNormal(VarianceScaling):
    """Truncated normal with variance 1 / fan_in; LeCun et al. (1998): for SELU."""

    def __init__(self) -> None:
        super().__init__(1, "in", "truncated_normal")


class Orthogonal(Initializer):
    """``gain`` times a random matrix with orthonormal columns, or rows if there are fewer of them.

    w (…, in, out) is taken as a matrix of all axes but the last by the last. It is the Q of the QR
    decomposition of a normal matrix, computed in float64, its columns' signs chosen so that every
    such matrix is as likely (Saxe et al., 2014). Raises ``ValueError`` for a weight of one axis.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = check_number("Orthogonal", "gain", gain, 0)

    def fill(self, out: Array, rng: np.random.Generator) -> None:
        if out.ndim < 2:
            raise ValueError(f"Orthogonal: a weight must have two axes or more, got {out.shape}")
        rows, columns = math.prod(out.shape[:-1]), out.shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= self.gain * np.where(np.diagonal(r) < 0, -1, 1)
        out[...] = (q if rows >= columns else q.T).reshape(out.shape)


#: By the name that a layer takes.
NAMED: dict[str, Callable[[], Initializer]] = {
    "zeros": Zeros,
    "ones": Ones,
    "random_normal": RandomNormal,
    "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal,
    "glorot_uniform": GlorotUniform,
    "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform,
    "he_normal": HeNormal,
    "lecun_uniform": LecunUniform,
    "lecun_normal": LecunNormal,
    "orthogonal": Orthogonal,
}


def get(initializer: str | float | Initializer) -> Initializer:
    """An initializer by name, a number (constant) or an instance."""
    if isinstance(initializer, Initializer):
        return initializer
    if isinstance(initializer, (int, float)):
        return Constant(float(initializer))
    if not isinstance(initializer, str) or initializer not in NAMED:
        raise unknown("initializer", initializer, NAMED)
    return NAMED[initializer]()
