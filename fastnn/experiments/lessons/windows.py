"""3×3 twice against 5×5: the same view of the image for 72 % of the weights.

An output of a 5×5 convolution sees 5×5 pixels. One of a 3×3 after a 3×3 sees as much: each of the
3×3 places it reads has read 3×3 itself, 3 + (3 − 1) = 5 on a side. With C channels in and out, a
k×k convolution has k²C² weights and as many multiply-adds for each pixel of its output:

    5×5: 25 C²        3×3 twice: 2 · 9 C² = 18 C²

and between the two there is one more ReLU. That is the argument of VGG. It needs as many channels
between as at the ends: from 16 to 32 channels, 3×3 twice has more weights than 5×5. Padding isn't
counted as work, and at the edge of the image 5×5 has more of it: on 14 × 14 pixels 3×3 twice does
78 % of the multiply-adds.

K. Simonyan and A. Zisserman, Very deep convolutional networks (2015).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.experiments.lessons import data
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.experiments.lessons.trials import multiply_adds, train
from fastnn.layers import Conv2D, Dense, Flatten, MaxPool2D, Rescaling
from fastnn.layers.base import Layer
from fastnn.model import Sequential
from fastnn.panels import Bars, Lines

Array = NDArray[Any]

CHANNELS = 24
#: Sides of the convolutions in the middle.
BLOCKS = {"5×5": (5,), "3×3 twice": (3, 3), "3×3 once": (3,)}


def convolution(side: int) -> Conv2D:
    """CHANNELS filters of that side, the image's size kept, ReLU."""
    return Conv2D(CHANNELS, side, padding="same", activation="relu")


def network(sides: tuple[int, ...], seed: int) -> Sequential:
    """conv 3×3, pool, the block on 14 × 14, pool, dense 10."""
    block: list[Layer] = [convolution(side) for side in sides]
    layers = [Rescaling(1 / 255), convolution(3), MaxPool2D(2), *block, MaxPool2D(2)]
    return Sequential([*layers, Flatten(), Dense(10)], input_shape=(28, 28, 1), seed=seed)


def receptive_field(sides: tuple[int, ...]) -> int:
    """The side of what changes in the block's output if one pixel of its input does: measured.

    As many outputs see a pixel as an output sees pixels. Weights are made positive, so that nothing
    cancels.
    """
    net = Sequential([convolution(side) for side in sides], input_shape=(15, 15, CHANNELS), seed=0)
    net.set_weights({name: np.abs(w) for name, w in net.get_weights().items()})
    impulse = np.zeros((1, 15, 15, CHANNELS))
    impulse[0, 7, 7, 0] = 1
    return int(net.predict(impulse)[0].any(axis=(1, 2)).sum())


def run(settings: Settings) -> Result:
    """See the module."""
    images, what = data.mnist(settings, settings.size(3000, 800), 1000)
    epochs, seeds = settings.size(4, 3), range(settings.seed, settings.seed + settings.size(3, 1))
    rows = [["block", "weights", "multiply-adds", "receptive field", "accuracy", "ms per step"]]
    weights, work, fields, accuracy, spread, losses = {}, {}, {}, {}, {}, {}
    for name, sides in BLOCKS.items():
        trials = train(partial(network, sides), images, seeds, epochs)
        accuracy[name], spread[name], losses[name] = trials.accuracy, trials.spread, trials.losses
        net = trials.networks[0]
        block = [layer for layer in net.layers if isinstance(layer, Conv2D)][1:]
        weights[name], work[name] = sum(layer.w.size for layer in block), multiply_adds(block)
        fields[name] = receptive_field(sides)
        rows.append([
            name, f"{weights[name]:,}", f"{work[name]:,}",
            f"{fields[name]} × {fields[name]}", str(trials), f"{trials.step:.2f}",
        ])  # fmt: skip
    return Result(
        what,
        [Table(f"{CHANNELS} channels on 14 × 14; {len(seeds)} seeds, {epochs} epochs", rows)],
        [
            Check("receptive field of 3×3 twice", fields["3×3 twice"], "==", fields["5×5"]),
            Check(
                "weights by those of 5×5", weights["3×3 twice"] / weights["5×5"], "==", 18 / 25,
            ),
            Check("multiply-adds by those of 5×5", work["3×3 twice"] / work["5×5"], "<", 0.8),
            Check(
                "accuracy less that of 5×5", accuracy["3×3 twice"] - accuracy["5×5"],
                ">=", settings.size(-0.02, -0.1),
            ),
            Check(
                "accuracy less that of 3×3 once", accuracy["3×3 twice"] - accuracy["3×3 once"],
                ">=", settings.size(0.0, -0.05),
            ),
        ],
        [
            Bars("multiply-adds of the block, millions",
                 {name: n / 1e6 for name, n in work.items()}),
            Bars("test accuracy", accuracy, errors=spread),
            Lines("training loss", losses, "epoch", log="y"),
        ],
        {"weights": weights, "multiply-adds": work, "receptive field": fields,
         "accuracy": accuracy},
    )  # fmt: skip


LESSON = Lesson(
    name="windows",
    question="Why are two 3×3 convolutions preferred to one of 5×5?",
    claim="3×3 twice sees as far as 5×5 with 72 % of the weights and less than 80 % of the work, "
    "and is as accurate",
    run=run,
    seconds=25,
    data="the folder of MNIST's four files",
)
