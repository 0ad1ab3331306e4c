"""Office-31: one network, two questions. Where is this photograph from, and what does it show?

The course's experiment: images of 100 × 100 pixels, flattened to 30,000 numbers from 0 to 255;
hidden layers with ReLU; on the last of them two heads, three domains and 31 objects; for each a
softmax cross-entropy, L = L₁ + L₂. Each head learns from its own loss only; the layers below,
which they share, from both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import optimizers
from fastnn.callbacks import Callback
from fastnn.datasets import Office31, course_split
from fastnn.initializers import RandomNormal
from fastnn.layers import Dense, Heads, Rescaling
from fastnn.model import Sequential
from fastnn.optimizers import Adam

Array = NDArray[Any]

HEADS = ("domain", "object")
#: The course's three networks: sizes of the hidden layers.
NETWORKS = ((10,), (64, 32, 10), (384, 192, 64, 32, 10))
BATCH_SIZE = 10

#: fastnn's optimizers, and Adam as one of the course's two texts has it: W ← W − α V / √(S + ε).
OPTIMIZERS = {
    **optimizers.OPTIMIZERS,
    "adam-inside": lambda rate, **common: Adam(
        rate, beta_2=0.99, epsilon_inside_root=True, **common
    ),
}


@dataclass(frozen=True)
class Published:
    """What the text found: test accuracies, seconds on its laptop for 50 epochs.

    ``numpy_ms`` is the time of a step of the same program in plain NumPy (float64), measured on
    a cloud machine with two cores.
    """

    domain: float
    object: float
    seconds: float
    numpy_ms: float


PUBLISHED = {
    ((10,), "sgd"): Published(0.661, 0.032, 93, 0.97),
    ((10,), "adam"): Published(0.661, 0.032, 396, 2.1),
    ((64, 32, 10), "sgd"): Published(0.872, 0.195, 257, 5.0),
    ((64, 32, 10), "adam"): Published(0.858, 0.269, 2260, 20.3),
    ((384, 192, 64, 32, 10), "sgd"): Published(0.837, 0.214, 2376, 35),
    ((384, 192, 64, 32, 10), "adam"): Published(0.890, 0.283, 11752, 128),
}
#: The text's runs: 100 · 100 · 3 inputs, and 50 epochs of 328 steps.
PUBLISHED_INPUTS, PUBLISHED_STEPS = 30_000, 16_400


@dataclass(frozen=True)
class Settings:
    """One run. The seed decides split, weights and order of the images."""

    hidden: tuple[int, ...] = (64, 32, 10)
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    epochs: int = 50
    seed: int = 0
    #: inputs divided by 255
    scale: bool = False
    #: of the optimizer's state, one of ``fastnn.rules.STATES``
    state_dtype: str = "full"
    #: store every gradient in memory
    keep_gradients: bool = False

    @property
    def published(self) -> Published | None:
        """The text's figures for this network and optimizer, if it has them."""
        return PUBLISHED.get((self.hidden, self.optimizer.removesuffix("-inside")))


@dataclass(frozen=True)
class Part:
    """Training, validation or test images: ``rows`` of the data, flattened, with their labels."""

    rows: Array
    x: Array
    y: dict[str, Array]


