"""Branches, Add, Residual: values, gradients, and buffers that must not be written over."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import (
    Activation,
    Add,
    Branches,
    Chain,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Heads,
    MaxPool2D,
    Residual,
    Sequential,
    check_gradients,
)


def inception():
    return Branches(
        [
            Conv2D(2, 1, activation="tanh"),
            [Conv2D(3, 1, activation="tanh"), Conv2D(3, 3, padding="same", activation="sigmoid")],
            [MaxPool2D(3, strides=1, padding="same"), Conv2D(1, 1)],
            [],
        ]
    )


BLOCKS = {
    "branches": inception,
    "one branch": lambda: Branches([Conv2D(4, 3, padding="same")]),
    "branches that change nothing": lambda: Concat([[], [], Dropout(0.3)]),
    "add": lambda: Add([Conv2D(4, 1), [Conv2D(4, 3, padding="same", activation="relu")], []]),
    "add of one": lambda: Add([Conv2D(4, 1)], "relu"),
    "add, tanh": lambda: Add([Conv2D(4, 1), Conv2D(4, 1, activation="tanh")], "tanh"),
    "add, swish": lambda: Add([Conv2D(4, 1), []], "swish"),
    "residual, softmax": lambda: Residual([Conv2D(4, 1)], activation="softmax"),
    "x and more": lambda: Add([[], Conv2D(4, 1), Conv2D(4, 3, padding="same")], "tanh"),
    "x four times": lambda: Add([[], [], [], Activation("identity")], "sigmoid"),
    "residual": lambda: Residual([Conv2D(4, 3, padding="same", activation="relu"), Conv2D(4, 1)]),
    "residual, relu": lambda: Residual([Conv2D(4, 3, padding="same")], activation="relu"),
    "residual with a shortcut": lambda: Residual(
        [Conv2D(3, 1, activation="tanh"), Conv2D(5, 3, 2, "same")], [Conv2D(5, 1, 2)], "relu"
    ),
    "residual of residuals": lambda: Residual(
        [Residual(Conv2D(4, 1, activation="relu")), Residual([Conv2D(4, 1)], activation="relu")]
    ),
    "residual of branches": lambda: Residual([inception(), Conv2D(4, 1)], activation="tanh"),
}


def model(layers, dtype="float64"):
    net = Sequential(layers, dtype=dtype, seed=7)
    net.compile("sgd", "mse")
    return net


@pytest.mark.parametrize("block", BLOCKS)
def test_gradients_alone(backend, block, rng):
    net = model([BLOCKS[block]()])
    x = rng.standard_normal((2, 6, 5, 4))
    y = net.predict(x)
    check_gradients(net, x, y + 0.1 * rng.standard_normal(y.shape))


@pytest.mark.parametrize("block", BLOCKS)
def test_gradients_in_a_network(backend, block, rng):
    """A layer before that needs its own output to undo itself, and the block twice."""
    net = model(
        [Conv2D(4, 2, activation="tanh"), BLOCKS[block](), Conv2D(4, 1, activation="sigmoid"),
         BLOCKS[block](), Flatten(), Dense(3)]
    )  # fmt: skip
    x = rng.standard_normal((3, 8, 7, 2))
    check_gradients(net, x, rng.standard_normal((3, 3)))


def test_branches_of_features(backend, rng):
    """Without images, and with the model's input for x."""
    net = model(
        [
            Branches([Dense(3, "tanh"), [], Add([Dense(2), Dense(2)], "tanh")]),
            Residual([Dense(4, "tanh"), Dense(9)]),
            Heads({"a": Residual([Dense(9)], activation="tanh"), "b": Dense(2)}),
        ]
    )
    x = rng.standard_normal((5, 4))
    check_gradients(net, x, {"a": rng.standard_normal((5, 9)), "b": rng.standard_normal((5, 2))})


