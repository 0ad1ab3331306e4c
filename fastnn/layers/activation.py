"""Activations: as layers of their own, and as other layers apply them."""

from __future__ import annotations

from types import SimpleNamespace

from fastnn import initializers
from fastnn.functional import activation_name, check_bool, check_number
from fastnn.initializers import Initializer
from fastnn.layers.base import Array, Layer, Shape, Sink
from fastnn.ops import ACTIVATIONS, FROM_INPUT, FUSED_ACTIVATIONS


class Nonlinearity:
    """y = f(z) for a layer that makes z: in the layer's kernel where that fuses f, else after it.

    ``code`` is for the kernel; ``separate`` says that ``apply`` is to be called after it. The layer
    gives its arrays once, with ``bind``: z, y and that for dz. z and y may be one array unless
    ``keeps_input``; dz may be z.
    """

    def __init__(self, kind: str, activation: str | None) -> None:
        self.name = activation_name(kind, activation)
        self.numbers = ACTIVATIONS[self.name]
        self.code = FUSED_ACTIVATIONS.get(self.name, 0)
        self.separate = self.name not in FUSED_ACTIVATIONS
        self.keeps_input = self.name in FROM_INPUT

    def bind(self, kernels: SimpleNamespace, z: Array, y: Array, dz: Array) -> None:
        """Take the kernels and the arrays of a batch."""
        self.forward = getattr(kernels, self.name, None)
        self.backward = getattr(kernels, f"{self.name}_backward", None)
        # Softmax is one of rows, all others of elements.
        self.shape = (-1, y.shape[-1]) if self.name == "softmax" else (-1,)
        self.y, self.dz = y.reshape(self.shape), dz.reshape(self.shape)
        self.read(z)

    def read(self, z: Array) -> None:
        """Take another z."""
        self.z = z.reshape(self.shape)
        self.kept = self.z if self.keeps_input else self.y

    def apply(self) -> None:
        """y = f(z)."""
        if self.forward:
            self.forward(self.z, *self.numbers, self.y)

    def undo(self, dy: Array) -> None:
        """dz = dy · f′(z)."""
        if self.backward:
            self.backward(dy.reshape(self.shape), self.kept, *self.numbers, self.dz)
        else:  # the derivative of heaviside
            self.dz.fill(0)


class Activation(Layer):
    """y = f(x), any shape, by name: ``"relu"``, ``"sigmoid"``, ``"tanh"``, ``"leaky_relu"``,
    ``"elu"``, ``"selu"``, ``"swish"`` (``"silu"``), ``"gelu"``, ``"gelu_tanh"``, ``"softplus"``,
    ``"heaviside"`` (``"threshold"``, with gradient 0), ``"softmax"`` over the last axis, or
    ``"identity"`` (``"linear"``).

    Formulas: ``functional``. The argument ``activation`` of ``Dense`` and ``Conv2D`` takes the same
    names, and does relu, sigmoid and tanh in one kernel with the product.
    """

    def __init__(self, activation: str | None, name: str | None = None) -> None:
        super().__init__(name)
        self.activation = activation
        self.f = Nonlinearity(type(self).__name__, activation)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.needs_dx = needs_dx
        self.y = self.buffer("y", (n, *self.input_shape))
        self.dx = self.buffer("dx", (n, *self.input_shape))
        self.f.bind(kernels, self.y, self.y, self.dx)

    def forward(self, x: Array, training: bool) -> Array:
        if self.f.name == "identity":
            self.y = x
            return x
        self.f.read(x)
        self.f.apply()
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        if not self.needs_dx or self.f.name == "identity":
            return dy if self.needs_dx else None
        self.f.undo(dy)
        return self.dx

    def describe(self) -> str:
        return f"Activation({self.f.name})"


class ReLU(Activation):
    """y = max(x, 0)."""

    def __init__(self, name: str | None = None) -> None:
        super().__init__("relu", name)

    def describe(self) -> str:
        return "ReLU"


class LeakyReLU(Activation):
    """y = x where x > 0, else negative_slope · x (Maas et al., 2013); negative_slope >= 0."""

    def __init__(self, negative_slope: float = 0.3, name: str | None = None) -> None:
        super().__init__("leaky_relu", name)
        self.f.numbers = (check_number("LeakyReLU", "negative_slope", negative_slope, 0),)

    def describe(self) -> str:
        return f"LeakyReLU({self.f.numbers[0]:g})"


class ELU(Activation):
    """y = x where x > 0, else alpha (exp(x) − 1) (Clevert et al., 2016); alpha >= 0."""

    def __init__(self, alpha: float = 1.0, name: str | None = None) -> None:
        super().__init__("elu", name)
        self.f.numbers = (check_number("ELU", "alpha", alpha, 0),)

    def describe(self) -> str:
        return f"ELU({self.f.numbers[0]:g})"


class Softmax(Activation):
    """yⱼ = exp(xⱼ) / Σᵢ exp(xᵢ) over the last axis.

    Not before ``"softmax_cross_entropy"``: that takes what is before the softmax.
    """

    def __init__(self, name: str | None = None) -> None:
        super().__init__("softmax", name)

    def describe(self) -> str:
        return "Softmax"


class PReLU(Layer):
    """y = x where x > 0, else a · x, a trained: one for each element of the last axis, a (C,).

    He et al. (2015), who begin with 0.25 (Keras: with 0) and let no weight decay pull at a.
    ``shared``: one for all, a (1,). Any shape (N, …, C); da = Σ dy · min(x, 0).
    """

    def __init__(
        self,
        alpha_initializer: str | float | Initializer = 0.25,
        shared: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.shared = check_bool("PReLU", "shared", shared)

    def build(self, input_shape: Shape) -> Shape:
        self.a = self.add_parameter(
            "a", (1,) if self.shared else input_shape[-1:], self.alpha_initializer
        )
        return input_shape

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.kernels = kernels
        self.needs_dx = needs_dx
        shape = (n, *self.input_shape)
        self.rows = (-1, shape[-1])
        self.slope = self.buffer("slope", shape[-1:]) if self.shared else self.a.value
        self.y, self.dx = self.buffer("y", shape), self.buffer("dx", shape)
        self.terms = self.buffer("terms", shape).reshape(self.rows)

    def forward(self, x: Array, training: bool) -> Array:
        self.x = x.reshape(self.rows)
        if self.shared:
            self.slope.fill(self.a.value[0])
        self.kernels.prelu(self.x, self.slope, self.y.reshape(self.rows))
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        self.kernels.prelu_backward(
            dy.reshape(self.rows), self.x, self.slope, self.dx.reshape(self.rows), self.terms
        )
        if self.a.trainable:
            terms = self.terms.reshape(-1, self.a.value.size)
            self.kernels.dense_db(terms, sink.gradient(self.a))
        return self.dx if self.needs_dx else None

    def describe(self) -> str:
        return "PReLU(shared)" if self.shared else "PReLU"
