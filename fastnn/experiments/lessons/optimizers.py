"""Optimizers on digits: at one rate for all, and each at its own.

A step of gradient descent is α times the gradient, as long or as short as that is. Momentum,
v ← 0.9 v + αg, adds up what the last ten gradients have in common: where they agree it is ten times
as fast. Adagrad, RMSprop and Adam divide by the size of the gradients that were,

    Δ = α g / √(mean of g²),

so that a weight moves by about α a step, whether its gradient is 10⁻¹ or 10⁻⁴. The same number α
therefore means different things, and a comparison at one rate compares the rates. The fair question
is how far each gets with a rate of its own; here the one with the least training loss at the end,
out of a grid.

For the rules and their forms see docs/optimizers.md; for their paths, ``fastnn paths``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import optimizers
from fastnn.datasets import ImageSet
from fastnn.experiments.lessons import data
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Dense, Flatten, Rescaling
from fastnn.model import Sequential
from fastnn.panels import Bars, Lines

Array = NDArray[Any]

NAMES = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam")
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
COMMON = 0.01


def learn(
    name: str, rate: float, images: ImageSet, epochs: int, seed: int
) -> tuple[list[float], float]:
    """Loss by epoch and test accuracy of 784 → 128 → 10; a run that diverges has loss inf."""
    net = Sequential([Rescaling(1 / 255), Flatten(), Dense(128, "relu"), Dense(10)], seed=seed)
    net.compile(optimizers.get(name, rate), "softmax_cross_entropy", metrics=["accuracy"])
    try:
        history = net.fit(
            images.x_train, images.y_train, epochs=epochs, batch_size=64, seed=seed, verbose=0
        )
    except FloatingPointError:
        return [np.inf] * epochs, 0.0
    return history["loss"], net.evaluate(images.x_test, images.y_test)["accuracy"]


def run(settings: Settings) -> Result:
    """See the module."""
    images, what = data.mnist(settings, settings.size(3000, 1500), 1000)
    epochs = 5
    rates = settings.size(RATES, (0.003, 0.01, 0.1, 0.3))
    found = {
        name: {rate: learn(name, rate, images, epochs, settings.seed) for rate in rates}
        for name in NAMES
    }
    best = {name: min(runs, key=lambda rate: runs[rate][0][-1]) for name, runs in found.items()}
    rows = [["optimizer", f"loss at {COMMON}", "accuracy", "its own rate", "loss", "accuracy"]]
    for name, runs in found.items():
        common, own = runs[COMMON], runs[best[name]]
        rows.append([
            name, f"{common[0][-1]:.3f}", f"{common[1]:.3f}",
            f"{best[name]:g}", f"{own[0][-1]:.3f}", f"{own[1]:.3f}",
        ])  # fmt: skip
    reached = {name: found[name][best[name]][1] for name in NAMES}
    last = {name: found[name][COMMON][0][-1] for name in NAMES}
    epoch = range(1, epochs + 1)
    return Result(
        what,
        [Table(f"784 → 128 → 10, batches of 64, {epochs} epochs", rows)],
        [
            Check(
                f"loss of sgd at {COMMON} by the next largest",
                last["sgd"] / max(last[name] for name in NAMES if name != "sgd"), ">=", 1.5,
            ),
            Check(
                f"accuracy of adam less that of sgd, both at {COMMON}",
                found["adam"][COMMON][1] - found["sgd"][COMMON][1], ">=", 0.05,
            ),
            Check(
                "best accuracy less that of sgd, each at its own rate",
                max(reached.values()) - reached["sgd"], "<=", settings.size(0.05, 0.1),
            ),
        ],
        [
            Lines(f"training loss, rate {COMMON} for all",
                  {name: (epoch, found[name][COMMON][0]) for name in NAMES}, "epoch", log="y"),
            Lines("training loss at the end",
                  {name: (rates, [found[name][rate][0][-1] for rate in rates]) for name in NAMES},
                  "rate", log="xy"),
            Bars("test accuracy, each at its own rate", reached),
        ],
        {"best rates": best, "accuracy": reached, f"loss at {COMMON}": last},
    )  # fmt: skip


LESSON = Lesson(
    name="optimizers",
    question="Which optimizer learns fastest?",
    claim="at one rate for all SGD is far behind; with a rate of its own it isn't",
    run=run,
    seconds=20,
    data="the folder of MNIST's four files",
)
