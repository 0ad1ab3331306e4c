"""Penalties on weights: their values, gradients, and place in the loss."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import (
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Heads,
    Sequential,
    check_gradients,
    optimizers,
    regularizers,
)
from fastnn.regularizers import L1, L1L2, L2

KINDS = {"l1": "l1", "l2": "l2", "L1": L1(0.3), "L2": L2(0.2), "both": L1L2(0.1, 0.4)}


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(backend, kind, rng):
    """Of every layer that takes one; the penalties are far from small here."""
    net = Sequential(
        [
            Conv2D(3, 2, activation="tanh", kernel_regularizer=KINDS[kind]),
            DepthwiseConv2D(2, depthwise_regularizer=KINDS[kind]),
            Flatten(),
            Dense(4, kernel_regularizer=KINDS[kind]),
            Heads({"a": Dense(2, kernel_regularizer=KINDS[kind]), "b": Dense(1)}),
        ],
        dtype="float64",
        seed=1,
    )
    net.compile("sgd", "mse")
    x = rng.standard_normal((3, 5, 4, 2))
    labels = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal((3, 1))}
    check_gradients(net, x, labels)
    w = net.get_weights()
    rule = regularizers.get(KINDS[kind])
    penalty = sum(
        rule.l1 * np.abs(w[name]).sum() + rule.l2 * np.square(w[name]).sum()
        for name in ("conv2d/w", "depthwiseconv2d/w", "dense/w", "a/w")
    )
    heads = net.evaluate(x, labels)
    assert heads["loss"] == pytest.approx(heads["a_loss"] + heads["b_loss"] + penalty)
    assert penalty > 0.01 * heads["loss"]
    assert net.test_on_batch(x, labels) == pytest.approx(heads["loss"])
    history = net.fit(x, labels, epochs=1, batch_size=3, verbose=0)
    assert history["loss"] == [pytest.approx(heads["loss"])]


def test_a_step_by_hand(backend, rng):
    x, y = rng.standard_normal((4, 3)), rng.standard_normal((4, 2))
    net = Sequential([Dense(2, kernel_regularizer=L1L2(0.1, 0.2))], dtype="float64", seed=1)
    net.compile(optimizers.SGD(0.5), "mse")
    net.build((3,))
    w = net.get_weights()["dense/w"]
    net.train_on_batch(x, y)
    gradient = x.T @ (x @ w - y) / 4 + 0.1 * np.sign(w) + 0.4 * w
    np.testing.assert_allclose(net.get_weights()["dense/w"], w - 0.5 * gradient, rtol=1e-12)


def test_a_large_layer_is_stored(backend, rng):
    """A penalty adds to the whole gradient; a frozen layer has neither."""
    x, y = rng.standard_normal((4, 900)).astype("f4"), rng.integers(0, 3, 4)

    def net(penalty, frozen=False):
        net = Sequential([Dense(400, "tanh", kernel_regularizer=penalty), Dense(3)], (900,), seed=1)
        net.layers[0].trainable = not frozen
        net.compile(optimizers.SGD(0.1))
        return net

    plain, zero, both = net(None), net(L2(0.0)), net(L1L2(1e-3, 1e-2))
    assert plain.nbytes()["gradients"] < zero.nbytes()["gradients"]
    plain.train_on_batch(x, y)
    zero.train_on_batch(x, y)
    w = plain.get_weights()["dense/w"]
    np.testing.assert_array_equal(w, zero.get_weights()["dense/w"])
    start = both.get_weights()["dense/w"]
    both.train_on_batch(x, y)
    want = w - 0.1 * (1e-3 * np.sign(start) + 2e-2 * start)
    np.testing.assert_allclose(both.get_weights()["dense/w"], want, atol=1e-6)
    assert np.abs(want - w).max() > 1e-4
    frozen, frozen_plain = net("l1", frozen=True), net(None, frozen=True)
    assert frozen.train_on_batch(x, y) == frozen_plain.train_on_batch(x, y)


def test_l1_makes_zeros_and_l2_small_weights(rng):
    x = rng.standard_normal((200, 10))
    y = x[:, :1] - 0.5 * x[:, 1:2]

    def weights(penalty):
        net = Sequential([Dense(1, kernel_regularizer=penalty)], dtype="float64", seed=1)
        net.compile(optimizers.SGD(0.05), "mse")
        net.fit(x, y, epochs=40, seed=1, verbose=0)
        return np.abs(net.get_weights()["dense/w"].ravel())

    none, l1, l2 = weights(None), weights(L1(0.2)), weights(L2(0.5))
    assert none[1] == pytest.approx(0.5, abs=1e-3)
    assert l1[0] > 0.8
    assert np.all(l1[2:] < 0.02)
    assert l2[0] < 0.8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(3, kernel_regularizer="l3"), r"unknown regularizer 'l3'"),
        (lambda: Conv2D(3, 3, kernel_regularizer=0.01), "unknown regularizer 0.01"),
        (lambda: L1(-1), r"L1: l1 must be a number in \[0, inf\), got -1"),
        (lambda: L2("x"), r"L2: l2 must be a number in \[0, inf\), got 'x'"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_infinite_penalty_is_named():
    net = Sequential([Dense(2, kernel_regularizer=L2(1.0))], (2,), seed=1)
    net.compile("sgd", "mse")
    net.set_weights({"dense/w": np.full((2, 2), np.inf), "dense/b": np.zeros(2)})
    with pytest.raises(FloatingPointError, match="penalty on weights=inf"):
        net.train_on_batch(np.zeros((1, 2)), np.zeros((1, 2)))
