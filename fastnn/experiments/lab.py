"""The optimizer lab: five update rules, each a few lines of NumPy, on the handwritten digits.

A run is one optimizer with one seed, which draws the split, the weights and the order of the
samples. Runs are spread over processes, each on one thread. scikit-learn's ``MLPClassifier`` is
a sixth, if it is installed.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import signal
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn import backends, plots
from fastnn.backends import threads
from fastnn.callbacks import Callback
from fastnn.datasets import load_digits, split
from fastnn.errors import unknown
from fastnn.experiments.processes import THREAD_VARIABLES, environment
from fastnn.layers import Dense
from fastnn.losses import SoftmaxCrossEntropy
from fastnn.model import Sequential
from fastnn.optimizers import Optimizer

Array = NDArray[Any]

# --- What the text fixes, and what it leaves open ----------------------------------------------

HIDDEN = (80, 70)
BATCH_SIZE = 64
EPOCHS = 1000
LEARNING_RATE = 0.01
TEST_FRACTION = 0.2
#: of what isn't for the test: 144 of 1437 samples, and 1293 are left to train on
VALIDATION_FRACTION = 0.1

#: Choices of this module, in words; ``network``, ``samples`` and ``SummedCrossEntropy`` make them.
CHOICES = (
    "pixels / 16, Glorot uniform weights, biases 0, softmax cross-entropy, no L2, float32",
    "a step follows the sum of the batch's gradients, not their mean: the text's losses after",
    "  1000 epochs need that; the loss shown is the mean",
    "a tenth of the training part is kept for validation",
)


def samples(seed: int) -> SimpleNamespace:
    """The digits, split: ``x``, ``y`` to train on, ``x_val``, ``y_val``, ``x_test``, ``y_test``."""
    x, y, x_test, y_test = split(*load_digits(), TEST_FRACTION, seed)
    x, y, x_val, y_val = split(x, y, VALIDATION_FRACTION, seed)
    return SimpleNamespace(x=x, y=y, x_val=x_val, y_val=y_val, x_test=x_test, y_test=y_test)


def network(seed: int) -> Sequential:
    """64 → 80 → 70 → 10, sigmoid."""
    hidden = [Dense(units, "sigmoid") for units in HIDDEN]
    return Sequential([*hidden, Dense(10)], input_shape=(64,), seed=seed)


class SummedCrossEntropy(SoftmaxCrossEntropy):
    """The mean cross-entropy of a batch, with the gradient of its sum."""

    def __call__(
        self, kernels: SimpleNamespace, x: Array, labels: Array, weight: float, dx: Array
    ) -> float:
        n = len(x)
        return super().__call__(kernels, x, labels, weight * n, dx) / n


# --- The optimizers, as the text writes them: w weights, g their gradient, α the rate ----------

EPSILON = 1e-8


class SGD(Optimizer):
    """w ← w − α g"""

    def update(self, w: Array, g: Array, step: int) -> None:
        w -= self.rate(step) * g


class Momentum(Optimizer):
    """v ← 0.9 v + α g, w ← w − v"""

    state = ("v",)

    def update(self, w: Array, g: Array, v: Array, step: int) -> None:
        v[...] = 0.9 * v + self.rate(step) * g
        w -= v


class Adagrad(Optimizer):
    """v ← v + g², w ← w − α g / √(v + ε)"""

    state = ("v",)

    def update(self, w: Array, g: Array, v: Array, step: int) -> None:
        v += g**2
        w -= self.rate(step) * g / np.sqrt(v + EPSILON)


class RMSProp(Optimizer):
    """v ← 0.9 v + 0.1 g², w ← w − α g / √(v + ε)"""

    state = ("v",)

    def update(self, w: Array, g: Array, v: Array, step: int) -> None:
        v[...] = 0.9 * v + 0.1 * g**2
        w -= self.rate(step) * g / np.sqrt(v + EPSILON)


class Adam(Optimizer):
    """m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g², m̂ = m / (1−β₁ᵗ), v̂ = v / (1−β₂ᵗ),
    w ← w − α m̂ / (√v̂ + ε), with β₁ = 0.9, β₂ = 0.99 and t the number of the step
    """

    state = ("m", "v")

    def update(self, w: Array, g: Array, m: Array, v: Array, step: int) -> None:
        m[...] = 0.9 * m + 0.1 * g
        v[...] = 0.99 * v + 0.01 * g**2
        m_hat = m / (1 - 0.9**step)
        v_hat = v / (1 - 0.99**step)
        w -= self.rate(step) * m_hat / (np.sqrt(v_hat) + EPSILON)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    rule.__name__: rule for rule in (SGD, Momentum, Adagrad, RMSProp, Adam)
}
SKLEARN = "scikit-learn"

#: Test accuracy and training loss after 1000 epochs, as the text gives them.
TEXT: dict[str, tuple[float, float | None]] = {
    "SGD": (0.967, 3.5e-4), "Momentum": (0.975, 2.5e-5), "Adagrad": (0.95, 5.5e-3),
    "RMSProp": (0.972, 2e-8), "Adam": (0.978, 0.0), SKLEARN: (0.978, None),
}  # fmt: skip


def sklearn_available() -> bool:
    """Whether scikit-learn is installed."""
    return importlib.util.find_spec("sklearn") is not None


# --- One run -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """What a run needs to know; ``film`` keeps weights for a movie."""

    optimizer: str
    seed: int
    epochs: int = EPOCHS
    backend: str = "auto"
    film: bool = False


@dataclass(frozen=True)
class Run:
    """What came of a job.

    ``loss``, ``validation`` and ``test`` have a number for each epoch: the mean training loss,
    and accuracies after it. scikit-learn tells the loss only, and ``test`` has one number.
    ``guesses`` (360,) are the final answers on the test set. ``film`` are weights (64, 80) of the
    first layer after ``film_epochs`` epochs. ``seconds`` is all the run took, ``ms_per_step`` the
    median over epochs of their training alone.
    """

    optimizer: str
    seed: int
    loss: list[float]
    validation: list[float]
    test: list[float]
    guesses: Array
    seconds: float
    ms_per_step: float
    film: list[Array] = field(default_factory=list)
    film_epochs: list[int] = field(default_factory=list)

    @property
    def best_epoch(self) -> int | None:
        """The first epoch, from 1, after which validation accuracy was highest."""
        return 1 + int(np.argmax(self.validation)) if self.validation else None


class _Watch(Callback):
    """After each epoch: accuracies, and the first layer's weights if they are to be filmed."""

    def __init__(self, data: SimpleNamespace, film_epochs: Sequence[int]) -> None:
        self.film_epochs = list(film_epochs)
        self.film: list[Array] = []
        self.validation: list[float] = []
        self.test: list[float] = []
        self._x = np.concatenate([data.x_val, data.x_test])
        self._y = np.concatenate([data.y_val, data.y_test])
        self._cut = len(data.y_val)

    def guesses(self) -> Array:
        """Answers for the validation samples, then for the test samples."""
        return self.model.predict(self._x, batch_size=len(self._x)).argmax(axis=1)

    def test_guesses(self) -> Array:
        return self.guesses()[self._cut :]

    def on_train_begin(self) -> None:
        self._shoot(0)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        right = self.guesses() == self._y
        self.validation.append(float(right[: self._cut].mean()))
        self.test.append(float(right[self._cut :].mean()))
        self._shoot(epoch + 1)

    def _shoot(self, epoch: int) -> None:
        if epoch in self.film_epochs:
            self.film.append(next(self.model.chain.parameters()).value.copy())


