"""Batch normalisation and local response normalisation: functions and layers."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import (
    BatchNormalization,
    Branches,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Heads,
    LocalResponseNormalization,
    Residual,
    Sequential,
    check_gradients,
    functional,
)
from fastnn.initializers import RandomNormal

SHIFTED = {name: RandomNormal(stddev=1.0) for name in ("gamma_initializer", "beta_initializer")}


def network(*layers, **arguments):
    net = Sequential(layers, seed=3, **arguments)
    net.compile("sgd", "mse")
    return net


def training_forward(net, x):
    net.bind(len(x), training=True)
    return np.array(net.chain.forward(net.as_input(x), True))


# --- functions ------------------------------------------------------------------------------


def numbers(rng, c=5):
    return rng.standard_normal(c), rng.random(c) + 0.5, rng.random(c) - 2, rng.standard_normal(c)


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 2, 5), (1, 5), (0, 3, 5)])
def test_any_layout(backend, shape, rng):
    x = rng.standard_normal(shape)
    mean, variance, gamma, beta = numbers(rng)
    want = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    for layout in (x, np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2], x[::-1][::-1]):
        got = functional.batch_norm(layout, mean, variance, gamma, beta)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
        responses = functional.local_response_norm(layout, 3)
        assert responses.shape == shape
    activated = functional.batch_norm(x, mean, variance, gamma, beta, activation="relu")
    np.testing.assert_array_equal(activated, np.maximum(got, 0))
    if x.size:
        found = functional.batch_norm_statistics(np.asfortranarray(x))
        axes = tuple(range(x.ndim - 1))
        np.testing.assert_allclose(found, (x.mean(axes), x.var(axes)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("of_batch", [True, False])
def test_backward_of_the_function(backend, of_batch, activation, rng):
    """Against differences of the whole function, the statistics included where they follow x."""
    x, dy = rng.standard_normal((2, 4, 3, 5)), rng.standard_normal((2, 4, 3, 5))
    mean, variance, gamma, beta = numbers(rng)
    if of_batch:
        mean, variance = functional.batch_norm_statistics(x)

    def loss(x, gamma, beta):
        statistics = functional.batch_norm_statistics(x) if of_batch else (mean, variance)
        return np.vdot(dy, functional.batch_norm(x, *statistics, gamma, beta, 1e-3, activation))

    gradients = functional.batch_norm_backward(
        dy, x, mean, variance, gamma, beta, 1e-3, activation, of_batch
    )
    for i, gradient in enumerate(gradients):
        arguments = [x, gamma, beta]
        direction = rng.standard_normal(arguments[i].shape)
        sides = []
        for h in (1e-6, -1e-6):
            moved = [a + h * direction if j == i else a for j, a in enumerate(arguments)]
            sides.append(loss(*moved))
        numeric = (sides[0] - sides[1]) / 2e-6
        np.testing.assert_allclose(np.vdot(gradient, direction), numeric, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 5, 12])
def test_backward_of_responses(backend, size, rng):
    x, dy, direction = rng.standard_normal((3, 2, 3, 9))
    arguments = size, 0.7, 0.75, 1.5
    dx = functional.local_response_norm_backward(dy, x, *arguments)
    above, below = (
        np.vdot(dy, functional.local_response_norm(x + h * direction, *arguments))
        for h in (1e-6, -1e-6)
    )
    np.testing.assert_allclose(np.vdot(dx, direction), (above - below) / 2e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f, a: f.batch_norm_statistics(np.zeros((0, 3))), "x must have at least one row"),
        (lambda f, a: f.batch_norm_statistics([1.0, 2.0]), r"x must have shape \(N, …, C\)"),
        (lambda f, a: f.batch_norm(a, *[[1.0] * 3] * 3, [1.0]), r"beta must have shape \(3,\)"),
        (lambda f, a: f.batch_norm(a, [0.0] * 3, [-1.0] * 3, *[[1.0] * 3] * 2), "variance must"),
        (lambda f, a: f.batch_norm(a, *[[1.0] * 3] * 4, epsilon=-1), "epsilon must be a number"),
        (lambda f, a: f.batch_norm(a, *[[1.0] * 3] * 4, activation="tanh"), "unknown activation"),
        (lambda f, a: f.batch_norm_backward(a[:1], a, *[[1.0] * 3] * 4), "dy must have shape"),
        (lambda f, a: f.local_response_norm(a, 0), "size must be an integer >= 1"),
        (lambda f, a: f.local_response_norm(a, bias=0), "bias must be a number"),
        (lambda f, a: f.local_response_norm_backward(a[:1], a), "dy must have shape"),
    ],
)
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call(functional, np.ones((2, 3)))


# --- gradients of the layers ----------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_gradients_inside_a_network(backend, activation, training, rng):
    """Layers below have no bias: one would have no gradient but rounding errors. Few activations,
    so that none comes near ReLU's kink.
    """
    net = network(
        Conv2D(4, 2, activation="tanh"),
        Residual(
            [
                Conv2D(4, 3, padding="same", use_bias=False),
                BatchNormalization(activation=activation, **SHIFTED),
            ]
        ),
        LocalResponseNormalization(3, alpha=2.0),
        Flatten(),
        Dense(5, use_bias=False),
        BatchNormalization(**SHIFTED),
        Dense(3),
        dtype="float64",
    )
    x, y = rng.standard_normal((6, 3, 4, 2)), rng.standard_normal((6, 3))
    net.build(x.shape[1:])
    before = net.get_weights()
    assert len(check_gradients(net, x, y, training=training)) == 1 + 6 + 4
    for name, value in net.get_weights().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layer", [BatchNormalization, LocalResponseNormalization])
def test_gradients_alone(backend, layer, training, rng):
    net = network(layer(**(SHIFTED if layer is BatchNormalization else {})), dtype="float64")
    x = rng.standard_normal((4, 3, 2, 5))
    # A small loss: the rounding of it is what disturbs the differences.
    targets = net.predict(x) + 0.1 * rng.standard_normal(x.shape)
    check_gradients(net, x, targets, training=training)


# --- running statistics ---------------------------------------------------------------------


def test_running_statistics_are_those_of_keras(backend, rng):
    """moving ← momentum · moving + (1 − momentum) · batch's, the variance divided by M."""
    net = network(BatchNormalization(momentum=0.75), Dense(2))
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = rng.standard_normal((8, 3)).astype(np.float32) * 3 + 5
        net.train_on_batch(x, np.zeros((8, 2)))
        mean = 0.75 * mean + 0.25 * x.mean(axis=0)
        variance = 0.75 * variance + 0.25 * x.var(axis=0)
    weights = net.get_weights()
    np.testing.assert_allclose(weights["batchnormalization/moving_mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(weights["batchnormalization/moving_variance"], variance, rtol=1e-5)
    net.pop()
    gamma, beta = (weights[f"batchnormalization/{name}"] for name in ("gamma", "beta"))
    want = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    np.testing.assert_allclose(net.predict(x), want, rtol=1e-4, atol=1e-5)


def test_a_batch_is_normalised_in_training(backend, rng):
    net = network(BatchNormalization(epsilon=0))
    x = (rng.standard_normal((32, 3, 4, 7)) * 3 + 10).astype(np.float32)
    net.build(x.shape[1:])
    y = training_forward(net, x).reshape(-1, 7)
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-5)


def test_statistics_travel_with_the_weights(tmp_path, rng):
    nets = [network(Dense(4), BatchNormalization(), Dense(2)) for _ in range(2)]
    x, y = rng.standard_normal((16, 3)), rng.standard_normal((16, 2))
    nets[0].fit(x, y, epochs=3, verbose=0, seed=1)
    nets[0].save_weights(tmp_path / "w.safetensors")
    nets[1].build((3,))
    nets[1].load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(nets[1].predict(x), nets[0].predict(x))
    name = "batchnormalization/moving_mean"
    assert np.any(nets[1].get_weights()[name])
    assert name not in nets[0].get_gradients()


def test_a_step_that_fails_leaves_the_statistics_alone(rng):
    net = network(BatchNormalization(), Dense(2))
    x = rng.standard_normal((8, 3))
    net.train_on_batch(x, np.zeros((8, 2)))
    before = net.get_weights()
    x[3, 1] = np.nan
    with pytest.raises(FloatingPointError):
        net.train_on_batch(x, np.zeros((8, 2)))
    for name, value in net.get_weights().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_evaluation_leaves_the_statistics_alone(rng):
    net = network(BatchNormalization(), Dense(2))
    x = rng.standard_normal((8, 3))
    net.evaluate(x, np.zeros((8, 2)))
    assert not np.any(net.get_weights()["batchnormalization/moving_mean"])


def test_a_frozen_layer_uses_its_running_statistics(backend, rng):
    """In training too, and passes the gradient of constants on to what is below."""
    net = network(Dense(4), BatchNormalization(**SHIFTED), Dense(2), dtype="float64")
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    net.fit(x, y, epochs=2, verbose=0)
    net.layers[1].trainable = False
    net.compile("sgd", "mse")
    np.testing.assert_array_equal(training_forward(net, x), net.predict(x))
    check_gradients(net, x, y, training=True)
    before = net.get_weights()
    net.train_on_batch(x, y)
    changed = {n for n, value in net.get_weights().items() if np.any(value != before[n])}
    assert changed == {"dense/w", "dense/b", "dense_1/w", "dense_1/b"}


def test_training_is_the_same_on_all_backends(rng):
    x, labels = rng.standard_normal((64, 6, 6, 2)), rng.integers(0, 3, 64)
    found = []
    for backend in ("reference", "numba", "cython"):
        with fastnn.use_backend(backend):
            net = Sequential(
                [Conv2D(4, 3), BatchNormalization(activation="relu"), Flatten(), Dense(3)],
                dtype="float64", seed=2,
            )  # fmt: skip
            net.compile("sgd")
            losses = net.fit(x, labels, epochs=5, batch_size=16, seed=1, verbose=0).history["loss"]
            found.append(losses)
    assert found[0][-1] < found[0][0]
    np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"momentum": 1}, r"BatchNormalization: momentum must be a number in \[0, 1\), got 1"),
        ({"epsilon": -1e-3}, "BatchNormalization: epsilon must be a number"),
        ({"activation": "tanh"}, "unknown activation for BatchNormalization 'tanh'"),
    ],
)
def test_wrong_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        BatchNormalization(**arguments)