@dataclass(frozen=True)
class Run:
    """What came of one run. Dicts are by head."""

    settings: Settings
    inputs: int
    parameters: int
    #: images to train on, to validate, to test
    images: tuple[int, int, int]
    history: dict[str, list[float]]
    test_accuracy: dict[str, float]
    #: what answering with the most frequent class of the training images would score
    majority: dict[str, float]
    #: counts of test images: rows are true classes, columns guessed ones
    confusion: dict[str, Array]
    #: heads that give one and the same answer for all test images
    constant_heads: list[str]
    #: for each hidden layer, the part of its units that are 0 for every test image
    dead_units: list[float]
    steps: int
    #: of training, with validation after each epoch; of the test
    seconds: float
    test_seconds: float
    #: rows of the data that were test images, and the network's outputs for them
    test_rows: Array = field(repr=False)
    outputs: dict[str, Array] = field(repr=False)

    @property
    def collapsed(self) -> bool:
        """Whether the network gives the same answer to everything."""
        return len(self.constant_heads) == len(self.test_accuracy)

    @property
    def ms_per_step(self) -> float:
        """Training time by step, with shuffling, casting and validation in it."""
        return 1000 * self.seconds / self.steps

    @property
    def times_faster_than_text(self) -> float | None:
        """The text's seconds over these, if it took as many steps with as many inputs."""
        found = self.settings.published
        same = (self.inputs, self.steps) == (PUBLISHED_INPUTS, PUBLISHED_STEPS)
        return found.seconds / self.seconds if found and same else None

    @property
    def times_faster_than_numpy(self) -> float | None:
        """Plain NumPy's time of a step over this one, if there are as many inputs."""
        found = self.settings.published
        same = self.inputs == PUBLISHED_INPUTS
        return found.numpy_ms / self.ms_per_step if found and same else None

    def figures(self) -> dict[str, Any]:
        """All figures as plain data, without the outputs for each image."""
        plain = asdict(self)
        del plain["test_rows"], plain["outputs"]
        return plain | {
            "collapsed": self.collapsed,
            "ms_per_step": self.ms_per_step,
            "times_faster_than_text": self.times_faster_than_text,
            "times_faster_than_numpy": self.times_faster_than_numpy,
        }


def name_of(hidden: Sequence[int]) -> str:
    """``(64,32,10)``, or ``none`` without hidden layers."""
    return f"({','.join(map(str, hidden))})" if hidden else "none"


def network(inputs: int, settings: Settings, classes: Mapping[str, int]) -> Sequential:
    """The course's network: weights N(0, 0.030²), biases 0; ``classes`` by head."""

    def dense(units: int, activation: str | None = None) -> Dense:
        return Dense(units, activation, kernel_initializer=RandomNormal(stddev=0.030))

    scaled = [Rescaling(1 / 255)] if settings.scale else []
    hidden = [dense(units, "relu") for units in settings.hidden]
    heads = Heads({head: dense(count) for head, count in classes.items()})
    return Sequential([*scaled, *hidden, heads], input_shape=(inputs,), seed=settings.seed)


def parts(data: Office31, seed: int) -> tuple[Part, Part, Part]:
    """Images to train on (80 %), to validate (5 %) and to test, drawn by ``seed``.

    Raises ``ValueError`` for fewer than 20 images, and if a head has one class only.
    """
    labels = {"domain": data.domain, "object": data.object}
    for head, y in labels.items():
        if len(np.unique(y)) < 2:
            raise ValueError(f"office31: the images are of one {head} only, there is no question")
    pixels = data.pixels.reshape(len(data.pixels), -1)
    train, validation, test = (
        Part(rows, pixels[rows], {head: y[rows] for head, y in labels.items()})
        for rows in course_split(len(pixels), seed)
    )
    return train, validation, test


