"""Choosing a backend, an instruction set and a number of threads.

``kernels(dtype)`` is what the rest of the package asks for: a namespace with one callable
per op, for the backend that is in force. An explicit request never degrades: a backend that
can't be loaded raises. Only ``auto`` falls back, and ``show_config`` says why.
"""

from __future__ import annotations

import importlib
import os
from contextvars import ContextVar
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastnn.errors import unknown
from fastnn.ops import OPS

#: Fastest first: the order in which ``auto`` tries them.
BACKENDS = ("cython", "numba", "reference")
DTYPES = ("float32", "float64")

_START_BACKEND = os.environ.get("FASTNN_BACKEND", "auto")
_START_ISA = os.environ.get("FASTNN_ISA", "auto")
_MODULES = {"cython": "cython_", "numba": "numba_", "reference": "reference"}


class _Choice:
    """Base of ``use_backend`` and ``use_isa``: set at once, reset on leaving a ``with``."""

    _variable: ContextVar[str]

    def __init__(self, name: str) -> None:
        self.name = name
        self._token = self._variable.set(name)

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: object) -> None:
        self._variable.reset(self._token)


class use_backend(_Choice):
    """Run on one backend: ``"cython"``, ``"numba"``, ``"reference"`` or ``"auto"``.

    As a statement it holds from here on (in this thread or task); in a ``with`` until its end.
    The environment variable ``FASTNN_BACKEND`` sets the start value.

    Raises ``ValueError`` for an unknown name and ``RuntimeError`` if the backend can't be
    loaded here.

    >>> import fastnn
    >>> with fastnn.use_backend("reference"):
    ...     fastnn.current_backend()
    'reference'
    """

    _variable = ContextVar("fastnn_backend", default=_START_BACKEND)

    def __init__(self, name: str) -> None:
        _resolve_backend(name)
        super().__init__(name)


class use_isa(_Choice):
    """Run the Cython kernels of one instruction set, as ``use_backend`` chooses a backend.

    Names are those of ``available_isas()`` or ``"auto"``; ``FASTNN_ISA`` sets the start value.
    """

    _variable = ContextVar("fastnn_isa", default=_START_ISA)

    def __init__(self, name: str) -> None:
        _resolve_isa(name)
        super().__init__(name)


def available_isas() -> tuple[str, ...]:
    """Instruction sets the Cython kernels were built for and this CPU can run, fastest first."""
    try:
        from fastnn._kernels import cpu
    except ImportError:
        return ()
    return tuple(cpu.available_isas())


def available_backends() -> dict[str, str]:
    """For each backend ``""`` if it can be used here, else the reason why not."""
    return {name: _refusal(name) for name in BACKENDS}


def current_backend() -> str:
    """Name of the backend in force, with ``auto`` resolved."""
    return _resolve_backend(use_backend._variable.get())


def current_isa() -> str:
    """Name of the instruction set in force for the Cython kernels; ``""`` if there are none."""
    return _resolve_isa(use_isa._variable.get())


def selection() -> tuple[str, str]:
    """What is asked for, unresolved: cheap to compare, so that a model knows when to rebind."""
    return use_backend._variable.get(), use_isa._variable.get()


def kernels(dtype: Any) -> SimpleNamespace:
    """Namespace of all ops for ``dtype`` on the backend and instruction set in force."""
    return load(current_backend(), current_isa(), np.dtype(dtype).name)


@cache
def load(backend: str, isa: str, dtype: str) -> SimpleNamespace:
    """Namespace of all ops of one backend; ``isa`` matters to Cython only."""
    if dtype not in DTYPES:
        raise TypeError(f"dtype must be float32 or float64, got {dtype}")
    if backend == "cython":
        from fastnn.backends import cython_

        return SimpleNamespace(**{op.name: cython_.load(op, isa, dtype) for op in OPS.values()})
    package = f"fastnn.backends.{_MODULES[backend]}"
    return SimpleNamespace(
        **{
            op.name: getattr(importlib.import_module(f"{package}.{op.family}"), op.name)
            for op in OPS.values()
        }
    )


def _resolve_backend(name: str) -> str:
    if name == "auto":
        return next(backend for backend in BACKENDS if not _refusal(backend))
    if name not in BACKENDS:
        raise unknown("backend", name, (*BACKENDS, "auto"))
    if reason := _refusal(name):
        raise RuntimeError(f"backend {name!r} can't be used here: {reason}")
    return name


def _resolve_isa(name: str) -> str:
    isas = available_isas()
    if name == "auto":
        return isas[0] if isas else ""
    if name not in isas:
        raise unknown("instruction set for this machine and build", name, (*isas, "auto"))
    return name


@cache
def _refusal(name: str) -> str:
    try:
        importlib.import_module(f"fastnn.backends.{_MODULES[name]}")
        if name == "cython" and not available_isas():
            return "no compiled kernels for this CPU"
    except Exception as error:  # a broken install must not break the other backends
        return f"{type(error).__name__}: {error}"
    return ""
