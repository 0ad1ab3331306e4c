"""Activations: their values, their slopes, and what the slopes do to learning.

    sigmoid     1/(1 + exp(−z))            slope σ(z)(1 − σ(z)) ≤ 1/4
    tanh        2σ(2z) − 1                 slope 1 − tanh(z)² ≤ 1, values around 0
    threshold   1 if z > 0, else 0         slope 0: nothing below it learns
    softplus    log(1 + exp(z))            slope σ(z)
    ReLU        max(z, 0)                  slope 0 or 1
    leaky ReLU  z if z > 0, else 0.3 z     PReLU: in place of 0.3 a slope that is trained
    ELU         z if z > 0, else exp(z) − 1;  SELU: 1.0507 · (z if z > 0, else 1.6733 (exp(z) − 1))
    Swish       z σ(z)                     GELU: z Φ(z), Φ the normal distribution
    Maxout      max(w₁·x + b₁, w₂·x + b₂)  two sets of weights in place of a function
    softmax     exp(zⱼ)/Σ exp(zᵢ)          of (z, 0) it is sigmoid(z); for the output

A unit is *saturated* where its slope is below 0.1: little gradient passes. A *zig-zag* comes of
values that are all positive: with z = Σ wᵢ yᵢ, dL/dwᵢ = dL/dz · yᵢ has the sign of dL/dz for all i,
so that a step on one sample makes all weights of a unit larger or all smaller. The way to weights
of which one is to grow and one to shrink is a zig-zag then.

Y. LeCun et al., Efficient BackProp (1998); I. Goodfellow et al., Maxout networks (2013); K. He et
al., Delving deep into rectifiers (2015); D. Clevert et al. (2016), G. Klambauer et al. (2017), P.
Ramachandran et al. (2017), D. Hendrycks and K. Gimpel (2016) for ELU, SELU, Swish and GELU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import load_digits, split
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Activation, Dense, Layer, Maxout, PReLU
from fastnn.model import Sequential
from fastnn.optimizers import SGD
from fastnn.panels import Lines
from fastnn.parameters import Gradients

Array = NDArray[Any]

NAMES = ("sigmoid", "tanh", "threshold", "softplus", "relu", "leaky_relu", "prelu", "elu", "selu",
         "swish", "gelu", "maxout")  # fmt: skip
DEPTH, UNITS = 3, 64
FLAT = 0.1
#: Of those that have some, to draw them.
WEIGHTS: dict[str, dict[str, Any]] = {
    "prelu": {"prelu/a": [0.25]},
    "maxout": {"maxout/w": [[1, -0.5]], "maxout/b": [0, 0]},
}


def hidden_layer(name: str, units: int) -> list[Layer]:
    """z = x w + b and the activation."""
    if name == "maxout":
        return [Maxout(units)]
    return [Dense(units), PReLU() if name == "prelu" else Activation(name)]


def network(name: str, seed: int) -> Sequential:
    """Three hidden layers of 64 units."""
    hidden = [layer for _ in range(DEPTH) for layer in hidden_layer(name, UNITS)]
    net = Sequential([*hidden, Dense(10)], input_shape=(64,), seed=seed)
    net.compile(SGD(0.05), "softmax_cross_entropy", metrics=["accuracy"])
    return net


def value_and_slope(name: str, z: Array) -> tuple[Array, Array]:
    """f and f′ at z (N,)."""
    layer = hidden_layer(name, 1)[-1]
    net = Sequential([layer], input_shape=(1,), dtype="float64")
    net.set_weights(WEIGHTS.get(name, {}))
    net.bind(len(z), training=False, needs_dx=True)
    y = net.chain.forward(z.reshape(-1, 1), False).copy()
    slope = net.chain.backward(np.ones_like(y), Gradients())
    assert slope is not None
    return y[:, 0], slope[:, 0].copy()


def saturated(net: Sequential, x: Array) -> float:
    """The part of hidden units and samples whose slope is below FLAT; Maxout's are 1."""
    net.predict(x, batch_size=len(x))
    slopes = [np.ones(1)]
    for layer in net.layers:
        y = layer.last_output()
        if isinstance(layer, (Activation, PReLU)) and y is not None:
            slope = layer.backward(np.ones_like(y), Gradients())
            assert slope is not None
            slopes.append(slope.ravel().copy())
    return float((np.abs(np.concatenate(slopes)) < FLAT).mean())


def one_sign(net: Sequential, x: Array, y: Array) -> float:
    """For single samples, the part of the outputs whose weights all get gradients of one sign.

    Changes the network.
    """
    parts = []
    for i in range(len(x)):
        net.train_on_batch(x[i : i + 1], y[i : i + 1])
        dw = net.get_gradients()[f"{net.layers[-1].name}/w"]
        parts.append(((dw >= 0).all(axis=0) | (dw <= 0).all(axis=0)).mean())
    return float(np.mean(parts))


