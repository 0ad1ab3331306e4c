"""One layer of neurons, three tasks: only the output and the loss differ.

A neuron computes z = w·x + b. What z means is the loss's business:

    regression     guess z                         L = mean (z − t)²
    two classes    p = σ(z) = 1 / (1 + e⁻ᶻ)        L = −mean (t log p + (1 − t) log(1 − p))
    many classes   p_c = e^z_c / Σ_k e^z_k         L = −mean Σ_c t_c log p_c

t is a number; 0 or 1; a row with a 1 at the right class and 0 elsewhere (one-hot), one neuron for
each class. The answer is z; whether z > 0; the class with the largest z (argmax). In all three

    dL/dz ∝ guess − truth,    dL/dw = Σₙ xₙ dL/dzₙ,    dL/db = Σₙ dL/dzₙ.

The least loss of the first has a closed form, the least squares, so that we know where training
must arrive.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import load_digits, read_csv, split
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Dense
from fastnn.model import Sequential
from fastnn.optimizers import SGD
from fastnn.panels import Histograms, Lines, Tiles
from fastnn.preprocessing import StandardScaler

Array = NDArray[Any]


RATE, BATCH = 0.02, 32


class Rows(NamedTuple):
    """Samples for training and for the test, features on one scale."""

    x: Array
    y: Array
    x_test: Array
    y_test: Array


def prepared(x: Array, y: Array, seed: int) -> Rows:
    """Split, then standardise by the training rows."""
    x, y, x_test, y_test = split(x, y, 0.2, seed)
    scaler = StandardScaler().fit(x)
    return Rows(scaler.transform(x), y, scaler.transform(x_test), y_test)


def houses(count: int, seed: int) -> tuple[Array, Array]:
    """Drawn: rooms, area, age, way to the town, noise of the street; prices in thousands."""
    rng = np.random.default_rng(seed)
    rooms = rng.integers(2, 9, count)
    area = 18 * rooms + rng.normal(0, 15, count)
    age, way, noise = rng.uniform((0, 1, 40), (80, 30, 75), (count, 3)).T
    price = 60 + 12 * rooms + 1.6 * area - 0.8 * age - 3 * way - 0.9 * noise
    return np.stack([rooms, area, age, way, noise], axis=1), price + rng.normal(0, 15, count)


def tables(folder: Path | None, seed: int) -> tuple[str, dict[str, tuple[Array, Array]]]:
    """What it is, and (x, y) of the three tasks."""
    if folder is None:
        x, y = load_digits()
        two = (y == 3) | (y == 8)
        tasks = {"regression": houses(500, seed), "two classes": (x[two], y[two] == 8)}
        return "prices of houses, drawn; digits: 3 or 8, and all ten", tasks | {
            "many classes": (x, y)
        }
    prices = read_csv(folder / "housing.data", task="regression", delimiter="whitespace")
    iris = read_csv(folder / "iris.csv")
    two = iris.y > 0
    return "Boston housing; iris: the last two kinds, and all three", {
        "regression": (prices.x, prices.y),
        "two classes": (iris.x[two], iris.y[two] == 2),
        "many classes": (iris.x, iris.y),
    }


LOSSES = {
    "regression": "mse",
    "two classes": "sigmoid_cross_entropy",
    "many classes": "softmax_cross_entropy",
}


def learn(task: str, rows: Rows, steps: int, seed: int) -> tuple[Sequential, list[float]]:
    """One layer; the same rate and batches for all tasks. Returns it and the loss by epoch."""
    y = rows.y if rows.y.ndim == 2 else rows.y[:, np.newaxis]
    net = Sequential([Dense(y.shape[1])], seed=seed)
    net.compile(SGD(RATE), LOSSES[task])
    epochs = -(-steps * BATCH // len(rows.x))
    return net, net.fit(rows.x, y, epochs=epochs, batch_size=BATCH, seed=seed, verbose=0)["loss"]


def least_squares(rows: Rows) -> float:
    """The test's mean squared error of the weights with the least training error."""
    ones = np.ones((len(rows.x), 1))
    w, *_ = np.linalg.lstsq(np.hstack([rows.x, ones]), rows.y, rcond=None)
    return float(np.mean((rows.x_test @ w[:-1] + w[-1] - rows.y_test) ** 2))