def test_what_they_compute(backend, rng):
    x = rng.standard_normal((2, 3, 3, 4))
    parts = [Conv2D(2, 1), Conv2D(3, 1, activation="tanh")]
    got = model([Branches([*parts, []])]).predict(x)
    alone = [layer.forward(x, False) for layer in parts]
    np.testing.assert_array_equal(got, np.concatenate([*alone, x], axis=-1))

    parts = [Conv2D(4, 1), Conv2D(4, 1)]
    got = model([Add([*parts, []], activation="relu")]).predict(x)
    one, two = (layer.forward(x, False) for layer in parts)
    np.testing.assert_array_equal(got, np.maximum(one + two + x, 0))
    assert 0.2 < (got == 0).mean() < 0.8


def test_large_arrays_are_added_whole(backend):
    """More than one piece, and a piece that isn't full."""
    x = np.linspace(-1, 1, 3 * 33_333, dtype="f4").reshape(3, -1)
    net = model([Residual(Activation("identity"), activation="relu")], "float32")
    np.testing.assert_array_equal(net.predict(x), np.maximum(2 * x, 0))


def test_steps_are_those_of_the_reference(backend, rng):
    """Ten steps, with dropout in a branch and a short batch between."""
    from fastnn import use_backend

    def losses():
        net = model(
            [
                Conv2D(4, 3, activation="relu"),
                Branches([Conv2D(2, 1, activation="relu"), [Dropout(0.3), Conv2D(2, 1)]]),
                Residual([Conv2D(4, 3, padding="same"), Dropout(0.2)], activation="relu"),
                Residual([Conv2D(6, 1, 2)], Conv2D(6, 1, 2)),
                Flatten(),
                Dense(3),
            ]
        )
        return [net.train_on_batch(x[: 8 - i % 2], y[: 8 - i % 2]) for i in range(10)]

    x, y = rng.standard_normal((8, 7, 7, 2)), rng.standard_normal((8, 3))
    got = losses()
    with use_backend("reference"):
        np.testing.assert_allclose(got, losses(), rtol=1e-9)
    assert got[-1] < 0.8 * got[0]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: Branches([Conv2D(2, 1), Conv2D(2, 3)]), r"Branches 'branches': outputs must agree "
         r"in all axes but the last, got \(N, 6, 5, 2\), \(N, 4, 3, 2\)"),
        (lambda: Add([Conv2D(2, 1), Conv2D(3, 1)], name="sum"), r"Add 'sum': outputs must have one "
         r"shape, got \(N, 6, 5, 2\), \(N, 6, 5, 3\)"),
        (lambda: Residual(Conv2D(2, 1)), r"Residual 'residual': outputs must have one shape, got "
         r"\(N, 6, 5, 2\) of the layers and \(N, 6, 5, 4\) of the shortcut"),
        (lambda: Branches([Heads({"a": Conv2D(1, 1)})]), "Heads can't be in a branch"),
        (lambda: Branches([]), r"Branches: expected a list of branches, got \[\]"),
        (lambda: Branches("ab"), "Branches: expected a list of branches, got 'ab'"),
        (lambda: Residual([Conv2D(4, 1), "relu"]), "Residual: a branch must be a layer or a list"),
        (lambda: Add([[]], activation="selu?"), "unknown activation for Add 'selu\\?'"),
        (lambda: Residual([Chain([])], activation=3), "unknown activation for Residual 3"),
    ],
)  # fmt: skip
def test_what_does_not_fit(layer, message):
    with pytest.raises(ValueError, match=message):
        Sequential([layer()], (6, 5, 4))


def test_a_layer_can_be_in_one_place_only():
    layer = Dense(3)
    with pytest.raises(ValueError, match="the same Dense object is there twice"):
        Sequential([Branches([layer, [layer]])], (4,))


def test_names_and_summary():
    net = Sequential([Residual([Dense(4)], Dense(4)), Branches([Dense(1), Dense(2)])], (4,))
    names = [p.name for p in net.store.parameters]
    assert names[::2] == ["dense/w", "dense_1/w", "dense_2/w", "dense_3/w"]
    text = net.summary()
    for part in ("residual: Residual()", "  main: Chain", "  shortcut: Chain", "    dense_1: Dense",
                 "branches: Branches"):  # fmt: skip
        assert part in text
