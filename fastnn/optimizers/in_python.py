"""The rarer optimizers, written once, in NumPy: several passes over memory, on every backend."""

from __future__ import annotations

import math
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from fastnn.optimizers.base import Common, Optimizer, Rate

Array = NDArray[Any]


class _Sparse(Optimizer):
    """Rules for a loss with λ₁ Σ|p| + λ₂ Σp² / 2 added to it: many weights become exactly 0."""

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(learning_rate, **common)
        start = self._number("initial_accumulator_value", initial_accumulator_value)
        self.initial_state = (*(0.0 for _ in self.state[1:]), start)[: len(self.state)]
        self.l1 = self._number("l1_regularization_strength", l1_regularization_strength)
        self.l2 = self._number("l2_regularization_strength", l2_regularization_strength)

    def _proximal(self, p: Array, rate: Array | float) -> Array:
        """argminₓ (x − p)² / 2 + α (λ₁ |x| + λ₂ x² / 2)."""
        return np.sign(p) * np.maximum(np.abs(p) - rate * self.l1, 0) / (1 + rate * self.l2)


class ProximalGradientDescent(_Sparse):
    """p ← prox(p − α g), prox(x) = sign(x) max(|x| − α λ₁, 0) / (1 + α λ₂).

    A step of gradient descent, then the exact answer of the penalties. Duchi and Singer (2009).
    State: none.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        **common: Unpack[Common],
    ) -> None:
        penalties = l1_regularization_strength, l2_regularization_strength
        super().__init__(learning_rate, 0.0, *penalties, **common)

    def update(self, param: Array, grad: Array, step: int) -> None:
        rate = self.rate(step)
        param[...] = self._proximal(param - rate * grad, rate)


class ProximalAdagrad(_Sparse):
    """a ← a + g², p ← prox(p − α g / √a), with α / √a in prox too.

    Duchi and Singer (2009), with the rates of Adagrad. State: ``accumulator``, which starts at
    0.1.
    """

    state = ("accumulator",)

    def update(self, param: Array, grad: Array, accumulator: Array, step: int) -> None:
        accumulator += grad * grad
        rate = self.rate(step) / np.sqrt(np.where(accumulator > 0, accumulator, 1))
        param[...] = self._proximal(param - rate * grad, rate)


class AdagradDA(_Sparse):
    """Dual averaging: G ← G + g, a ← a + g², p = −α sign(G) max(|G| − λ₁ t, 0) / (√a + α λ₂ t).

    Duchi, Hazan and Singer (2011), in TensorFlow's form. The weights follow from sums alone, so
    that the initial ones are forgotten at the first step: made for linear models. A rate of 0
    makes no step. State: ``gradient_sum``, and ``accumulator``, which starts at 0.1.
    """

    state = ("gradient_sum", "accumulator")

    def update(
        self, param: Array, grad: Array, gradient_sum: Array, accumulator: Array, step: int
    ) -> None:
        rate = self.rate(step)
        if not rate:
            return  # the formula's answer would be p = 0
        gradient_sum += grad
        accumulator += grad * grad
        size = rate * np.maximum(np.abs(gradient_sum) - self.l1 * step, 0)
        below = np.sqrt(accumulator) + rate * self.l2 * step
        param[...] = -np.sign(gradient_sum) * size / np.where(below > 0, below, 1)


class Ftrl(_Sparse):
    """Follow the regularized leader: σ = (√(n + g²) − √n) / α, z ← z + g − σ p, n ← n + g²,
    p = 0 where |z| <= λ₁, else p = (sign(z) λ₁ − z) / (√n / α + λ₂).

    McMahan and others (2013), Algorithm 1, with β = 0 and in Keras's form, where z starts at 0 and
    n at 0.1, so that most of the initial weights is forgotten at the first step: made for linear
    models. A rate of 0 makes no step. State: ``z`` and ``n``.
    """

    state = ("z", "n")

    def update(self, param: Array, grad: Array, z: Array, n: Array, step: int) -> None:
        rate, before = self.rate(step), np.sqrt(n)
        if not rate:
            return  # σ has no value
        n += grad * grad
        z += grad - (np.sqrt(n) - before) / rate * param
        below = np.sqrt(n) / rate + self.l2
        leader = (np.sign(z) * self.l1 - z) / np.where(below > 0, below, 1)
        param[...] = np.where(np.abs(z) <= self.l1, 0, leader)


class Adafactor(Optimizer):
    """Adam's mean square of a matrix kept as two vectors. Shazeer and Stern (2018), Algorithm 4.

    With β = 1 − t^−0.8: R ← β R + (1−β) rowmean(g² + ε₁), C ← β C + (1−β) columnmean(g² + ε₁),
    V = R C / mean(R), U = g / √V, U ← U / max(1, rms(U)), p ← p − α max(ε₂, rms(p)) U, where
    α = min(``learning_rate``, 1/√t). A vector keeps V itself, an array of more axes a matrix for
    each place of the first ones. State: ``rows`` (or V) and ``columns``, K + O numbers for K·O
    weights.
    """

    state = ("rows", "columns")

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(learning_rate, **common)
        self.epsilon_1 = self._number("epsilon_1", epsilon_1)
        self.epsilon_2 = self._number("epsilon_2", epsilon_2)

    def state_shapes(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
        if len(shape) < 2:
            return shape, (0,)
        return shape[:-1], (*shape[:-2], shape[-1])

    def update(self, param: Array, grad: Array, rows: Array, columns: Array, step: int) -> None:
        beta = 1 - step**-0.8
        square = grad * grad + self.epsilon_1
        factored = param.ndim > 1
        rows += (1 - beta) * ((square.mean(axis=-1) if factored else square) - rows)
        if factored:
            columns += (1 - beta) * (square.mean(axis=-2) - columns)
            # One root after the other: of a row without gradient, the product would be 0.
            share = rows / rows.mean(axis=-1, keepdims=True)
            change = grad / np.sqrt(share)[..., None] / np.sqrt(columns)[..., None, :]
        else:
            change = grad / np.sqrt(rows)
        change /= max(1.0, _rms(change))
        rate = min(self.rate(step), step**-0.5) * max(self.epsilon_2, _rms(param))
        param -= rate * change


def _rms(x: Array) -> float:
    return math.sqrt(float(np.mean(np.square(x), dtype=np.float64)))
