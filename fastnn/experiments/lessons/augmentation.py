"""Augmentation: shown elsewhere each time, a digit is learned for its form and not its place.

A network learns from samples of p(x, y). If moving an image by t pixels doesn't change what it
shows, p(T x, y) = p(x, y), every image stands for all its moved ones, and training minimises

    L(w) = E over (x, y) and over t of  loss(f(T x; w), y)

by drawing a new t for each image in each epoch. Pixels are numbered: without that, a dense layer's
weight of pixel i knows nothing of its neighbour i + 1, and a digit two pixels to the right is
another pattern.

The networks learn from few digits in the middle of the image, with as many steps each; the test is
on digits as they are and on the same ones moved.

P. Simard, D. Steinkraus, J. Platt, Best practices for convolutional neural networks applied to
visual document analysis (2003).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.augmentation import Augmentation
from fastnn.datasets import load_digits, load_mnist, split
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Dense, Flatten
from fastnn.model import Sequential
from fastnn.optimizers import Adam
from fastnn.panels import Lines, Panel, Tiles

Array = NDArray[Any]

PIXELS, DEGREES = 2, 15


def moves(pixels: int, degrees: float) -> Augmentation:
    """Shifts by whole pixels and turns, up to those; what comes in is paper."""
    return Augmentation(
        width_shift_range=pixels, height_shift_range=pixels, rotation_range=degrees,
        fill_mode="constant",
    )  # fmt: skip


WAYS = {
    "none": None,
    "turned": moves(0, DEGREES),
    "shifted": moves(PIXELS, 0),
    "shifted, turned": moves(PIXELS, DEGREES),
}
BETTER = 0.1


def images(settings: Settings) -> tuple[str, Array, Array, Array, Array]:
    """What it is, then images (N, H, W, 1) from 0 to 1 and labels, to train on and to test."""
    if settings.data is not None:
        mnist = load_mnist(settings.data)
        x, x_test = (a / np.float32(255) for a in (mnist.x_train[:3000], mnist.x_test[:2000]))
        return "MNIST's first", x, mnist.y_train[:3000], x_test, mnist.y_test[:2000]
    flat, labels = load_digits()
    square = flat.reshape(-1, 8, 8, 1)
    # With a margin, so that no ink is moved out of the image.
    margin = ((0, 0), (PIXELS, PIXELS), (PIXELS, PIXELS), (0, 0))
    x, y, x_test, y_test = split(np.pad(square, margin), labels, seed=settings.seed)
    return "digits with a margin of 2 pixels", x, y, x_test, y_test


def network(seed: int) -> Sequential:
    """One hidden layer of 256 units."""
    hidden = Dense(256, "relu", kernel_initializer="he_normal")
    net = Sequential([Flatten(), hidden, Dense(10)], seed=seed)
    net.compile(Adam(1e-3), "softmax_cross_entropy", metrics=["accuracy"])
    return net


def run(settings: Settings) -> Result:
    """See the module."""
    name, x, y, x_test, y_test = images(settings)
    moved = moves(PIXELS, 0)(x_test, seed=settings.seed + 1)
    epochs = settings.size(40, 10)
    rows = [["in training", "training", "test", "test, shifted"]]
    curves: dict[str, Any] = {}
    accuracy: dict[str, list[float]] = {}
    for way, augmentation in WAYS.items():
        net = network(settings.seed)
        history = net.fit(
            x, y, epochs=epochs, batch_size=64, seed=settings.seed, verbose=0,
            validation_data=(moved, y_test), augment=augmentation,
        )  # fmt: skip
        sets = ((x, y), (x_test, y_test), (moved, y_test))
        accuracy[way] = [net.evaluate(*pair)["accuracy"] for pair in sets]
        rows.append([way, *(f"{found:.3f}" for found in accuracy[way])])
        curves[way] = range(1, epochs + 1), history["val_accuracy"]
    panels: list[Panel] = [Lines("Shifted test images", curves, "epoch", "accuracy")]
    for way in ("shifted", "turned"):
        augmentation = WAYS[way]
        assert augmentation is not None
        shown = [augmentation(x[:1], epoch=epoch)[0, ..., 0] for epoch in range(32)]
        panels.append(Tiles(f"One digit in 32 epochs, {way}", shown))
    return Result(
        f"{name}: {len(x)} to train on, {len(x_test)} to test; {epochs} epochs",
        [Table("accuracy", rows)],
        [
            Check("accuracy on shifted test images, with shifts − without",
                  accuracy["shifted"][2] - accuracy["none"][2], ">=", BETTER),
        ],
        panels,
        {"accuracy": accuracy},
    )  # fmt: skip


LESSON = Lesson(
    name="augmentation",
    question="What if the test's digits stand elsewhere?",
    claim="trained on shifted images, a network reads shifted test images better by 0.1",
    run=run,
    seconds=3,
    data="the folder of MNIST's four files",
)
