"""The training loop: batches, history, progress."""

from __future__ import annotations

import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import augmentation
from fastnn.augmentation import Augmentation
from fastnn.backends.threads import MAX_THREADS
from fastnn.callbacks import Callback
from fastnn.functional import check_bool, check_count, check_number

if TYPE_CHECKING:
    from fastnn.model import Sequential

Array = NDArray[Any]
Batch = tuple[Array, dict[str, Array]]


class History:
    """Figures of a training run: ``history[key]`` is a list with one number per epoch.

    Keys: ``loss``, the metrics, ``learning_rate``, ``seconds``; with heads ``domain_loss``,
    ``domain_accuracy``; with validation the same with ``val_`` before; with augmentation or workers
    ``waiting``, the seconds in which training waited for batches.
    """

    def __init__(self) -> None:
        self.history: dict[str, list[float]] = {}

    def append(self, row: Mapping[str, float]) -> None:
        """Add the figures of one epoch."""
        for key, value in row.items():
            self.history.setdefault(key, []).append(value)

    def __getitem__(self, key: str) -> list[float]:
        return self.history[key]


class Tally:
    """Means of losses and metrics over batches of unequal size."""

    def __init__(self, model: Sequential) -> None:
        self.heads = model.heads
        self.count = 0
        self.sums: dict[str, float] = {}

    def add(self, outputs: Any, found: Mapping[str, float], labels: Mapping[str, Array]) -> None:
        """Count one batch: the heads' losses, and their metrics on the outputs."""
        head = self.heads[0]
        n = len(outputs[head.name] if head.name else outputs)
        self.count += n
        self._add("loss", n * sum(found.values()))
        for head in self.heads:
            y = outputs[head.name] if head.name else outputs
            if head.name:
                self._add(f"{head.prefix}loss", n * found[head.name])
            for name, metric in head.metrics:
                self._add(f"{head.prefix}{name}", metric(y, labels[head.name]))

    def _add(self, key: str, value: float) -> None:
        self.sums[key] = self.sums.get(key, 0.0) + value

    def means(self) -> dict[str, float]:
        """The means so far."""
        return {key: value / self.count for key, value in self.sums.items()}