def run(job: Job) -> Run:
    """Train and test; raises ``FloatingPointError`` if the loss isn't finite."""
    if job.optimizer == SKLEARN:
        return _run_sklearn(job)
    started = time.perf_counter()
    data = samples(job.seed)
    model = network(job.seed)
    model.compile(OPTIMIZERS[job.optimizer](LEARNING_RATE), SummedCrossEntropy())
    # Much happens in the first epochs, little in the last.
    film_epochs = [0, *np.unique(np.geomspace(1, job.epochs, 40).astype(int)).tolist()]
    watch = _Watch(data, film_epochs if job.film else [])
    with backends.use_backend(job.backend):
        try:
            history = model.fit(
                data.x, data.y, epochs=job.epochs, batch_size=BATCH_SIZE, seed=job.seed,
                verbose=0, callbacks=[watch],
            )  # fmt: skip
        except FloatingPointError as error:
            raise FloatingPointError(f"{job.optimizer}, seed {job.seed}: {error}") from None
        guesses = watch.test_guesses()
    steps = math.ceil(len(data.x) / BATCH_SIZE)
    return Run(
        job.optimizer, job.seed, history["loss"], watch.validation, watch.test, guesses,
        seconds=time.perf_counter() - started,
        ms_per_step=1000 * statistics.median(history["seconds"]) / steps,
        film=watch.film, film_epochs=watch.film_epochs,
    )  # fmt: skip