def test_wrong_arguments_of_responses():
    with pytest.raises(ValueError, match="LocalResponseNormalization: size must be an integer"):
        LocalResponseNormalization(2.5)


# --- folding --------------------------------------------------------------------------------


def foldable():
    norm = {"gamma_initializer": RandomNormal(1, 0.3), "beta_initializer": RandomNormal(stddev=0.5)}
    return Sequential(
        [
            Conv2D(4, 3, use_bias=False),
            BatchNormalization(activation="relu", **norm),
            Residual(
                [DepthwiseConv2D(3, padding="same"), BatchNormalization(**norm), Conv2D(4, 1)],
                [Conv2D(4, 1, groups=2), BatchNormalization(0.9, **norm)],
                activation="relu",
            ),
            Branches([[Conv2D(2, 1), BatchNormalization(**norm)], [BatchNormalization(**norm)]]),
            Conv2D(4, 2, activation="tanh"),
            BatchNormalization(**norm),
            Flatten(),
            Heads({"a": [Dense(5, use_bias=False), BatchNormalization(**norm), Dense(2)],
                   "b": Dense(3)}),
        ],
        seed=4, dtype="float64",
    )  # fmt: skip


def test_folding_changes_no_output(backend, rng):
    net = foldable()
    net.compile("sgd", "softmax_cross_entropy")
    x = rng.standard_normal((24, 6, 6, 3))
    labels = {"a": rng.integers(0, 2, 24), "b": rng.integers(0, 3, 24)}
    net.fit(x, labels, epochs=2, batch_size=8, verbose=0)
    before, want = net.get_weights(), net.predict(x)
    folded = fastnn.fold_batch_norm(net)
    # Those behind an activation or with nothing below stay.
    left = [n for n in folded.get_weights() if n.endswith("moving_mean")]
    assert left == ["batchnormalization_4/moving_mean", "batchnormalization_5/moving_mean"]
    got = folded.predict(x)
    for head, y in want.items():
        assert np.abs(y).max() > 0.1
        np.testing.assert_allclose(got[head], y, rtol=1e-10, atol=1e-12)
    # The model is as it was, and goes on training.
    for name, value in net.get_weights().items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    np.testing.assert_array_equal(net.predict(x)["a"], want["a"])
    net.fit(x, labels, verbose=0)
    assert folded.predict(x)["a"].tobytes() == got["a"].tobytes()


