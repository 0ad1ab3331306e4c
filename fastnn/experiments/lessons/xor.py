"""XOR three ways: one line can't separate it; new inputs or a hidden layer can.

A neuron says 1 where z = w₁x₁ + w₂x₂ + b > 0, on one side of a line. AND and OR have such a line.
XOR has none: from z(0,0) ≤ 0, z(1,0) > 0, z(0,1) > 0 follows

    z(1,1) = z(1,0) + z(0,1) − z(0,0) > 0,

but XOR(1,1) = 0. So one neuron gets three of the four points right at best. It can with other
inputs: the new features (AND, OR), as XOR = OR and not AND; or the polynomial features
(x₁, x₂, x₁x₂), as XOR = x₁ + x₂ − 2x₁x₂. And a hidden layer finds features of its own.

M. Minsky and S. Papert, Perceptrons (1969).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Dense
from fastnn.model import Sequential
from fastnn.optimizers import Adam
from fastnn.panels import Regions

Array = NDArray[Any]

POINTS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
TARGETS = {
    "AND": np.array([0, 0, 0, 1]),
    "OR": np.array([0, 1, 1, 1]),
    "XOR": np.array([0, 1, 1, 0]),
}


def plain(x: Array) -> Array:
    """The inputs as they are."""
    return x


def new_features(x: Array) -> Array:
    """AND and OR of the inputs, as thresholds of their sum."""
    total = x.sum(axis=1)
    return np.stack([total > 1.5, total > 0.5], axis=1).astype(np.float32)


def polynomial(x: Array) -> Array:
    """x₁, x₂, x₁x₂."""
    return np.column_stack([x, x[:, 0] * x[:, 1]])


Features = Callable[[Array], Array]

#: (name, target, features, hidden units)
WAYS: tuple[tuple[str, str, Features, int], ...] = (
    ("AND, one neuron", "AND", plain, 0),
    ("OR, one neuron", "OR", plain, 0),
    ("XOR, one neuron", "XOR", plain, 0),
    ("XOR, new features", "XOR", new_features, 0),
    ("XOR, polynomial features", "XOR", polynomial, 0),
    ("XOR, hidden layer of 8", "XOR", plain, 8),
)


def learn(x: Array, y: Array, hidden: int, steps: int, seed: int) -> tuple[Sequential, list[float]]:
    """Train on all points at once; the network and its losses."""
    layers = [Dense(hidden, "tanh")] if hidden else []
    net = Sequential([*layers, Dense(1)], seed=seed)
    net.compile(Adam(0.05), "sigmoid_cross_entropy", metrics=["accuracy"])
    history = net.fit(x, y, epochs=steps, batch_size=len(x), seed=seed, verbose=0)
    return net, history["loss"]


def run(settings: Settings) -> Result:
    """See the module."""
    rows = [["", "parameters", "loss", "accuracy"]]
    accuracies: dict[str, float] = {}
    panels = []
    for name, target, features, hidden in WAYS:
        y = TARGETS[target]
        net, losses = learn(features(POINTS), y, hidden, settings.size(1000, 400), settings.seed)
        right = net.evaluate(features(POINTS), y)["accuracy"]
        accuracies[name] = right
        parameters = net.count_params()
        rows.append([name, f"{parameters}", f"{losses[-1]:.4f}", f"{right:.2f}"])

        def classify(x: Array, net: Sequential = net, features: Features = features) -> Array:
            return net.predict(features(x))[:, 0] > 0

        panels.append(Regions(f"{name}: {right:.2f}", classify, POINTS, y, "x₁", "x₂"))
    checks = [
        Check(f"accuracy of {name}", found, "<=" if name == "XOR, one neuron" else "==",
              0.75 if name == "XOR, one neuron" else 1)
        for name, found in accuracies.items()
    ]  # fmt: skip
    return Result(
        "the four points of AND, OR and XOR",
        [Table("", rows)],
        checks,
        panels,
        {"accuracy": accuracies},
    )


LESSON = Lesson(
    name="xor",
    question="What can one neuron not do?",
    claim="AND and OR need one neuron; XOR needs other inputs or a hidden layer",
    run=run,
    seconds=1,
)
