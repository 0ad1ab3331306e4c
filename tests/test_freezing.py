"""Frozen layers, new heads on trained trunks."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import (
    Activation,
    Branches,
    Chain,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Heads,
    Layer,
    Residual,
    Sequential,
    check_gradients,
    initializers,
    optimizers,
)
from fastnn.callbacks import Callback


def trunk():
    return [
        Conv2D(4, 3, activation="relu"),
        Residual([Conv2D(4, 3, padding="same")], activation="relu"),
        Branches([Conv2D(2, 1, activation="relu"), Conv2D(2, 3, padding="same")]),
        Flatten(),
    ]


def data(rng, dtype="f4"):
    return rng.standard_normal((12, 7, 6, 2)).astype(dtype), rng.integers(0, 3, 12)


def bits(weights):
    return {name: array.tobytes() for name, array in weights.items()}


class Counted:
    """Counts the calls of each kernel that a model makes."""

    def __init__(self, net, monkeypatch):
        from fastnn import backends
        from fastnn.ops import OPS

        self.calls = {}
        for name in OPS:
            monkeypatch.setattr(backends.kernels(net.dtype), name, self.counting(net, name))
        net._bound = ()

    def counting(self, net, name):
        from fastnn import backends

        kernel = getattr(backends.kernels(net.dtype), name)

        def call(*arguments):
            self.calls[name] = self.calls.get(name, 0) + 1
            return kernel(*arguments)

        return call


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adafactor", "ftrl"])
def test_a_frozen_trunk_does_no_work_and_keeps_its_bits(backend, optimizer, rng, monkeypatch):
    net = Sequential([*trunk(), Dense(5, "tanh"), Dense(3)], (7, 6, 2), seed=1)
    for layer in net.layers[:-1]:
        layer.trainable = False
    net.compile(optimizer, metrics=["accuracy"])
    before = net.get_weights()
    x, y = data(rng)
    counted = Counted(net, monkeypatch)
    losses = [net.train_on_batch(x, y) for _ in range(3)]
    assert losses[-1] < losses[0]
    assert counted.calls == {
        "conv2d": 12, "dense": 6, "add": 3, "softmax_cross_entropy": 3,
        "dense_dw": 3, "dense_db": 3,
        **({"update": 3} if optimizer in ("sgd", "adam") else {}),
    }  # fmt: skip
    after = net.get_weights()
    for name in before:
        assert (before[name].tobytes() == after[name].tobytes()) == (not name.startswith("dense_1"))
    assert set(net.get_gradients()) == {"dense_1/w", "dense_1/b"}


def test_memory_of_what_is_frozen():
    net = Sequential([Dense(700, "relu"), Dense(500, "relu"), Dense(3)], (600,), seed=1)
    net.compile("adam")
    assert net.nbytes()["state"] == 2 * net.nbytes()["parameters"]
    net.layers[0].trainable = net.layers[1].trainable = False
    before = net.get_weights()
    net.compile("adam")
    assert bits(before) == bits(net.get_weights())
    sizes = net.nbytes()
    assert sizes["parameters"] > 3_000_000
    assert sizes["gradients"] < 4 * 2000
    assert sizes["state"] < 8 * 2000


def test_work_of_a_frozen_layer_between(rng, monkeypatch):
    """dx, and nothing else."""
    layers = [Conv2D(4, 3), Conv2D(4, 3), Flatten(), Dense(5), Dense(4), Heads({"a": Dense(3)})]
    net = Sequential(layers, (7, 6, 2), seed=1)
    for i in (1, 4):
        layers[i].trainable = False
    net.compile("sgd")
    counted = Counted(net, monkeypatch)
    x, y = data(rng)
    net.train_on_batch(x, {"a": y})
    for name, calls in {"conv2d_dx": 1, "conv2d_dw": 1, "dense_dx": 3, "dense_dw": 2}.items():
        assert counted.calls[name] == calls, name
    assert counted.calls["dense_db"] == 3
    net.trainable = False
    net.compile("sgd")
    counted.calls.clear()
    net.train_on_batch(x, {"a": y})
    assert counted.calls == {"conv2d": 2, "dense": 3, "softmax_cross_entropy": 1}


def test_a_frozen_head_does_no_work(rng, monkeypatch):
    heads = Heads({"a": Dense(2, "tanh"), "b": Dense(2)})
    net = Sequential([heads], (5,), seed=1)
    heads.heads["a"].trainable = False
    net.compile("sgd", "mse")
    counted = Counted(net, monkeypatch)
    net.train_on_batch(np.ones((3, 5)), {"a": np.ones((3, 2)), "b": np.ones((3, 2))})
    assert counted.calls == {"dense": 2, "mse": 2, "dense_dw": 1, "dense_db": 1, "update": 1}


def test_the_store_ignores_what_a_frozen_layer_hands_it(rng):
    net = Sequential([Dense(600)], (600,), seed=1)
    net.layers[0].trainable = False
    net.compile("adam", "mse")
    before = bits(net.get_weights())
    net.store.begin_step(net.bind(2, training=True))
    net.store.dense(net.kernels, net.store.parameters[0], np.ones((2, 600), "f4"),
                    np.ones((2, 600), "f4"))  # fmt: skip
    net.store.end_step()
    assert bits(net.get_weights()) == before


def test_a_frozen_layer_between_two_that_learn(backend, rng):
    """Its dx flows, its weights stay; and the others move as if it were frozen by hand."""
    x, y = data(rng)

    def net(freeze):
        net = Sequential([Conv2D(4, 3), Conv2D(4, 3, activation="relu"), Flatten(), Dense(3)],
                         (7, 6, 2), seed=1)  # fmt: skip
        net.layers[1].trainable = not freeze
        net.compile(optimizers.SGD(0.1))
        return net

    frozen, free = net(True), net(False)
    kept = {name: a for name, a in free.get_weights().items() if name.startswith("conv2d_1/")}
    for _ in range(3):
        frozen.train_on_batch(x, y)
        free.train_on_batch(x, y)
        free.set_weights(free.get_weights() | kept)
    assert bits(frozen.get_weights()) == bits(free.get_weights())


@pytest.mark.parametrize("where", [0, 1])
def test_frozen_streamed_layers(backend, where, rng):
    """A large frozen layer isn't streamed, and none looks ahead through it."""
    x, y = rng.standard_normal((64, 700)).astype("f4"), rng.integers(0, 3, 64)
    net = Sequential([Dense(600, "relu"), Dense(500, "relu"), Dense(3)], seed=1)
    net.build((700,))
    net.layers[where].trainable = False
    net.compile(optimizers.Adam(1e-3))
    before = net.get_weights()
    net.fit(x, y, epochs=2, batch_size=32, seed=1, verbose=0)
    stored = Sequential([Dense(600, "relu"), Dense(500, "relu"), Dense(3)], (700,), seed=1)
    stored.layers[where].trainable = False
    stored.compile(optimizers.Adam(1e-3), keep_gradients=True)
    stored.fit(x, y, epochs=2, batch_size=32, seed=1, verbose=0)
    after = net.get_weights()
    for name, array in stored.get_weights().items():
        np.testing.assert_allclose(after[name], array, atol=1e-6)
    frozen = "dense" if where == 0 else "dense_1"
    for name in before:
        same = before[name].tobytes() == after[name].tobytes()
        assert same == (name.split("/")[0] == frozen)


