"""Strided convolution against pooling: two ways to halve an image.

A convolution on H × W followed by a 2×2 pooling computes H·W outputs and keeps a quarter of them,
the largest (or the mean) of each four. With stride 2 it computes that quarter only,

    H·W · k²·C·O multiply-adds   →   H·W/4 · k²·C·O,

and the weights stay as they are. What is lost is the choice: a max-pool keeps a feature wherever
in its window it is, the stride keeps what falls on its grid. The all-convolutional network pays for
a second convolution with stride 2 in place of the pooling: it learns how to shrink, for more
weights and more work.

J. Springenberg et al., Striving for simplicity: the all convolutional net (2015).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.experiments.lessons import data
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.experiments.lessons.trials import multiply_adds, train
from fastnn.layers import AveragePooling2D, Conv2D, Dense, Flatten, MaxPool2D, Rescaling
from fastnn.layers.base import Layer
from fastnn.model import Sequential
from fastnn.panels import Bars, Lines

Array = NDArray[Any]


def conv(filters: int, strides: int = 1) -> Conv2D:
    """3×3, padding same, ReLU."""
    return Conv2D(filters, 3, strides=strides, padding="same", activation="relu")


#: How to get from 28 × 28 × 1 to 14 × 14 × 16 and 7 × 7 × 32.
HALVINGS: dict[str, Callable[[], list[Layer]]] = {
    "max-pool": lambda: [conv(16), MaxPool2D(2), conv(32), MaxPool2D(2)],
    "average-pool": lambda: [conv(16), AveragePooling2D(2), conv(32), AveragePooling2D(2)],
    "stride 2": lambda: [conv(16, strides=2), conv(32, strides=2)],
    "all-convolutional": lambda: [
        conv(16), conv(16, strides=2), conv(32), conv(32, strides=2)
    ],
}  # fmt: skip


def network(halving: str, seed: int) -> Sequential:
    """The convolutions of one of them, then dense 10."""
    layers = [Rescaling(1 / 255), *HALVINGS[halving](), Flatten(), Dense(10)]
    return Sequential(layers, input_shape=(28, 28, 1), seed=seed)


def moved(images: Array) -> list[Array]:
    """The images moved by a pixel in each direction; what leaves at one end enters at the other."""
    return [np.roll(images, way, (1, 2)) for way in ((1, 0), (-1, 0), (0, 1), (0, -1))]


def run(settings: Settings) -> Result:
    """See the module."""
    images, what = data.mnist(settings, settings.size(3000, 800), 1000)
    epochs, seeds = settings.size(4, 3), range(settings.seed, settings.seed + settings.size(3, 1))
    work, accuracy, spread, step, losses = {}, {}, {}, {}, {}
    rows = [["", "parameters", "multiply-adds", "ms per step", "accuracy", "moved by a pixel"]]
    for name in HALVINGS:
        trials = train(partial(network, name), images, seeds, epochs)
        accuracy[name], spread[name] = trials.accuracy, trials.spread
        step[name], losses[name] = trials.step, trials.losses
        convolutions = [x for x in trials.networks[0].layers if isinstance(x, Conv2D)]
        work[name] = multiply_adds(convolutions)
        shifted = [
            net.evaluate(x, images.y_test)["accuracy"]
            for net in trials.networks
            for x in moved(images.x_test)
        ]
        rows.append([
            name, f"{trials.networks[0].count_params():,}", f"{work[name]:,}",
            f"{trials.step:.2f}", str(trials), f"{np.mean(shifted):.3f}",
        ])  # fmt: skip
    return Result(
        what,
        [Table(f"{len(seeds)} seeds, {epochs} epochs; multiply-adds of the convolutions", rows)],
        [
            Check("stride 2: multiply-adds by those of max-pool",
                  work["stride 2"] / work["max-pool"], "==", 0.25),
            Check("stride 2: time of a step by that of max-pool",
                  step["stride 2"] / step["max-pool"], "<=", 0.75),
            Check("stride 2: accuracy less that of max-pool",
                  accuracy["stride 2"] - accuracy["max-pool"], "<=", settings.size(0.0, 0.05)),
            Check("all-convolutional: accuracy less that of max-pool",
                  accuracy["all-convolutional"] - accuracy["max-pool"],
                  ">=", settings.size(-0.02, -0.1)),
        ],
        [
            Bars("ms per step", step),
            Bars("test accuracy", accuracy, errors=spread),
            Lines("training loss", losses, "epoch", log="y"),
        ],
        {"multiply-adds": work, "accuracy": accuracy, "ms per step": step},
    )  # fmt: skip


LESSON = Lesson(
    name="strides",
    question="Can a stride take the place of pooling?",
    claim="a stride saves three quarters of the work for some accuracy; one more convolution, none",
    run=run,
    seconds=20,
    data="the folder of MNIST's four files",
)
