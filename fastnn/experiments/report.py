"""The course's report lines: some while a model trains, one after the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from fastnn.callbacks import Callback


class Report(Callback):
    """Gives ``write`` a line every ``every`` epochs, and one for the last epoch.

    ``Epoch 10: cost=3.713, accuracy=0.818+0.084/0.870+0.040 (62/62 secs)``: the mean loss of the
    epoch, the accuracy of each head on the training samples as they came, on the validation
    samples (left out if there are none), seconds since the last line and since the start. The
    first line, ``Model …``, has the ``title`` and the number of parameters. The model must be
    compiled with the metric ``"accuracy"``; ``every`` is at least 1. A loop that counts something
    else calls it a ``unit``: ``Step 10: …``.
    """

    def __init__(
        self,
        title: str,
        every: int = 10,
        write: Callable[[str], None] = print,
        unit: str = "Epoch",
    ) -> None:
        if every < 1:
            raise ValueError(f"Report: every must be an integer >= 1, got {every}")
        self.title, self.every, self.write, self.unit = title, every, write, unit

    def on_train_begin(self) -> None:
        count = self.model.count_params()
        self.write(f"Model {self.title}: {count:,} parameters")
        self.last: tuple[int, Mapping[str, float]] | None = None
        self.started = self.reported = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        self.last = epoch + 1, logs
        if self.last[0] % self.every == 0:
            self._report()

    def on_train_end(self) -> None:
        if self.last is not None:
            self._report()

    def _report(self) -> None:
        assert self.last is not None
        number, logs = self.last
        self.last = None
        now = time.perf_counter()
        keys = [f"{head.prefix}accuracy" for head in self.model.heads]
        accuracy = joined(logs[key] for key in keys)
        if f"val_{keys[0]}" in logs:
            accuracy += "/" + joined(logs[f"val_{key}"] for key in keys)
        self.write(
            f"{self.unit} {number}: cost={logs['loss']:.3f}, accuracy={accuracy} "
            f"({now - self.reported:.0f}/{now - self.started:.0f} secs)"
        )
        self.reported = now


def joined(accuracies: Iterable[float]) -> str:
    """The accuracies of several heads as the course writes them: ``0.878+0.246``."""
    return "+".join(f"{value:.3f}" for value in accuracies)


def line_of_test(accuracies: Iterable[float], seconds: float) -> str:
    """``Test: accuracy = 0.878+0.246 (2 secs)``"""
    return f"Test: accuracy = {joined(accuracies)} ({seconds:.0f} secs)"