def test_gradients_past_frozen_layers(backend, rng):
    x, y = data(rng, "f8")
    net = Sequential([*trunk(), Dense(3)], dtype="float64", seed=1)
    net.layers[1].trainable = False
    net.layers[2].children[0].trainable = False
    net.compile("sgd")
    errors = check_gradients(net, x, y)
    assert set(errors) == {"x", "conv2d/w", "conv2d/b", "conv2d_3/w", "conv2d_3/b", "dense/w",
                           "dense/b"}  # fmt: skip


def test_a_container_freezes_what_is_in_it():
    heads = Heads({"a": [Dense(3), Dense(2)], "b": Dense(2)})
    net = Sequential([Chain([Dense(4), Dense(4)]), heads])
    heads.trainable = False
    net.layers[0].children[1].trainable = False
    net.build((5,))
    assert {p.name for p in net.store.trained} == {"dense/w", "dense/b"}
    net.trainable = True
    net.compile("sgd")
    assert len(net.store.trained) == len(net.store.parameters) == 10
    net.trainable = False
    net.compile("sgd")
    x = np.ones((2, 5), "f4")
    before = bits(net.get_weights())
    assert not net.trainable
    assert net.train_on_batch(x, {"a": [0, 1], "b": [0, 1]}) > 0
    assert bits(net.get_weights()) == before


