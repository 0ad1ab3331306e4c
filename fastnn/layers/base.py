"""What a layer is: build once, bind once, then forward and backward without allocating.

``build(input_shape)`` declares the parameters (``add_parameter``) and returns the output shape,
both without the batch. ``bind(n, …)`` takes the kernels and the buffers for a batch of n.
``forward(x, training)`` returns the output, ``backward(dy, sink)`` the gradient of the input, or
None where nobody needs it. Both may return buffers of the layer, which hold until the next call;
``backward`` may write over what ``forward`` returned, but never over x or dy. Who called it may
write over what it returned, unless that is dy itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnn.functional import check_bool
from fastnn.geometry import Padding
from fastnn.initializers import Initializer
from fastnn.parameters import Gradients, Parameter, ParameterStore, zeros
from fastnn.regularizers import Regularizer

Array = NDArray[Any]
Shape = tuple[int, ...]
Sink = Gradients | ParameterStore


class Layer:
    """Base of all layers. ``name`` is given by the model if it isn't set here."""

    def __init__(self, name: str | None = None) -> None:
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(
                f"{type(self).__name__}: name must be a string without '/', got {name!r}"
            )
        self.name = name or ""
        self.children: list[Layer] = []
        self.own_parameters: list[Parameter] = []
        self.input_shape: Shape = ()
        self.output_shape: Any = ()
        self.dtype: np.dtype[Any] = np.dtype(np.float32)
        self.owner: Layer | None = None
        #: of a model's outermost layer: what is trained has changed since ``compile``
        self.stale = False
        self._trainable = True
        self._buffers: dict[str, Array] = {}

    # --- to be written by a layer ---

    def build(self, input_shape: Shape) -> Any:
        """Declare the parameters; return the output shape (a dict of shapes for heads)."""
        return input_shape

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        """Take kernels and buffers for a batch of n; ``needs_dx``: someone reads the dx."""

    def take_seed(self, seed: np.random.SeedSequence) -> None:
        """Told once, after ``build``: where random numbers are to come from. Children get their
        own.
        """
        for child, part in zip(self.children, seed.spawn(len(self.children)), strict=True):
            child.take_seed(part)

    def look_ahead(self, x_next: Array) -> None:
        """Told before ``backward``, if the layer reads the model's input: that of the next step."""

    def forward(self, x: Array, training: bool) -> Any:
        """The output for x (N, *input_shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def backward(self, dy: Any, sink: Sink) -> Array | None:
        """Hand the parameters' gradients to the sink; return dx, or None if not needed."""
        raise NotImplementedError(f"{type(self).__name__} has no backward method")

    # --- for use in a layer ---

    def add_parameter(
        self,
        name: str,
        shape: Shape,
        initializer: Initializer,
        streams: bool = False,
        learned: bool = True,
        regularizer: Regularizer | None = None,
    ) -> Parameter:
        """A trained array; ``streams`` if ``backward`` hands it over by ``sink.dense``.

        Or, if not ``learned``, one that is only kept with the weights, as running statistics are.
        ``parameter.trainable`` says whether its gradient is wanted; if not, ``backward`` need not
        compute it. The penalty of a ``regularizer`` is the model's affair, not the layer's.
        """
        parameter = Parameter(
            f"{self.name}/{name}", shape, initializer, streams, learned, regularizer
        )
        parameter.trainable = learned and self.trainable
        self.own_parameters.append(parameter)
        return parameter

    def buffer(self, name: str, shape: Shape, dtype: DTypeLike | None = None) -> Array:
        """An array that is kept between calls, and grown when a larger one is asked for.

        Of the model's dtype unless another is given; it begins as zeros.
        """
        size, kind = math.prod(shape), np.dtype(self.dtype if dtype is None else dtype)
        flat = self._buffers.get(name)
        if flat is None or len(flat) < size or flat.dtype != kind:
            what = f"{type(self).__name__} {self.name!r}: {name} {shape}"
            flat = self._buffers[name] = zeros(size, kind, what=what)
        return flat[:size].reshape(shape)

    def image_shape(self, input_shape: Shape) -> tuple[int, int, int]:
        """``input_shape`` as (H, W, C); raises ``ValueError`` if it is that of no image."""
        if len(input_shape) != 3:
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: input must have shape (N, H, W, C), got "
                f"(N, {', '.join(map(str, input_shape))})"
            )
        return input_shape[0], input_shape[1], input_shape[2]

    # --- for use by models ---

    def connect(self, input_shape: Shape, dtype: np.dtype[Any]) -> Any:
        """Build for an input shape; return the output shape."""
        self.own_parameters, self._buffers = [], {}
        self.input_shape, self.dtype = tuple(input_shape), dtype
        self.output_shape = self.build(self.input_shape)
        shapes = self.output_shape
        for shape in shapes.values() if isinstance(shapes, dict) else [shapes]:
            if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
                raise ValueError(
                    f"{type(self).__name__} {self.name!r}: build must return the output's shape, "
                    f"a tuple of integers, got {shape!r}"
                )
        return shapes

    def check_result(self, method: str, result: Any, n: int, shape: Any) -> None:
        """Raise ``ValueError`` unless a method returned what the kernels will read.

        They trust shapes, so whoever runs layers checks each once after every ``bind``.
        """
        if isinstance(shape, dict):
            return  # several heads: each was checked by itself
        expected = (n, *shape)
        fits = isinstance(result, np.ndarray) and result.shape == expected
        if not fits or result.dtype != self.dtype or not result.flags.c_contiguous:
            got = (
                f"{result.dtype} {result.shape}"
                + ("" if result.flags.c_contiguous else ", not contiguous")
                if isinstance(result, np.ndarray)
                else type(result).__name__
            )
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: {method} must return a contiguous array, "
                f"{self.dtype} {expected}, got {got}"
            )

    @property
    def trainable(self) -> bool:
        """Whether the layer learns; False freezes it, with all layers in it.

        A frozen layer keeps its weights: no gradient, no state of the optimizer, and nothing at
        all is computed backward below the last layer that learns. After a change, ``compile`` the
        model again.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        check_bool(type(self).__name__, "trainable", value)
        if self.owner is not None and self._trainable != value:
            self.owner.stale = True
        self._trainable = bool(value)
        for parameter in self.own_parameters:
            parameter.trainable = parameter.learned and self._trainable
        for child in self.children:
            child.trainable = value

    @property
    def learns(self) -> bool:
        """Whether any parameter here is trained, those of children included."""
        return any(parameter.trainable for parameter in self.parameters())

    def parameters(self) -> Iterator[Parameter]:
        """All parameters, those of children included, in the order of the layers."""
        for layer in self.walk():
            yield from layer.own_parameters

    def walk(self) -> Iterator[Layer]:
        """The layer, and all in it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self) -> Iterator[Layer]:
        """The layers at the ends of the tree, in order."""
        return (layer for layer in self.walk() if not layer.children)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of a sample in ``forward``, without those of children."""
        return 0

    @property
    def output_size(self) -> int:
        """Elements of a sample's output that the layer makes; 0 for one that makes no array."""
        return 0 if self.children else math.prod(self.output_shape)

    def describe(self) -> str:
        """The line of ``summary()``: class and what matters of its arguments."""
        return type(self).__name__

    def last_output(self) -> Array | None:
        """The output of the last forward, if the layer keeps it."""
        return getattr(self, "y", None)


def window_words(
    size: tuple[int, int], strides: tuple[int, int], usual: tuple[int, int], padding: Padding
) -> list[str]:
    """What ``describe`` says of a window: 3x3, its strides if they aren't the usual ones, padding
    if there is any.
    """
    words = ["{}x{}".format(*size)]
    if strides != usual:
        words.append("strides {}x{}".format(*strides))
    if padding not in ("valid", 0):
        words.append(str(padding) if padding == "same" else f"padding {padding}")
    return words
