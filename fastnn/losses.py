"""Losses for training, all on logits (the outputs before softmax or sigmoid).

A loss checks and converts labels once (``prepare``); ``__call__`` then runs its kernel on a
batch of them without checking.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn import metrics
from fastnn.errors import unknown
from fastnn.functional import binary_targets, class_labels, regression_targets

Array = NDArray[Any]


class Loss:
    """Base of all losses. ``accuracy`` is what the metric ``"accuracy"`` means with it."""

    name = ""
    accuracy = staticmethod(metrics.accuracy)

    def prepare(self, labels: ArrayLike, shape: tuple[int, ...], dtype: Any, where: str) -> Array:
        """Labels for outputs of ``shape`` (N first), checked and as the kernel takes them.

        ``where`` names them in errors, which are ``ValueError``.
        """
        raise NotImplementedError

    def __call__(
        self, kernels: SimpleNamespace, x: Array, labels: Array, weight: float, dx: Array
    ) -> float:
        """``weight`` times the loss; writes its gradient into ``dx``."""
        raise NotImplementedError


class SoftmaxCrossEntropy(Loss):
    """meanₙ (log Σⱼ exp(xₙⱼ) − xₙ,label): several classes, one of them right."""

    name = "softmax_cross_entropy"

    def prepare(self, labels: ArrayLike, shape: tuple[int, ...], dtype: Any, where: str) -> Array:
        if len(shape) != 2:
            raise ValueError(f"{where}: {self.name} needs outputs (N, C), got {shape}")
        is_class, prepared = class_labels(where, labels, *shape)
        return prepared if is_class else np.asarray(prepared, dtype, order="C")

    def __call__(
        self, kernels: SimpleNamespace, x: Array, labels: Array, weight: float, dx: Array
    ) -> float:
        if labels.ndim == 1:
            return kernels.softmax_cross_entropy(x, labels, weight, dx)
        return kernels.softmax_cross_entropy_targets(x, labels, weight, dx)


class SigmoidCrossEntropy(Loss):
    """Mean over all elements of −t log σ(x) − (1−t) log(1−σ(x)): yes or no, each by itself."""

    name = "sigmoid_cross_entropy"
    accuracy = staticmethod(metrics.binary_accuracy)

    def prepare(self, labels: ArrayLike, shape: tuple[int, ...], dtype: Any, where: str) -> Array:
        return np.asarray(binary_targets(where, labels, shape), dtype, order="C")

    def __call__(
        self, kernels: SimpleNamespace, x: Array, labels: Array, weight: float, dx: Array
    ) -> float:
        return kernels.sigmoid_cross_entropy(
            x.reshape(-1), labels.reshape(-1), weight, dx.reshape(-1)
        )


class MeanSquaredError(Loss):
    """Mean over all elements of (x − t)²."""

    name = "mse"

    def prepare(self, labels: ArrayLike, shape: tuple[int, ...], dtype: Any, where: str) -> Array:
        return np.asarray(regression_targets(where, "labels", labels, shape), dtype, order="C")

    def __call__(
        self, kernels: SimpleNamespace, x: Array, labels: Array, weight: float, dx: Array
    ) -> float:
        return kernels.mse(x.reshape(-1), labels.reshape(-1), weight, dx.reshape(-1))


#: By name, with Keras's names as aliases (Keras's ``from_logits=True``).
LOSSES: dict[str, type[Loss]] = {
    "softmax_cross_entropy": SoftmaxCrossEntropy,
    "sigmoid_cross_entropy": SigmoidCrossEntropy,
    "mse": MeanSquaredError,
    "sparse_categorical_crossentropy": SoftmaxCrossEntropy,
    "categorical_crossentropy": SoftmaxCrossEntropy,
    "binary_crossentropy": SigmoidCrossEntropy,
    "mean_squared_error": MeanSquaredError,
}


def get(loss: str | Loss) -> Loss:
    """A loss by name or an instance."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str) or loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    return LOSSES[loss]()
