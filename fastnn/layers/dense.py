"""The dense (fully connected) layer."""

from __future__ import annotations

from types import SimpleNamespace

from fastnn import initializers, regularizers
from fastnn.functional import check_bool
from fastnn.initializers import Initializer
from fastnn.layers.activation import Nonlinearity
from fastnn.layers.base import Array, Layer, Shape, Sink
from fastnn.parameters import ParameterStore
from fastnn.regularizers import Regularizer

#: Where the kernels cut a product's sum over K into parts, and add the bias after them: from so
#: many inputs on and for so many rows (``in_parts`` of kernels/dense.pyx).
_LONG_SUM, _FEW_ROWS = 2048, 64


class Dense(Layer):
    """y = f(x w + b), x (N, K), w (K, units), b (units,).

    ``activation`` is a name that ``Activation`` takes, or None; relu, sigmoid and tanh are applied
    in the same kernel. ``kernel_regularizer`` puts a penalty on w: ``"l1"``, ``"l2"`` or one of
    ``fastnn.regularizers``. Backward computes dx = dz wᵀ first, with the weights of the step, then
    hands dw = xᵀ dz and db = Σ dz to the sink.

    A large first layer spends its time on reading w. Told of the next step's x, it multiplies it
    with the new weights while the update has them in cache; the next ``forward`` then only adds
    the bias.
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | float | Initializer = "zeros",
        kernel_regularizer: str | Regularizer | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise ValueError(f"Dense: units must be an integer >= 1, got {units!r}")
        self.units = units
        self.f = Nonlinearity(type(self).__name__, activation)
        self.activation = activation
        self.use_bias = check_bool("Dense", "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ValueError(
                f"Dense {self.name!r}: input must have shape (N, K), got (N, "
                f"{', '.join(map(str, input_shape))}); put Flatten() before it"
            )
        self.w = self.add_parameter(
            "w", (input_shape[0], self.units), self.kernel_initializer, streams=True,
            regularizer=self.kernel_regularizer,
        )  # fmt: skip
        self.b = None
        if self.use_bias:
            self.b = self.add_parameter("b", (self.units,), self.bias_initializer)
        return (self.units,)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.kernels = kernels
        self.x_next: Array | None = None
        self.product_of: Array | None = None
        self.y = self.z = self.buffer("y", (n, self.units))
        if self.f.keeps_input:
            self.z = self.buffer("z", (n, self.units))
        self.dx = self.buffer("dx", (n, *self.input_shape)) if needs_dx else None
        if self.f.name != "identity":
            self.dz = self.buffer("dz", (n, self.units))
            self.f.bind(kernels, self.z, self.y, self.dz)

    def look_ahead(self, x_next: Array) -> None:
        # Elsewhere the bias comes before the sum, and the bits would differ.
        cut = self.input_shape[0] >= _LONG_SUM and len(x_next) <= _FEW_ROWS
        if cut and self.w.gradient is None and len(x_next) == len(self.y):
            self.x_next = x_next

    def forward(self, x: Array, training: bool) -> Array:
        self.x = x
        if x is not self.product_of:
            bias = self.b.value if self.b else None
            self.kernels.dense(x, self.w.value, bias, self.f.code, self.z)
        elif self.b:
            self.z += self.b.value
        if self.f.separate or (self.f.code and x is self.product_of):
            self.f.apply()
        self.product_of = None
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        dz = dy
        if self.f.name != "identity":
            dz = self.dz
            self.f.undo(dy)
        if self.dx is not None:
            self.kernels.dense_dx(dz, self.w.value, self.dx)
        if not self.w.trainable:
            return self.dx
        if self.b:
            self.kernels.dense_db(dz, sink.gradient(self.b))
        if self.x_next is not None and isinstance(sink, ParameterStore):
            sink.dense(self.kernels, self.w, self.x, dz, self.x_next, self.z)
        else:
            sink.dense(self.kernels, self.w, self.x, dz)
        self.product_of, self.x_next = self.x_next, None
        return self.dx

    @property
    def multiply_adds(self) -> int:
        return self.w.size

    def describe(self) -> str:
        return f"Dense({self.units}{f', {self.activation}' if self.activation else ''})"
