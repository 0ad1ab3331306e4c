"""Gradients against central differences, in float64, for every layer, activation and loss."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import (
    ELU,
    Activation,
    AlphaDropout,
    AveragePooling2D,
    BatchNormalization,
    Chain,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Heads,
    Layer,
    LeakyReLU,
    Maxout,
    MaxPool2D,
    PReLU,
    Rescaling,
    Sequential,
    ZeroPadding2D,
    check_gradients,
    initializers,
)
from fastnn.losses import LOSSES
from fastnn.ops import ACTIVATIONS

LAYERS = {
    "dense": lambda: Dense(7),
    "dense without bias": lambda: Dense(7, use_bias=False),
    **{f"dense, {name}": lambda name=name: Dense(7, activation=name) for name in ACTIVATIONS},
    **{name: lambda name=name: Activation(name) for name in ACTIVATIONS},
    "leaky ReLU": lambda: LeakyReLU(0.2),
    "ELU": lambda: ELU(1.7),
    "PReLU": lambda: PReLU(initializers.RandomUniform(-0.5, 0.5)),
    "PReLU, shared": lambda: PReLU(0.4, shared=True),
    "maxout": lambda: Maxout(5, pieces=3),
    "maxout without bias": lambda: Maxout(6, use_bias=False),
    "alpha-dropout": lambda: fixed(AlphaDropout)(0.3),
    "alpha-dropout in evaluation": lambda: AlphaDropout(0.3),
    "flatten": Flatten,
    "rescaling": lambda: Rescaling(0.4, offset=-0.3),
    "chain": lambda: Chain([Dense(4, activation="tanh"), Dense(6, activation="sigmoid")]),
}


def model(layers, loss="mse", **arguments):
    net = Sequential(layers, dtype="float64", seed=7)
    net.compile("sgd", loss, **arguments)
    return net


def inputs(rng, *shape):
    """Of either sign, and no pre-activation of a test comes near ReLU's kink."""
    return rng.standard_normal(shape)


def check(net, x, y):
    before = {}
    if net.store is not None:
        before = net.get_weights()
    errors = check_gradients(net, x, y, tolerance=1e-6)
    assert set(errors) == {"x"} | {p.name for p in net.store.parameters}
    for name, array in before.items():
        np.testing.assert_array_equal(net.get_weights()[name], array)
    return errors


@pytest.mark.parametrize("layer", LAYERS)
def test_layers(backend, layer, rng):
    """A layer before and a layer after, and targets that make the upstream gradient random."""
    net = model([Dense(5, activation="tanh"), LAYERS[layer](), Dense(3)])
    check(net, inputs(rng, 6, 4), rng.standard_normal((6, 3)))


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_at_both_ends(backend, layer, rng):
    """As the first layer, which no layer is below, and as the last one."""
    net = model([LAYERS[layer](), LAYERS[layer]()])
    x = inputs(rng, 5, 4)
    check(net, x, rng.standard_normal(net.predict(x).shape))


def test_flatten_of_images(backend, rng):
    net = model([Activation("tanh"), Flatten(), Dense(4, activation="sigmoid"), Dense(2)])
    check(net, inputs(rng, 3, 2, 3, 2), rng.standard_normal((3, 2)))


def fixed(kind):
    """The class of dropout, but it drops in evaluation too, the same elements at every call."""

    class Fixed(kind):
        def forward(self, x, training):
            self.rng = np.random.default_rng(3)
            return super().forward(x, True)

    return Fixed