class Batches:
    """Batches of prepared data, gathered into buffers that are used again and again.

    A batch holds until the one after the next is asked for. Images are changed by ``augment``, in
    every epoch otherwise, by ``seed``. With ``workers`` threads as many batches are prepared ahead,
    and they are the same; without, a batch is prepared when it is asked for. ``close()`` ends them.
    """

    def __init__(
        self,
        x: Array,
        labels: Mapping[str, Array],
        batch_size: int,
        dtype: Any,
        augment: Augmentation | None = None,
        seed: int | None = None,
        workers: int = 0,
    ) -> None:
        self.x, self.labels, self.batch_size = x, labels, min(batch_size, len(x))
        self.augment, self.workers = augment, workers
        # A seed of its own if none is given.
        self.seed: Any = np.random.SeedSequence(seed).entropy
        self._pool: ThreadPoolExecutor | None = None
        self._begun, self._waited = 0, 0.0
        shape = augment.output_shape(x.shape[1:]) if augment else x.shape[1:]
        self._buffers = [
            (
                np.empty((self.batch_size, *x.shape[1:]), x.dtype),
                np.empty((self.batch_size, *shape), dtype),
                {name: np.empty((self.batch_size, *a.shape[1:]), a.dtype)
                 for name, a in labels.items()},
            )
            # One that trains, the next one, and those being prepared.
            for _ in range(2 + workers)
        ]  # fmt: skip

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    def shuffled(self, rng: np.random.Generator, epoch: int = 0) -> Iterator[Batch]:
        """One epoch in random order."""
        return self._prepared(rng.permutation(len(self.x)), epoch)

    def in_order(self, epoch: int = 0) -> Iterator[Batch]:
        """One epoch in the order of the data."""
        if self.augment or self.workers:
            yield from self._prepared(np.arange(len(self.x)), epoch)
            return
        for start in range(0, len(self.x), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield self.x[part], {name: array[part] for name, array in self.labels.items()}

    def take_waited(self) -> float:
        """Seconds that somebody waited for batches since this was asked last."""
        waited, self._waited = self._waited, 0.0
        return waited

    def close(self) -> None:
        """End the threads once their batches are done; those not begun yet are dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _prepared(self, order: Array, epoch: int) -> Iterator[Batch]:
        # Which backend is in force, a thread of its own wouldn't know.
        kernels = augmentation.kernels() if self.augment else None
        size, waiting = self.batch_size, deque[Callable[[], Batch]]()
        asked = time.perf_counter()
        for i in range(len(self) + self.workers):
            if i < len(self):
                # Going on from the epoch before: somebody may hold its last batch.
                buffer = self._buffers[self._begun % len(self._buffers)]
                self._begun += 1
                waiting.append(
                    self._begin(order[i * size : (i + 1) * size], epoch, buffer, kernels)
                )
            if i >= self.workers:
                batch = waiting.popleft()()
                self._waited += time.perf_counter() - asked
                yield batch
                asked = time.perf_counter()

    def _begin(self, *job: Any) -> Callable[[], Batch]:
        """Have a batch prepared by a thread; what gives it when it is there."""
        if not self.workers:
            return partial(self._prepare, *job)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.workers, "fastnn-batches")
        return self._pool.submit(self._prepare, *job).result

    def _prepare(
        self, rows: Array, epoch: int, buffer: tuple[Array, Array, dict[str, Array]], kernels: Any
    ) -> Batch:
        """Gather the rows, change the images, cast."""
        taken, x, labels = buffer
        taken, x = taken[: len(rows)], x[: len(rows)]
        same = self.augment is None and x.dtype == self.x.dtype
        # Rows are in range; any mode but "raise" writes into out without a copy.
        np.take(self.x, rows, axis=0, out=x if same else taken, mode="clip")
        if self.augment:
            self.augment.apply(taken, rows, self.seed, epoch, x, kernels)
        elif not same:
            np.copyto(x, taken, casting="unsafe")
        labels = {name: a[: len(rows)] for name, a in labels.items()}
        for name, array in self.labels.items():
            np.take(array, rows, axis=0, out=labels[name], mode="clip")
        return x, labels


def figures(model: Sequential, validation: bool) -> list[str]:
    """The keys of the losses and metrics that a training loop records."""
    keys = ["loss"]
    for head in model.heads:
        keys += [f"{head.prefix}loss"] if head.name else []
        keys += [f"{head.prefix}{name}" for name, _ in head.metrics]
    return [*keys, *(f"val_{key}" for key in keys)] if validation else keys


def _check_callbacks(callbacks: Any) -> None:
    if not isinstance(callbacks, list | tuple):
        raise TypeError(f"fit: callbacks must be a list of callbacks, got {_told(callbacks)}")
    for i, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: callbacks[{i}] must be a Callback, got {_told(callback)}")


def _told(value: Any) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}, not an instance"
    return f"a {type(value).__name__}" if isinstance(value, Callback) else repr(value)


@contextmanager
def attended(
    model: Sequential,
    callbacks: Sequence[Callback],
    recorded: Sequence[str],
    data: tuple[Array, Mapping[str, Array]],
) -> Iterator[None]:
    """A training, of whose beginning and end the callbacks are told.

    ``recorded`` and ``data`` are their ``figures`` and ``data``. All gradients are stored while
    one of them reads them.
    """
    store = model.store
    assert store is not None
    reads_gradients = any(callback.reads_gradients for callback in callbacks)
    if reads_gradients:
        store.keep_gradients(True)
    begun = []
    try:
        for callback in callbacks:
            callback.model, callback.figures, callback.data = model, recorded, data
            callback.on_train_begin()
            begun.append(callback)
        yield
    except BaseException:
        _tell_all(callback.on_train_error for callback in begun)
        raise
    else:
        _tell_all(callback.on_train_end for callback in callbacks)
    finally:
        if reads_gradients:
            store.keep_gradients(model.keeps_gradients)


def _tell_all(methods: Iterable[Callable[[], None]]) -> None:
    """Call each, also after one that raises; then raise its error."""
    with ExitStack() as stack:
        for method in reversed(list(methods)):
            stack.callback(method)


def evaluate(
    model: Sequential, x: Array, labels: Mapping[str, Array], batch_size: int
) -> dict[str, float]:
    """Means of losses and metrics over prepared data."""
    check_count("evaluate: batch_size", batch_size, 1)
    tally = Tally(model)
    for batch, batch_labels in Batches(x, labels, batch_size, model.dtype).in_order():
        model.bind(len(batch), training=False)
        outputs = model.chain.forward(model.as_input(batch), False)
        tally.add(outputs, model.losses_of(outputs, batch_labels), batch_labels)
    return tally.means()


def fit(
    model: Sequential,
    x: ArrayLike,
    y: Any,
    *,
    epochs: int,
    batch_size: int,
    validation_data: tuple[ArrayLike, Any] | None,
    validation_split: float,
    shuffle: bool,
    seed: int | None,
    verbose: int,
    callbacks: Sequence[Callback],
    augment: Augmentation | None,
    workers: int,
) -> History:
    """See ``Sequential.fit``."""
    check_count("fit: epochs", epochs, 0)
    check_count("fit: batch_size", batch_size, 1)
    check_number("fit", "validation_split", validation_split, 0, 1)
    if seed is not None:
        check_count("fit: seed", seed, 0)
    check_bool("fit", "shuffle", shuffle)
    _check_callbacks(callbacks)
    check_count("fit: workers", workers, 0)
    if workers > MAX_THREADS:
        raise ValueError(f"fit: workers must be at most {MAX_THREADS}, got {workers}")
    if augment is not None and not isinstance(augment, Augmentation):
        raise TypeError(f"fit: augment must be an Augmentation, got {type(augment).__name__}")
    inputs, labels = model.check_data(x, y, augment=augment)
    validation = None
    if validation_data is not None:
        if validation_split:
            raise ValueError("fit: give validation_data or validation_split, not both")
        if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
            raise ValueError("fit: validation_data must be a pair (x, y)")
        validation = model.check_data(*validation_data, "validation x", "validation y")
    elif validation_split:
        kept = len(inputs) - int(len(inputs) * validation_split)
        if kept in (0, len(inputs)):
            raise ValueError(
                f"fit: validation_split={validation_split} of {len(inputs)} samples leaves none "
                f"for {'training' if kept == 0 else 'validation'}"
            )
        model.check_inputs(inputs[kept:], "fit: validation_split's part of x")
        validation = inputs[kept:], {name: a[kept:] for name, a in labels.items()}
        inputs, labels = inputs[:kept], {name: a[:kept] for name, a in labels.items()}

    batches = Batches(inputs, labels, batch_size, model.dtype, augment, seed, workers)
    rng = np.random.default_rng(seed)
    history = History()
    model.stop_training = False
    progress = _Progress(epochs, len(batches), verbose)
    # What runs between two steps might change the weights.
    may_look_ahead = all(
        c.only_reads or type(c).on_batch_end is Callback.on_batch_end for c in callbacks
    )
    waits = ["waiting"] if augment or workers else []
    recorded = [*figures(model, validation is not None), *waits, "learning_rate", "seconds"]
    store = model.store
    assert store is not None
    if not store.trained:
        warnings.warn(
            "fit: nothing is trained: all layers are frozen (trainable=False), or have no weights",
            RuntimeWarning,
            stacklevel=3,
        )
    with (
        attended(model, callbacks, recorded, (inputs, labels)),
        closing(progress),
        closing(batches),
    ):
        for epoch in range(epochs):
            started = time.perf_counter()
            for callback in callbacks:
                callback.on_epoch_begin(epoch)
            rate = model.optimizer.rate(store.updates + 1)
            tally = Tally(model)
            epoch_batches = batches.shuffled(rng, epoch) if shuffle else batches.in_order(epoch)
            following = next(epoch_batches, None)
            while following is not None:
                batch, batch_labels = following
                following = next(epoch_batches, None)
                ahead = following[0] if following and may_look_ahead else None
                outputs, found = model.step(batch, batch_labels, ahead)
                tally.add(outputs, found, batch_labels)
                for callback in callbacks:
                    callback.on_batch_end(store.step, sum(found.values()))
                progress.batch()
            row = tally.means()
            if validation is not None:
                found = evaluate(model, *validation, max(batch_size, 256))
                row |= {f"val_{key}": value for key, value in found.items()}
            if waits:
                row["waiting"] = batches.take_waited()
            row |= {"learning_rate": rate, "seconds": time.perf_counter() - started}
            history.append(row)
            progress.epoch(epoch, row)
            for callback in callbacks:
                callback.on_epoch_end(epoch, row)
            if model.stop_training:
                break
    return history


class _Progress:
    """A bar on a terminal, a line per epoch elsewhere, nothing when silent."""

    def __init__(self, epochs: int, batches: int, verbose: int) -> None:
        self.epochs, self.verbose = epochs, verbose
        self.bar: Any = None
        if verbose and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=epochs * batches, unit="step", leave=False)

    def batch(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        if not self.verbose:
            return
        figures = ", ".join(f"{k}={v:.4g}" for k, v in row.items() if k != "seconds")
        line = f"Epoch {epoch + 1}/{self.epochs}: {figures} ({row['seconds']:.2f} s)"
        if self.bar is not None:
            self.bar.write(line)
        else:
            print(line, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
