"""Dense evaluation: a network for small images answers for every place of a large one, in one pass.

A dense layer after Flatten is a convolution whose window is the whole map of features, with one
place to stand, y_u = Σ x_hwc w_hwcu + b_u, and those after it are 1×1 convolutions. So written, the
network has no fixed input size. To an image of its own size it says what it said; for a larger one,
where the window fits in several places, it gives a map of outputs, one for each place. They are a
stride apart, the product of the strides and poolings below. The mean of the map, after softmax, or
its largest value by class, is the answer for the image.

It is the same as cutting out the windows and asking about each, if nothing is padded, for much less
work: neighbouring windows share most of their pixels, and each feature is computed once. Where
there is no digit, or half of one, the network names one all the same: it has no class for paper.

P. Sermanet et al., OverFeat (2014); K. Simonyan and A. Zisserman, Very deep convolutional networks
(2015), section 3.2; M. Lin et al., Network in network (2014).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.experiments.lessons import data
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.experiments.lessons.trials import multiply_adds
from fastnn.layers import Conv2D, Dense, Flatten, MaxPool2D, Rescaling
from fastnn.model import Sequential
from fastnn.panels import Bars, Tiles

Array = NDArray[Any]

SIDE = 28
#: Two poolings of 2.
STRIDE = 4
#: Sides of larger images: one to move a digit about in, one for several.
LARGER, LARGEST = 36, 84
#: As float32 sums that are cut otherwise differ.
EQUAL = 1e-3
TIMES_FEWER = 5


def network(seed: int) -> Sequential:
    """conv 12 of 5×5, pool, conv 24 of 5×5, pool, dense 64, dense 10; nothing is padded."""
    layers = [
        Rescaling(1 / 255),
        Conv2D(12, 5, activation="relu"),
        MaxPool2D(2),
        Conv2D(24, 5, activation="relu"),
        MaxPool2D(2),
        Flatten(),
        Dense(64, "relu"),
        Dense(10),
    ]
    net = Sequential(layers, input_shape=(SIDE, SIDE, 1), seed=seed)
    net.compile("adam", "softmax_cross_entropy", metrics=["accuracy"])
    return net


def for_images(net: Sequential, side: int) -> Sequential:
    """The same network as convolutions, for images of that side."""
    other = network(seed=0)
    other.set_weights(net.get_weights())
    other.to_convolution((side, side, 1))
    return other


def windows(images: Array) -> Array:
    """(N, R, R, 28, 28, 1): what the windows see, each STRIDE pixels from the next."""
    starts = range(0, images.shape[1] - SIDE + 1, STRIDE)
    rows = [[images[:, i : i + SIDE, j : j + SIDE] for j in starts] for i in starts]
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def one_by_one(net: Sequential, images: Array) -> Array:
    """What the network says about each window: (N, R, R, 10)."""
    cut = windows(images)
    return net.predict(cut.reshape(-1, *cut.shape[3:])).reshape(*cut.shape[:3], 10)


def probabilities(logits: Array) -> Array:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def placed(images: Array, side: int, rng: np.random.Generator) -> Array:
    """The images somewhere in larger ones, on the same black."""
    large = np.zeros((len(images), side, side, 1), images.dtype)
    for canvas, image, (i, j) in zip(
        large, images, rng.integers(0, side - SIDE + 1, (len(images), 2)), strict=True
    ):
        canvas[i : i + SIDE, j : j + SIDE] = image
    return large


def seconds(predict: Callable[[Array], Array], x: Array) -> float:
    """Of a call: the least of some, so that other programs count less."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        predict(x)
        times.append(time.perf_counter() - started)
    return min(times)


def run(settings: Settings) -> Result:
    """See the module."""
    images, told = data.mnist(settings, settings.size(4000, 800), settings.size(1000, 200))
    x, labels = images.x_test, images.y_test
    rng = np.random.default_rng(settings.seed)
    net = network(settings.seed)
    net.fit(
        images.x_train, images.y_train, epochs=settings.size(4, 3), batch_size=32,
        seed=settings.seed, verbose=0,
    )  # fmt: skip
    same = float(np.abs(for_images(net, SIDE).predict(x)[:, 0, 0] - net.predict(x)).max())

    moved = placed(x, LARGER, rng)
    maps = for_images(net, LARGER).predict(moved)
    middle = maps.shape[1] // 2
    likely = probabilities(maps)
    answers = {
        f"{SIDE} × {SIDE}, as they are": net.predict(x),
        f"{LARGER} × {LARGER}, moved: the window in the middle": likely[:, middle, middle],
        f"{LARGER} × {LARGER}, moved: the mean of the map": likely.mean(axis=(1, 2)),
        f"{LARGER} × {LARGER}, moved: the surest window": likely.max(axis=(1, 2)),
    }
    accuracy = {way: float((y.argmax(axis=-1) == labels).mean()) for way, y in answers.items()}
    _, one_window, *whole_map = accuracy.values()

    scene = np.zeros((1, LARGEST, LARGEST, 1), x.dtype)
    for (i, j), digit in (((0, 4), 3), ((4, 52), 7), ((52, 8), 8), ((48, 50), 5)):
        scene[0, i : i + SIDE, j : j + SIDE] = x[labels == digit][0]
    sliding = for_images(net, LARGEST)
    found, apart = sliding.predict(scene), one_by_one(net, scene)
    places = found.shape[1] ** 2
    cut = windows(scene).reshape(-1, SIDE, SIDE, 1)
    times = [seconds(sliding.predict, scene), seconds(net.predict, cut)]
    work = {
        "one pass": multiply_adds(sliding.layers),
        "windows one by one": places * multiply_adds(net.layers),
    }
    fewer = work["windows one by one"] / work["one pass"]

    rows = [["", "multiply-adds", "ms"]]
    for (way, number), t in zip(work.items(), times, strict=True):
        rows.append([way, f"{number:,}", f"{1000 * t:.2f}"])
    known = [["images", "accuracy"], *([way, f"{a:.3f}"] for way, a in accuracy.items())]
    return Result(
        told,
        [
            Table("", known),
            Table(f"an image of {LARGEST} × {LARGEST}: {places} places", rows),
        ],
        [
            Check("difference of outputs at the original size", same, "<=", EQUAL),
            Check("difference of the map from the windows one by one",
                  float(np.abs(found - apart).max()), "<=", EQUAL),
            Check("times fewer multiply-adds", fewer, ">=", TIMES_FEWER),
            Check("accuracy on moved digits, the map's mean or surest − window in the middle",
                  max(whole_map) - one_window, ">=", 0.02),
        ],
        [
            Tiles(f"{LARGEST} × {LARGEST}", scene[..., 0]),
            Tiles("Where it sees 0 to 9", probabilities(found)[0].transpose(2, 0, 1), columns=5),
            Bars("Multiply-adds", {way: n / 1e6 for way, n in work.items()}, "millions"),
        ],
        {"accuracy": accuracy, "multiply_adds": work, "seconds": times, "difference": same},
    )  # fmt: skip


LESSON = Lesson(
    name="sliding",
    question="How does a network for small images look at a large one?",
    claim="its dense layers as convolutions, it says the same as for each window by itself, with "
    "at most a fifth of the multiply-adds; from the map it knows moved digits better than from one "
    "window",
    run=run,
    seconds=10,
    data="the folder of MNIST's four files",
)
