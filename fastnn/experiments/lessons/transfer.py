"""Transfer learning: what a network learned from catalogue pictures helps it with few photographs.

Office-31's objects are the same in all domains, but each domain looks different. A network is a
trunk, convolutions that turn an image into features h = φ(x; θ), and a head, softmax(h W + b).
Trained on the many images of *amazon*, it is to name objects in *dslr*, of which k per class have
labels. The ways:

    scratch     θ, W, b drawn, and all of them learn
    random      θ drawn and fixed; the head learns
    frozen      θ from amazon and fixed; a new head learns
    fine-tuned  from there on, all of them learn, at a small rate

each with as many steps, which fine-tuned takes after frozen's: it has twice as many as scratch, and
frozen is the fair comparison. *Random* tells what is owed to the form of the trunk, not to amazon.
The fewer the labels, the less they say about θ, which has most of the parameters. Frozen, nothing
is computed backward below the head: a step is the trunk's forward and a small layer. And as φ(x) is
the same in every epoch, who doesn't augment computes it once; then a step is the small layer alone.

K. Saenko et al., Adapting visual category models to new domains (2010); J. Yosinski et al., How
transferable are features in deep neural networks? (2014); A. Kumar et al., Fine-tuning can distort
pretrained features (2022), for the order of the last two ways.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.datasets import Office31, default_cache_folder, draw_office31, load_office31
from fastnn.experiments.lessons.lesson import Check, Lesson, Result, Settings, Table
from fastnn.layers import Conv2D, Dense, Dropout, Flatten, Layer, MaxPool2D, Rescaling
from fastnn.model import Sequential
from fastnn.optimizers import Adam
from fastnn.panels import Bars, Lines, Tiles

Array = NDArray[Any]
Pair = tuple[Array, Array]
Weights = dict[str, Array]

WAYS = ("scratch", "random", "frozen", "fine-tuned")
SOURCE, TARGET = "amazon", "dslr"
BATCH_SIZE = 32
TIMES_FASTER = 5
#: Timed, of each kind.
STEPS = 20


@dataclass(frozen=True)
class Plan:
    """Sizes: of an image's side, of the trunk, of the trainings.

    ``labels``: how many images per class have one, ``few``: with how many the claim is checked.
    ``steps``: of each training on them.
    """

    side: int
    filters: tuple[int, ...]
    source_epochs: int
    steps: int
    labels: tuple[int, ...]
    few: int
    seeds: int


DRAWN = Plan(32, (16, 32, 64), 8, 100, (1, 3, 5), 1, 3)
QUICK = Plan(24, (16, 32), 5, 60, (1,), 1, 1)
REAL = Plan(32, (32, 64, 64), 10, 160, (1, 3, 5, 8), 3, 3)


def head(classes: int) -> list[Layer]:
    """The layers that say which object it is."""
    return [Dropout(0.4, name="drop"), Dense(classes, name="head")]


def network(plan: Plan, classes: int, seed: int) -> Sequential:
    """Trunk and head, built."""
    layers: list[Layer] = [Rescaling(1 / 127.5, -1)]
    for filters in plan.filters:
        layers += [
            Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal"),
            MaxPool2D(2),
        ]
    shape = (plan.side, plan.side, 3)
    return Sequential([*layers, Flatten(), *head(classes)], input_shape=shape, seed=seed)


def train(net: Sequential, data: Pair, epochs: int, rate: float, seed: int) -> None:
    """With Adam."""
    net.compile(Adam(rate), "softmax_cross_entropy", metrics=["accuracy"])
    net.fit(*data, epochs=epochs, batch_size=BATCH_SIZE, seed=seed, verbose=0)


def without_head(net: Sequential) -> Sequential:
    """The same network, whose outputs are the features now."""
    for _ in head(1):
        net.pop()
    return net


def transfer(plan: Plan, source: Weights, few: Pair, test: Pair, seed: int) -> dict[str, float]:
    """Accuracies in the test, learned from few labelled images of the target."""
    classes = len(source["head/b"])
    epochs = -(-plan.steps // -(-len(few[0]) // BATCH_SIZE))
    net = network(plan, classes, seed)
    drawn = net.get_weights()
    train(net, few, epochs, 1e-3, seed)
    accuracy = {"scratch": net.evaluate(*test)["accuracy"]}

    for way, weights in (("random", drawn), ("frozen", source)):
        net = network(plan, classes, seed)
        net.set_weights(weights)
        without_head(net)
        features, test_features = net.predict(few[0]), net.predict(test[0])
        top = Sequential(head(classes), seed=seed)
        train(top, (features, few[1]), epochs, 1e-3, seed)
        accuracy[way] = top.evaluate(test_features, test[1])["accuracy"]

    for layer in head(classes):
        net.add(layer)
    net.set_weights(net.get_weights() | top.get_weights())
    train(net, few, epochs, 2e-4, seed)
    accuracy["fine-tuned"] = net.evaluate(*test)["accuracy"]
    return accuracy


def step_times(plan: Plan, source: Weights, batch: Pair) -> dict[str, float]:
    """Milliseconds of a training step, the best of some."""
    classes = len(source["head/b"])
    net = network(plan, classes, seed=0)
    net.set_weights(source)
    times = {"all layers": milliseconds(net, batch)}

    net.set_weights(source)
    for layer in net.layers[: -len(head(classes))]:
        layer.trainable = False
    times["frozen trunk"] = milliseconds(net, batch)

    features = without_head(net).predict(batch[0])
    top = Sequential(head(classes), input_shape=features.shape[1:], seed=0)
    times["frozen, features kept"] = milliseconds(top, (features, batch[1]))
    return times


def milliseconds(net: Sequential, batch: Pair) -> float:
    """Of a step with Adam: the least of some, so that other programs count less."""
    net.compile(Adam(1e-3), "softmax_cross_entropy")
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        net.train_on_batch(*batch)
        times.append(time.perf_counter() - started)
    return 1000 * min(times)


def images(settings: Settings) -> tuple[str, Plan, Office31]:
    """What it is, how to learn from it, and the images."""
    if settings.data is not None:
        plan = REAL
        size = (plan.side, plan.side)
        data = load_office31(settings.data, size, cache=default_cache_folder())
        missing = {SOURCE, TARGET} - set(data.domain_names)
        if missing:
            raise ValueError(f"{settings.data}: expected the domain {sorted(missing)[0]}")
        return "Office-31", plan, data
    plan = settings.size(DRAWN, QUICK)
    count = settings.size(2400, 1200)
    return "drawn Office-31", plan, draw_office31(count, (plan.side, plan.side), settings.seed)


def domain(data: Office31, name: str, rng: np.random.Generator) -> Pair:
    """The images of a domain and the objects on them, in random order."""
    rows = rng.permutation(np.flatnonzero(data.domain == data.domain_names.index(name)))
    return data.pixels[rows], data.object[rows]


def ranks(labels: Array) -> Array:
    """For each image, how many of its class are before it."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank[rows] = np.arange(len(rows))
    return rank


