"""Where a model's numbers live: one flat array each for weights, gradients and optimizer state.

Every parameter is a view into the flat arrays, so that one kernel call updates all of them.
Large dense weights are *streamed*: they have no gradient array. One kernel makes the gradient in
panels of rows that fit in the L2 cache and updates the weights from each panel at once, so the
gradient never travels to memory and back. Values are the same to the bit either way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn.initializers import Initializer

if TYPE_CHECKING:
    from fastnn.optimizers import Optimizer

Array = NDArray[Any]

#: A weight at least this large is streamed; below, its gradient stays in cache anyway.
STREAM_BYTES = 1 << 20
#: Bytes of a line of cache and of a page. Arrays that an update walks together begin _APART bytes
#: apart within their pages: at equal places, a load would seem to wait for the store before it.
_ALIGNMENT = 64
_PAGE = 4096
_APART = 1024 + _ALIGNMENT


class Parameter:
    """A trained array of a layer.

    ``value`` is a view into the model's weights. ``gradient`` is a view into its gradients, or
    None while the parameter is streamed or the model isn't compiled.
    """

    def __init__(
        self, name: str, shape: tuple[int, ...], initializer: Initializer, streams: bool = False
    ) -> None:
        self.name = name
        self.shape = shape
        self.size = math.prod(shape)
        self.initializer = initializer
        #: whether the layer hands the gradient over by ``sink.dense``, which may stream it
        self.streams = streams
        self.value: Array = np.empty(0)
        self.gradient: Array | None = None
        self.state: tuple[Array, ...] = ()


class Gradients:
    """A sink of gradients that keeps them, each in an array of its own."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def gradient(self, parameter: Parameter) -> Array:
        """The array to write the gradient of ``parameter`` into."""
        return self.arrays.setdefault(parameter.name, np.empty_like(parameter.value))

    def dense(self, kernels: SimpleNamespace, w: Parameter, x: Array, dz: Array) -> None:
        """Take the gradient of a dense weight, dw = xᵀ dz. x (N, K), dz (N, O), w (K, O)."""
        kernels.dense_dw(x, dz, 0, self.gradient(w))


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
        self.values = zeros(size, dtype)
        for p in self.parameters:
            p.value = self._view(self.values, p)
        self.gradients = np.empty(0, dtype)
        self.state: dict[str, Array] = {}

    def _streams(self, p: Parameter) -> bool:
        return p.streams and p.size * self.dtype.itemsize >= STREAM_BYTES

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
        keep_gradients = keep_gradients or optimizer.in_python
        size = len(self.values)
        self.gradients = zeros(size if keep_gradients else self._stored, self.dtype)
        self.state = {
            name: zeros(size, self.dtype, optimizer.initial_state, (i + 1) * _APART)
            for i, name in enumerate(optimizer.state)
        }
        for p in self.parameters:
            stored = keep_gradients or not self._streams(p)
            p.gradient = self._view(self.gradients, p) if stored else None
            p.state = tuple(self._view(s, p) for s in self.state.values())
        end = len(self.gradients)
        self._stored_arguments = (
            self.values[:end],
            self.gradients,
            *(s[:end] for s in self.state.values()),
        )

    def begin_step(self, kernels: SimpleNamespace) -> None:
        """Start a training step: from here the optimizer's rule and its scalars are fixed."""
        self.step += 1
        self._update = self.optimizer.rule(kernels)
        self._scalars = self.optimizer.scalars(self.step)

    def gradient(self, parameter: Parameter) -> Array:
        """As ``Gradients.gradient``."""
        return parameter.gradient  # type: ignore[return-value]

    def dense(
        self,
        kernels: SimpleNamespace,
        w: Parameter,
        x: Array,
        dz: Array,
        x_next: Array | None = None,
        y_next: Array | None = None,
    ) -> None:
        """As ``Gradients.dense``; a streamed weight is updated on the spot.

        Then, if ``x_next`` (M, K) is given, y_next (M, O) = x_next w with the new w.
        """
        if w.gradient is not None:
            kernels.dense_dw(x, dz, 0, w.gradient)
        else:
            kernels.dense_dw_update(
                x, dz, w.value, w.state, self.optimizer.op, self._scalars, x_next, y_next
            )

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


def zeros(size: int, dtype: np.dtype[Any], value: float = 0.0, place: int = 0) -> Array:
    """A flat array that begins ``place`` bytes after a page does, filled with ``value``.

    So vectors never straddle two lines of cache if ``place`` is a multiple of one.
    """
    raw = np.zeros(size * dtype.itemsize + _PAGE, np.uint8)
    start = (place - raw.ctypes.data) % _PAGE
    flat = raw[start : start + size * dtype.itemsize].view(dtype)
    if value:
        flat[:] = value
    return flat