def run(settings: Settings) -> Result:
    """See the module."""
    data, tasks = tables(settings.data, settings.seed)
    steps = settings.size(5000, 2000)
    found = {}
    for task, (x, y) in tasks.items():
        rows = prepared(x, y, settings.seed)
        if task == "many classes":
            rows = rows._replace(y=np.eye(y.max() + 1)[rows.y])
        net, losses = learn(task, rows, steps, settings.seed)
        found[task] = rows, net, losses, net.predict(rows.x_test)

    rows, _, _, prices = found["regression"]
    error = float(np.mean((prices[:, 0] - rows.y_test) ** 2))
    best = least_squares(rows)
    mean = float(np.mean((rows.y.mean() - rows.y_test) ** 2))
    panels: list[Any] = [
        Lines(
            "regression: prices of the test",
            {"a house": (rows.y_test, prices[:, 0]), "guess = price": (rows.y_test, rows.y_test)},
            "price", "guess", dots=("a house",),
        )
    ]  # fmt: skip
    rows, _, _, z = found["two classes"]
    two = float(np.mean((z[:, 0] > 0) == rows.y_test))
    by_class = {f"class {kind}": z[rows.y_test == kind, 0] for kind in (0, 1)}
    panels.append(Histograms("two classes: z of the test", by_class, "z; the border is 0", 25))
    rows, net, _, z = found["many classes"]
    many = float(np.mean(z.argmax(axis=1) == rows.y_test))
    w = net.get_weights()["dense/w"].T
    side = 8 if w.shape[1] == 64 else w.shape[1]
    panels += [
        Tiles("many classes: weights of each", w.reshape(len(w), -1, side), 5, signed=True),
        Lines(
            "training loss, first = 1",
            {task: (range(1, len(losses) + 1), np.divide(losses, losses[0]))
             for task, (_, _, losses, _) in found.items()},
            "epoch", log="xy",
        ),
    ]  # fmt: skip

    sizes = {task: (rows.x.shape[1], z.shape[1]) for task, (rows, _, _, z) in found.items()}
    figures = {
        "regression": f"mean squared error {error:.4g}",
        "two classes": f"accuracy {two:.3f}",
        "many classes": f"accuracy {many:.3f}",
    }
    simple = {
        "regression": f"{best:.4g} by least squares, {mean:.4g} by the mean price",
        "two classes": "about 0.5 by guessing",
        "many classes": f"about {1 / sizes['many classes'][1]:.2g} by guessing",
    }
    head = ["task", "loss", "inputs", "neurons", "on the test", "to compare"]
    table = [
        [t, LOSSES[t], f"{sizes[t][0]}", f"{sizes[t][1]}", figures[t], simple[t]] for t in found
    ]
    # Of iris there are twenty flowers to test: each is 0.05.
    bound = 0.9 if settings.data is None else 0.8
    return Result(
        data,
        [Table(f"SGD, {steps} steps, rate {RATE}, batches of {BATCH}", [head, *table], left=2)],
        [
            Check("regression: error by that of least squares", error / best, "<=", 1.1),
            Check("regression: error by that of the mean price", error / mean, "<=", 0.5),
            Check("two classes: accuracy", two, ">=", bound),
            Check("many classes: accuracy", many, ">=", bound),
        ],
        panels,
        {"mse": error, "least squares": best, "mean": mean, "two": two, "many": many},
    )


LESSON = Lesson(
    name="neuron",
    question="What can one layer of neurons learn?",
    claim="one layer does regression, two classes and many; only output and loss differ",
    run=run,
    seconds=2,
    data="a folder with housing.data and iris.csv",
)
