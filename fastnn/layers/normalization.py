"""Normalisation: batch normalisation, local response normalisation."""

from __future__ import annotations

from types import SimpleNamespace

from fastnn import initializers
from fastnn.errors import unknown
from fastnn.functional import activation_code, check_number, response_numbers
from fastnn.initializers import Initializer
from fastnn.layers.base import Array, Layer, Shape, Sink


class BatchNormalization(Layer):
    """y = f(γ (x − μ)/√(σ² + ε) + β) over the last axis, f the identity or ReLU (Ioffe and Szegedy
    2015).

    x, y (N, …, C); γ (C,) and β (C,) are trained. In training μ and σ² are mean and variance of the
    batch, over all axes but the last: σ² = Σ (x − μ)²/M, of M = N·H·W elements. Otherwise, and
    where the layer is frozen, they are running ones, which every training step moves:

        moving_mean ← momentum · moving_mean + (1 − momentum) · μ, and moving_variance by σ²

    as in Keras, with its defaults. PyTorch's ``momentum`` is 1 minus this one, its ε is 1e-5, and
    it takes Σ (x − μ)²/(M − 1) into the running variance. ``activation`` is ``"relu"`` or None,
    and costs no pass over memory of its own.
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        activation: str | None = None,
        beta_initializer: str | float | Initializer = "zeros",
        gamma_initializer: str | float | Initializer = "ones",
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.momentum = check_number(kind, "momentum", momentum, 0, 1)
        self.epsilon = check_number(kind, "epsilon", epsilon, 0)
        if activation not in (None, "linear", "identity", "relu"):
            raise unknown(f"activation for {kind}", str(activation), ("identity", "relu"))
        self.code = activation_code(kind, activation)
        self.activation = activation
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def build(self, input_shape: Shape) -> Shape:
        shape = input_shape[-1:]
        self.gamma = self.add_parameter("gamma", shape, self.gamma_initializer)
        self.beta = self.add_parameter("beta", shape, self.beta_initializer)
        zero, one = initializers.Constant(0.0), initializers.Constant(1.0)
        self.moving_mean = self.add_parameter("moving_mean", shape, zero, learned=False)
        self.moving_variance = self.add_parameter("moving_variance", shape, one, learned=False)
        self.moving_variance.least = 0.0
        return input_shape

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.kernels, self.needs_dx = kernels, needs_dx
        channels = self.input_shape[-1]
        self.y = self.buffer("y", (n, *self.input_shape))
        self.y_rows = self.y.reshape(-1, channels)
        self.batch = self.buffer("batch", (2, channels))
        self.zeros = self.buffer("zeros", (2, channels))

    def forward(self, x: Array, training: bool) -> Array:
        self.x, self.of_batch = x.reshape(self.y_rows.shape), training and self.trainable
        if self.of_batch:
            self.statistics = self.batch[0], self.batch[1]
            self.kernels.batch_norm_statistics(self.x, *self.statistics)
        else:
            self.statistics = self.moving_mean.value, self.moving_variance.value
        self.kernels.batch_norm(self.x, *self._numbers(), self.y_rows)
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        given = dy.reshape(self.y_rows.shape), self.x, *self._numbers()
        sums = self.zeros[0], self.zeros[1]  # statistics that don't depend on x
        if self.gamma.trainable:
            gradients = sink.gradient(self.gamma), sink.gradient(self.beta)
            self.kernels.batch_norm_sums(*given, *gradients)
            sums = gradients if self.of_batch else sums
        if self.needs_dx:
            # Over y, which all its readers are done with.
            self.kernels.batch_norm_dx(*given, *sums, self.y_rows)
        if self.of_batch:  # not in forward: now the loss is known to be finite
            moving = self.moving_mean.value, self.moving_variance.value
            for value, new in zip(moving, self.statistics, strict=True):
                value += (1 - self.momentum) * (new - value)
        return self.y if self.needs_dx else None

    def _numbers(self) -> tuple[Array | float, ...]:
        return (*self.statistics, self.gamma.value, self.beta.value, self.epsilon, self.code)

    def describe(self) -> str:
        return f"{type(self).__name__}({self.activation or ''})"


class LocalResponseNormalization(Layer):
    """y[c] = x[c]/s[c]^β, s[c] = bias + α/size Σ x[j]² over the ``size`` channels around c.

    x, y (N, …, C), no parameters. j runs from c − ⌊(size−1)/2⌋ to c + ⌈(size−1)/2⌉, as far as there
    are channels. ONNX's definition, with AlexNet's numbers (Krizhevsky et al. 2012); the paper
    doesn't divide α by the size, so that its α = 1e-4 is ``alpha=5e-4`` here.
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 2.0,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.numbers = response_numbers(kind, size, alpha, beta, bias)

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.kernels, self.needs_dx = kernels, needs_dx
        self.y = self.buffer("y", (n, *self.input_shape))
        self.rows = (-1, self.input_shape[-1])

    def forward(self, x: Array, training: bool) -> Array:
        self.x = x.reshape(self.rows)
        self.kernels.local_response_norm(self.x, *self.numbers, self.y.reshape(self.rows))
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        if not self.needs_dx:
            return None
        dx = self.y.reshape(self.rows)  # over y, which all its readers are done with
        self.kernels.local_response_norm_backward(dy.reshape(self.rows), self.x, *self.numbers, dx)
        return self.y

    def describe(self) -> str:
        return f"{type(self).__name__}(size {self.numbers[0]})"
