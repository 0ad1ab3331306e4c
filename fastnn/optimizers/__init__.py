"""Optimizers: the numbers of one update rule, and where its state is kept.

A rule is a kernel (``fused.py``) or a method in Python (``in_python.py``, and any subclass of
``Optimizer`` with an ``update`` method). An optimizer holds no arrays, so one instance can serve
several models; the state lives beside the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from fastnn.errors import unknown
from fastnn.optimizers.base import Common, Optimizer, Rate
from fastnn.optimizers.fused import SGD, Adadelta, Adagrad, Adam, AdamW, Lion, RMSprop
from fastnn.optimizers.in_python import (
    Adafactor,
    AdagradDA,
    Ftrl,
    ProximalAdagrad,
    ProximalGradientDescent,
)

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "AdagradDA",
    "Adam",
    "AdamW",
    "Ftrl",
    "Lion",
    "Optimizer",
    "ProximalAdagrad",
    "ProximalGradientDescent",
    "RMSprop",
    "get",
]


def _momentum(learning_rate: Rate = 0.01, **common: Any) -> SGD:
    return SGD(learning_rate, momentum=0.9, **common)


def _nesterov(learning_rate: Rate = 0.01, **common: Any) -> SGD:
    return SGD(learning_rate, momentum=0.9, nesterov=True, **common)


def _uncorrected(learning_rate: Rate = 1e-3, **common: Any) -> Adam:
    return Adam(learning_rate, bias_correction=False, **common)


#: Those whose rule is a kernel on every backend, then those in Python.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": SGD,
    "momentum": _momentum,
    "nesterov": _nesterov,
    "adagrad": Adagrad,
    "adadelta": Adadelta,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adam-uncorrected": _uncorrected,
    "adamw": AdamW,
    "lion": Lion,
    "ftrl": Ftrl,
    "adagrad-da": AdagradDA,
    "proximal-gradient-descent": ProximalGradientDescent,
    "proximal-adagrad": ProximalAdagrad,
    "adafactor": Adafactor,
}


def get(
    optimizer: str | Optimizer, learning_rate: Rate | None = None, **common: Unpack[Common]
) -> Optimizer:
    """An optimizer by name (with its default rate, or ``learning_rate``) or an instance."""
    if isinstance(optimizer, Optimizer):
        where = type(optimizer).__name__
        if not optimizer.name and not optimizer.in_python:
            raise TypeError(f"optimizer: {where} has no rule: write an update method")
        if not isinstance(optimizer.state, tuple):
            raise TypeError(
                f"optimizer: {where}.state must be a tuple of names, got {optimizer.state!r}"
            )
        return optimizer
    if isinstance(optimizer, type):
        raise TypeError(f"optimizer: expected an instance, {optimizer.__name__}(…), got the class")
    name = str(optimizer).lower()
    if name not in OPTIMIZERS:
        raise unknown("optimizer", optimizer, OPTIMIZERS)
    given = {} if learning_rate is None else {"learning_rate": learning_rate}
    return OPTIMIZERS[name](**given, **common)
