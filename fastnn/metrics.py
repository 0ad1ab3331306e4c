"""Metrics: a sum over the samples of a batch, divided by their number at the end.

A metric is a function ``(outputs, labels) -> float`` that returns the sum over the batch;
``labels`` are as the loss prepared them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import unknown

if TYPE_CHECKING:
    from fastnn.losses import Loss

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]


def accuracy(outputs: Array, labels: Array) -> float:
    """Number of right answers: argmax for several classes, the sign of one logit for two.

    Labels are classes (N,) or as the outputs, (N, C), where the largest is the class. By its name,
    ``"accuracy"``, it is what the loss says: ``binary_accuracy`` with ``sigmoid_cross_entropy``.
    """
    if labels.dtype == np.int64:
        return float(np.count_nonzero(outputs.argmax(axis=1) == labels))
    if labels.ndim == 2 and labels.shape[1] > 1:
        return float(np.count_nonzero(outputs.argmax(axis=1) == labels.argmax(axis=1)))
    return binary_accuracy(outputs, labels)


def binary_accuracy(outputs: Array, labels: Array) -> float:
    """Σₙ the share of right signs among the sample's logits: yes or no, each by itself."""
    right = (outputs > 0) == (labels > 0.5)
    return float(right.sum() / max(right[0].size, 1)) if len(right) else 0.0


def mean_absolute_error(outputs: Array, labels: Array) -> float:
    """Σₙ mean |x − t|."""
    return float(np.abs(outputs - labels).sum(dtype=np.float64) / max(outputs[0].size, 1))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "binary_accuracy": binary_accuracy,
    "mean_absolute_error": mean_absolute_error,
    "mae": mean_absolute_error,
}


def get(metric: str | Metric, loss: Loss | None = None) -> tuple[str, Metric]:
    """A metric's name and function, by name or as a function; ``"accuracy"`` is the loss's."""
    if callable(metric):
        return getattr(metric, "__name__", "metric"), metric
    if not isinstance(metric, str) or metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    return metric, loss.accuracy if loss and metric == "accuracy" else METRICS[metric]
