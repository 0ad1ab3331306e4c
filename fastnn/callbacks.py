"""Callbacks: code that runs while a model trains."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastnn.errors import unknown
from fastnn.files import check_path
from fastnn.functional import check_bool, check_count, check_number

if TYPE_CHECKING:
    from fastnn.model import Sequential


class Callback:
    """Base: override what you need. ``self.model`` is the model being trained.

    ``self.figures`` are the keys of the history that this training will make.
    Set ``self.model.stop_training = True`` to end training after the current epoch.
    ``logs`` holds the figures of the history's row: ``loss``, metrics, ``val_…``.
    ``self.data`` are the samples being trained on and their labels by head, as ``check_data`` of
    the model returns them; leave them as they are.
    ``reads_gradients = True`` keeps all gradients in memory while the model trains, for
    ``self.model.get_gradients()`` in ``on_batch_end``. ``only_reads = True`` says that
    ``on_batch_end`` never changes weights, so that ``fit`` may look ahead in spite of it.
    """

    model: Sequential
    figures: Sequence[str]
    data: tuple[NDArray[Any], Mapping[str, NDArray[Any]]]
    reads_gradients = False
    only_reads = False

    def on_train_begin(self) -> None:
        """Called once, before the first epoch."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Called before each epoch, which counts from 0."""

    def on_batch_end(self, step: int, loss: float) -> None:
        """Called after each update; ``step`` counts from 1 over all epochs."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Called after each epoch and its validation."""

    def on_train_end(self) -> None:
        """Called once, after the last epoch."""

    def on_train_error(self) -> None:
        """Called in place of ``on_train_end`` when an error or an interrupt ends training."""


class _Watcher(Callback):
    """What waits for a figure to become better: smaller by more than ``min_delta``, or for
    accuracies larger. ``best`` is its best value (with the sign changed, if larger is better), and
    ``waited`` the epochs since.
    """

    def __init__(self, monitor: str, patience: int, min_delta: float) -> None:
        where = type(self).__name__
        check_count(f"{where}: patience", patience, 1)
        self.min_delta = check_number(where, "min_delta", min_delta, 0)
        self.monitor, self.patience = monitor, patience

    def on_train_begin(self) -> None:
        if self.monitor not in self.figures:
            kind = f"figure for {type(self).__name__} to monitor"
            raise unknown(kind, self.monitor, self.figures)
        self.best, self.waited = math.inf, 0

    def improved(self, logs: Mapping[str, float]) -> bool:
        """Whether the figure is the best so far; it is kept then."""
        value = logs[self.monitor] * (-1 if self.monitor.endswith("accuracy") else 1)
        better = value < self.best - self.min_delta
        if better:
            self.best, self.waited = value, 0
        return better


class ReduceLROnPlateau(_Watcher):
    """Multiplies the learning rate by ``factor`` when a figure has not become better for a while.

    Better is: smaller by more than ``min_delta``, or for accuracies larger. After ``patience``
    epochs without that, and again after as many more; ``cooldown`` epochs after a reduction don't
    count. The rate stays at least ``min_lr``. ``monitor`` is a key of the history. The optimizer's
    rate must be a number, not a schedule. ``fit`` begins with nothing remembered.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, patience, min_delta)
        where = type(self).__name__
        self.factor = check_number(where, "factor", factor, 0, 1)
        self.min_lr = check_number(where, "min_lr", min_lr, 0)
        check_count(f"{where}: cooldown", cooldown, 0)
        self.cooldown = cooldown

    def on_train_begin(self) -> None:
        super().on_train_begin()
        if callable(self.model.optimizer.learning_rate):
            raise TypeError(
                "ReduceLROnPlateau: the optimizer's learning_rate must be a number, got a schedule"
            )
        self.resting = 0

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if not self.improved(logs) and self.resting == 0:
            self.waited += 1
        self.resting = max(0, self.resting - 1)
        if self.waited >= self.patience:
            optimizer = self.model.optimizer
            rate = optimizer.rate(1)
            optimizer.learning_rate = min(rate, max(self.min_lr, rate * self.factor))
            self.waited, self.resting = 0, self.cooldown


class EarlyStopping(_Watcher):
    """Ends training when a figure has not become better for ``patience`` epochs.

    Better is as in ``ReduceLROnPlateau``. With ``restore_best_weights`` the model gets the weights
    of its best epoch when training ends, stopped or not; after an error it keeps those it has.
    ``best_epoch`` is that epoch, from 0, or None. It costs a copy of the weights at every
    improvement. ``fit`` begins with nothing remembered.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best_weights: bool = True,
    ) -> None:
        super().__init__(monitor, patience, min_delta)
        self.restore_best_weights = check_bool(
            type(self).__name__, "restore_best_weights", restore_best_weights
        )

    def on_train_begin(self) -> None:
        super().on_train_begin()
        self.best_epoch: int | None = None
        self._weights: dict[str, NDArray[Any]] | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        if self.improved(logs):
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._weights = self.model.get_weights()
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.model.stop_training = True

    def on_train_end(self) -> None:
        if self._weights is not None and self.waited:
            self.model.set_weights(self._weights)
        self._weights = None

    def on_train_error(self) -> None:
        self._weights = None


class CSVLogger(Callback):
    """Writes the figures of each epoch as a line of a CSV file, and at once.

    The columns are ``epoch`` (from 0) and the keys of the history. ``append=True`` goes on with a
    file that is there, epochs counting on; else it is written anew. Raises ``ValueError`` when
    training begins, changing nothing, if that file has other columns or a broken last line.
    """

    def __init__(self, path: str | os.PathLike[str], append: bool = False) -> None:
        check_path(type(self).__name__, path)
        self.path = Path(path)
        self.append = check_bool(type(self).__name__, "append", append)

    def on_train_begin(self) -> None:
        self._columns = ["epoch", *self.figures]
        there = self.append and self.path.exists() and self.path.stat().st_size > 0
        self._before = self._lines_before() if there else 0
        # Line by line to a file that stays open: what a run that is killed has done is there.
        self._file: IO[str] = open(  # noqa: SIM115
            self.path, "a" if there else "w", encoding="utf-8", newline=""
        )
        if not there:
            self._write(self._columns)

    def _lines_before(self) -> int:
        """The number of epochs in the file that is to be gone on with."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"CSVLogger: {self.path} isn't a text file: {error}") from None
        columns, *rows = csv.reader(text.splitlines())
        if columns != self._columns:
            raise ValueError(
                f"CSVLogger: {self.path} has columns {', '.join(columns)}; this training has "
                f"{', '.join(self._columns)}"
            )
        if not text.endswith("\n") or any(len(row) != len(columns) for row in rows):
            raise ValueError(f"CSVLogger: {self.path} has a line that isn't whole")
        return len(rows)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._write([self._before + epoch, *(logs[name] for name in self.figures)])

    def _write(self, row: Sequence[object]) -> None:
        csv.writer(self._file, lineterminator="\n").writerow(row)
        self._file.flush()

    def on_train_end(self) -> None:
        self._file.close()

    on_train_error = on_train_end
