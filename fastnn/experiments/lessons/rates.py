"""The learning rate: too small creeps, too large oscillates, larger still diverges.

One neuron with the squared error, L(θ) = mean (x̃ₙ·θ − tₙ)² with x̃ = (x, 1) and θ = (w, b), is a
bowl. Its Hessian is constant, H = 2/N Σ x̃ₙ x̃ₙᵀ, and with the minimum θ* a step of gradient descent
is exactly

    θ − θ* ← (I − αH)(θ − θ*).

Along an eigenvector of H with eigenvalue λ the distance is multiplied by 1 − αλ. So, with λ_max:

    α < 1/λ_max             every component shrinks and keeps its sign
    1/λ_max < α < 2/λ_max   the steepest one shrinks and changes its sign at every step
    2/λ_max < α             it grows: training diverges

And the flattest shrinks by 1 − αλ_min only: α is bounded by the steepest direction, the time is
decided by the flattest. Standardised inputs make the bowl round.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Dense
from fastnn.model import Sequential
from fastnn.optimizers import SGD
from fastnn.panels import Contours, Lines
from fastnn.plots import Scene

Array = NDArray[Any]

#: The rate times λ_max, and what must come of it.
RATES = {0.2: "creeps", 0.8: "arrives", 1.9: "oscillates", 2.05: "diverges"}
START = (-1.5, 3.0)


def descend(x: Array, t: Array, rate: float, steps: int) -> Array:
    """The points (w, b) after 0, 1, … steps of gradient descent on all samples, from START."""
    net = Sequential([Dense(1)], input_shape=(1,), dtype="float64")
    net.compile(SGD(rate), "mse")
    net.set_weights({"dense/w": [[START[0]]], "dense/b": [START[1]]})
    path = [START]
    for _ in range(steps):
        net.train_on_batch(x, t)
        weights = net.get_weights()
        path.append((weights["dense/w"].item(), weights["dense/b"].item()))
    return np.array(path)


def run(settings: Settings) -> Result:
    """See the module."""
    rng = np.random.default_rng(settings.seed)
    steps = settings.size(60, 50)
    x = rng.uniform(0, 1.5, (100, 1))
    t = 2 * x - 0.5 + rng.normal(0, 0.1, x.shape)
    inputs = np.hstack([x, np.ones_like(x)])
    hessian = 2 / len(x) * inputs.T @ inputs
    eigenvalues, vectors = np.linalg.eigh(hessian)
    flattest, steepest = map(float, eigenvalues)
    best = np.linalg.lstsq(inputs, t, rcond=None)[0][:, 0]

    def loss(w: Array, b: Array) -> Array:
        d = np.stack([w - best[0], b - best[1]], axis=-1)
        return least + np.sum(d @ hessian * d, axis=-1) / 2

    least = float(np.mean((inputs @ best - t[:, 0]) ** 2))
    rows = [
        ["rate · λ_max", "rate", "1 − αλ_max", "measured", "sign changes", "loss above the least"]
    ]
    paths, losses, checks, errors = {}, {}, [], []
    for factor, fate in RATES.items():
        path = descend(x, t, factor / steepest, steps)
        along = (path - best) @ vectors[:, 1]
        measured = float(along[2] / along[1])
        changes = sum(a * b < 0 for a, b in pairwise(along[:11]))
        values = loss(*path.T)
        above = values - least
        name = f"{factor:g}/λ_max {fate}"
        paths[name], losses[name] = path, (range(steps + 1), above)
        rows.append([
            f"{factor:g}: {fate}", f"{factor / steepest:.3f}", f"{1 - factor:.3f}",
            f"{measured:.3f}", f"{changes} of 10", f"{above[0]:.3g} → {above[-1]:.3g}",
        ])  # fmt: skip
        end = float(above[-1] / above[0])
        checks += [
            Check(f"sign changes at {factor:g}/λ_max", changes, "==", 10 * (factor > 1)),
            Check(f"loss at the end by that at the start, {factor:g}/λ_max", end,
                  ">" if factor > 2 else "<", 1),
        ]  # fmt: skip
        errors.append(abs(measured - (1 - factor)))
    checks.append(Check("largest distance of a factor from 1 − αλ_max", max(errors), "<=", 1e-6))
    limits = (-2.5, 6.0, -3.5, 4.5)
    scene = Scene(
        "four rates on one bowl", loss, limits, np.geomspace(2 * least, 60, 14),
        [(float(best[0]), float(best[1]))], paths,
    )  # fmt: skip
    return Result(
        f"100 samples of t = 2x − 0.5 + noise; λ_max = {steepest:.3f}, λ_min = {flattest:.3f}",
        [Table(f"{steps} steps; 'measured' is the factor of the second step", rows)],
        checks,
        [Contours(scene), Lines("loss above the least", losses, "step", log="y")],
        {"lambda_max": steepest, "lambda_min": flattest},
    )


LESSON = Lesson(
    name="rates",
    question="What does the learning rate decide?",
    claim="a rate above 2/λ_max diverges, between 1/λ_max and 2/λ_max it oscillates",
    run=run,
    seconds=1,
)
