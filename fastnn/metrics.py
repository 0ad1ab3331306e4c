"""Metrics: a sum over the samples of a batch, divided by their number at the end.

A metric is a function ``(outputs, labels) -> float`` that returns the sum over the batch;
``labels`` are as the loss prepared them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnn.errors import unknown

Array = NDArray[Any]
Metric = Callable[[Array, Array], float]


def accuracy(outputs: Array, labels: Array) -> float:
    """Number of right answers: argmax for several classes, the sign of one logit for two.

    Of several yes-or-no outputs per sample, the mean of the right ones counts.
    """
    if labels.dtype == np.int64:
        return float(np.count_nonzero(outputs.argmax(axis=1) == labels))
    if labels.ndim == 2 and labels.shape[1] > 1:
        return float(np.count_nonzero(outputs.argmax(axis=1) == labels.argmax(axis=1)))
    right = (outputs > 0) == (labels > 0.5)
    return float(right.sum() / max(right[0].size, 1)) if len(right) else 0.0


def mean_absolute_error(outputs: Array, labels: Array) -> float:
    """Σₙ mean |x − t|."""
    return float(np.abs(outputs - labels).sum(dtype=np.float64) / max(outputs[0].size, 1))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "mean_absolute_error": mean_absolute_error,
    "mae": mean_absolute_error,
}


def get(metric: str | Metric) -> tuple[str, Metric]:
    """A metric's name and function, by name or as a function."""
    if callable(metric):
        return getattr(metric, "__name__", "metric"), metric
    if not isinstance(metric, str) or metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    return metric, METRICS[metric]