def path(centre: float, steps: int, seed: int) -> Array:
    """(steps + 1, 2): the weights of one neuron with two inputs that learns w = (1, −1) by SGD.

    The inputs are uniform in 0 … 1, less ``centre``.
    """
    rng = np.random.default_rng(seed)
    goal, w = np.array([1.0, -1.0]), np.array([-1.0, 1.0])
    places = [w]
    for x in rng.random((steps, 2)) - centre:
        w = w - 1.0 * ((w - goal) @ x) * x
        places.append(w)
    return np.array(places)


def detour(places: Array) -> float:
    """The path's length by the distance of its ends."""
    lengths = np.linalg.norm(np.diff(places, axis=0), axis=1)
    return float(lengths.sum() / np.linalg.norm(places[-1] - places[0]))


def run(settings: Settings) -> Result:
    """See the module."""
    x, y, x_test, y_test = split(*load_digits(), seed=settings.seed)
    epochs = settings.size(20, 5)
    z = np.linspace(-4, 4, 401)
    normal = np.random.default_rng(settings.seed).standard_normal(10_000)
    slopes = [["", "largest slope", "flat for z of deviation 1", "deviation 4"]]
    rows = [["", "saturated", "trained: saturated", "one sign", "loss", "test accuracy"]]
    values: dict[str, Any] = {}
    derivatives: dict[str, Any] = {}
    losses: dict[str, Any] = {}
    steepest, flat, sign = {}, {}, {}
    for name in NAMES:
        value, slope = value_and_slope(name, z)
        values[name], derivatives[name] = (z, value), (z, slope)
        steepest[name] = float(slope.max())
        parts = [
            float((np.abs(value_and_slope(name, s * normal)[1]) < FLAT).mean()) for s in (1, 4)
        ]
        flat[name] = parts[1]
        slopes.append([name, f"{steepest[name]:.2f}", *(f"{part:.2f}" for part in parts)])

        net = network(name, settings.seed)
        sign[name] = one_sign(net, x[:10], y[:10])
        net = network(name, settings.seed)
        before = saturated(net, x_test)
        history = net.fit(x, y, epochs=epochs, batch_size=64, seed=settings.seed, verbose=0)
        losses[name] = range(1, epochs + 1), history["loss"]
        accuracy = net.evaluate(x_test, y_test)["accuracy"]
        rows.append([name, f"{before:.2f}", f"{saturated(net, x_test):.2f}", f"{sign[name]:.2f}",
                     f"{history['loss'][-1]:.3f}", f"{accuracy:.3f}"])  # fmt: skip
    paths = {
        "inputs in 0 … 1": path(0, 400, settings.seed),
        "inputs in −½ … ½": path(0.5, 400, settings.seed),
    }
    detours = {name: detour(places) for name, places in paths.items()}
    positive, centred = detours.values()
    ends = {name: losses[name][1][-1] for name in ("sigmoid", "relu")}
    checks = [
        Check("largest slope of sigmoid", steepest["sigmoid"], "<=", 0.25),
        Check("sigmoid: flat part for z of deviation 4", flat["sigmoid"], ">=", 0.5),
        Check("leaky_relu: the same", flat["leaky_relu"], "==", 0),
        Check("sigmoid: part of outputs with gradients of one sign", sign["sigmoid"], "==", 1),
        Check("tanh: the same", sign["tanh"], "<=", 0.1),
        Check("length of the path, inputs in 0 … 1 ÷ in −½ … ½", positive / centred, ">=", 1.5),
        Check("loss with sigmoid ÷ with relu", ends["sigmoid"] / ends["relu"], ">=", 1.5),
    ]
    return Result(
        f"digits, {len(x)} to train on, {len(x_test)} to test; {epochs} epochs",
        [
            Table("", slopes),
            Table(f"{DEPTH} hidden layers of {UNITS}", rows),
            Table("two weights by SGD", [["", "path ÷ distance"],
                                         *([name, f"{d:.2f}"] for name, d in detours.items())]),
        ],
        checks,
        [
            Lines("Values", values, "z"),
            Lines("Slopes", derivatives, "z"),
            Lines("Training", losses, "epoch", "loss", log="y"),
            Lines("From (−1, 1) to (1, −1) by SGD",
                  {name: (places[:, 0], places[:, 1]) for name, places in paths.items()},
                  "w₁", "w₂"),
        ],
        {"one_sign": sign, "flat": flat, "detour": detours},
    )  # fmt: skip


LESSON = Lesson(
    name="activations",
    question="Which activation, and why not sigmoid?",
    claim="sigmoid's slope is at most 1/4 and mostly flat for large z, its positive values make "
    "gradients of one sign, and a network learns slower with it than with ReLU",
    run=run,
    seconds=10,
)
