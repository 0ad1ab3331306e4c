"""Vanishing gradient: what sigmoid does to a deep network, and ReLU with He's initializer doesn't.

Back-propagation multiplies. With z = x W + b and y = f(z) in each layer, the gradient that layer l
gets from the one above it is

    dL/dyₗ = (dL/dyₗ₊₁ ∘ f'(zₗ₊₁)) Wₗ₊₁ᵀ,    dL/dWₗ = yₗ₋₁ᵀ (dL/dyₗ ∘ f'(zₗ)).

So each layer changes the gradient's size by about f' · √(n · var(w)). Sigmoid's slope is σ(z)(1 −
σ(z)) ≤ 1/4: with var(w) = 1/n (Glorot) the size falls to a quarter in each layer, to 4⁻⁸ = 0.000015
in eight. Tanh's slope is 1 at 0, and less around it. ReLU's is 1 for the half of the units that are
above 0, so that var(w) = 2/n (He) keeps the size.

A layer's gradient is the norm of dL/dW, on all digits at once, before the first step.

S. Hochreiter, Untersuchungen zu dynamischen neuronalen Netzen (1991); X. Glorot and Y. Bengio,
Understanding the difficulty of training deep feedforward neural networks (2010); K. He et al.,
Delving deep into rectifiers (2015).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import load_digits, split
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Dense
from fastnn.model import Sequential
from fastnn.optimizers import SGD
from fastnn.panels import Lines

Array = NDArray[Any]

DEPTH, UNITS = 8, 64
#: (activation, initializer); the claim compares the first ones with the last.
WAYS = (
    ("sigmoid", "glorot_uniform"),
    ("sigmoid", "he_normal"),
    ("tanh", "he_normal"),
    ("tanh", "glorot_uniform"),
    ("relu", "glorot_uniform"),
    ("relu", "he_normal"),
)
TIMES_SMALLER = 100


def network(activation: str, initializer: str, depth: int, seed: int) -> Sequential:
    """``depth`` hidden layers of 64 units."""
    hidden = [Dense(UNITS, activation, kernel_initializer=initializer) for _ in range(depth)]
    net = Sequential([*hidden, Dense(10)], seed=seed)
    net.compile(SGD(0.1), "softmax_cross_entropy", metrics=["accuracy"])
    return net


def gradient_norms(net: Sequential, x: Array, y: Array) -> list[float]:
    """‖dL/dW‖ of each hidden layer, from the input to the output; makes a step."""
    net.train_on_batch(x, y)
    gradients = net.get_gradients()
    return [float(np.linalg.norm(gradients[f"{layer.name}/w"])) for layer in net.layers[:-1]]


def run(settings: Settings) -> Result:
    """See the module."""
    x, y, x_test, y_test = split(*load_digits(), seed=settings.seed)
    depths = range(1, DEPTH + 1)
    epochs = settings.size(20, 2)
    rows = [["activation", "initializer", "layer 1", f"layer {DEPTH}", "ratio", "test accuracy"]]
    by_layer: dict[str, Any] = {}
    by_depth: dict[str, Any] = {}
    losses: dict[str, Any] = {}
    first: dict[tuple[str, str], float] = {}
    for way in WAYS:
        norms = {d: gradient_norms(network(*way, d, settings.seed), x, y) for d in depths}
        first[way], last = norms[DEPTH][0], norms[DEPTH][-1]
        net = network(*way, DEPTH, settings.seed)
        history = net.fit(x, y, epochs=epochs, batch_size=64, seed=settings.seed, verbose=0)
        accuracy = net.evaluate(x_test, y_test)["accuracy"]
        rows.append([*way, f"{first[way]:.2g}", f"{last:.2g}", f"{first[way] / last:.2g}",
                     f"{accuracy:.3f}"])  # fmt: skip
        label = ", ".join(way)
        by_layer[label] = depths, norms[DEPTH]
        by_depth[label] = depths, [norms[d][0] for d in depths]
        losses[label] = range(1, epochs + 1), history["loss"]
    rectified = first["relu", "he_normal"]
    checks = [
        Check(f"first layer's gradient, relu with he_normal ÷ {' with '.join(way)}",
              rectified / found, ">=", TIMES_SMALLER)
        for way, found in first.items() if way[0] == "sigmoid"
    ]  # fmt: skip
    return Result(
        f"digits, {len(x)} to train on, {len(x_test)} to test; {epochs} epochs",
        [Table(f"gradient norms at depth {DEPTH}, before the first step", rows, left=2)],
        checks,
        [
            Lines(f"Gradient of each layer at depth {DEPTH}", by_layer,
                  "layer (1 is next to the input)", "norm", log="y"),
            Lines("Gradient of the first layer by depth", by_depth, "hidden layers", "norm",
                  log="y"),
            Lines(f"Training at depth {DEPTH}", losses, "epoch", "loss", log="y"),
        ],
        {"first_layer": {", ".join(way): found for way, found in first.items()}},
    )  # fmt: skip


LESSON = Lesson(
    name="vanishing",
    question="Why does a deep network of sigmoids not learn?",
    claim="with sigmoid at depth 8 the first layer's gradient is at least 100 times smaller "
    "than with ReLU and He",
    run=run,
    seconds=5,
)
