"""Activations as layers: names, defaults, what they compute, and alpha-dropout and maxout."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import (
    ELU,
    Activation,
    AlphaDropout,
    Conv2D,
    Dense,
    LeakyReLU,
    Maxout,
    PReLU,
    ReLU,
    Sequential,
    Softmax,
)
from fastnn import functional as F
from fastnn.ops import ACTIVATION_ALIASES, ACTIVATIONS

NAMES = [*ACTIVATIONS, *ACTIVATION_ALIASES]
FUNCTIONS = {
    "identity": lambda x: x, "linear": lambda x: x, "silu": F.swish, "threshold": F.heaviside,
    "gelu_tanh": lambda x: F.gelu(x, approximate=True),
}  # fmt: skip


def applied(name, x):
    return FUNCTIONS.get(name, getattr(F, name, None))(x)


def predict(layers, x, **arguments):
    return Sequential(layers, x.shape[1:], "float64", seed=3, **arguments).predict(x)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_means_the_same_everywhere(backend, name, rng):
    """As a function, a layer, and the argument of the layers with weights."""
    x = 2 * rng.standard_normal((5, 4))
    np.testing.assert_array_equal(predict([Activation(name)], x), applied(name, x))
    image = rng.standard_normal((2, 5, 6, 3))
    # A fused activation is applied by another loop than the op's.
    for layer, data in ((lambda f: Dense(7, f), x), (lambda f: Conv2D(4, 3, activation=f), image)):
        plain = predict([layer(None)], data)
        np.testing.assert_allclose(predict([layer(name)], data), applied(name, plain), rtol=1e-14)
        assert np.ptp(plain) > 0


@pytest.mark.parametrize(
    ("layer", "function", "text"),
    [
        (LeakyReLU, lambda x: np.where(x > 0, x, 0.3 * x), "LeakyReLU(0.3)"),
        (lambda: LeakyReLU(0.01), lambda x: np.where(x > 0, x, 0.01 * x), "LeakyReLU(0.01)"),
        (ELU, lambda x: np.where(x > 0, x, np.exp(x) - 1), "ELU(1)"),
        (lambda: ELU(0.5), lambda x: np.where(x > 0, x, np.exp(x) / 2 - 0.5), "ELU(0.5)"),
        (PReLU, lambda x: np.where(x > 0, x, 0.25 * x), "PReLU"),
        (lambda: PReLU("zeros", shared=True), lambda x: np.maximum(x, 0), "PReLU(shared)"),
        (ReLU, lambda x: np.maximum(x, 0), "ReLU"),
        (Softmax, lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True), "Softmax"),
        (lambda: Activation("silu"), lambda x: x / (1 + np.exp(-x)), "Activation(swish)"),
    ],
)
def test_layers_compute_what_they_say(backend, layer, function, text, rng):
    x = rng.standard_normal((3, 2, 4, 5))
    np.testing.assert_allclose(predict([layer()], x), function(x), rtol=1e-13, atol=1e-15)
    assert layer().describe() == text


@pytest.mark.parametrize("name", ["sigmoid", "elu", "gelu", "softmax"])
def test_looking_ahead_changes_nothing(backend, name, rng):
    """A large first layer makes the next product early, and then only applies the activation."""
    x, y = rng.standard_normal((30, 1100)).astype("f4"), rng.standard_normal((30, 3))
    weights = []
    for by_hand in (False, True):
        net = Sequential([Dense(256, name), Dense(3)], (1100,), seed=5)
        net.compile("sgd", "mse")
        if by_hand:
            for start in (0, 10, 20):
                net.train_on_batch(x[start : start + 10], y[start : start + 10])
        else:
            net.fit(x, y, epochs=1, batch_size=10, shuffle=False, verbose=0)
        weights.append(net.get_weights()["dense/w"])
    np.testing.assert_allclose(
        *weights, atol=1e-7
    )  # where the bias is added last, it is rounded so


def test_a_slope_is_trained_and_shared(backend, rng):
    x, y = rng.standard_normal((64, 6)), rng.standard_normal((64, 2))
    for shared, shape in ((False, (5,)), (True, (1,))):
        net = Sequential([Dense(5), PReLU(shared=shared), Dense(2)], (6,), seed=1)
        net.compile("sgd", "mse")
        assert net.get_weights()["prelu/a"].shape == shape
        losses = [net.train_on_batch(x, y) for _ in range(30)]
        assert losses[-1] < losses[0]
        assert np.all(net.get_weights()["prelu/a"] != 0.25)


def test_slopes_of_either_sign(backend, rng):
    x, dy = rng.standard_normal((2, 4, 3)), rng.standard_normal((2, 4, 3))
    for slope in ([-0.5, 0.0, 2.0], [-0.5]):
        factor = np.where(x > 0, 1, slope)
        np.testing.assert_array_equal(F.prelu(x, slope), x * factor)
        dx, dslope = F.prelu_backward(dy, x, slope)
        np.testing.assert_array_equal(dx, dy * factor)
        terms = (dy * np.minimum(x, 0)).reshape(-1, 3).sum(axis=0)
        want = terms if len(slope) == 3 else [terms.sum()]
        np.testing.assert_allclose(dslope, want, rtol=1e-13)


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_maxout_is_the_largest_of_several_dense_layers(backend, pieces, rng):
    x = rng.standard_normal((6, 4))
    net = Sequential([Maxout(3, pieces)], (4,), "float64", seed=2)
    w = net.get_weights()
    assert w["maxout/w"].shape == (4, 3 * pieces)
    z = (x @ w["maxout/w"] + w["maxout/b"]).reshape(6, pieces, 3)
    np.testing.assert_allclose(net.predict(x), z.max(axis=1), rtol=1e-12, atol=1e-14)


def test_two_linear_pieces_make_an_absolute_value():
    net = Sequential([Maxout(1)], (1,), "float64")
    net.set_weights({"maxout/w": np.array([[1.0, -1.0]]), "maxout/b": np.zeros(2)})
    assert net.predict([[-3.0], [2.0]]).tolist() == [[3.0], [2.0]]


def test_alpha_dropout_keeps_mean_and_variance(rng):
    """Bounds: five standard errors of the mean and of the variance of 400,000 numbers."""
    n = 400_000
    x = rng.standard_normal((4, n // 4)).astype("f4")
    x = (x - x.mean()) / x.std()
    for rate in (0.05, 0.3, 0.6):
        layer = AlphaDropout(rate, seed=4)
        net = Sequential([layer], x.shape[1:])
        np.testing.assert_array_equal(net.predict(x), x)
        net.bind(4, training=True, needs_dx=True)
        y = layer.forward(x, True).astype("f8")
        fourth = ((y - y.mean()) ** 4).mean()
        assert abs(y.mean()) < 5 * (1 / n) ** 0.5
        assert abs(y.var() - 1) < 5 * (fourth / n) ** 0.5
        dropped = layer.mask == 0
        assert len(np.unique(y[dropped])) == 1
        assert dropped.mean() == pytest.approx(rate, abs=5 * (rate * (1 - rate) / n) ** 0.5)
        # What is dropped lets no gradient through, the rest lets a constant part of it.
        dx = layer.backward(np.ones_like(x), None)
        np.testing.assert_array_equal(dx == 0, dropped)
        assert len(np.unique(dx)) == 2
    again = Sequential([AlphaDropout(0.6, seed=4)], x.shape[1:])
    again.bind(4, training=True, needs_dx=True)
    np.testing.assert_array_equal(again.chain.forward(x, True), y.astype("f4"))
    assert again.chain.children[0].describe() == "AlphaDropout(0.6)"


def test_selu_is_self_normalising(rng):
    """Through eight layers of LeCun's weights mean and variance stay near 0 and 1; ReLU's don't."""
    x = rng.standard_normal((512, 256)).astype("f4")
    spread = {}
    for name in ("selu", "relu"):
        layers = [Dense(256, name, kernel_initializer="lecun_normal") for _ in range(8)]
        y = Sequential(layers, (256,), seed=1).predict(x)
        spread[name] = y.mean(), y.std()
    assert abs(spread["selu"][0]) < 0.1
    assert 0.8 < spread["selu"][1] < 1.2
    assert spread["relu"][1] < 0.2


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Activation("swich"), "unknown activation for Activation 'swich'; did you mean"),
        (lambda: Dense(3, "prelu"), "unknown activation for Dense 'prelu'; did you mean 'relu'"),
        (lambda: Conv2D(3, 3, activation=7), "unknown activation for Conv2D 7"),
        (lambda: LeakyReLU(-0.1), "LeakyReLU: negative_slope must be a number in [0, inf), got"),
        (lambda: ELU("1"), "ELU: alpha must be a number in [0, inf), got '1'"),
        (lambda: PReLU("ons"), "unknown initializer 'ons'; did you mean 'ones'"),
        (lambda: Maxout(0), "Maxout: units must be in 1.."),
        (lambda: Maxout(3, 2.0), "Maxout: pieces must be an integer >= 1, got 2.0"),
        (lambda: AlphaDropout(1), "AlphaDropout: rate must be a number in [0, 1), got 1"),
        (lambda: AlphaDropout(0.1, seed=-1), "AlphaDropout: seed must be an integer >= 0"),
        (lambda: F.dense([[1.0]], [[1.0]], activation="gelu"),
         "unknown activation for dense 'gelu'"),
        (lambda: F.leaky_relu([1.0], -1), "leaky_relu: slope must be a number in [0, inf), got -1"),
        (lambda: F.elu_backward([1.0], [1.0], -1), "elu_backward: alpha must be a number in [0"),
        (lambda: F.prelu([[1.0, 2.0]], [1.0, 2.0, 3.0]),
         "prelu: slope must have shape (2,) (the last axis of x, or (1,)), got (3,)"),
        (lambda: F.prelu_backward([1.0], [1.0, 2.0], [1.0]), "prelu_backward: dy must have shape"),
        (lambda: F.swish_backward([1.0], [1.0, 2.0]),
         "swish_backward: dy must have shape (2,) (that of x), got (1,)"),
        (lambda: F.softmax(1.0), "softmax: x must have a last axis of at least one element"),
        (lambda: F.softmax(np.ones((3, 0))), "softmax: x must have a last axis of at least one"),
        (lambda: F.softmax_backward([1.0], [1.0, 2.0]), "softmax_backward: dy must have shape"),
    ],
)  # fmt: skip
def test_errors(call, text):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert text in str(error.value)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"identity"}))
def test_empty_arrays_and_nan(backend, name):
    assert applied(name, np.empty((0, 4))).shape == (0, 4)
    x = np.linspace(-3, 3, 70)
    x[[0, 20, 69]] = np.nan
    rows = np.repeat(x[:, None], 3, axis=1)
    assert np.array_equal(np.isnan(applied(name, rows)), np.isnan(rows))


def test_far_out(backend):
    """Where exp and erf have long reached their limits, forward and backward."""
    x = np.array([-1e4, -60.0, 60.0, 1e4])
    for dtype in ("f4", "f8"):
        z = x.astype(dtype)
        one = np.ones(4, dtype)
        for name in ("swish", "gelu", "elu", "selu", "softplus"):
            y = getattr(F, name)(z)
            scale = {"selu": 1.0507009873554805}.get(name, 1.0)
            np.testing.assert_allclose(y[2:], scale * z[2:], rtol=1e-6)
            low = {"elu": -1.0, "selu": -1.7580993408473766}.get(name, 0.0)
            np.testing.assert_allclose(y[:2], low, atol=1e-6)
            kept = z if name in ("swish", "gelu") else y
            dx = getattr(F, f"{name}_backward")(one, kept)
            np.testing.assert_allclose(dx, [0, 0, scale, scale], atol=1e-6)
    assert fastnn.current_backend() == backend
