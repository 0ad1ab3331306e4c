"""Gradients checked against central differences: for people who write layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastnn.functional import check_count, check_number
from fastnn.model import Sequential
from fastnn.parameters import Gradients


def check_gradients(
    model: Sequential,
    x: ArrayLike,
    y: Any,
    directions: int = 3,
    step: float = 1e-5,
    tolerance: float = 1e-6,
    seed: int = 0,
    training: bool = False,
) -> dict[str, float]:
    """Compare back-propagated gradients with central differences along random directions.

    For the input and for each trained parameter, a random direction d of length 1 is drawn; the
    derivative along it, (L(p + h d) − L(p − h d)) / 2h with h = ``step``, must equal ⟨∇L, d⟩.
    The model must be compiled and of dtype float64, where h = 1e-5, about the cube root of eps,
    errs least; inputs where an activation has a kink (ReLU at 0) don't belong in the data.
    ``training``: with the statistics of the batch, as in training, where the model has batch
    normalisation; a layer that draws random numbers can't be checked so.

    Returns the largest error of each, |difference| / max(|a|, |b|, size of the gradient · 1e-3),
    by parameter name and ``"x"``; but a difference that rounding of the losses alone can make,
    8 eps L / h, is within the tolerance: a bias below batch normalisation has gradient 0. Raises
    ``AssertionError``, naming the worst, if one is above ``tolerance``, and ``ValueError`` for a
    model that isn't float64, no ``directions``, and a ``step`` or ``tolerance`` of 0. Weights end
    as they began, whatever is raised.
    """
    check_count("check_gradients: directions", directions, 1)
    for argument, number in (("step", step), ("tolerance", tolerance)):
        if check_number("check_gradients", argument, number, 0) == 0:
            raise ValueError(f"check_gradients: {argument} must be > 0, got {number!r}")
    if model.dtype != np.float64:
        raise ValueError(f"check_gradients: the model must be float64, got {model.dtype}")
    inputs, labels = model.check_data(x, y)
    inputs = np.array(inputs, np.float64)
    assert model.store is not None
    rng = np.random.default_rng(seed)

    def loss() -> float:
        model.bind(len(inputs), training, needs_dx=True)
        return sum(model.losses_of(model.chain.forward(inputs, training), labels).values())

    loss()
    sink = Gradients()
    kept = [(p, p.value.copy()) for p in model.store.parameters if not p.learned]
    try:
        dx = model.backward(sink)
    finally:
        for p, value in kept:
            p.value[...] = value
    pairs = [("x", inputs, np.array(dx, np.float64).reshape(inputs.shape))]
    pairs += [(p.name, p.value, sink.arrays[p.name].copy()) for p in model.store.trained]
    errors = {}
    for name, values, gradient in pairs:
        errors[name] = 0.0
        start = values.copy()
        try:
            for _ in range(directions):
                direction = rng.standard_normal(values.shape)
                direction /= np.linalg.norm(direction)
                values[...] = start + step * direction
                above = loss()
                values[...] = start - step * direction
                below = loss()
                numeric = (above - below) / (2 * step)
                analytic = float(np.vdot(gradient, direction))
                size = max(
                    abs(numeric), abs(analytic), 1e-3 * float(np.linalg.norm(gradient)), 1e-12
                )
                rounding = 8 * np.finfo(np.float64).eps * max(abs(above), abs(below)) / step
                error = abs(numeric - analytic) / max(size, rounding / tolerance)
                errors[name] = max(errors[name], error if np.isfinite(error) else np.inf)
        finally:
            values[...] = start
    worst = max(errors, key=errors.__getitem__)
    if not errors[worst] <= tolerance:
        raise AssertionError(
            f"check_gradients: the gradient of {worst} is off by {errors[worst]:.2g} of its size "
            f"(tolerance {tolerance:g})"
        )
    return errors