def _run_sklearn(job: Job) -> Run:
    """scikit-learn's network of the text on the same samples; the rest is as it is by default."""
    from sklearn.neural_network import MLPClassifier

    started = time.perf_counter()
    data = samples(job.seed)
    model = MLPClassifier(
        hidden_layer_sizes=HIDDEN, activation="logistic", solver="sgd", alpha=0.01,
        learning_rate_init=LEARNING_RATE, max_iter=job.epochs, random_state=job.seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it hasn't converged: we ask for so many epochs
        model.fit(data.x, data.y)
    seconds = time.perf_counter() - started
    guesses = model.predict(data.x_test)
    steps = model.n_iter_ * math.ceil(len(data.x) / min(200, len(data.x)))
    return Run(
        job.optimizer, job.seed, [float(v) for v in model.loss_curve_], [],
        [float((guesses == data.y_test).mean())], guesses, seconds, 1000 * seconds / steps,
    )  # fmt: skip


# --- All runs ----------------------------------------------------------------------------------

#: Told after each run: runs done, runs in all, the run.
Progress = Callable[[int, int, Run], None]


def lab(
    names: Sequence[str],
    seeds: Sequence[int],
    epochs: int = EPOCHS,
    processes: int = 0,
    progress: Progress = lambda done, total, run: None,
) -> list[Run]:
    """Run every optimizer with every seed; the runs come by optimizer, then seed.

    ``names`` are of ``OPTIMIZERS`` or ``SKLEARN``; ``processes`` run at a time, 0 for as many as
    there are usable CPUs. They run on the backend in force, each on one thread, so that the figures
    do not depend on their number. The first seed's weights are filmed. They are started by
    *spawn*: a script that calls this needs ``if __name__ == "__main__":``.

    Raises ``ValueError`` for an unknown name, ``RuntimeError`` if a process dies,
    ``FloatingPointError`` if a loss isn't finite. On any error and on an interrupt, the other
    runs end too.
    """
    for name in names:
        if name not in (*OPTIMIZERS, SKLEARN):
            raise unknown("optimizer", name, (*OPTIMIZERS, SKLEARN))
    if not names or not seeds:
        raise ValueError("lab: expected at least one optimizer and one seed")
    backend = backends.current_backend()
    jobs = [Job(name, seed, epochs, backend, seed == seeds[0]) for name in names for seed in seeds]
    workers = min(processes or threads.usable_cpus(), len(jobs))
    strangers = set(multiprocessing.active_children())
    found: dict[Job, Run] = {}
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), threads.set_num_threads, (1,)
    )
    try:
        with _settings_of_children():
            # The last ones take longest; begun first, they don't keep one CPU waiting at the end.
            futures = {pool.submit(run, job): job for job in reversed(jobs)}
        for future in as_completed(futures):
            result = found[futures[future]] = future.result()
            progress(len(found), len(jobs), result)
    except BaseException as error:
        for child in set(multiprocessing.active_children()) - strangers:
            child.terminate()
        if isinstance(error, BrokenProcessPool):
            raise RuntimeError("lab: a process ended before its run (out of memory?)") from None
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return [found[job] for job in jobs]