@pytest.mark.parametrize("pieces", [1, 2])
def test_nothing_is_folded_into_a_maximum(pieces, rng):
    """A Maxout layer is a dense one inside, with a maximum after it."""
    net = Sequential([fastnn.Maxout(4, pieces), BatchNormalization(), Dense(3)], (5,), seed=1)
    net.set_weights(
        {name: rng.normal(size=w.shape) ** 2 for name, w in net.get_weights().items()}
        | {"batchnormalization/gamma": -np.ones(4)}
    )
    folded, x = fastnn.fold_batch_norm(net), rng.normal(size=(6, 5)).astype(np.float32)
    assert list(folded.get_weights()) == list(net.get_weights())
    np.testing.assert_array_equal(folded.predict(x), net.predict(x))


@pytest.mark.parametrize("value", [-0.5, np.nan])
def test_a_variance_is_not_negative(value, tmp_path):
    net = Sequential([BatchNormalization()], (2,))
    good = net.get_weights()
    net.layers[0].moving_variance.value[1] = value
    net.save_weights(tmp_path / "w")
    bad = net.get_weights()
    net.set_weights(good)
    for give in (lambda: net.set_weights(bad), lambda: net.load_weights(tmp_path / "w")):
        with pytest.raises(ValueError, match=rf"/moving_variance must be >= 0.0 .*, got {value}"):
            give()
    assert (net.get_weights()["batchnormalization/moving_variance"] == 1).all()


def test_folding_needs_a_built_model():
    with pytest.raises(TypeError, match="fold_batch_norm: model must be a Sequential, got 3"):
        fastnn.fold_batch_norm(3)
    with pytest.raises(ValueError, match="fold_batch_norm: the model isn't built"):
        fastnn.fold_batch_norm(foldable())