def run(settings: Settings) -> Result:
    """See the module."""
    name, plan, data = images(settings)
    classes = len(data.object_names)
    accuracy: dict[int, dict[str, list[float]]] = {
        k: {way: [] for way in WAYS} for k in plan.labels
    }
    for seed in range(settings.seed, settings.seed + plan.seeds):
        rng = np.random.default_rng(seed)
        many, (x, y) = domain(data, SOURCE, rng), domain(data, TARGET, rng)
        net = network(plan, classes, seed)
        train(net, many, plan.source_epochs, 1e-3, seed)
        source = net.get_weights()
        # The same test for every k; a class of few images keeps two for it.
        rank, largest = ranks(y), np.bincount(y, minlength=classes) - 2
        is_test = rank >= np.minimum(max(plan.labels), largest)[y]
        test = x[is_test], y[is_test]
        for k in plan.labels:
            few = ~is_test & (rank < k)
            found = transfer(plan, source, (x[few], y[few]), test, seed)
            for way in WAYS:
                accuracy[k][way].append(found[way])
    times = step_times(plan, source, (many[0][:BATCH_SIZE], many[1][:BATCH_SIZE]))

    mean = {
        k: {way: statistics.fmean(a) for way, a in ways.items()} for k, ways in accuracy.items()
    }
    rows = [["labels per class", *WAYS]]
    for k, ways in accuracy.items():
        rows.append([f"{k}", *(plus_minus(values) for values in ways.values())])
    steps = [["a step trains", "ms", "times faster"]]
    for what, ms in times.items():
        steps.append([what, f"{ms:.2f}", f"{times['all layers'] / ms:.1f}"])
    frozen = mean[plan.few]["frozen"]
    checks = [
        *(Check(f"accuracy with {plan.few} per class, frozen − {way}",
                frozen - mean[plan.few][way], ">=", 0.02) for way in ("scratch", "random")),
        Check("times faster, a frozen step with its features kept",
              times["all layers"] / times["frozen, features kept"], ">=", TIMES_FASTER),
    ]  # fmt: skip
    shown = [
        np.flatnonzero((data.domain == data.domain_names.index(d)) & (data.object == o))[0]
        for d in (SOURCE, TARGET)
        for o in range(0, classes, 4)
    ]
    return Result(
        f"{name}, {plan.side} × {plan.side} pixels: {len(many[0])} of {SOURCE}, {len(test[0])} of "
        f"{TARGET} to test; {plan.seeds} seed{'s' * (plan.seeds > 1)}",
        [Table(f"accuracy on {TARGET}, mean ± deviation over seeds", rows),
         Table(f"a batch of {BATCH_SIZE}", steps)],
        checks,
        [
            Lines(f"Accuracy on {TARGET}",
                  {way: (plan.labels, [mean[k][way] for k in plan.labels]) for way in WAYS},
                  "labelled images per class", "accuracy"),
            Bars("A training step", times, "ms", log=True),
            Tiles(f"Above {SOURCE}, below {TARGET}", data.pixels[shown], columns=len(shown) // 2),
        ],
        {"accuracy": accuracy, "milliseconds": times},
    )  # fmt: skip


def plus_minus(values: list[float]) -> str:
    """Mean and, of several, their standard deviation."""
    several = len(values) > 1
    return f"{statistics.fmean(values):.3f}" + (
        f" ± {statistics.stdev(values):.3f}" if several else ""
    )


LESSON = Lesson(
    name="transfer",
    question="What does a network know that was trained on other images?",
    claim="with few labels a trained trunk does better than a network from scratch; frozen, with "
    "its features kept, it learns in steps 5 times as fast",
    run=run,
    seconds=60,
    data="Office-31: the folder with amazon and dslr",
)
