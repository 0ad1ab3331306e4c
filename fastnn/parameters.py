"""Where a model's numbers live: one flat array each for weights, gradients and optimizer state.

Every parameter is a view into the flat arrays, so that one kernel call updates all of them.
Large parameters are *streamed*: they have no gradient array. Their layer computes the gradient
in panels of rows that fit in the L2 cache, and each panel goes to the optimizer at once, so the
gradient never travels to memory and back. Values are the same to the bit either way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn.backends.threads import get_num_threads
from fastnn.initializers import Initializer

if TYPE_CHECKING:
    from fastnn.optimizers import Optimizer

Array = NDArray[Any]

#: A parameter at least this large is streamed; below, its gradient stays in cache anyway.
STREAM_BYTES = 1 << 20
#: Bytes of a panel of a streamed gradient per thread: with the weights and state it belongs to,
#: it must find room in a core's L2 cache.
PANEL_BYTES = 128 << 10
_ALIGNMENT = 64


class Parameter:
    """A trained array of a layer.

    ``value`` is a view into the model's weights. ``gradient`` is a view into its gradients, or
    None while the parameter is streamed or the model isn't compiled.
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], initializer: Initializer, panels: bool = False
    ) -> None:
        self.name = name
        self.shape = shape
        self.size = math.prod(shape)
        self.initializer = initializer
        #: whether the layer hands the gradient over by ``sink.panels``
        self.by_panels = panels
        self.value: Array = np.empty(0)
        self.gradient: Array | None = None
        self.panels: list[tuple[int, Array, tuple[Array, ...]]] = []


class Gradients:
    """A sink of gradients that keeps them, each in an array of its own."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def gradient(self, parameter: Parameter) -> Array:
        """The array to write the gradient of ``parameter`` into."""
        return self.arrays.setdefault(parameter.name, np.empty_like(parameter.value))

    def panels(self, parameter: Parameter) -> Iterator[tuple[int, Array]]:
        """Yields (first row, array to fill with the gradient of the rows from there on)."""
        yield 0, self.gradient(parameter)


class ParameterStore:
    """All parameters of a model, and the sink that trains them."""

    def __init__(self, parameters: Sequence[Parameter], dtype: np.dtype[Any]) -> None:
        self.parameters = list(parameters)
        self.dtype = dtype
        self.step = 0
        step = _ALIGNMENT // dtype.itemsize
        # Streamed ones last, so that the others' gradients are one piece.
        ordered = sorted(self.parameters, key=self._streams)
        offsets, size, stored = {}, 0, 0
        for p in ordered:
            offsets[p.name] = size
            size += -(-p.size // step) * step
            stored = stored if self._streams(p) else size
        self._offsets, self._stored = offsets, stored
        self.values = _zeros(size, dtype)
        for p in self.parameters:
            p.value = self._view(self.values, p)
        self.gradients = np.empty(0, dtype)
        self.state: dict[str, Array] = {}

    def _streams(self, p: Parameter) -> bool:
        return p.by_panels and p.size * self.dtype.itemsize >= STREAM_BYTES

    def _view(self, flat: Array, p: Parameter) -> Array:
        start = self._offsets[p.name]
        return flat[start : start + p.size].reshape(p.shape)

    def initialize(self, rng: np.random.Generator) -> None:
        """Fill all values, in the order of the layers."""
        for p in self.parameters:
            p.initializer.fill(p.value, rng)

    def prepare(self, optimizer: Optimizer, keep_gradients: bool) -> None:
        """Allocate gradients and the optimizer's state, and start counting steps anew."""
        self.optimizer = optimizer
        self.step = 0
        size = len(self.values)
        self.gradients = _zeros(size if keep_gradients else self._stored, self.dtype)
        self.state = {
            name: _zeros(size, self.dtype, optimizer.initial_state) for name in optimizer.state
        }
        scratch = np.empty(0, self.dtype)
        for p in self.parameters:
            p.panels = []
            if keep_gradients or not self._streams(p):
                p.gradient = self._view(self.gradients, p)
                continue
            p.gradient = None
            row = p.size // p.shape[0]
            rows = PANEL_BYTES * get_num_threads() // (row * self.dtype.itemsize)
            rows = min(p.shape[0], max(1, rows))
            if len(scratch) < rows * row:
                scratch = np.empty(rows * row, self.dtype)
            flat = [p.value, *(self._view(s, p) for s in self.state.values())]
            for start in range(0, p.shape[0], rows):
                stop = min(start + rows, p.shape[0])
                panel = scratch[: (stop - start) * row]
                value, *state = (a[start:stop].reshape(-1) for a in flat)
                gradient = panel.reshape(stop - start, *p.shape[1:])
                p.panels.append((start, gradient, (value, panel, *state)))
        stored = len(self.gradients)
        self._stored_arguments = (
            self.values[:stored],
            self.gradients,
            *(s[:stored] for s in self.state.values()),
        )

    def begin_step(self, kernels: SimpleNamespace) -> None:
        """Start a training step: from here the optimizer's rule and its scalars are fixed."""
        self.step += 1
        self._update = getattr(kernels, self.optimizer.op)
        self._scalars = self.optimizer.scalars(self.step)

    def gradient(self, parameter: Parameter) -> Array:
        """As ``Gradients.gradient``."""
        return parameter.gradient  # type: ignore[return-value]

    def panels(self, parameter: Parameter) -> Iterator[tuple[int, Array]]:
        """As ``Gradients.panels``; a panel is used up when the next one is asked for."""
        if parameter.gradient is not None:
            yield 0, parameter.gradient
            return
        for start, panel, arguments in parameter.panels:
            yield start, panel
            self._update(*arguments, *self._scalars)

    def end_step(self) -> None:
        """Update everything whose gradient was stored."""
        if len(self.gradients):
            self._update(*self._stored_arguments, *self._scalars)

    def nbytes(self) -> dict[str, int]:
        """Bytes of parameters, gradients and optimizer state."""
        return {
            "parameters": self.values.nbytes,
            "gradients": self.gradients.nbytes,
            "state": sum(s.nbytes for s in self.state.values()),
        }


def _zeros(size: int, dtype: np.dtype[Any], value: float = 0.0) -> Array:
    """Zeros on a cache-line boundary, so that vectors never straddle two lines."""
    raw = np.zeros(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    flat = raw[start : start + size * dtype.itemsize].view(dtype)
    if value:
        flat[:] = value
    return flat