def train_and_test(data: Office31, settings: Settings, callbacks: Sequence[Callback] = ()) -> Run:
    """Split, train, test. The images stay uint8 and are cast batch by batch.

    Raises ``ValueError`` as ``parts`` does, ``FloatingPointError`` if training diverges.
    """
    train, validation, test = parts(data, settings.seed)
    classes = {"domain": len(data.domain_names), "object": len(data.object_names)}
    model = network(train.x.shape[1], settings, classes)
    model.compile(
        optimizer=OPTIMIZERS[settings.optimizer](
            settings.learning_rate, state_dtype=settings.state_dtype
        ),
        loss="softmax_cross_entropy",
        metrics=["accuracy"],
        keep_gradients=settings.keep_gradients,
    )
    started = time.perf_counter()
    history = model.fit(
        train.x, train.y, epochs=settings.epochs, batch_size=BATCH_SIZE, seed=settings.seed,
        validation_data=(validation.x, validation.y), callbacks=callbacks, verbose=0,
    )  # fmt: skip
    trained = time.perf_counter()
    outputs = model.predict(test.x)
    guesses = {head: outputs[head].argmax(axis=1) for head in HEADS}
    tested = time.perf_counter()
    return Run(
        settings=settings,
        inputs=train.x.shape[1],
        parameters=model.count_params(),
        images=(len(train.x), len(validation.x), len(test.x)),
        history=history.history,
        test_accuracy={head: float((guesses[head] == test.y[head]).mean()) for head in HEADS},
        majority={head: majority(train.y[head], test.y[head]) for head in HEADS},
        confusion={h: confusion_matrix(test.y[h], guesses[h], classes[h]) for h in HEADS},
        constant_heads=[head for head in HEADS if len(np.unique(guesses[head])) == 1],
        dead_units=dead_units(model, test.x),
        steps=settings.epochs * -(-len(train.x) // BATCH_SIZE),
        seconds=trained - started,
        test_seconds=tested - trained,
        test_rows=test.rows,
        outputs=outputs,
    )


def majority(train: Array, test: Array) -> float:
    """What a constant answer scores: the part of the test labels that are the class which is most
    frequent in training.
    """
    return float((test == np.bincount(train).argmax()).mean())


def confusion_matrix(true: Array, guessed: Array, classes: int) -> Array:
    """Counts (classes, classes), int64: rows are true classes, columns guessed ones."""
    cells = np.bincount(true * classes + guessed, minlength=classes * classes)
    return cells.reshape(classes, classes)


def softmax(logits: Array) -> Array:
    """Probabilities (N, C) of outputs (N, C)."""
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def dead_units(model: Sequential, x: Array, batch_size: int = 256) -> list[float]:
    """For each hidden layer, the part of its units whose output is 0 for every sample of x."""
    hidden = [layer for layer in model.layers if isinstance(layer, Dense)]
    alive = [np.zeros(layer.units, bool) for layer in hidden]
    for start in range(0, len(x), batch_size):
        batch = x[start : start + batch_size]
        model.bind(len(batch), training=False)
        model.chain.forward(model.as_input(batch), training=False)
        for layer, flags in zip(hidden, alive, strict=True):
            flags |= (layer.y > 0).any(axis=0)
    return [1 - float(flags.mean()) for flags in alive]


@dataclass(frozen=True)
class Summary:
    """Several seeds of one network and optimizer. Dicts are by head; collapsed runs count too."""

    hidden: tuple[int, ...]
    optimizer: str
    seeds: list[int]
    collapsed_seeds: list[int]
    mean: dict[str, float]
    #: of the mean; NaN for one seed
    standard_error: dict[str, float]
    median: dict[str, float]


def summarise(runs: Iterable[Run]) -> list[Summary]:
    """Mean, standard error and median of the test accuracies, by network and optimizer."""
    groups: dict[tuple[tuple[int, ...], str], list[Run]] = {}
    for one in runs:
        groups.setdefault((one.settings.hidden, one.settings.optimizer), []).append(one)
    found = []
    for (hidden, optimizer), group in groups.items():
        scores = {head: [one.test_accuracy[head] for one in group] for head in HEADS}
        n = len(group)
        found.append(
            Summary(
                hidden=hidden,
                optimizer=optimizer,
                seeds=[one.settings.seed for one in group],
                collapsed_seeds=[one.settings.seed for one in group if one.collapsed],
                mean={head: statistics.fmean(values) for head, values in scores.items()},
                standard_error={
                    head: statistics.stdev(values) / n**0.5 if n > 1 else float("nan")
                    for head, values in scores.items()
                },
                median={head: statistics.median(values) for head, values in scores.items()},
            )
        )
    return found


def best(runs: Iterable[Run]) -> Run:
    """The run with the highest validation accuracy after its last epoch, both heads together."""
    return max(runs, key=lambda one: sum(one.history[f"val_{head}_accuracy"][-1] for head in HEADS))
