"""Initializers: weights too small let a deep network's values die, too large let them explode.

A unit sums n inputs: z = Σ wᵢ yᵢ. With independent weights of mean 0,

    var(z) = n · var(w) · E[y²],

so that a layer multiplies the spread of its values by about √(n · var(w)), and ReLU by √(1/2) more,
because it drops half of E[z²]. Eight layers take the eighth power of that. It stays near 1 with

    LeCun  var(w) = 1/n_in                 for tanh, which is about z for small z
    Glorot var(w) = 2/(n_in + n_out)       the same forward, and for the gradients backward
    He     var(w) = 2/n_in                 for ReLU

each as a normal distribution or as a uniform one of limit √(3 var(w)). An orthogonal matrix keeps
the length of every vector, not only the mean. Uniform ±1 has var(w) = 1/3: n · var(w) = 43 for the
128 units here. Tanh then saturates and its slope is 0; ReLU's values grow until the loss isn't
finite. With σ = 0.05, n · var(w) = 0.32, and values die out.

Y. LeCun et al., Efficient BackProp (1998); X. Glorot and Y. Bengio, Understanding the difficulty of
training deep feedforward neural networks (2010); K. He et al., Delving deep into rectifiers (2015);
A. Saxe et al., Exact solutions to the nonlinear dynamics of learning (2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import load_digits, split
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.initializers import Initializer, RandomUniform
from fastnn.layers import Dense
from fastnn.model import Sequential
from fastnn.optimizers import SGD
from fastnn.panels import Histograms, Lines, Panel

Array = NDArray[Any]

DEPTH, UNITS = 8, 128
ACTIVATIONS = ("tanh", "relu")
INITIALIZERS: dict[str, str | Initializer] = {
    "uniform ±1": RandomUniform(-1, 1),
    **{
        name: name
        for name in (
            "random_normal", "random_uniform", "truncated_normal", "lecun_normal", "lecun_uniform",
            "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "orthogonal",
        )
    },
}  # fmt: skip
#: A uniform distribution does as the normal one of the same variance; one of both is drawn.
DRAWN = ("random_normal", "lecun_normal", "he_normal", "orthogonal", "uniform ±1")
#: Beyond this tanh is flat: its slope is below 0.1.
SATURATED = 0.95
#: What ``flat_part`` is called.
FLAT = {"tanh": "saturated", "relu": "dead units"}


def network(activation: str, initializer: str, seed: int) -> Sequential:
    """Eight hidden layers of 128 units."""
    start = INITIALIZERS[initializer]
    hidden = [Dense(UNITS, activation, kernel_initializer=start) for _ in range(DEPTH)]
    net = Sequential([*hidden, Dense(10)], seed=seed)
    net.compile(SGD(0.05), "softmax_cross_entropy", metrics=["accuracy"])
    return net


def hidden_values(net: Sequential, x: Array) -> list[Array]:
    """What each hidden layer says to x, arrays (N, 128)."""
    net.predict(x, batch_size=len(x))
    return [np.array(layer.last_output()) for layer in net.layers[:-1]]


def spread(values: list[Array]) -> list[float]:
    """The standard deviation of each layer's values, over samples and units."""
    return [float(y.std()) for y in values]


def flat_part(activation: str, y: Array) -> float:
    """Tanh: the part of values that are saturated. ReLU: of units that are 0 for every sample."""
    flat = np.abs(y) > SATURATED if activation == "tanh" else (y == 0).all(axis=0)
    return float(flat.mean())


def described(activation: str, values: list[Array]) -> list[str]:
    """Four cells of the table."""
    first, *_, last = spread(values)
    figures = (first, last, float(values[-1].mean()), flat_part(activation, values[-1]))
    return [f"{figure:.2g}" for figure in figures]


def run(settings: Settings) -> Result:
    """See the module."""
    x, y, x_test, y_test = split(*load_digits(), seed=settings.seed)
    x, x_test = (x - x.mean()) / x.std(), (x_test - x.mean()) / x.std()
    epochs = settings.size(10, 1)
    layers = range(1, DEPTH + 1)
    tables: list[Table] = []
    panels: list[Panel] = []
    start: dict[tuple[str, str], list[Array]] = {}
    for activation in ACTIVATIONS:
        flat = FLAT[activation]
        rows = [["initializer", "layer 1", "layer 8", "mean", flat,
                 "trained: layer 1", "layer 8", "mean", flat, "test accuracy"]]  # fmt: skip
        end: dict[str, list[Array]] = {}
        for name in INITIALIZERS:
            net = network(activation, name, settings.seed)
            start[activation, name] = hidden_values(net, x_test)
            rows.append([name, *described(activation, start[activation, name])])
            try:
                net.fit(x, y, epochs=epochs, batch_size=64, seed=settings.seed, verbose=0)
            except FloatingPointError:
                rows[-1] += [""] * 4 + ["diverged"]
                continue
            end[name] = hidden_values(net, x_test)
            accuracy = net.evaluate(x_test, y_test)["accuracy"]
            rows[-1] += [*described(activation, end[name]), f"{accuracy:.3f}"]
        tables.append(Table(f"{activation}: spread of layers 1 and 8, mean of layer 8", rows))
        begun = {name: start[activation, name] for name in DRAWN}
        for when, found in (("before", begun), ("after", end)):
            lines = {name: (layers, spread(found[name])) for name in DRAWN if name in found}
            title = f"{activation}: spread {when} training"
            panels.append(Lines(title, lines, "layer", "standard deviation", log="y"))
    last = {name: start["tanh", name][-1] for name in DRAWN}
    panels.insert(2, Histograms("tanh: values of layer 8 before training", last, log=True))
    means = {name: (layers, [float(y.mean()) for y in start["relu", name]]) for name in DRAWN}
    panels.append(Lines("relu: mean before training", means, "layer", "mean", log="y"))

    def kept(activation: str, name: str) -> float:
        first, *_, last = spread(start[activation, name])
        return last / first

    what = "spread of layer 8 ÷ that of layer 1"
    checks = [
        Check(f"relu, he_normal: {what}", kept("relu", "he_normal"), ">=", 0.4),
        Check(f"relu, he_normal: {what}", kept("relu", "he_normal"), "<=", 2.5),
        Check(f"tanh, glorot_normal: {what}", kept("tanh", "glorot_normal"), ">=", 0.25),
        Check(f"relu, glorot_normal: {what}", kept("relu", "glorot_normal"), "<=", 0.25),
        Check(f"tanh, random_normal: {what}", kept("tanh", "random_normal"), "<=", 0.05),
        Check("tanh, uniform ±1: part saturated in layer 8",
              flat_part("tanh", start["tanh", "uniform ±1"][-1]), ">=", 0.5),
    ]  # fmt: skip
    return Result(
        f"digits, {len(x)} to train on, {len(x_test)} to test; {epochs} epochs",
        tables, checks, panels,
    )  # fmt: skip


LESSON = Lesson(
    name="initializers",
    question="How large should the first weights be?",
    claim="He's initializer keeps the spread of ReLU's values through eight layers, Glorot's about "
    "that of tanh's; smaller weights let it die, larger ones saturate tanh",
    run=run,
    seconds=10,
)
