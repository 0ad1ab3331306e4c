"""Convolutions of images."""

from __future__ import annotations

from types import SimpleNamespace

from fastnn import initializers, regularizers
from fastnn.functional import check_bool
from fastnn.geometry import Padding, Size, conv2d_geometry, pads, pair, positive
from fastnn.initializers import Initializer
from fastnn.layers.activation import Nonlinearity
from fastnn.layers.base import Array, Layer, Shape, Sink, window_words
from fastnn.regularizers import Regularizer


class Conv2D(Layer):
    """y[n, oy, ox, o] = f(Σ x[n, oy·SH + ky − top, ox·SW + kx − left, c] w[ky, kx, c, o] + b[o]).

    x (N, H, W, C), w (KH, KW, C/G, filters), b (filters,), y (N, OH, OW, filters). ``strides``,
    ``padding``, ``dilation_rate``, ``groups`` as in ``functional.conv2d``. ``activation`` is a name
    that ``Activation`` takes, or None; relu, sigmoid and tanh are applied in the same kernel.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        dilation_rate: Size = 1,
        groups: int = 1,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | float | Initializer = "zeros",
        kernel_regularizer: str | Regularizer | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name)
        kind = type(self).__name__
        self.filters = positive(kind, "filters", filters)
        self.kernel_size = pair(kind, "kernel_size", kernel_size)
        self.strides = pair(kind, "strides", strides)
        pads(kind, padding)
        self.padding = padding
        self.dilation_rate = pair(kind, "dilation_rate", dilation_rate)
        self.groups = positive(kind, "groups", groups)
        self.f = Nonlinearity(kind, activation)
        self.activation = activation
        self.use_bias = check_bool(kind, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape: Shape) -> Shape:
        image = self.image_shape(input_shape)
        self.geometry = conv2d_geometry(
            f"{type(self).__name__} {self.name!r}", image,
            (*self.kernel_size, image[2] // self.groups, self.filters),
            self.strides, self.padding, self.dilation_rate, self.groups,
        )  # fmt: skip
        self.w = self.add_parameter(
            "w", self.w_shape(), self.kernel_initializer, regularizer=self.kernel_regularizer
        )
        self.b = None
        if self.use_bias:
            self.b = self.add_parameter("b", (self.filters,), self.bias_initializer)
        return self.geometry.out_shape

    def w_shape(self) -> Shape:
        """The shape of w; its elements are those of (KH, KW, C/G, O)."""
        return self.geometry.w_shape

    def bind(self, n: int, kernels: SimpleNamespace, needs_dx: bool) -> None:
        self.kernels = kernels
        self.w_value = self.w.value.reshape(self.geometry.w_shape)
        self.y = self.z = self.buffer("y", (n, *self.output_shape))
        if self.f.keeps_input:
            self.z = self.buffer("z", self.y.shape)
        # dz goes where z or y was: all who read it are done, and large images are slow to fetch.
        self.f.bind(kernels, self.z, self.y, self.z)
        self.dx = self.buffer("dx", (n, *self.input_shape)) if needs_dx else None

    def forward(self, x: Array, training: bool) -> Array:
        self.x = x
        bias = self.b.value if self.b else None
        self.kernels.conv2d(x, self.w_value, bias, self.geometry, self.f.code, self.z)
        if self.f.separate:
            self.f.apply()
        return self.y

    def backward(self, dy: Array, sink: Sink) -> Array | None:
        dz = dy
        if self.f.name != "identity":
            dz = self.z
            self.f.undo(dy)
        if self.dx is not None:
            self.kernels.conv2d_dx(dz, self.w_value, self.geometry, self.dx)
        if not self.w.trainable:
            return self.dx
        if self.b:
            self.kernels.dense_db(dz.reshape(-1, self.filters), sink.gradient(self.b))
        dw = sink.gradient(self.w).reshape(self.geometry.w_shape)
        self.kernels.conv2d_dw(self.x, dz, self.geometry, dw)
        return self.dx

    @property
    def multiply_adds(self) -> int:
        return self.geometry.multiply_adds

    def describe(self) -> str:
        groups = (f"groups {self.groups}",) if self.groups > 1 else ()
        return self.describe_as(str(self.filters), *groups)

    def describe_as(self, *sizes: str) -> str:
        """Class, sizes, window and activation, without what is the default."""
        words = [*sizes, *window_words(self.kernel_size, self.strides, (1, 1), self.padding)]
        if self.dilation_rate != (1, 1):
            words.append("dilation {}x{}".format(*self.dilation_rate))
        if self.activation:
            words.append(self.activation)
        return f"{type(self).__name__}({', '.join(words)})"


class DepthwiseConv2D(Conv2D):
    """Every channel by itself: y[…, c·M + m] = f(Σ x[…, c] w[ky, kx, c, m] + b[c·M + m]).

    x (N, H, W, C), w (KH, KW, C, M) with M = ``depth_multiplier``, b (C·M,), y (N, OH, OW, C·M).
    This is a ``Conv2D`` with C groups and C·M filters; the other arguments are those of it.
    """

    def __init__(
        self,
        kernel_size: Size,
        strides: Size = 1,
        padding: Padding = "valid",
        depth_multiplier: int = 1,
        dilation_rate: Size = 1,
        activation: str | None = None,
        use_bias: bool = True,
        depthwise_initializer: str | Initializer = "glorot_uniform",
        bias_initializer: str | float | Initializer = "zeros",
        depthwise_regularizer: str | Regularizer | None = None,
        name: str | None = None,
    ) -> None:
        self.depth_multiplier = positive(type(self).__name__, "depth_multiplier", depth_multiplier)
        super().__init__(
            depth_multiplier, kernel_size, strides, padding, dilation_rate,
            activation=activation, use_bias=use_bias, kernel_initializer=depthwise_initializer,
            bias_initializer=bias_initializer, kernel_regularizer=depthwise_regularizer, name=name,
        )  # fmt: skip

    def build(self, input_shape: Shape) -> Shape:
        self.groups = self.image_shape(input_shape)[2]
        self.filters = self.groups * self.depth_multiplier
        return super().build(input_shape)

    def w_shape(self) -> Shape:
        return *self.kernel_size, self.groups, self.depth_multiplier

    def describe(self) -> str:
        many = self.depth_multiplier > 1
        return self.describe_as(*([f"multiplier {self.depth_multiplier}"] if many else []))