IMAGE_LAYERS = {
    "conv": lambda: Conv2D(3, 3),
    "conv without bias": lambda: Conv2D(3, 3, use_bias=False),
    **{
        f"conv, {name}": lambda name=name: Conv2D(3, (2, 3), padding="same", activation=name)
        for name in ACTIVATIONS
    },
    "conv with strides": lambda: Conv2D(3, (3, 2), strides=(2, 1), padding="same"),
    "conv, strides above the kernel": lambda: Conv2D(2, (1, 2), strides=(2, 3)),
    "conv with dilation": lambda: Conv2D(3, 2, dilation_rate=(2, 1), padding=((1, 0), (0, 2))),
    "conv, strides and dilation": lambda: Conv2D(2, 2, strides=(1, 2), dilation_rate=2, padding=1),
    "conv in groups": lambda: Conv2D(6, 3, groups=2, padding="same", activation="tanh"),
    "1x1 conv": lambda: Conv2D(5, 1),
    "depthwise": lambda: DepthwiseConv2D(3, padding="same", activation="tanh"),
    "depthwise, multiplier 2": lambda: DepthwiseConv2D((2, 3), (1, 2), depth_multiplier=2),
    "max-pool": lambda: MaxPool2D(2),
    "max-pool, overlapping": lambda: MaxPool2D(3, strides=(2, 1), padding="same"),
    "average pool": lambda: AveragePooling2D((2, 3)),
    "average pool, overlapping": lambda: AveragePooling2D(3, strides=(1, 2), padding="same"),
    "PReLU": lambda: PReLU(initializers.RandomUniform(-0.5, 0.5)),
    "softmax": lambda: Activation("softmax"),
    "global max-pool": lambda: GlobalMaxPooling2D(),
    "global average pool": lambda: GlobalAveragePooling2D(),
    "zero padding": lambda: ZeroPadding2D(((1, 0), (2, 3))),
    "dropout": lambda: fixed(Dropout)(0.4),
    "dropout in evaluation": lambda: Dropout(0.4),
}


@pytest.mark.parametrize("layer", IMAGE_LAYERS)
def test_layers_of_images(backend, layer, rng):
    """A convolution before and a dense layer after, with four channels and oblong images."""
    net = model([Conv2D(4, 2, activation="tanh"), IMAGE_LAYERS[layer](), Flatten(), Dense(3)])
    errors = check(net, inputs(rng, 3, 7, 6, 2), rng.standard_normal((3, 3)))
    assert (errors["conv2d/w"] > 0) == ("heaviside" not in layer)  # nothing comes through that


@pytest.mark.parametrize("layer", IMAGE_LAYERS)
def test_layers_of_images_at_both_ends(backend, layer, rng):
    """As the first layer, which no layer is below, and as the last one."""
    ends = [IMAGE_LAYERS[layer]()]
    if "global" not in layer:
        ends.append(IMAGE_LAYERS[layer]())
    net = model(ends)
    x = inputs(rng, 2, 8, 9, 4)
    y = net.predict(x)
    # A small loss: the rounding of it is what disturbs the differences.
    check(net, x, y + 0.1 * rng.standard_normal(y.shape))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("one_hot", [False, True])
def test_losses(backend, loss, one_hot, rng):
    net = model([Dense(5, activation="tanh"), Dense(3)], loss)
    labels = rng.integers(0, 3, 7)
    if loss in ("mse", "mean_squared_error"):
        labels = rng.standard_normal((7, 3))
    elif one_hot:
        labels = rng.dirichlet(np.ones(3), 7)
    check(net, 2 * inputs(rng, 7, 4), labels)


def test_heads(backend, rng):
    """The gradients of the heads meet in the trunk, by their weights."""
    net = model(
        [
            Dense(6, activation="tanh"),
            Heads(
                {
                    "domain": Dense(3),
                    "object": [Dense(5, activation="sigmoid"), Dense(4)],
                    "size": Dense(1),
                }
            ),
        ],
        loss={"domain": "softmax_cross_entropy", "object": "sigmoid_cross_entropy", "size": "mse"},
        loss_weights={"object": 2.5, "size": 0.3},
    )
    labels = {
        "domain": rng.integers(0, 3, 8),
        "object": rng.integers(0, 2, (8, 4)),
        "size": rng.standard_normal(8),
    }
    check(net, inputs(rng, 8, 5), labels)


def test_a_large_streamed_layer(backend, rng):
    """The checker stores the gradient that training never stores."""
    net = model([Dense(128, activation="tanh"), Dense(3)])
    check(net, rng.random((4, 1200)), rng.standard_normal((4, 3)))
    assert net.nbytes()["gradients"] < 1200 * 128 * 8


