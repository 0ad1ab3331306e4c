"""Filters and feature maps of a trained network: what does a unit look for?

Three ways to look, after ZFNet:

- the filters of the first convolution, which are small images themselves;
- the feature maps, what each filter makes of one image;
- for a unit further up, the patches of the test images that excite it most. A unit at row i, column
  j behind conv 5×5, pool 2×2, conv 5×5 sees the 14 × 14 pixels that begin at (2i, 2j).

Two figures say whether training put something there. Random weights have nothing to do with their
neighbours; strokes and edges have. So, with w′ = w less its mean over the filter,

    Σ w′(y, x) w′(neighbour) / Σ w′²

is about 0 before, and rises. And the nine patches that excite a unit most are alike, each pair's
cosine far above that of nine patches at random. (A random filter finds similar patches too, as it
is a template of something; training makes them more alike.)

M. Zeiler and R. Fergus, Visualizing and understanding convolutional networks (2014).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.experiments.lessons import data
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Conv2D, Dense, Flatten, MaxPool2D, Rescaling
from fastnn.model import Sequential
from fastnn.panels import Tiles

Array = NDArray[Any]

#: Places of the two convolutions in the network; the side of what a unit of the second sees.
FIRST, SECOND, FIELD = 1, 3, 14
STRONGEST = 9


def network(seed: int) -> Sequential:
    """conv 16@5×5, pool, conv 32@5×5, pool, dense 10; without padding, so that places are plain."""
    net = Sequential(
        [
            Rescaling(1 / 255),
            Conv2D(16, 5, activation="relu"),
            MaxPool2D(2),
            Conv2D(32, 5, activation="relu"),
            MaxPool2D(2),
            Flatten(),
            Dense(10),
        ],
        input_shape=(28, 28, 1),
        seed=seed,
    )
    net.compile("adam", "softmax_cross_entropy", metrics=["accuracy"])
    return net


def maps(net: Sequential, place: int, images: Array) -> Array:
    """What the layer at that place makes of the images, (N, H, W, O)."""
    net.predict(images, batch_size=len(images))
    found = net.layers[place].last_output()
    assert found is not None
    return found.copy()


def strongest_patches(activations: Array, images: Array) -> Array:
    """(O, 9, 14, 14): for each unit the patches of nine images that excite it most."""
    n, _, width, units = activations.shape
    flat = activations.reshape(n, -1, units)
    where, value = flat.argmax(axis=1), flat.max(axis=1)
    order = np.argsort(-value, axis=0)[:STRONGEST]
    return np.array([
        [patch(images[i], *divmod(int(where[i, unit]), width)) for i in order[:, unit]]
        for unit in range(units)
    ])  # fmt: skip


def patch(image: Array, i: int, j: int) -> Array:
    """What a unit at (i, j) of the second convolution sees."""
    return image[2 * i : 2 * i + FIELD, 2 * j : 2 * j + FIELD, 0]


def random_patches(count: int, images: Array, rng: np.random.Generator) -> Array:
    """(count, 9, 14, 14), anywhere."""
    places = 1 + (images.shape[1] - FIELD) // 2
    draws = rng.integers(0, (len(images), places, places), (count, STRONGEST, 3))
    return np.array([[patch(images[n], i, j) for n, i, j in group] for group in draws])


def likeness(patches: Array) -> float:
    """The mean cosine of two patches of a group, each less its mean; patches (G, M, H, W)."""
    p = patches.reshape(*patches.shape[:2], -1).astype(np.float64)
    p -= p.mean(axis=2, keepdims=True)
    p /= np.maximum(np.linalg.norm(p, axis=2, keepdims=True), 1e-9)
    m = p.shape[1]
    return float((np.square(p.sum(axis=1)).sum(axis=1) - m).mean() / (m * (m - 1)))


def smoothness(filters: Array) -> float:
    """Σ w′ w′(neighbour) / Σ w′² over filters (KH, KW, O), the mean of below and right."""
    w = filters - filters.mean(axis=(0, 1))
    below, right = np.sum(w[1:] * w[:-1]), np.sum(w[:, 1:] * w[:, :-1])
    return float((below + right) / 2 / np.sum(w**2))


def run(settings: Settings) -> Result:
    """See the module."""
    images, what = data.mnist(settings, settings.size(4000, 1500), settings.size(1000, 500))
    x = images.x_test
    net = network(settings.seed)
    rows = [["network", "accuracy", "neighbours in a filter", "likeness of the strongest patches"]]
    smooth, alike, first = {}, {}, {}
    for state, epochs in (("untrained", 0), ("trained", settings.size(5, 4))):
        net.fit(
            images.x_train, images.y_train, epochs=epochs, batch_size=64, seed=settings.seed,
            verbose=0,
        )  # fmt: skip
        accuracy = net.evaluate(x, images.y_test)["accuracy"]
        first[state] = net.get_weights()["conv2d/w"][:, :, 0]
        patches = strongest_patches(maps(net, SECOND, x), x)
        smooth[state], alike[state] = smoothness(first[state]), likeness(patches)
        rows.append([state, f"{accuracy:.3f}", f"{smooth[state]:.3f}", f"{alike[state]:.3f}"])
    anywhere = likeness(random_patches(32, x, np.random.default_rng(settings.seed)))
    rows.append(["patches at random", "", "", f"{anywhere:.3f}"])
    shown = x[images.y_test == 8][:1]
    panels = [
        Tiles("filters before training", np.moveaxis(first["untrained"], 2, 0), 4, signed=True),
        Tiles("and after", np.moveaxis(first["trained"], 2, 0), 4, signed=True),
        Tiles("an image", shown[..., 0], 1),
        Tiles("its 16 maps, first convolution", np.moveaxis(maps(net, FIRST, shown)[0], 2, 0), 4),
        Tiles("its 32 maps, second", np.moveaxis(maps(net, SECOND, shown)[0], 2, 0)),
        Tiles("patches that excite six units most, a row each",
              patches[:6].reshape(-1, FIELD, FIELD), STRONGEST),
    ]  # fmt: skip
    return Result(
        what,
        [Table("", rows)],
        [
            Check("test accuracy", accuracy, ">=", settings.size(0.9, 0.7)),
            Check("neighbours in a filter, untrained", abs(smooth["untrained"]), "<=", 0.1),
            Check("neighbours in a filter, trained", smooth["trained"], ">=", 0.12),
            Check("likeness of the strongest patches", alike["trained"], ">=", anywhere + 0.3),
            Check("by that of the untrained network", alike["trained"] / alike["untrained"],
                  ">", settings.size(1.0, 0.95)),
        ],
        panels,
        {"smoothness": smooth, "likeness": alike | {"at random": anywhere}, "accuracy": accuracy},
    )  # fmt: skip


LESSON = Lesson(
    name="features",
    question="What do the filters of a trained network look for?",
    claim="training makes filters smooth, and each unit answers to patches that are alike",
    run=run,
    seconds=15,
    data="the folder of MNIST's four files",
)
