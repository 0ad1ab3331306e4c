"""Batch normalisation: layers whose inputs keep mean 0 and spread 1 while those below them learn.

For each unit over the M samples of a batch, with trained γ and β,

    μ = Σ z/M,   σ² = Σ (z − μ)²/M,   y = γ (z − μ)/√(σ² + ε) + β.

Whatever the scale of the weights below, y has it not: replacing W by a W leaves y as it was, and
makes dL/dW smaller by a. So nothing vanishes or explodes through many layers, the initializer
matters little, and large learning rates don't diverge: weights that grew get smaller gradients. In
use, where there may be one sample only, running means of μ and σ² stand in.

Here a deep network of dense layers learns with and without it, from small, fitting and large
weights, at several learning rates. What diverged counts as 0.

S. Ioffe and C. Szegedy, Batch normalization (2015); S. Santurkar et al., How does batch
normalization help optimization? (2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import load_digits, split
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.initializers import RandomNormal
from fastnn.layers import BatchNormalization, Dense, Layer
from fastnn.model import Sequential
from fastnn.optimizers import SGD
from fastnn.panels import Lines, Panel

Array = NDArray[Any]

DEPTH, UNITS = 8, 64
#: Standard deviations of the first weights; He's is √(2/64) = 0.18.
SPREADS = (0.05, 0.18, 0.5)
RATES = (0.001, 0.01, 0.1, 1.0)
WAYS = ("without", "with")


def network(normalised: bool, spread: float, rate: float, seed: int) -> Sequential:
    """Eight hidden layers of 64 units with ReLU."""
    start = RandomNormal(stddev=spread)
    layers: list[Layer] = []
    for _ in range(DEPTH):
        if normalised:
            layers += [
                Dense(UNITS, use_bias=False, kernel_initializer=start),
                BatchNormalization(momentum=0.9, activation="relu"),
            ]
        else:
            layers.append(Dense(UNITS, "relu", kernel_initializer=start))
    net = Sequential([*layers, Dense(10)], seed=seed)
    net.compile(SGD(rate), "softmax_cross_entropy", metrics=["accuracy"])
    return net


def learned(
    net: Sequential, x: Array, y: Array, x_test: Array, y_test: Array, epochs: int, seed: int
) -> float:
    """The accuracy in the test after training; 0 if it diverged."""
    try:
        net.fit(x, y, epochs=epochs, batch_size=64, seed=seed, verbose=0)
    except FloatingPointError:
        return 0.0
    return net.evaluate(x_test, y_test)["accuracy"]


def run(settings: Settings) -> Result:
    """See the module."""
    x, y, x_test, y_test = split(*load_digits(), seed=settings.seed)
    epochs = settings.size(15, 4)
    tables: list[Table] = []
    panels: list[Panel] = []
    accuracy: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for spread in SPREADS:
        found: dict[str, list[float]] = {}
        for way in WAYS:
            found[way] = [
                learned(network(way == "with", spread, rate, settings.seed), x, y, x_test, y_test,
                        epochs, settings.seed)
                for rate in RATES
            ]  # fmt: skip
            accuracy[way].append(found[way])
        rows = [["learning rate", *WAYS]]
        for i, rate in enumerate(RATES):
            rows.append([f"{rate:g}", *(f"{found[way][i]:.3f}" for way in WAYS)])
        title = f"first weights of deviation {spread:g}"
        tables.append(Table(f"test accuracy, {title}", rows))
        lines = {way: (RATES, found[way]) for way in WAYS}
        panels.append(Lines(title.capitalize(), lines, "learning rate", "test accuracy", log="x"))
    #: by rate, that of the worst first weights
    worst = {way: np.min(accuracy[way], axis=0) for way in WAYS}
    fitting = {way: accuracy[way][SPREADS.index(0.18)][-1] for way in WAYS}
    return Result(
        f"digits, {len(x)} to train on, {len(x_test)} to test; {epochs} epochs",
        tables,
        [
            Check("accuracy at the rate that is best for all first weights, with − without",
                  float(worst["with"].max() - worst["without"].max()), ">=", 0.3),
            Check(f"accuracy at rate {RATES[-1]:g} from fitting weights, with − without",
                  fitting["with"] - fitting["without"], ">=", 0.3),
            Check("the same without, 0 as it diverged", fitting["without"], "==", 0),
        ],
        panels,
        {"accuracy": accuracy},
    )  # fmt: skip


LESSON = Lesson(
    name="batchnorm",
    question="What does batch normalisation make easier?",
    claim="with batch normalisation a deep network learns from any of the first weights, and at a "
    "rate where it diverges without",
    run=run,
    seconds=10,
)
