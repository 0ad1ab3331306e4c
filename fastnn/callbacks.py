"""Callbacks: code that runs while a model trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastnn.model import Sequential


class Callback:
    """Base: override what you need. ``self.model`` is the model being trained.

    Set ``self.model.stop_training = True`` to end training after the current epoch.
    ``logs`` holds the figures of the history's row: ``loss``, metrics, ``val_…``.
    """

    model: Sequential

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