class Scale(Layer):
    """y = x s². Right, or wrong in one of two ways."""

    fault = ""

    def build(self, input_shape):
        self.s = self.add_parameter("s", input_shape, initializers.Constant(1.5))
        return input_shape

    def forward(self, x, training):
        self.x = x
        return x * self.s.value**2

    def backward(self, dy, sink):
        factor = 1.001 if self.fault == "parameter" else 1.0
        np.sum(dy * self.x * (2 * factor) * self.s.value, axis=0, out=sink.gradient(self.s))
        return dy * self.s.value ** (1 if self.fault == "input" else 2)


@pytest.mark.parametrize(("fault", "culprit"), [("parameter", "mine/s"), ("input", "")])
def test_a_wrong_layer_is_caught(fault, culprit, rng):
    x, y = inputs(rng, 6, 4), rng.standard_normal((6, 3))
    layer = Scale(name="mine")
    net = model([Dense(5, activation="tanh"), layer, Dense(3)])
    check(net, x, y)
    layer.fault = fault
    with pytest.raises(AssertionError, match=rf"the gradient of {culprit}.* is off by"):
        check_gradients(net, x, y)


def test_a_gradient_of_0_is_not_compared_with_rounding(rng):
    """A bias below batch normalisation changes nothing; what the losses differ by is rounding."""
    net = Sequential(
        [Dense(4), BatchNormalization(), Dense(3)], input_shape=(4,), dtype="float64", seed=1
    )
    net.compile("sgd")
    for scale in (1.0, 100.0):
        errors = check_gradients(
            net, scale * rng.normal(size=(8, 4)), rng.integers(0, 3, 8), training=True
        )
        assert "dense/b" in errors


def test_the_checker_wants_float64(rng):
    net = Sequential([Dense(3)], seed=1)
    net.compile("sgd", "mse")
    with pytest.raises(ValueError, match="check_gradients: the model must be float64, got float32"):
        check_gradients(net, inputs(rng, 2, 3), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"directions": 0}, "check_gradients: directions must be an integer >= 1, got 0"),
        ({"directions": -1}, "check_gradients: directions must be an integer >= 1, got -1"),
        ({"step": 0.0}, "check_gradients: step must be > 0, got 0.0"),
        ({"step": -1e-5}, r"check_gradients: step must be a number in \[0"),
        ({"tolerance": 0}, "check_gradients: tolerance must be > 0, got 0"),
        ({"tolerance": np.nan}, r"check_gradients: tolerance must be a number in \[0"),
    ],
)
def test_the_checker_checks_something(argument, message, rng):
    net = model([Dense(3)])
    with pytest.raises(ValueError, match=message):
        check_gradients(net, inputs(rng, 2, 3), np.ones((2, 3)), **argument)


class Failing(Scale):
    """Raises at a call of ``forward``, or in ``backward``."""

    calls = 0
    at: int | str = -1

    def forward(self, x, training):
        self.calls += 1
        if self.calls == self.at:
            raise KeyboardInterrupt
        return super().forward(x, training)

    def backward(self, dy, sink):
        if self.at == "backward":
            raise KeyboardInterrupt
        return super().backward(dy, sink)


@pytest.mark.parametrize("at", [*range(1, 10), "backward"])
def test_an_interrupted_check_leaves_the_weights(at, rng):
    """A first loss, then two for x, s, gamma and beta."""
    layer = Failing(name="mine")
    net = Sequential([layer, BatchNormalization()], (3,), dtype="float64", seed=1)
    net.compile("sgd", "mse")
    before, layer.at = net.get_weights(), at
    with pytest.raises(KeyboardInterrupt):
        check_gradients(net, inputs(rng, 4, 3), np.ones((4, 3)), directions=1, training=True)
    for name, array in net.get_weights().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_nan_is_not_agreement():
    net = Sequential([Dense(3, activation="tanh"), Dense(2)], dtype="float64", seed=0)
    net.compile("sgd")
    with pytest.raises(AssertionError, match="off by inf"):
        check_gradients(net, np.full((4, 3), np.nan), [0, 1, 0, 1])
