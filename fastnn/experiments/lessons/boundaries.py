"""Decision boundaries: each hidden unit adds bends, and three units can close a region.

A network with one hidden layer of k ReLU units and one output z decides by the sign of

    z(x) = Σⱼ vⱼ max(0, wⱼ·x + bⱼ) + c.

On either side of each unit's line z is linear, so that the boundary z = 0 is made of straight
pieces that bend on these lines, and only there. Without hidden units it is one line.

Two units can't enclose anything. Where both are 0, in a sector that has no end, z = c. Where only
the first is on, z = v₁z₁ + c with z₁ as large as you like: if one class is to be bounded, v₁ must
have c's sign, and v₂ too; and then z has c's sign everywhere. Three units can enclose a region, and
more make it round.

The data are a disc within a ring: what isn't enclosed is partly wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Dense
from fastnn.model import Sequential
from fastnn.optimizers import Adam
from fastnn.panels import Regions

Array = NDArray[Any]

HIDDEN = (0, 1, 2, 3, 4, 16)


def disc_and_ring(count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """x (count, 2): half of it within radius 1 (class 0), half from 2.5 to 3.2 (class 1)."""
    y = np.arange(count) % 2
    angle = rng.uniform(0, 2 * np.pi, count)
    radius = np.where(y, rng.uniform(2.5, 3.2, count), np.sqrt(rng.random(count)))
    return radius[:, np.newaxis] * np.stack([np.cos(angle), np.sin(angle)], axis=1), y


def learn(x: Array, y: Array, hidden: int, epochs: int, seed: int) -> Sequential:
    """Train one network."""
    layers = [Dense(hidden, "relu")] if hidden else []
    net = Sequential([*layers, Dense(1)], seed=seed)
    net.compile(Adam(0.03), "sigmoid_cross_entropy", metrics=["accuracy"])
    net.fit(x, y, epochs=epochs, batch_size=100, seed=seed, verbose=0)
    return net


def run(settings: Settings) -> Result:
    """See the module."""
    rng = np.random.default_rng(settings.seed)
    x, y = disc_and_ring(400, rng)
    x_test, y_test = disc_and_ring(2000, rng)
    starts = settings.size(10, 6)
    epochs = settings.size(200, 100)
    rows = [["hidden units", "parameters", "training accuracy, best", "worst", "test accuracy"]]
    found, panels = {}, []
    for hidden in HIDDEN:
        nets = [learn(x, y, hidden, epochs, settings.seed + i) for i in range(starts)]
        scores = [net.evaluate(x, y)["accuracy"] for net in nets]
        best = nets[int(np.argmax(scores))]
        found[hidden] = best.evaluate(x_test, y_test)["accuracy"]
        rows.append([
            f"{hidden}", f"{best.count_params()}",
            f"{max(scores):.3f}", f"{min(scores):.3f}", f"{found[hidden]:.3f}",
        ])  # fmt: skip

        def classify(points: Array, net: Sequential = best) -> Array:
            return net.predict(points)[:, 0] > 0

        panels.append(Regions(f"{hidden} hidden: {found[hidden]:.3f}", classify, x, y))
    return Result(
        f"{len(x)} points of a disc within a ring, drawn; {len(x_test)} for the test",
        [Table(f"the best of {starts} starts each, by training accuracy", rows, left=0)],
        [
            Check("test accuracy without hidden units", found[0], "<=", 0.75),
            Check("test accuracy with two", found[2], "<=", 0.96),
            Check("test accuracy with three", found[3], ">=", 0.99),
            Check("test accuracy with sixteen", found[16], ">=", 0.99),
        ],
        panels,
        {"test accuracy": found},
    )


LESSON = Lesson(
    name="boundaries",
    question="How does a hidden layer bend the boundary?",
    claim="a disc within a ring needs three hidden units: two can't enclose it",
    run=run,
    seconds=10,
)
