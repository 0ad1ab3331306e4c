"""What does Adam cost against SGD? Two networks, every backend, one table of figures.

``compare`` trains both networks with both optimizers. Only the step itself is timed (forward,
loss, backward, update), not the shuffling. SGD and Adam take turns, a round of steps each, so
that a disturbance of the machine hits both; the figure is the median over the steps. Everything
that happens once (Numba's compiling, allocation) is over before the first timed step.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import backends, optimizers
from fastnn.datasets import load_digits, split
from fastnn.initializers import RandomNormal
from fastnn.layers import Dense, Heads
from fastnn.model import Sequential
from fastnn.training import Batches

Array = NDArray[Any]
#: Told before each round: rounds done, rounds in all, what comes next.
Progress = Callable[[int, int, str], None]

#: Samples of the random data set: ten batches of ten.
_OFFICE_SAMPLES = 100
#: Untimed steps of the large network: the first ones touch new memory.
_OFFICE_WARMUP = 3


@dataclass(frozen=True)
class Case:
    """A network with its data; ``x_test`` is None where there is nothing to test."""

    name: str
    build: Callable[[], Sequential]
    x: Array
    y: Any
    batch_size: int
    rates: dict[str, float]
    #: training steps, after how many of them the optimizers take turns, and untimed ones before
    steps: int
    round_steps: int
    warmup_steps: int
    x_test: Array | None = None
    y_test: Array | None = None


@dataclass(frozen=True)
class Result:
    """One row of the comparison."""

    network: str
    backend: str
    optimizer: str
    learning_rate: float
    #: part of the test set that is right; None for random data
    test_accuracy: float | None
    #: mean over the last round of steps, each before its update
    train_loss: float
    steps: int
    ms_per_step: float
    #: of all steps; the median is far above it where other programs took the CPUs
    fastest_ms: float
    #: ms per step against SGD on the same network and backend
    time_ratio: float
    #: of parameters, gradients and optimizer state together
    bytes_per_parameter: float
    parameters: int
    nbytes: dict[str, int] = field(compare=False)


def digits_case(seed: int, epochs: int) -> Case:
    """The course's optimizer lab: 64 → 80 → 70 → 10, sigmoid, batch 64, on the digits.

    The lab's own rate of 0.01 would take SGD a thousand epochs. Here each optimizer has a rate
    with which it learns the digits in sixty.
    """
    x, y, x_test, y_test = split(*load_digits(), test_fraction=0.2, seed=seed)

    def build() -> Sequential:
        layers = [Dense(80, "sigmoid"), Dense(70, "sigmoid"), Dense(10)]
        return Sequential(layers, input_shape=(64,), seed=seed)

    batches = -(-len(x) // 64)
    return Case(
        "digits", build, x, y, batch_size=64, rates={"SGD": 0.5, "Adam": 0.01},
        steps=epochs * batches, round_steps=batches, warmup_steps=batches,
        x_test=x_test, y_test=y_test,
    )  # fmt: skip


def office_case(seed: int, steps: int) -> Case:
    """The size of the Office-31 network: 30,000 → 64 → 32 → 10 → 3 and 31, ReLU, batch 10.

    Random images and labels, so only its time and memory mean something. Weights N(0, 0.03²).
    """
    rng = np.random.default_rng(seed)
    x = rng.random((_OFFICE_SAMPLES, 30_000), dtype=np.float32)
    y = {
        "domain": rng.integers(3, size=_OFFICE_SAMPLES),
        "object": rng.integers(31, size=_OFFICE_SAMPLES),
    }

    def dense(units: int, activation: str | None = None) -> Dense:
        return Dense(units, activation, kernel_initializer=RandomNormal(stddev=0.03))

    def build() -> Sequential:
        trunk = [dense(units, "relu") for units in (64, 32, 10)]
        heads = Heads({"domain": dense(3), "object": dense(31)})
        return Sequential([*trunk, heads], input_shape=(30_000,), seed=seed)

    return Case(
        "Office-31 size", build, x, y, batch_size=10, rates={"SGD": 1e-4, "Adam": 1e-4},
        steps=steps, round_steps=5, warmup_steps=_OFFICE_WARMUP,
    )  # fmt: skip


class _Run:
    """One network trained by one optimizer on the backend in force."""

    def __init__(self, case: Case, optimizer: str, keep_gradients: bool, seed: int) -> None:
        self.case = case
        self.model = case.build()
        self.model.compile(
            optimizers.get(optimizer, case.rates[optimizer]),
            loss="softmax_cross_entropy",
            metrics=["accuracy"],
            keep_gradients=keep_gradients,
        )
        x, labels = self.model.check_data(case.x, case.y)
        batches = Batches(x, labels, case.batch_size, self.model.dtype)
        self._batches = _endless(batches, np.random.default_rng(seed))
        self.ms: list[float] = []
        self.losses: list[float] = []

    def train(self, steps: int) -> None:
        """Take so many steps; keeps their times, and the losses of this round."""
        self.losses = []
        for x, labels in islice(self._batches, steps):
            started = time.perf_counter()
            _, found = self.model.step(x, labels)
            self.ms.append(1000 * (time.perf_counter() - started))
            self.losses.append(sum(found.values()))

    def test_accuracy(self) -> float | None:
        if self.case.x_test is None or self.case.y_test is None:
            return None
        return self.model.evaluate(self.case.x_test, self.case.y_test)["accuracy"]


def _endless(
    batches: Batches, rng: np.random.Generator
) -> Iterator[tuple[Array, dict[str, Array]]]:
    while True:
        yield from batches.shuffled(rng)


def measure(
    case: Case, backend: str, seed: int, tell: Callable[[str], None] = lambda _: None
) -> list[Result]:
    """The rows of one network on one backend: SGD, then Adam.

    The reference backend keeps whole gradients, as the textbook does; the others may hand those
    of large layers to the optimizer in bands, as models do by default.
    """
    with backends.use_backend(backend):
        keep = backend == "reference"
        tell(f"{case.name} on {backend}: warming up")
        for optimizer in case.rates:
            # A model of its own, so that the warm-up does not train the measured one.
            warm = _Run(case, optimizer, keep, seed)
            warm.train(case.warmup_steps)
            warm.test_accuracy()
            del warm
        runs = {name: _Run(case, name, keep, seed) for name in case.rates}
        for start in range(0, case.steps, case.round_steps):
            tell(f"{case.name} on {backend}: training")
            for run in runs.values():
                run.train(min(case.round_steps, case.steps - start))
        rows: list[Result] = []
        for name, run in runs.items():
            ms = statistics.median(run.ms)
            nbytes = run.model.nbytes()
            parameters = sum(a.size for a in run.model.get_weights().values())
            rows.append(
                Result(
                    network=case.name,
                    backend=backend,
                    optimizer=name,
                    learning_rate=case.rates[name],
                    test_accuracy=run.test_accuracy(),
                    train_loss=statistics.fmean(run.losses),
                    steps=len(run.ms),
                    ms_per_step=ms,
                    fastest_ms=min(run.ms),
                    time_ratio=ms / rows[0].ms_per_step if rows else 1.0,
                    bytes_per_parameter=sum(nbytes.values()) / parameters,
                    parameters=parameters,
                    nbytes=nbytes,
                )
            )
        return rows


def compare(
    backend_names: Sequence[str] = (),
    seed: int = 0,
    epochs: int = 60,
    steps: int = 20,
    progress: Progress = lambda done, total, what: None,
) -> list[Result]:
    """Both networks with SGD and Adam on the backends named, or on all that are present.

    ``epochs`` of the digits network, ``steps`` of the large one; both at least 1.
    """
    for name, value in (("epochs", epochs), ("steps", steps)):
        if value < 1:
            raise ValueError(f"compare: {name} must be an integer >= 1, got {value}")
    present = [name for name, refusal in backends.available_backends().items() if not refusal]
    chosen = list(backend_names) or present
    cases = [digits_case(seed, epochs), office_case(seed, steps)]
    total = len(chosen) * sum(1 + -(-case.steps // case.round_steps) for case in cases)
    done = 0

    def tell(what: str) -> None:
        nonlocal done
        progress(done, total, what)
        done += 1

    return [row for case in cases for name in chosen for row in measure(case, name, seed, tell)]


def disturbed(rows: Sequence[Result]) -> list[Result]:
    """The rows whose median step took more than 2.5 times as long as the fastest one."""
    return [row for row in rows if row.ms_per_step > 2.5 * row.fastest_ms]


def conclusion(rows: Sequence[Result]) -> list[str]:
    """What the figures say about the cost of Adam, in sentences; they hold for this run."""
    by_key = {(row.network, row.backend, row.optimizer): row for row in rows}
    adams = [row for row in rows if row.optimizer == "Adam"]
    chosen = list(dict.fromkeys(row.backend for row in rows))
    times = []
    for network in dict.fromkeys(row.network for row in rows):
        ratios = [
            f"{by_key[network, backend, 'Adam'].time_ratio:.2f} times ({backend})"
            for backend in chosen
        ]
        times.append(f"on {network} {_listed(ratios)}")
    sentences = [f"Time: a step with Adam takes, compared with SGD, {'; '.join(times)}."]

    # The largest network: in a small one, padding and small gradients blur the figure.
    big = max(adams, key=lambda row: row.parameters).network
    groups: dict[str, list[str]] = {}
    for backend in chosen:
        sgd, adam = (by_key[big, backend, name].bytes_per_parameter for name in ("SGD", "Adam"))
        groups.setdefault(f"{adam:.0f} bytes instead of {sgd:.0f}", []).append(backend)
    memory = [f"{figures} ({', '.join(names)})" for figures, names in groups.items()]
    sentences.append(
        "Memory: Adam keeps two more numbers per parameter, so that a large network takes "
        f"{_listed(memory)} per parameter."
    )

    tested = [row for row in adams if row.test_accuracy is not None]
    if tested:
        with_adam = tested[0]
        with_sgd = by_key[with_adam.network, with_adam.backend, "SGD"]
        sentences.append(
            f"Gain: after as many epochs the training loss on the {with_adam.network} is "
            f"{with_adam.train_loss:.2g} with Adam and {with_sgd.train_loss:.2g} with SGD, and "
            f"{with_adam.test_accuracy:.1%} and {with_sgd.test_accuracy:.1%} of the test set are "
            "right."
        )
    return sentences


def _listed(texts: Sequence[str]) -> str:
    """a, b and c"""
    return " and ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