def test_one_frozen_head(rng):
    net = Sequential([Dense(4, "tanh"), Heads({"a": Dense(2), "b": Dense(2)})], (5,), seed=1)
    net.layers[1].heads["b"].trainable = False
    net.compile("adam")
    before = net.get_weights()
    net.train_on_batch(rng.standard_normal((6, 5)), {"a": [0, 1] * 3, "b": [1, 0] * 3})
    moved = {name for name, a in net.get_weights().items() if not np.array_equal(a, before[name])}
    assert moved == {"dense/w", "dense/b", "a/w", "a/b"}


def test_a_change_needs_compile(rng):
    x, y = data(rng)
    net = Sequential([*trunk(), Dense(3)], (7, 6, 2), seed=1)
    net.compile("adam")
    net.train_on_batch(x, y)
    net.layers[1].trainable = True
    net.train_on_batch(x, y)  # nothing changed
    net.layers[1].children[0].children[0].trainable = False
    before = bits(net.get_weights())
    for train in (lambda: net.train_on_batch(x, y), lambda: net.fit(x, y, verbose=0)):
        with pytest.raises(RuntimeError, match="trainable of a layer has changed since compile"):
            train()
    assert bits(net.get_weights()) == before
    assert net.evaluate(x, y)["loss"] > 0
    net.compile("adam")
    net.train_on_batch(x, y)

    class Unfreeze(Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.trainable = True

    with pytest.raises(RuntimeError, match="has changed since compile"):
        net.fit(x, y, epochs=2, verbose=0, callbacks=[Unfreeze()])
    with pytest.raises(ValueError, match="Dense: trainable must be True or False, got 'no'"):
        Dense(3).trainable = "no"


@pytest.mark.parametrize("layers", [[Flatten(), Dense(3)], [Flatten()]])
def test_fit_says_that_nothing_is_trained(layers, rng):
    x = rng.standard_normal((6, 1, 3))
    net = Sequential(layers, (1, 3))
    net.trainable = False
    net.compile()
    with pytest.warns(RuntimeWarning, match="fit: nothing is trained: all layers are frozen") as w:
        net.fit(x, [0, 1, 2] * 2, epochs=2, verbose=0)
    assert [one.filename for one in w] == [__file__]


class Scale(Layer):
    """A layer that knows nothing of freezing, and has statistics."""

    def build(self, input_shape):
        self.s = self.add_parameter("s", input_shape, initializers.Constant(1.5))
        self.seen = self.add_parameter("seen", (1,), initializers.Constant(0), learned=False)
        return input_shape

    def forward(self, x, training):
        self.x = x
        if training:
            self.seen.value += len(x)
        return x * self.s.value

    def backward(self, dy, sink):
        np.sum(dy * self.x, axis=0, out=sink.gradient(self.s))
        return dy * self.s.value


def test_a_layer_that_knows_nothing_of_it(rng, tmp_path):
    x, y = rng.standard_normal((6, 4)), rng.integers(0, 3, 6)
    for frozen in (False, True):
        net = Sequential([Dense(4), Scale(), Dense(3)], (4,), seed=1)
        net.layers[1].trainable = not frozen
        net.compile(optimizers.Adam(weight_decay=0.1))
        net.train_on_batch(x, y)
        net.train_on_batch(x, y)
        weights = net.get_weights()
        assert weights["scale/seen"] == 12
        assert np.all(weights["scale/s"] == 1.5) == frozen
        net.layers[1].trainable = True
        assert [p.trainable for p in net.layers[1].own_parameters] == [True, False]
    net.save_weights(tmp_path / "w.safetensors")
    other = Sequential([Dense(4), Scale(), Dense(3)], (4,))
    other.load_weights(tmp_path / "w.safetensors")
    assert bits(other.get_weights()) == bits(weights)


# --- a new head ---------------------------------------------------------------------------------


def test_a_new_head_on_a_trained_trunk(rng):
    x, y = data(rng)
    net = Sequential([*trunk(), Dropout(0.5), Dense(3)], seed=1)
    net.compile("adam")
    net.fit(x, y, epochs=2, seed=1, verbose=0)
    old = net.get_weights()
    head = net.pop()
    with pytest.raises(RuntimeError, match="call compile"):
        net.train_on_batch(x, y)
    features = net.predict(x)
    assert features.shape == (12, 80)
    net.add(Dense(5, name="new"))
    net.layers[0].trainable = False
    net.compile("adam", metrics=["accuracy"])
    kept = {name: a for name, a in net.get_weights().items() if not name.startswith("new")}
    assert bits(kept) == bits({name: a for name, a in old.items() if name in kept})
    assert set(old) - set(kept) == {"dense/w", "dense/b"}
    net.fit(x, y, epochs=1, verbose=0)
    assert net.predict(x).shape == (12, 5)
    np.testing.assert_array_equal(net.get_weights()["conv2d/w"], old["conv2d/w"])
    assert not np.array_equal(net.get_weights()["conv2d_1/w"], old["conv2d_1/w"])
    # The old one may serve elsewhere, with weights of its own.
    other = Sequential([head], (4,), seed=1)
    assert other.get_weights()["dense/w"].shape == (4, 3)


def test_a_layer_added_late_is_as_one_that_was_there():
    layers = [Dense(4), Dropout(0.5), Dense(3), Dropout(0.5)]
    early = Sequential([Dense(4), Dropout(0.5), Dense(3), Dropout(0.5)], (5,), seed=3)
    late = Sequential(layers[:1], (5,), seed=3)
    late.get_weights()
    for layer in layers[1:]:
        late.add(layer)
    assert bits(early.get_weights()) == bits(late.get_weights())
    x, y = np.ones((6, 5), "f4"), [0, 1, 2] * 2
    for net in (early, late):
        net.compile("sgd")
    assert early.train_on_batch(x, y) == late.train_on_batch(x, y)


def test_what_add_and_pop_refuse(rng):
    net = Sequential([Dense(4), Dense(3)], (5,), seed=3)
    net.compile("adam")
    net.train_on_batch(np.ones((2, 5)), [0, 1])
    before = bits(net.get_weights())
    strange = Conv2D(3, 3)
    with pytest.raises(ValueError, match="input must have shape"):
        net.add(strange)
    with pytest.raises(ValueError, match="there twice"):
        net.add(net.layers[0])
    other = Sequential([Dense(3)], (4,))
    with pytest.raises(ValueError, match="part of another model"):
        net.add(other.layers[0])
    assert bits(net.get_weights()) == before
    net.train_on_batch(np.ones((2, 5)), [0, 1])  # still compiled
    assert bits(net.get_weights()) != before
    Sequential([strange], (5, 5, 1))  # not claimed
    assert bits(other.get_weights())
    net.pop()
    with pytest.raises(ValueError, match="pop: the model must keep a layer, and has 1"):
        net.pop()
    net.add(Heads({"a": Dense(1)}))
    with pytest.raises(ValueError, match="heads must be the last layer"):
        net.add(Activation("relu"))
    unbuilt = Sequential([Dense(4), Dense(3)])
    assert unbuilt.pop().units == 3


def test_a_popped_layer_is_not_frozen_any_more(rng):
    """Its weights are gone, and what is drawn anew has to learn."""
    net = Sequential([Dense(8, "relu"), Dense(3)], input_shape=(4,), seed=1)
    net.trainable = False
    head = net.pop()
    assert head.trainable
    net.add(head)
    net.compile("adam")
    x, y = rng.random((12, 4)), rng.integers(0, 3, 12)
    losses = net.fit(x, y, epochs=20, verbose=0)["loss"]
    assert losses[-1] < losses[0]
