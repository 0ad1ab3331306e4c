"""Where a model's numbers live: one flat array each for weights, gradients and optimizer state.

Every parameter is a view into the flat arrays, so that one kernel call updates all of them.
Large dense weights are *streamed*: they have no gradient array. One kernel makes the gradient in
pieces that stay in registers or cache and updates the weights from each at once, so the gradient
never travels to memory and back. Values are the same to the bit either way. Where an
update needs all gradients before it (the norm of a clipping, a mean over batches, a rule in
Python), and where a penalty is added to them, they are stored. What isn't trained, as of a frozen
layer, has neither gradient nor state.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastnn.backends.reference.update import treated
from fastnn.initializers import Initializer
from fastnn.regularizers import Regularizer
from fastnn.rules import BLOCK, Rule, part

if TYPE_CHECKING:
    from fastnn.optimizers import Optimizer

Array = NDArray[Any]

#: A weight at least this large is streamed; below, its gradient stays in cache anyway.
STREAM_BYTES = 1 << 20
#: Bytes of a page. Arrays that an update walks together begin _APART bytes apart within their
#: pages: at equal places, a load would seem to wait for the store before it.
_PAGE = 4096
_APART = 1024 + 64
#: Elements whose squares are added at a time.
_PIECE = 1 << 16


class Parameter:
    """An array that a layer keeps with the model: its weights, or statistics of what it has seen.

    ``value`` is a view into the model's weights. ``gradient`` is a view into its gradients, or
    None while the parameter is streamed or not trained or the model isn't compiled.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        streams: bool = False,
        learned: bool = True,
        regularizer: Regularizer | None = None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.size = math.prod(shape)
        self.initializer = initializer
        self.regularizer = regularizer
        #: whether the layer hands the gradient over by ``sink.dense``, which may stream it
        self.streams = streams and regularizer is None
        #: whether the optimizer may train it, and whether it does: its layer may be frozen
        self.learned = self.trainable = learned
        #: no element may be less, where this is set
        self.least: float | None = None
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
        self.step = self.updates = 0
        self._new = [p for p in self.parameters if p.value.shape != p.shape]
        self._places: list[int] | None = None
        self._lay_out()
        self.gradients = self._sums = np.empty(0, dtype)
        #: whether they are those of a step
        self.has_gradients = False
        self.state: tuple[Array, ...] = ()

    def _lay_out(self) -> None:
        """Give every value its place, and keep what it holds.

        First those whose gradient is stored, so that these are one piece; then the streamed ones;
        last what isn't trained, which has no gradient and no state.
        """
        places = [self._place(p) for p in self.parameters]
        if places == self._places:
            return
        self._places = places
        self.trained = [p for p in self.parameters if p.trainable]
        offsets, size, ends = {}, 0, [0, 0, 0]
        for place, p in sorted(zip(places, self.parameters, strict=True), key=lambda pair: pair[0]):
            offsets[p.name] = size
            size += -(-p.size // BLOCK) * BLOCK
            ends[place:] = [size] * (3 - place)
        self._offsets, (self._stored, self._trained_end, _) = offsets, ends
        largest = max(self.parameters, key=lambda p: p.size, default=None)
        what = f"the parameters, {largest.name} {largest.shape} among them" if largest else ""
        self.values = zeros(size, self.dtype, what=what)
        for p in self.parameters:
            view = self._view(self.values, p)
            if p.value.shape == p.shape:
                view[...] = p.value
            p.value = view

    def _place(self, p: Parameter) -> int:
        return int(self._streams(p)) if p.trainable else 2

    def _streams(self, p: Parameter) -> bool:
        return p.streams and p.size * self.dtype.itemsize >= STREAM_BYTES

    def _view(self, flat: Array, p: Parameter) -> Array:
        start = self._offsets[p.name]
        return flat[start : start + p.size].reshape(p.shape)

    def initialize(self, rng: np.random.Generator) -> None:
        """Fill all values in the order of the layers, but those that were there before."""
        for p in self._new:
            p.initializer.fill(p.value, rng)

    def prepare(self, optimizer: Optimizer, keep_gradients: bool) -> None:
        """Allocate gradients and the optimizer's state, and start counting steps anew."""
        self.optimizer = optimizer
        self.step = self.updates = 0
        self._lay_out()
        self.gradients = self._sums = np.empty(0, self.dtype)
        self.state = ()
        self._by_parameter = optimizer.state_shapes((1,)) is not None
        if not self._by_parameter:
            places = count(_APART, _APART)
            self.state = optimizer.new_state(
                self._trained_end,
                self.dtype,
                lambda size, dtype: zeros(size, dtype, next(places), "the optimizer's state"),
            )
        self._spare: dict[str, Array] = {}
        for p in self.parameters:
            p.gradient, p.state = None, ()
        for p in self.trained:
            start, shapes = self._offsets[p.name], optimizer.state_shapes(p.shape) or ()
            own = tuple(np.zeros(shape, self.dtype) for shape in shapes)
            p.state = own if self._by_parameter else part(self.state, start, start + p.size)
        self.keep_gradients(keep_gradients)

    def keep_gradients(self, keep: bool) -> None:
        """Store every gradient, or only those of parameters that aren't streamed.

        An optimizer that needs them all gets them all. Weights, state and the count of steps stay.
        """
        keep = keep or self.optimizer.needs_gradients
        size = self._trained_end if keep else self._stored
        if len(self.gradients) != size:
            summed = size if self.optimizer.gradient_accumulation_steps > 1 else 0
            gradients = zeros(size, self.dtype, what="the gradients")
            self._sums = zeros(summed, self.dtype, what="the gradients' sums")
            self.gradients, self.has_gradients = gradients, False
        for p in self.trained:
            stored = keep or not self._streams(p)
            p.gradient = self._view(self.gradients, p) if stored else None
        end = len(self.gradients)
        self._stored_values = self.values[:end]
        self._stored_state = part(self.state, 0, end)

    def begin_step(self, kernels: SimpleNamespace) -> None:
        """Start a training step: from here the optimizer's rule and its numbers are fixed."""
        step = self.step + 1
        updates = -(-step // self.optimizer.gradient_accumulation_steps)
        self._rule = self.optimizer.rule(updates)  # may refuse a schedule's rate
        self._kernels, self.step, self.updates = kernels, step, updates

    def gradient(self, parameter: Parameter) -> Array:
        """As ``Gradients.gradient``; for what isn't trained, an array that nobody reads."""
        if parameter.gradient is None:
            return self._spare.setdefault(parameter.name, np.empty_like(parameter.value))
        return parameter.gradient

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
        elif w.trainable:
            rule = self._rule._replace(place=self._offsets[w.name])
            kernels.dense_dw_update(x, dz, w.value, w.state, rule, x_next, y_next)

    def end_step(self) -> None:
        """Update everything whose gradient was stored."""
        self.has_gradients = True
        if not len(self.gradients):
            return
        optimizer = self.optimizer
        batches = optimizer.gradient_accumulation_steps
        if batches > 1:
            self._sums += self.gradients
            if self.step % batches:
                return
            np.multiply(self._sums, 1 / batches, out=self.gradients)
            self._sums[:] = 0
        rule = self._clipped(self._rule)
        if not optimizer.in_python:
            self._kernels.update(self._stored_values, self.gradients, self._stored_state, rule)
            return
        values = self._stored_values
        gradients = treated(values, self.gradients, rule)
        before = values[:_PIECE].copy() if self.updates == 1 else None
        if self._by_parameter:
            for p in self.trained:
                optimizer.update(p.value, self._view(gradients, p), *p.state, self.updates)
        else:
            optimizer.update(values, gradients, *self.state, self.updates)
        unmoved = before is not None and np.array_equal(before, values[:_PIECE])
        if unmoved and rule.learning_rate and gradients[:_PIECE].any():
            warnings.warn(
                f"{type(optimizer).__name__}.update changed no parameter: it must write into param "
                "(param -= …; param = param - … makes another array)",
                RuntimeWarning,
                stacklevel=2,
            )

    def _clipped(self, rule: Rule) -> Rule:
        """The rule that shortens all gradients, if they are to be; each is shortened here."""
        limit = self.optimizer.global_clipnorm
        if limit:
            norm = _norm(self.gradients)
            return rule._replace(scale=limit / norm) if norm > limit else rule
        if limit := self.optimizer.clipnorm:
            for p in self.trained:
                gradient = self._view(self.gradients, p)
                if (norm := _norm(gradient.reshape(-1))) > limit:
                    gradient *= limit / norm
        return rule

    def nbytes(self) -> dict[str, int]:
        """Bytes of parameters, gradients and optimizer state."""
        states = self.state or [a for p in self.trained for a in p.state]
        return {
            "parameters": self.values.nbytes,
            "gradients": self.gradients.nbytes + self._sums.nbytes,
            "state": sum(a.nbytes for a in states),
        }


def _norm(flat: Array) -> float:
    """√Σg², the squares added in a fixed order."""
    pieces = (flat[i : i + _PIECE] for i in range(0, len(flat), _PIECE))
    return math.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in pieces))


def zeros(size: int, dtype: np.dtype[Any], place: int = 0, what: str = "an array") -> Array:
    """A flat array that begins ``place`` bytes after a page does.

    So vectors never straddle two lines of cache if ``place`` is a multiple of one. Raises
    ``MemoryError`` where there is no room for ``what``.
    """
    nbytes = size * dtype.itemsize
    try:
        raw = np.zeros(nbytes + _PAGE, np.uint8)
    except (MemoryError, ValueError):  # NumPy's for sizes that no machine could address
        raise MemoryError(f"can't allocate {nbytes:,} bytes for {what}") from None
    start = (place - raw.ctypes.data) % _PAGE
    return raw[start : start + size * dtype.itemsize].view(dtype)
