"""How to find the weights: at random, by trying steps of h, or by the gradient.

One neuron with the squared error, L(θ) = mean (x·w + b − t)², θ = (w, b). Three ways down, each
counted in passes over the data:

    random search      draw θ in the box [−2, 6]ᴰ; keep the best. One pass a draw.
    h-step search      try θᵢ ± h for each i, keep what is better; halve h when nothing is.
                       One pass a try, 2D for a round.
    gradient descent   θ ← θ − α ∇L. The gradient of all D parameters at once costs about what
                       two more losses cost (back-propagation), so three passes a step.

A random draw hits a ball of radius r with a probability ∝ rᴰ: in the plane it works, with 14
parameters it is hopeless. The h-step search pays 2D passes for what the gradient says in three.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import functional as F
from fastnn.datasets import read_csv
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.panels import Contours, Lines
from fastnn.plots import Scene
from fastnn.preprocessing import StandardScaler

Array = NDArray[Any]

#: Passes over the data that a step of gradient descent costs: the loss, twice that for ∇L.
PASSES = 3
BOX = (-2.0, 6.0)
START, RATE, H = -1.0, 0.1, 1.0


class Neuron:
    """The loss of θ = (w…, b) on some samples, and its gradient."""

    def __init__(self, x: Array, t: Array) -> None:
        self.x, self.t = x, t
        self.size = x.shape[1] + 1
        ones = np.ones((len(x), 1))
        inputs = np.hstack([x, ones])
        self.hessian = 2 / len(x) * inputs.T @ inputs
        self.best = np.linalg.lstsq(inputs, t, rcond=None)[0][:, 0]
        self.least = self.loss(self.best)

    def loss(self, theta: Array) -> float:
        """L(θ)."""
        return F.mse(F.dense(self.x, theta[:-1, np.newaxis], theta[-1:]), self.t)[0]

    def gradient(self, theta: Array) -> Array:
        """∇L(θ), as (dw…, db)."""
        w = theta[:-1, np.newaxis]
        _, dz = F.mse(F.dense(self.x, w, theta[-1:]), self.t)
        _, dw, db = F.dense_backward(self.x, w, dz)
        return np.append(dw[:, 0], db)


#: What a search found: passes so far, points.
Path = tuple[Array, Array]


def random_search(neuron: Neuron, budget: int, rng: np.random.Generator) -> Path:
    """The best so far, from the start."""
    theta = np.full(neuron.size, START)
    least, points = neuron.loss(theta), [theta]
    for _ in range(budget - 1):
        drawn = rng.uniform(*BOX, neuron.size)
        if (found := neuron.loss(drawn)) < least:
            theta, least = drawn, found
        points.append(theta)
    return np.arange(1, budget + 1), np.array(points)


def h_step_search(neuron: Neuron, budget: int, rng: np.random.Generator) -> Path:
    """One parameter at a time, by ±h."""
    theta, h = np.full(neuron.size, START), H
    least, points = neuron.loss(theta), [theta]
    while len(points) < budget:
        better = False
        for i in range(neuron.size):
            for step in (h, -h):
                tried = theta.copy()
                tried[i] += step
                if (found := neuron.loss(tried)) < least:
                    theta, least, better = tried, found, True
                points.append(theta)
        h = h if better else h / 2
    return np.arange(1, budget + 1), np.array(points[:budget])


def gradient_descent(neuron: Neuron, budget: int, rng: np.random.Generator) -> Path:
    """θ − α ∇L(θ), again and again."""
    points = [np.full(neuron.size, START)]
    for _ in range((budget - 1) // PASSES):
        points.append(points[-1] - RATE * neuron.gradient(points[-1]))
    return 1 + PASSES * np.arange(len(points)), np.array(points)


SEARCHES: dict[str, Callable[[Neuron, int, np.random.Generator], Path]] = {
    "random search": random_search,
    "h-step search": h_step_search,
    "gradient descent": gradient_descent,
}


def samples(settings: Settings) -> tuple[str, Array, Array]:
    """What they are, x (N, 13) standardised, t (N, 1) with mean 2 and spread 1."""
    if settings.data is None:
        rng = np.random.default_rng(settings.seed)
        x = rng.normal(size=(400, 13)) + 0.7 * rng.normal(size=(400, 1))
        t = x @ rng.normal(size=13) + rng.normal(0, 2, 400)
        what = "400 samples with 13 features, drawn"
    else:
        table = read_csv(settings.data, task="regression", delimiter="whitespace")
        x, t, what = table.x, table.y, f"{settings.data.name}"
    return what, StandardScaler().fit_transform(x), ((t - t.mean()) / t.std() + 2)[:, np.newaxis]


def run(settings: Settings) -> Result:
    """See the module."""
    what, x, t = samples(settings)
    budget = settings.size(3000, 600)
    strongest = [int(np.argmax(np.abs(np.corrcoef(x.T, t.T)[-1, :-1])))]
    problems = {
        "2 parameters": Neuron(x[:, strongest], t),
        f"{x.shape[1] + 1} parameters": Neuron(x, t),
    }
    rows = [
        ["parameters", "search", "passes to 1 % above the least", "loss at the end", "the least"]
    ]
    arrived: dict[tuple[str, str], float] = {}
    by_least: dict[tuple[str, str], float] = {}
    panels: list[Any] = []
    for problem, neuron in problems.items():
        curves, paths = {}, {}
        for name, search in SEARCHES.items():
            passes, points = search(neuron, budget, np.random.default_rng(settings.seed))
            losses = np.array([neuron.loss(theta) for theta in points])
            near = np.flatnonzero(losses <= 1.01 * neuron.least)
            arrived[problem, name] = float(passes[near[0]]) if len(near) else np.inf
            took = f"{arrived[problem, name]:.0f}" if len(near) else f"not in {budget}"
            rows.append([problem, name, took, f"{losses[-1]:.4f}", f"{neuron.least:.4f}"])
            curves[name] = (passes, losses / neuron.least)
            by_least[problem, name] = float(losses[-1] / neuron.least)
            paths[name] = points
        if neuron.size == 2:
            panels.append(Contours(_scene(neuron, paths)))
        panels.append(
            Lines(f"{problem}: loss by the least", curves, "passes over the data", log="xy")
        )
    small, large = problems
    return Result(
        what,
        [Table("", rows, left=2)],
        [
            *(Check(f"{small}: loss of {name} by the least", by_least[small, name],
                    "<=", settings.size(1.1, 1.25)) for name in ("random search", "h-step search")),
            Check(
                f"{small}: passes of gradient descent by those of random search",
                arrived[small, "gradient descent"] / arrived[small, "random search"], "<", 1,
            ),
            Check(
                f"{large}: passes of gradient descent by those of the h-step search",
                arrived[large, "gradient descent"] / arrived[large, "h-step search"], "<", 0.5,
            ),
            Check(f"{large}: loss of random search by the least",
                  by_least[large, "random search"], ">", 2),
        ],
        panels,
        {f"{problem}, {name}": passes for (problem, name), passes in arrived.items()},
    )  # fmt: skip


def _scene(neuron: Neuron, paths: dict[str, Array]) -> Scene:
    def value(w: Array, b: Array) -> Array:
        d = np.stack([w, b], axis=-1) - neuron.best
        return neuron.least + np.sum(d @ neuron.hessian * d, axis=-1) / 2

    minimum = (float(neuron.best[0]), float(neuron.best[1]))
    levels = np.geomspace(1.1 * neuron.least, 40, 14)
    return Scene("three ways down", value, (-2.5, 4, -2.5, 4), levels, [minimum], paths)


LESSON = Lesson(
    name="search",
    question="Why follow the gradient and not just try?",
    claim="two parameters can be found by trying; with fourteen only the gradient is quick",
    run=run,
    seconds=5,
    data="the file housing.data, or another table with the target last",
)
