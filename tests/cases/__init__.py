"""Test cases: for every op of the table, argument tuples in the order of its signature.

``cases(op, kind, dtype, size)`` gives them with a text that says which. ``kind`` is ``"exact"``
(small integers or sixteenths, bounded so that every sum is exact in float32) or ``"real"``.
``size`` is ``"tiny"`` (what the naive loops can do) or ``"full"`` (tile edges, primes, and sizes
that the fast backends give to several threads). Outputs come filled with NaN (indices with 255), so
that an element nobody writes is seen.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from fastnn.backends import load
from fastnn.ops import OPS, Op

KINDS = ("exact", "real")
SIZES = ("tiny", "full")


def arrays_of(arguments: dict[str, Any]) -> dict[str, np.ndarray]:
    """All arrays among the arguments; those of a tuple as ``name[0]``, ``name[1]`` …"""
    found = {}
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, tuple):
            items = {f"{name}[{i}]": item for i, item in enumerate(value)}
            found |= {n: item for n, item in items.items() if isinstance(item, np.ndarray)}
    return found


def with_arrays(
    arguments: dict[str, Any], change: Callable[[np.ndarray], np.ndarray]
) -> dict[str, Any]:
    """The arguments with ``change`` applied to every array."""

    def changed(value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(changed, value))
        return change(value) if isinstance(value, np.ndarray) else value

    return {name: changed(value) for name, value in arguments.items()}


@dataclass
class Case:
    """One call: its arguments by name."""

    text: str
    arguments: dict[str, Any]
    op: Op

    def call(self, function: Callable[..., Any]) -> tuple[Any, dict[str, np.ndarray]]:
        """Call on copies of the arguments; returns the result and the written arrays."""
        arguments = with_arrays(self.arguments, np.copy)
        result = function(*arguments.values())
        return result, arrays_of({name: arguments[name] for name in self.op.writes})

    def outputs(self, function: Callable[..., Any]) -> dict[str, np.ndarray]:
        """As ``call``, with the returned number among the arrays, under ``"result"``."""
        result, written = self.call(function)
        if result is not None:
            written["result"] = np.float64(result).reshape(1)
        return written


@dataclass
class Data:
    """Draws the arrays of a case."""

    kind: str
    dtype: str
    rng: np.random.Generator = field(repr=False)

    def array(self, *shape: int, low: int = -4, high: int = 4) -> np.ndarray:
        """Integers low … high, or normal numbers."""
        if self.kind == "exact":
            return self.rng.integers(low, high + 1, shape).astype(self.dtype)
        return self.rng.standard_normal(shape).astype(self.dtype)

    def fractions(self, *shape: int, limit: float = 8.0) -> np.ndarray:
        """Sixteenths, or normal numbers times ``limit`` / 3; 0 and both ends are among them."""
        if self.kind == "exact":
            steps = int(16 * limit)
            out = self.rng.integers(-steps, steps + 1, shape) / 16
        else:
            out = self.rng.standard_normal(shape) * limit / 3
        flat = out.reshape(-1)
        flat[:3] = np.array([0.0, -limit, limit])[: flat.size]
        return out.astype(self.dtype)

    def positive(self, *shape: int) -> np.ndarray:
        """Squares, a few of them zero."""
        out = self.array(*shape) ** 2
        out.reshape(-1)[5::11] = 0
        return out

    def share(self, *shape: int) -> np.ndarray:
        """Numbers in 0 … 1, both ends among them; sixteenths if exact."""
        exact = self.kind == "exact"
        out = self.rng.integers(0, 17, shape) / 16 if exact else self.rng.random(shape)
        flat = out.reshape(-1)
        flat[:2] = np.array([0.0, 1.0])[: flat.size]
        return out.astype(self.dtype)

    def output(self, *shape: int) -> np.ndarray:
        """An array to be written, full of NaN."""
        return np.full(shape, np.nan, self.dtype)


@lru_cache(maxsize=4)
def cases(op: str, kind: str, dtype: str, size: str) -> list[Case]:
    """All cases of one op; the same ones at every call, so don't write into them."""
    row = OPS[op]
    module = importlib.import_module(f"cases.{row.family}")
    names = list(inspect.signature(getattr(load("reference", "", dtype), op)).parameters)
    data = Data(kind, dtype, np.random.default_rng(sum(map(ord, op + kind + dtype + size))))
    return [
        Case(f"{op} {kind} {dtype} {text}", dict(zip(names, arguments, strict=True)), row)
        for text, arguments in getattr(module, op)(data, size)
    ]
