"""Regularisation: a network that can learn its training set by heart is kept from doing so.

The loss of N samples says nothing of others. A penalty prefers small weights, dropout makes each
unit do without the others:

    L1       L + λ Σ|w|     gradient λ sign(w): the same pull at any size, so that weights become 0
    L2       L + λ Σw²      gradient 2 λ w: a pull in proportion, all weights small, none 0
    dropout  in training each hidden value is 0 with probability p, else y / (1 − p)

The gap is accuracy in training less accuracy in the test. Here it is made large: few digits, a
fifth of whose labels are drawn anew, and a network with many more weights than digits. Who learns
the wrong labels by heart does worse in the test, where the labels are right.

R. Tibshirani, Regression shrinkage and selection via the lasso (1996); A. Krogh and J. Hertz, A
simple weight decay can improve generalization (1991); N. Srivastava et al., Dropout (2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import load_digits, split
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Dense, Dropout
from fastnn.model import Sequential
from fastnn.optimizers import SGD
from fastnn.panels import Histograms, Lines
from fastnn.regularizers import L1, L2, Regularizer

Array = NDArray[Any]

UNITS = 128
#: (penalty on the weights, rate of dropout)
WAYS: dict[str, tuple[Regularizer | None, float]] = {
    "none": (None, 0),
    "L1": (L1(3e-3), 0),
    "L2": (L2(5e-3), 0),
    "dropout": (None, 0.5),
}
WRONG = 0.2
NEAR_ZERO = 1e-3


def digits(settings: Settings) -> tuple[Array, Array, Array, Array]:
    """360 digits to train on, a fifth of their labels drawn anew, and 1437 to test."""
    x_test, y_test, x, y = split(*load_digits(), seed=settings.seed)
    rng = np.random.default_rng(settings.seed)
    y = np.where(rng.random(len(y)) < WRONG, rng.integers(0, 10, len(y)), y)
    return x, y, x_test, y_test


def network(penalty: Regularizer | None, rate: float, seed: int) -> Sequential:
    """One hidden layer of 128 units."""
    layers = [
        Dense(UNITS, "relu", kernel_regularizer=penalty, name="hidden"),
        Dropout(rate),
        Dense(10, kernel_regularizer=penalty),
    ]
    net = Sequential(layers, seed=seed)
    net.compile(SGD(0.02, momentum=0.9), "softmax_cross_entropy", metrics=["accuracy"])
    return net


def run(settings: Settings) -> Result:
    """See the module."""
    x, y, x_test, y_test = digits(settings)
    epochs = settings.size(150, 90)
    rows = [["", "training", "test", "gap", f"|w| < {NEAR_ZERO:g}", "Σ w²"]]
    curves: dict[str, Any] = {}
    weights: dict[str, Array] = {}
    gap: dict[str, float] = {}
    for way, (penalty, rate) in WAYS.items():
        net = network(penalty, rate, settings.seed)
        history = net.fit(
            x, y, epochs=epochs, batch_size=32, seed=settings.seed, verbose=0,
            validation_data=(x_test, y_test),
        )  # fmt: skip
        training, test = (net.evaluate(*s)["accuracy"] for s in ((x, y), (x_test, y_test)))
        weights[way], gap[way] = net.get_weights()["hidden/w"], training - test
        squares = np.square(weights[way]).sum()
        rows.append([way, f"{training:.3f}", f"{test:.3f}", f"{gap[way]:.3f}",
                     f"{near_zero(weights[way]):.3f}", f"{squares:.1f}"])  # fmt: skip
        curves[way] = range(1, epochs + 1), history["val_accuracy"]
    zeros = {way: near_zero(w) for way, w in weights.items()}
    checks = [
        Check(f"gap without − with {way}", gap["none"] - gap[way], ">=", 0.05)
        for way in WAYS if way != "none"
    ]  # fmt: skip
    checks += [
        Check("part of weights near 0, L1 − L2", zeros["L1"] - zeros["L2"], ">=", 0.1),
        Check("part of weights near 0, L1 − none", zeros["L1"] - zeros["none"], ">=", 0.1),
    ]
    return Result(
        f"digits, {len(x)} to train on with a fifth of the labels drawn anew, {len(x_test)} to "
        f"test; {epochs} epochs",
        [Table("accuracy, and weights of the hidden layer", rows)],
        checks,
        [
            Lines("Test", curves, "epoch", "accuracy"),
            Histograms("Weights of the hidden layer", weights, "w", log=True),
        ],
        {"near_zero": zeros, "gap": gap},
    )  # fmt: skip


def near_zero(w: Array) -> float:
    """The part of weights that is nearly 0."""
    return float((np.abs(w) < NEAR_ZERO).mean())


LESSON = Lesson(
    name="regularisation",
    question="How is a network kept from learning by heart?",
    claim="L1, L2 and dropout make the gap to the test smaller; L1 makes more weights about 0",
    run=run,
    seconds=2,
)
