"""The course's image networks: MNIST by a small CNN and by LeNet-5, CIFAR-10 by a larger one.

What the text fixes is in the networks; what it leaves open is there too, and in ``CHOICES``, in
words. The text trains MNIST for some epochs and CIFAR-10 for some steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain, count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import optimizers
from fastnn.augmentation import Augmentation
from fastnn.callbacks import Callback
from fastnn.datasets import ImageSet, split
from fastnn.experiments.office31 import confusion_matrix
from fastnn.initializers import TruncatedNormal
from fastnn.layers import (
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    Rescaling,
    ZeroPadding2D,
)
from fastnn.model import Sequential
from fastnn.schedules import CosineDecay
from fastnn.training import Batches, History, Tally, attended, evaluate, figures

Array = NDArray[Any]

#: Of the training images; they aren't trained on.
VALIDATION_FRACTION = 0.05


def single_layer(seed: int) -> Sequential:
    """(N, 28, 28, 1) → dense 10: ten neurons side by side."""
    layers = [Rescaling(1 / 255), Flatten(), Dense(10)]
    return Sequential(layers, input_shape=(28, 28, 1), seed=seed)


def hidden_layer(seed: int) -> Sequential:
    """(N, 28, 28, 1) → dense 1000, dense 10."""
    layers = [Rescaling(1 / 255), Flatten(), Dense(1000, "relu"), Dense(10)]
    return Sequential(layers, input_shape=(28, 28, 1), seed=seed)


def mnist_cnn(seed: int) -> Sequential:
    """(N, 28, 28, 1) → conv 6@5×5, pool, conv 12@5×5, pool, dense 128, dense 10."""
    return Sequential(
        [
            Rescaling(1 / 255),
            Conv2D(6, 5, padding="same", activation="relu"),
            MaxPool2D(2),
            Conv2D(12, 5, padding="same", activation="relu"),
            MaxPool2D(2),
            Flatten(),
            Dense(128, "relu"),
            Dense(10),
        ],
        input_shape=(28, 28, 1),
        seed=seed,
    )


def lenet5(seed: int) -> Sequential:
    """(N, 28, 28, 1) → LeNet-5 on 32 × 32: conv 6@5×5, pool, conv 16@5×5, pool, 120, 84, 10."""
    return Sequential(
        [
            Rescaling(1 / 255),
            ZeroPadding2D(2),
            Conv2D(6, 5, activation="tanh"),
            AveragePooling2D(2),
            Conv2D(16, 5, activation="tanh"),
            AveragePooling2D(2),
            Flatten(),
            Dense(120, "tanh"),
            Dense(84, "tanh"),
            Dense(10),
        ],
        input_shape=(28, 28, 1),
        seed=seed,
    )


def cifar10_cnn(seed: int) -> Sequential:
    """(N, 32, 32, 3) → two convs 5×5×64 with pools, three 3×3×128, dense 384, dropout, 10."""

    def conv(filters: int, size: int) -> list[Layer]:
        weights = TruncatedNormal(stddev=5e-2)
        return [
            Conv2D(
                filters, size, padding="same", activation="relu", kernel_initializer=weights,
                bias_initializer=0.1,
            )
        ]  # fmt: skip

    def dense(units: int, activation: str | None = None) -> list[Layer]:
        weights = TruncatedNormal(stddev=5e-2)
        return [Dense(units, activation, kernel_initializer=weights, bias_initializer=0.1)]

    return _cifar10(conv, dense(384, "relu"), dense(10), seed)


def cifar10_batch_norm(seed: int) -> Sequential:
    """``cifar10_cnn`` with batch normalisation between each product and its ReLU, so without these
    layers' biases; He normal weights.
    """

    def normed(layer: Conv2D | Dense) -> list[Layer]:
        return [layer, BatchNormalization(momentum=0.9, activation="relu")]

    def conv(filters: int, size: int) -> list[Layer]:
        return normed(
            Conv2D(filters, size, padding="same", use_bias=False, kernel_initializer="he_normal")
        )

    dense = normed(Dense(384, use_bias=False, kernel_initializer="he_normal"))
    return _cifar10(conv, dense, [Dense(10)], seed)


def _cifar10(
    conv: Callable[[int, int], list[Layer]], dense: list[Layer], last: list[Layer], seed: int
) -> Sequential:
    """The network around its layers: ``conv(filters, size)``, the dense one, the last."""
    return Sequential(
        [
            Rescaling(2 / 255, -1),
            *conv(64, 5),
            MaxPool2D(3, strides=2, padding="same"),
            *conv(64, 5),
            MaxPool2D(3, strides=2, padding="same"),
            *conv(128, 3),
            *conv(128, 3),
            *conv(128, 3),
            Flatten(),
            *dense,
            Dropout(0.2),
            *last,
        ],
        input_shape=(32, 32, 3),
        seed=seed,
    )


NETWORKS = {
    "single-layer": single_layer,
    "hidden-layer": hidden_layer,
    "cnn": mnist_cnn,
    "lenet5": lenet5,
    "cifar10": cifar10_cnn,
    "cifar10-batch-norm": cifar10_batch_norm,
}

#: Choices of this module, in words, by network.
CHOICES = {
    "single-layer": ("pixels / 255, Glorot uniform weights, biases 0",),
    "hidden-layer": ("pixels / 255, ReLU, Glorot uniform weights, biases 0",),
    "cnn": (
        "pixels / 255, ReLU, padding same, max-pooling 2×2, Glorot uniform weights, biases 0",
    ),
    "lenet5": (
        "pixels / 255, images padded to 32×32, tanh, averages for subsampling, Glorot uniform "
        "weights, biases 0;",
        "  the paper's has trained numbers in its subsampling, 15 of 16 maps that see three or "
        "four of the six below,",
        "  1.7159 tanh(2z/3), and distances to drawn digits at the end",
    ),
    "cifar10": (
        "pixels from −1 to 1; RMSProp with ρ = 0.9 and ε = 1e-8 inside the root, its mean begins "
        "at 0",
    ),
    "cifar10-batch-norm": (
        "pixels from −1 to 1; RMSProp with ρ = 0.9 and ε = 1e-8 inside the root, its mean begins "
        "at 0;",
        "  running statistics with momentum 0.9, ε = 1e-3; He normal weights",
    ),
}  # fmt: skip

_DIGITS = Augmentation(
    rotation_range=10, shear_range=10, zoom_range=(1 / 1.1, 1.1), stretch_range=(1.0, 1.1),
    height_shift_range=0.07, width_shift_range=0.07, fill_mode="constant",
)  # fmt: skip
_THINGS = Augmentation(
    horizontal_flip=True, random_crop=32, padding=4, brightness_range=(0.8, 1.2),
    fill_mode="reflect",
)  # fmt: skip
#: By network. A digit that is mirrored, or turned far, is no digit or another one.
AUGMENTATIONS = {name: _THINGS if "cifar10" in name else _DIGITS for name in NETWORKS}


@dataclass(frozen=True)
class Settings:
    """One run: ``network`` of ``NETWORKS``, ``optimizer`` of ``optimizers.OPTIMIZERS``.

    It ends after ``epochs`` or after ``steps``, whichever isn't 0. ``every``: steps to a row of
    the history, with ``steps``. The seed decides the validation images, the weights and the order
    of the images, and what ``augment`` (by ``AUGMENTATIONS``) does to them. ``workers``: threads
    that prepare batches; they change nothing but the time.
    """

    network: str
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int = 0
    steps: int = 0
    every: int = 100
    seed: int = 0
    augment: bool = False
    workers: int = 0
    #: the rate falls to 0 along half a cosine
    cosine: bool = False


@dataclass(frozen=True)
class Run:
    """What came of one run."""

    settings: Settings
    parameters: int
    #: images to train on, to validate, to test
    images: tuple[int, int, int]
    #: a row for each epoch, or for every so many steps
    history: dict[str, list[float]]
    test_loss: float
    test_accuracy: float
    #: counts of test images: rows are true classes, columns guessed ones
    confusion: Array
    steps: int
    #: of training, with the validation after each row; of the test
    seconds: float
    test_seconds: float
    #: the network's outputs for the test images
    outputs: Array = field(repr=False)

    @property
    def ms_per_step(self) -> float:
        """Training time by step, with shuffling, casting and validation in it."""
        return 1000 * self.seconds / self.steps

    def figures(self) -> dict[str, Any]:
        """All figures as plain data, without the outputs for each image."""
        plain = asdict(self)
        del plain["outputs"]
        return plain | {"ms_per_step": self.ms_per_step}


def parts(data: ImageSet, seed: int) -> tuple[Array, Array, Array, Array]:
    """(x, y, x_val, y_val): the training images without, and with, those kept for validation.

    Raises ``ValueError`` if there is only one image.
    """
    return split(data.x_train, data.y_train, VALIDATION_FRACTION, seed)


def train_and_test(data: ImageSet, settings: Settings, callbacks: Sequence[Callback] = ()) -> Run:
    """Train and test. The images stay uint8 and are cast batch by batch.

    Raises ``ValueError`` as ``parts`` does, ``FloatingPointError`` if training diverges.
    """
    x, y, *validation = parts(data, settings.seed)
    model = NETWORKS[settings.network](settings.seed)
    steps = settings.steps or settings.epochs * -(-len(x) // settings.batch_size)
    rate = settings.learning_rate
    model.compile(
        optimizers.get(settings.optimizer, CosineDecay(rate, steps) if settings.cosine else rate),
        loss="softmax_cross_entropy",
        metrics=["accuracy"],
    )
    common: dict[str, Any] = {
        "batch_size": settings.batch_size, "validation_data": tuple(validation),
        "seed": settings.seed, "callbacks": callbacks, "workers": settings.workers,
        "augment": AUGMENTATIONS[settings.network] if settings.augment else None,
    }  # fmt: skip
    if settings.epochs:
        history = model.fit(x, y, epochs=settings.epochs, verbose=0, **common)
    else:
        history = fit_steps(model, x, y, steps=settings.steps, every=settings.every, **common)
    started = time.perf_counter()
    test = model.evaluate(data.x_test, data.y_test)
    test_seconds = time.perf_counter() - started
    outputs = model.predict(data.x_test)
    guesses = outputs.argmax(axis=1)
    return Run(
        settings=settings,
        parameters=model.count_params(),
        images=(len(x), len(validation[0]), len(data.x_test)),
        history=history.history,
        test_loss=test["loss"],
        test_accuracy=test["accuracy"],
        confusion=confusion_matrix(data.y_test, guesses, len(data.class_names)),
        steps=steps,
        seconds=sum(history["seconds"]),
        test_seconds=test_seconds,
        outputs=outputs,
    )


def fit_steps(
    model: Sequential,
    x: Array,
    y: Array,
    *,
    steps: int,
    every: int,
    batch_size: int,
    validation_data: tuple[Array, Array],
    seed: int,
    callbacks: Sequence[Callback] = (),
    augment: Augmentation | None = None,
    workers: int = 0,
) -> History:
    """``model.fit`` that counts steps: a row of figures for ``every`` of them, and for the rest.

    The images come in a new order every epoch; its last batch may be short. Callbacks are told
    of the beginning, of each step and row (``on_epoch_end`` with the number of its last step, from
    0) and of the end.
    """
    inputs, labels = model.check_data(x, y, augment=augment)
    validation = model.check_data(*validation_data, "validation x", "validation y")
    batches = Batches(inputs, labels, batch_size, model.dtype, augment, seed, workers)
    rng = np.random.default_rng(seed)
    endless = chain.from_iterable(batches.shuffled(rng, epoch) for epoch in count())
    history = History()
    waits = ["waiting"] if augment or workers else []
    recorded = [*figures(model, True), *waits, "step", "seconds"]
    with attended(model, callbacks, recorded, (inputs, labels)), closing(batches):
        for start in range(0, steps, every):
            started = time.perf_counter()
            tally = Tally(model)
            last = min(start + every, steps)
            for step, (batch, batch_labels) in enumerate(islice(endless, last - start), start + 1):
                outputs, losses = model.step(batch, batch_labels)
                tally.add(outputs, losses, batch_labels)
                for callback in callbacks:
                    callback.on_batch_end(step, sum(losses.values()))
            found = evaluate(model, *validation, max(batch_size, 256))
            row = tally.means() | {f"val_{key}": value for key, value in found.items()}
            if waits:
                row["waiting"] = batches.take_waited()
            row |= {"step": last, "seconds": time.perf_counter() - started}
            history.append(row)
            for callback in callbacks:
                callback.on_epoch_end(last - 1, row)
    return history
