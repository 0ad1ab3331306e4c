"""One network from several seeds: its accuracy, how much that varies, a step's time; its work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import ImageSet
from fastnn.layers import Layer
from fastnn.model import Sequential

BATCH = 64


@dataclass(frozen=True)
class Trials:
    """The trained networks, one a seed, and what was measured.

    ``accuracy`` and ``spread``: mean and standard deviation on the test images. ``losses``: the
    epochs, and the mean training loss of each. ``step``: milliseconds.
    """

    networks: list[Sequential]
    accuracy: float
    spread: float
    losses: tuple[range, NDArray[Any]]
    step: float

    def __str__(self) -> str:
        return f"{self.accuracy:.3f} ± {self.spread:.3f}"


def train(make: Callable[[int], Sequential], images: ImageSet, seeds: range, epochs: int) -> Trials:
    """Train ``make(seed)`` for each seed, with Adam and batches of 64, and test it."""
    networks, scores, curves, seconds = [], [], [], []
    for seed in seeds:
        net = make(seed)
        net.compile("adam", "softmax_cross_entropy", metrics=["accuracy"])
        history = net.fit(
            images.x_train, images.y_train, epochs=epochs, batch_size=BATCH, seed=seed, verbose=0
        )
        networks.append(net)
        scores.append(net.evaluate(images.x_test, images.y_test)["accuracy"])
        curves.append(history["loss"])
        seconds += history["seconds"]
    # The quickest epoch is the one that was disturbed least.
    step = 1000 * min(seconds) / -(-len(images.x_train) // BATCH)
    losses = range(1, epochs + 1), np.mean(curves, axis=0)
    return Trials(networks, float(np.mean(scores)), float(np.std(scores)), losses, step)


def multiply_adds(layers: Iterable[Layer]) -> int:
    """Of these layers, for one image: as ``summary()`` counts them, without the padding's."""
    return sum(leaf.multiply_adds for layer in layers for leaf in layer.leaves())