@contextmanager
def _settings_of_children() -> Iterator[None]:
    """What processes started meanwhile inherit: BLAS on one thread, and no ear for Ctrl-C.

    The parent hears it and ends them; each by itself would print a traceback.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if in_main_thread else None
    try:
        with environment(THREAD_VARIABLES, "1"):
            yield
    finally:
        if in_main_thread:
            signal.signal(signal.SIGINT, handler)


@dataclass(frozen=True)
class Row:
    """One optimizer over all seeds; ``…_error`` are standard errors, None for one seed."""

    optimizer: str
    runs: int
    test_accuracy: float
    test_accuracy_error: float | None
    text_accuracy: float
    #: of the last epoch
    train_loss: float
    text_loss: float | None
    epochs: int
    #: median, lowest and highest over the seeds; None for scikit-learn
    best_epoch: tuple[float, int, int] | None
    #: at each run's best epoch
    best_test_accuracy: float | None
    seconds_per_run: float
    ms_per_step: float


def summary(runs: Sequence[Run]) -> list[Row]:
    """A row for each optimizer, in the order of the runs."""
    rows = []
    for name, group in _by_optimizer(runs).items():
        accuracies = [run.test[-1] for run in group]
        best = [run.best_epoch for run in group if run.best_epoch is not None]
        at_best = [run.test[run.best_epoch - 1] for run in group if run.best_epoch is not None]
        rows.append(
            Row(
                optimizer=name,
                runs=len(group),
                test_accuracy=statistics.fmean(accuracies),
                test_accuracy_error=_error(accuracies),
                text_accuracy=TEXT[name][0],
                train_loss=statistics.fmean(run.loss[-1] for run in group),
                text_loss=TEXT[name][1],
                epochs=max(len(run.loss) for run in group),
                best_epoch=(statistics.median(best), min(best), max(best)) if best else None,
                best_test_accuracy=statistics.fmean(at_best) if best else None,
                seconds_per_run=statistics.fmean(run.seconds for run in group),
                ms_per_step=statistics.fmean(run.ms_per_step for run in group),
            )
        )
    return rows


def curves(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Figures by epoch, over the seeds: ``[figure][optimizer]["mean" | "error" | "median"]``.

    Figures are ``training loss``, ``validation accuracy`` and ``test accuracy``; ``error`` is the
    standard error of the mean.
    """
    parts = {"training loss": "loss", "validation accuracy": "validation", "test accuracy": "test"}
    found: dict[str, dict[str, dict[str, list[float]]]] = {title: {} for title in parts}
    for name, group in _by_optimizer(runs).items():
        for title, part in parts.items():
            by_seed = [getattr(run, part) for run in group]
            # scikit-learn may stop early, and has no accuracies by epoch.
            length = min(map(len, by_seed))
            if length < 1 or (name == SKLEARN and part != "loss"):
                continue
            by_epoch = list(zip(*(values[:length] for values in by_seed), strict=True))
            found[title][name] = {
                "mean": [statistics.fmean(values) for values in by_epoch],
                "error": [_error(values) or 0.0 for values in by_epoch],
                "median": [statistics.median(values) for values in by_epoch],
            }
    return {title: lines for title, lines in found.items() if lines}


def draw(folder: Path, runs: Sequence[Run]) -> list[Path]:
    """Write the pictures into a folder that is there, and return their paths; needs matplotlib.

    ``curves.png``; ``digits.png``, twenty test digits of the first seed with all guesses, those
    first that most models got wrong; ``weights-….gif``, the first layer of each optimizer.
    """
    lines, bands, limits = {}, {}, {}
    for title, group in curves(runs).items():
        if title == "training loss":
            # One seed's jump would hide the others in a mean.
            title += ", median over the seeds"
            lines[title] = {name: figure["median"] for name, figure in group.items()}
        else:
            lines[title] = {name: figure["mean"] for name, figure in group.items()}
            bands[title] = {name: figure["error"] for name, figure in group.items()}
            # The end matters: all start at a tenth.
            limits[title] = max(0.0, min(v[-1] for v in lines[title].values()) - 0.05), 1.0
    log = [title for title in lines if title not in limits]
    plots.curves(folder / "curves.png", lines, log=log, bands=bands, limits=limits)
    written = [folder / "curves.png", folder / "digits.png"]

    first = [run for run in runs if run.seed == runs[0].seed]
    data = samples(first[0].seed)
    wrong = np.sum([run.guesses != data.y_test for run in first], axis=0)
    hard = np.argsort(-wrong, kind="stable")[:10]
    easy = np.setdiff1d(np.flatnonzero(wrong == 0), hard)[:10]
    shown = np.concatenate([hard, easy])
    digits = [str(digit) for digit in range(10)]
    plots.predictions(
        written[-1],
        data.x_test[shown].reshape(-1, 8, 8),
        {r.optimizer: plots.Answers(r.guesses[shown], data.y_test[shown], digits) for r in first},
        columns=10,
    )
    for run in first:
        if len(run.film) > 1:
            written.append(folder / f"weights-{run.optimizer.lower()}.gif")
            plots.weight_movie(written[-1], run.film, epochs=run.film_epochs)
    return written


def _by_optimizer(runs: Sequence[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.optimizer, []).append(run)
    return groups


def _error(values: Sequence[float]) -> float | None:
    """The standard error of the mean."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
