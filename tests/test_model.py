"""Sequential: building, training, evaluating, saving, and what it says to bad input."""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
import stat
import sys
from contextlib import closing
from itertools import chain

import numpy as np
import pytest

import fastnn
from fastnn import Activation, Chain, Conv2D, Dense, Flatten, Heads, Layer, Sequential, optimizers
from fastnn.callbacks import Callback
from fastnn.losses import SigmoidCrossEntropy
from fastnn.training import Batches


@pytest.fixture
def data(rng):
    """Three classes that a line can tell apart."""
    x = rng.standard_normal((50, 4)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def small(seed=1, **arguments):
    net = Sequential([Dense(6, activation="tanh"), Dense(3)], seed=seed)
    net.compile(
        **{"optimizer": optimizers.Adam(0.01), "loss": "softmax_cross_entropy", **arguments}
    )
    return net


def heads(seed=1, **arguments):
    net = Sequential(
        [Dense(8, activation="relu"), Heads({"domain": Dense(2), "object": Dense(3)})], seed=seed
    )
    net.compile(**{"optimizer": "adam", "loss": "softmax_cross_entropy", **arguments})
    return net


def head_labels(y):
    return {"domain": y > 0, "object": y}


def bits(weights):
    return {name: array.tobytes() for name, array in weights.items()}


# --- construction -------------------------------------------------------------------------------


def test_a_list_and_add_are_the_same(data):
    x, y = data
    one = small()
    two = Sequential(seed=1)
    two.add(Dense(6, activation="tanh"))
    two.add(Dense(3))
    two.compile(optimizers.Adam(0.01))
    for net in (one, two):
        net.fit(x, y, epochs=2, seed=3, verbose=0)
    assert bits(one.get_weights()) == bits(two.get_weights())
    assert list(one.get_weights()) == ["dense/w", "dense/b", "dense_1/w", "dense_1/b"]


def test_compile_before_or_after_build(data):
    x, y = data
    before = small()
    after = Sequential([Dense(6, activation="tanh"), Dense(3)], input_shape=(4,), seed=1)
    after.compile(optimizers.Adam(0.01), "softmax_cross_entropy")
    assert before.train_on_batch(x, y) == after.train_on_batch(x, y)
    assert bits(before.get_weights()) == bits(after.get_weights())


def test_compile_again_forgets_the_state(data):
    x, y = data
    net = small(optimizer=optimizers.SGD(0.1, momentum=0.9))
    net.train_on_batch(x, y)
    assert np.any(net.store.state[0])
    net.compile(optimizers.SGD(0.1, momentum=0.9), "softmax_cross_entropy")
    assert not np.any(net.store.state[0])
    assert net.store.step == 0


def test_one_optimizer_serves_two_models(data):
    x, y = data
    optimizer = optimizers.Adam(0.01)
    one, two, alone = small(optimizer=optimizer), small(optimizer=optimizer), small()
    for _ in range(3):
        one.train_on_batch(x, y)
        two.train_on_batch(x, y)
        alone.train_on_batch(x, y)
    assert bits(one.get_weights()) == bits(two.get_weights()) == bits(alone.get_weights())


def test_names_are_unique(data):
    net = Sequential(
        [
            Dense(4),
            Activation("relu"),
            Dense(4, name="mine"),
            Heads({"a": Dense(2), "b": [Dense(3, activation="relu"), Dense(2)]}),
        ],
        input_shape=(5,),
    )
    names = [p.name for p in net.store.parameters]
    assert len(set(names)) == len(names) == 10
    assert {"dense/w", "mine/w", "a/w"} <= set(names)


def test_layers_of_more_dimensions(rng):
    net = Sequential([Activation("tanh"), Flatten(), Chain([Dense(5), Dense(2)])], dtype="float64")
    net.compile("sgd", "mse")
    x = rng.standard_normal((6, 3, 2, 2))
    first = net.train_on_batch(x, np.zeros((6, 2)))
    for _ in range(20):
        last = net.train_on_batch(x, np.zeros((6, 2)))
    assert last < first
    assert net.predict(x).shape == (6, 2)


def test_a_network_computes_what_it_says(backend, data):
    x, _ = data
    net = small()
    got = net.predict(x)
    w = net.get_weights()
    want = np.tanh(x @ w["dense/w"] + w["dense/b"]) @ w["dense_1/w"] + w["dense_1/b"]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "deviation"),
    [("glorot_uniform", 2 / 300), ("glorot_normal", 2 / 300), ("he_uniform", 2 / 200),
     ("he_normal", 2 / 200), ("lecun_uniform", 1 / 200), ("lecun_normal", 1 / 200)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initializers(name, deviation, dtype):
    net = Sequential([Dense(100, kernel_initializer=name)], (200,), dtype, seed=2)
    w = net.get_weights()["dense/w"]
    assert w.dtype == dtype
    assert w.std() == pytest.approx(deviation**0.5, rel=0.03)
    assert abs(w.mean()) < 3 * (deviation / w.size) ** 0.5
    if name.endswith("uniform"):
        assert np.abs(w).max() <= (3 * deviation) ** 0.5 * (1 + 1e-6)


def test_constants_and_random_initializers():
    from fastnn import initializers

    net = Sequential(
        [Dense(50, kernel_initializer=initializers.RandomNormal(0.5, 0.03), bias_initializer=0.1)],
        (400,), seed=2,
    )  # fmt: skip
    w = net.get_weights()
    assert w["dense/w"].mean() == pytest.approx(0.5, abs=1e-3)
    assert w["dense/w"].std() == pytest.approx(0.03, rel=0.03)
    np.testing.assert_array_equal(w["dense/b"], np.full(50, 0.1, "f4"))
    w = Sequential([Dense(9, kernel_initializer="ones")], (3,)).get_weights()
    assert np.all(w["dense/w"] == 1)
    assert not w["dense/b"].any()


# --- training -----------------------------------------------------------------------------------


def test_fit_reports_every_epoch(data):
    x, y = data
    net = small(metrics=["accuracy"])
    history = net.fit(x, y, epochs=4, batch_size=16, validation_split=0.2, seed=1, verbose=0)
    keys = ["accuracy", "learning_rate", "loss", "seconds", "val_accuracy", "val_loss"]
    assert sorted(history.history) == keys
    assert all(len(history[key]) == 4 for key in keys)
    assert history["loss"][-1] < history["loss"][0]
    assert history["learning_rate"] == [0.01] * 4
    assert all(0 < s < 60 for s in history["seconds"])


def test_fit_is_train_on_batch_in_order(data):
    """Without shuffling: batches in order, the last one short; means over samples."""
    x, y = data
    one, two = small(), small()
    history = one.fit(x, y, epochs=1, batch_size=16, shuffle=False, verbose=0)
    losses = [two.train_on_batch(x[i : i + 16], y[i : i + 16]) for i in range(0, 50, 16)]
    assert bits(one.get_weights()) == bits(two.get_weights())
    assert history["loss"] == [pytest.approx(np.average(losses, weights=[16, 16, 16, 2]))]
    assert one.store.step == 4


def test_a_short_batch_needs_no_padding(data):
    """Buffers of 32 serve a batch of 18: nothing of the rows before leaks in."""
    x, y = data
    one, two = small(), small()
    one.train_on_batch(x[:32], y[:32])
    two.train_on_batch(x[:32], y[:32])
    fresh = small()
    fresh.build((4,))
    fresh.set_weights(two.get_weights())
    assert one.test_on_batch(x[32:], y[32:]) == fresh.test_on_batch(x[32:], y[32:])
    np.testing.assert_array_equal(one.predict(x[32:]), fresh.predict(x[32:]))


def test_shuffling_sees_every_sample_once(data):
    x, y = data
    seen = []

    class Spy(Layer):
        def forward(self, batch, training):
            if training:
                seen.append(batch.copy())
            return batch

        def backward(self, dy, sink):
            return dy

    net = Sequential([Spy(), Dense(3)], seed=1)
    net.compile("sgd")
    net.fit(x, y, epochs=2, batch_size=16, seed=1, verbose=0)
    assert [len(batch) for batch in seen] == [16, 16, 16, 2] * 2
    first, second = np.concatenate(seen[:4]), np.concatenate(seen[4:])
    for epoch in (first, second):
        assert sorted(map(tuple, epoch)) == sorted(map(tuple, x))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, x)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_batch_holds_until_the_one_after_the_next_is_asked_for(workers):
    """In the next epoch too."""
    x = np.arange(9, dtype=np.float32).reshape(9, 1)
    with closing(Batches(x, {"": x[:, 0]}, 3, np.dtype("f4"), workers=workers)) as batches:
        rng = np.random.default_rng(1)
        order = np.random.default_rng(1)
        epochs = chain.from_iterable(batches.shuffled(rng, epoch) for epoch in range(4))
        expected = np.concatenate([x[order.permutation(9)] for _ in range(4)]).reshape(-1, 3, 1)
        held = next(epochs)
        for i, following in enumerate(epochs):
            np.testing.assert_array_equal(held[0], expected[i])
            np.testing.assert_array_equal(held[1][""], expected[i, :, 0])
            held = following
        assert i == 10


def test_validation_split_takes_the_end(data):
    x, y = data
    one, two = small(metrics=["accuracy"]), small(metrics=["accuracy"])
    a = one.fit(x, y, epochs=2, validation_split=0.3, seed=1, verbose=0)
    b = two.fit(x[:35], y[:35], epochs=2, validation_data=(x[35:], y[35:]), seed=1, verbose=0)
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert a[key] == b[key], key
    assert a["val_loss"][-1] == one.evaluate(x[35:], y[35:])["loss"]


def test_evaluate_is_a_mean_over_samples(data):
    x, y = data
    net = small(metrics=["accuracy"])
    net.fit(x, y, verbose=0)
    whole, parts = net.evaluate(x, y), net.evaluate(x, y, batch_size=7)
    assert whole["loss"] == pytest.approx(parts["loss"], rel=1e-5)
    right = (net.predict(x).argmax(axis=1) == y).mean()
    assert whole["accuracy"] == parts["accuracy"] == pytest.approx(right)
    assert whole["loss"] == net.test_on_batch(x, y)


def test_evaluate_and_predict_change_nothing(data):
    x, y = data
    net = small()
    net.train_on_batch(x, y)
    before, step = bits(net.get_weights()), net.store.step
    net.evaluate(x, y)
    net.predict(x)
    net.test_on_batch(x, y)
    assert (bits(net.get_weights()), net.store.step) == (before, step)


def test_predict_returns_memory_of_the_callers_own(data):
    x, _ = data
    net = small()
    first = net.predict(x)
    kept = first.copy()
    net.predict(x + 1)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    assert net.predict(x).any()
    assert net.predict(x[:0]).shape == (0, 3)
    np.testing.assert_array_equal(net.predict(x, batch_size=7), kept)


def test_predict_of_an_identity_is_a_copy(data):
    """A layer that returns its input must not hand out the caller's array."""
    x, _ = data
    net = Sequential([Activation("identity")])
    y = net.predict(x)
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)


@pytest.mark.parametrize("layout", ["uint8", "int64", "float64", "Fortran", "read-only", "list"])
def test_images_of_any_kind(rng, layout):
    """uint8 images and other layouts train as the same numbers in float32 do."""
    images = rng.integers(0, 256, (20, 3, 4, 2))
    y = rng.integers(0, 3, 20)
    given = {
        "uint8": lambda: images.astype(np.uint8),
        "int64": lambda: images,
        "float64": lambda: images.astype(np.float64),
        "Fortran": lambda: np.asfortranarray(images.astype(np.float32)),
        "read-only": lambda: images.astype(np.float32),
        "list": lambda: images.tolist(),
    }[layout]()
    if layout == "read-only":
        given.flags.writeable = y.flags.writeable = False
    found = []
    for x in (given, images.astype(np.float32)):
        net = Sequential([Flatten(), Dense(5, activation="sigmoid"), Dense(3)], seed=1)
        net.compile(optimizers.SGD(1e-3))
        net.fit(x, y, epochs=2, batch_size=8, seed=2, verbose=0)
        net.train_on_batch(x, y)
        found.append(bits(net.get_weights()) | {"evaluate": net.evaluate(x, y)["loss"]})
    assert found[0] == found[1]


def test_one_hot_labels_train_the_same(data):
    x, y = data
    one, two = small(metrics=["accuracy"]), small(metrics=["accuracy"])
    a = one.fit(x, y, epochs=2, seed=1, verbose=0)
    b = two.fit(x, np.eye(3)[y], epochs=2, seed=1, verbose=0)
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    assert a["accuracy"] == b["accuracy"]


@pytest.mark.parametrize("alias", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_keras_names(data, alias):
    x, y = data
    assert small(loss=alias).train_on_batch(x, y) == small().train_on_batch(x, y)


def test_regression_and_yes_or_no(data):
    x, _ = data
    for loss, y in [
        ("mse", x[:, 0] * 2),
        ("mean_squared_error", x[:, :1] * 2),
        ("sigmoid_cross_entropy", x[:, 0] > 0),
        ("binary_crossentropy", x[:, :1] > 0),
    ]:
        net = Sequential([Dense(1)], seed=1)
        metric = "mae" if loss.startswith("m") else "accuracy"
        net.compile(optimizers.Adam(0.05), loss, [metric])
        history = net.fit(x, y, epochs=40, batch_size=10, seed=1, verbose=0)
        assert history["loss"][-1] < 0.3 * history["loss"][0]
        assert history[metric][-1] < 0.2 if metric == "mae" else history[metric][-1] > 0.9


@pytest.mark.parametrize(
    ("loss", "outputs", "labels", "right"),
    [
        ("sigmoid_cross_entropy", [[2, 3, -1]], [[1, 1, 0]], 1),
        ("binary_crossentropy", [[5, -9, -9], [-1, -1, -1]], [[1, 1, 1], [1, 0, 0]], 1 / 2),
        (SigmoidCrossEntropy(), [[5, -9, -9]], [[0, 1, 0]], 1 / 3),
        ("softmax_cross_entropy", [[2, 3, -1], [2, 3, 4]], [[0, 1, 0], [1, 0, 0]], 1 / 2),
        ("softmax_cross_entropy", [[2, 3, -1], [2, 3, 4]], [1, 0], 1 / 2),
        ("mse", [[2, 3, -1], [2, 3, 4]], [[0, 1, 0], [1, 0, 0]], 1 / 2),
    ],
)
@pytest.mark.parametrize("where", ["one", "head"])
def test_the_loss_says_what_is_right(loss, outputs, labels, right, where):
    """Yes or no, each output by itself, or the largest of them; as one output or one of two."""
    layer = Activation("identity")
    if where == "one":
        net, key, y = Sequential([layer], (3,)), "accuracy", labels
        net.compile("sgd", loss, ["accuracy"])
    else:
        net, key = Sequential([Heads({"a": layer, "b": Dense(1)})]), "a_accuracy"
        y = {"a": labels, "b": np.zeros(len(labels))}
        net.compile("sgd", {"a": loss, "b": "mse"}, {"a": ["accuracy"]})
    assert net.evaluate(np.float32(outputs), y)[key] == pytest.approx(right)


def test_a_metric_may_be_a_function(data):
    x, y = data

    def largest(outputs, labels):
        return float(outputs.max(axis=1).sum())

    net = small(metrics=[largest])
    assert net.evaluate(x, y)["largest"] == pytest.approx(net.predict(x).max(axis=1).mean())


def test_the_rate_may_change_between_steps(data):
    x, y = data
    net = small(optimizer=optimizers.SGD(0.1))
    net.train_on_batch(x, y)
    before = bits(net.get_weights())
    net.optimizer.learning_rate = 0.0
    net.train_on_batch(x, y)
    assert bits(net.get_weights()) == before


# --- callbacks and output -----------------------------------------------------------------------


class Recorder(Callback):
    def __init__(self):
        self.calls = []

    def on_train_begin(self):
        self.calls.append("train")

    def on_epoch_begin(self, epoch):
        self.calls.append(f"epoch {epoch}")

    def on_batch_end(self, step, loss):
        assert np.isfinite(loss)
        self.calls.append(f"batch {step}")

    def on_epoch_end(self, epoch, logs):
        assert {"loss", "val_loss", "learning_rate"} <= set(logs)
        self.calls.append(f"end {epoch}")

    def on_train_end(self):
        self.calls.append("done")


def test_callbacks_are_called_in_order(data):
    x, y = data
    spy = Recorder()
    net = small()
    net.fit(x, y, epochs=2, batch_size=20, validation_split=0.2, callbacks=[spy], verbose=0)
    assert spy.model is net
    assert spy.calls == [
        "train", "epoch 0", "batch 1", "batch 2", "end 0", "epoch 1", "batch 3", "batch 4",
        "end 1", "done",
    ]  # fmt: skip


@pytest.mark.parametrize("validation", [0.0, 0.5])
def test_callbacks_know_what_will_be_recorded(data, validation):
    x, y = data
    spy = Callback()
    for net, labels in (
        (small(metrics=["accuracy", "mae"]), np.eye(3)[y]),
        (heads(), head_labels(y)),
    ):
        found = net.fit(x, labels, validation_split=validation, callbacks=[spy], verbose=0)
        assert list(spy.figures) == list(found.history)


@pytest.mark.parametrize(
    ("callbacks", "text"),
    [
        ([3], "fit: callbacks[0] must be a Callback, got 3"),
        ([Callback(), Callback], "callbacks[1] must be a Callback, got the class Callback, not an"),
        (Callback(), "fit: callbacks must be a list of callbacks, got a Callback"),
        (Callback, "fit: callbacks must be a list of callbacks, got the class Callback, not an"),
        (None, "fit: callbacks must be a list of callbacks, got None"),
    ],
)
def test_bad_callbacks(callbacks, text):
    net = Sequential([Dense(2)])
    net.compile()
    with pytest.raises(TypeError, match=re.escape(text)):
        net.fit(GOOD_X, GOOD_Y, callbacks=callbacks, verbose=0)
    assert net.store is None, "built before the check"


class Ends(Callback):
    """Notes how training ended; the second batch fails if ``fails``."""

    def __init__(self, fails=False):
        self.ends, self.fails = [], fails

    def on_batch_end(self, step, loss):
        if self.fails and step == 2:
            raise KeyboardInterrupt

    def on_train_end(self):
        self.ends.append("end")

    def on_train_error(self):
        self.ends.append("error")


def test_callbacks_are_told_of_an_error(data):
    x, y = data
    net, before, fails = small(), Ends(), Ends(fails=True)
    fails.reads_gradients = True
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, batch_size=10, callbacks=[before, fails], verbose=0)
    assert before.ends == fails.ends == ["error"]
    net.fit(x, y, batch_size=10, callbacks=[before], verbose=0)
    assert before.ends == ["error", "end"]


def test_callbacks_that_never_began_are_not_told_of_an_error(data):
    class Refuses(Callback):
        def on_train_begin(self):
            raise ValueError("no")

    x, y = data
    before, after = Ends(), Ends()
    with pytest.raises(ValueError, match="no"):
        small().fit(x, y, callbacks=[before, Refuses(), after], verbose=0)
    assert (before.ends, after.ends) == (["error"], [])


def test_callbacks_see_the_data_trained_on(data):
    x, y = data
    spy = Callback()
    small().fit(x, y, validation_split=0.5, callbacks=[spy], verbose=0)
    inputs, labels = spy.data
    np.testing.assert_array_equal(inputs, x[: len(x) // 2])
    np.testing.assert_array_equal(labels[""], y[: len(x) // 2])


def test_stop_training(data):
    class Stop(Callback):
        def on_epoch_end(self, epoch, logs):
            self.model.stop_training = epoch == 1

    x, y = data
    net = small()
    assert len(net.fit(x, y, epochs=10, callbacks=[Stop()], verbose=0)["loss"]) == 2
    assert len(net.fit(x, y, epochs=3, verbose=0)["loss"]) == 3


def test_verbose_prints_a_line_per_epoch(data, capsys):
    x, y = data
    net = small(metrics=["accuracy"])
    net.fit(x, y, epochs=2, verbose=0)
    assert capsys.readouterr() == ("", "")
    net.fit(x, y, epochs=2, validation_split=0.5)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 2
    pattern = (
        r"Epoch 2/2: loss=\S+, accuracy=\S+, val_loss=\S+, val_accuracy=\S+, learning_rate=0.01"
    )
    assert re.match(pattern + r" \(\d+\.\d\d s\)$", lines[1])
    assert err == ""


def test_a_terminal_gets_a_bar(data, capsys, monkeypatch):
    x, y = data
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    small().fit(x, y, epochs=2)
    out, err = capsys.readouterr()
    assert "Epoch 2/2: loss=" in out + err
    assert "step" in err


# --- heads --------------------------------------------------------------------------------------


def test_heads_train_and_report(data):
    x, y = data
    net = heads(optimizer=optimizers.Adam(0.02), metrics=["accuracy"])
    history = net.fit(x, head_labels(y), epochs=20, batch_size=10, validation_split=0.2, seed=1,
                      verbose=0)  # fmt: skip
    names = ["domain_accuracy", "domain_loss", "loss", "object_accuracy", "object_loss"]
    keys = {*names, *(f"val_{n}" for n in names), "learning_rate", "seconds"}
    assert set(history.history) == keys
    for key in ("", "val_"):
        both = np.add(history[f"{key}domain_loss"], history[f"{key}object_loss"])
        np.testing.assert_allclose(history[f"{key}loss"], both, rtol=1e-12)
    assert history["domain_accuracy"][-1] > 0.9
    outputs = net.predict(x)
    assert {n: a.shape for n, a in outputs.items()} == {"domain": (50, 2), "object": (50, 3)}


def test_heads_learn_from_their_own_loss_only(data):
    """With a weight of 0 a head stays as it is, and the trunk learns from the other one."""
    x, y = data
    net = heads(loss_weights={"domain": 0.0})
    net.build((4,))
    before = net.get_weights()
    net.train_on_batch(x, head_labels(y))
    after = net.get_weights()
    changed = {n for n in before if not np.array_equal(before[n], after[n])}
    assert changed == {"dense/w", "dense/b", "object/w", "object/b"}


def test_loss_weights_scale_the_loss(data):
    x, y = data
    plain, weighted = heads(), heads(loss_weights={"object": 3.0})
    a, b = (net.evaluate(x, head_labels(y)) for net in (plain, weighted))
    assert b["loss"] == pytest.approx(a["domain_loss"] + 3 * a["object_loss"], rel=1e-6)


def test_losses_and_metrics_by_head(data):
    x, y = data
    net = heads(
        loss={"domain": "sigmoid_cross_entropy", "object": "mse"},
        metrics={"domain": ["accuracy"], "object": ["mae"]},
    )
    labels = {"domain": (y > 0).astype(int), "object": np.eye(3)[y]}
    found = net.evaluate(x, labels)
    assert set(found) == {"loss", "domain_loss", "domain_accuracy", "object_loss", "object_mae"}


def test_heads_of_several_layers_and_one_head(data):
    x, y = data
    net = Sequential([Heads({"object": [Dense(5, activation="relu"), Dense(3)]})], seed=1)
    net.compile("adam")
    assert np.isfinite(net.train_on_batch(x, {"object": y}))
    assert set(net.predict(x)) == {"object"}


# --- summary and memory -------------------------------------------------------------------------


def test_summary_says_what_there_is():
    net = Sequential(
        [Flatten(), Dense(64, activation="relu"), Heads({"domain": Dense(3), "object": Dense(31)})],
        input_shape=(8, 8), seed=1,
    )  # fmt: skip
    text = net.summary()
    assert isinstance(text, str)
    assert re.search(r"flatten: Flatten +\(N, 64\)", text)
    assert re.search(r"dense: Dense\(64, relu\) +\(N, 64\) +4,160", text)
    assert re.search(r"heads: Heads\(domain, object\)", text)
    assert re.search(r" {2}domain: Dense\(3\) +\(N, 3\) +195", text)
    assert "parameters: 6,370 (" in text
    assert "float32" in text
    assert "optimizer" not in text
    net.compile("adam")
    assert re.search(r"optimizer state \(Adam\): [\d,]+ bytes", net.summary())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_memory_of_adam_is_three_times_the_parameters(dtype):
    """And gradients take none where they go to the optimizer piece by piece."""
    net = Sequential([Dense(256), Dense(8)], input_shape=(3000,), dtype=dtype)
    weights = sum(a.nbytes for a in net.get_weights().values())
    assert net.nbytes()["parameters"] == pytest.approx(weights, rel=1e-3)
    assert net.nbytes()["state"] == 0
    net.compile("adam")
    size = net.nbytes()
    assert size["parameters"] + size["state"] == 3 * size["parameters"]
    assert size["gradients"] < 0.01 * size["parameters"]
    assert "768,000 parameters are updated piece by piece" in net.summary()
    net.compile("sgd")
    assert net.nbytes()["state"] == 0
    net.compile("momentum", keep_gradients=True)
    size = net.nbytes()
    assert size["gradients"] == size["state"] == size["parameters"]
    assert "piece by piece" not in net.summary()


# --- weights ------------------------------------------------------------------------------------


def test_weights_come_back_to_the_bit(tmp_path, data):
    x, y = data
    net = heads()
    net.train_on_batch(x, head_labels(y))
    net.save_weights(tmp_path / "a.safetensors")
    other = heads(seed=2)
    other.build((4,))
    assert bits(other.get_weights()) != bits(net.get_weights())
    other.load_weights(str(tmp_path / "a.safetensors"))
    assert bits(other.get_weights()) == bits(net.get_weights())
    assert os.listdir(tmp_path) == ["a.safetensors"]
    assert other.train_on_batch(x, head_labels(y)) == net.test_on_batch(x, head_labels(y))


def test_special_values_survive_saving(tmp_path):
    net = Sequential([Dense(3, bias_initializer="ones")], (4,), "float64")
    values = {"dense/w": np.full((4, 3), np.nan), "dense/b": np.array([np.inf, -0.0, 5e-324])}
    net.set_weights(values)
    net.save_weights(tmp_path / "w")
    net.set_weights({n: np.zeros_like(a) for n, a in values.items()})
    net.load_weights(tmp_path / "w")
    assert bits(net.get_weights()) == bits(values)


def test_the_file_is_safetensors(tmp_path, data):
    from safetensors.numpy import load_file

    net = small()
    net.build((4,))
    net.save_weights(tmp_path / "w.safetensors")
    assert bits(load_file(tmp_path / "w.safetensors")) == bits(net.get_weights())


def refuses_to_load(net, path, pattern):
    before = bits(net.get_weights())
    with pytest.raises(ValueError, match=pattern):
        net.load_weights(path)
    assert bits(net.get_weights()) == before


def test_damaged_and_foreign_files(tmp_path, data):
    net = small()
    net.build((4,))
    path = tmp_path / "w"
    net.save_weights(path)
    whole = path.read_bytes()
    for size in (0, 5, 8, 60, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refuses_to_load(net, path, r"load_weights: .*w is not a whole safetensors file")
    path.write_bytes(b"PNG, or so" * 100)
    refuses_to_load(net, path, "not a whole safetensors file")
    with pytest.raises(OSError, match="missing"):
        net.load_weights(tmp_path / "missing")


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "w"
    Sequential([Dense(6), Dense(3)], (4,)).save_weights(path)
    wider = Sequential([Dense(7), Dense(3)], (4,))
    refuses_to_load(wider, path, r"dense/w must have shape \(4, 7\), got \(4, 6\)")
    shorter = Sequential([Dense(6)], (4,))
    refuses_to_load(shorter, path, "names don't match .*not in the model: dense_1/b, dense_1/w")
    longer = Sequential([Dense(6), Dense(3), Dense(2)], (4,))
    refuses_to_load(longer, path, "missing: dense_2/b, dense_2/w")
    with pytest.raises(RuntimeError, match="isn't built"):
        Sequential([Dense(6), Dense(3)]).load_weights(path)


def test_set_weights_checks_all_before_it_sets_one():
    net = Sequential([Dense(2)], (2,))
    before = bits(net.get_weights())
    with pytest.raises(
        ValueError, match=r"set_weights: dense/b must have shape \(2,\), got \(3,\)"
    ):
        net.set_weights({"dense/w": np.ones((2, 2)), "dense/b": np.ones(3)})
    with pytest.raises(ValueError, match="set_weights: dense/b must hold numbers, got dtype <U1"):
        net.set_weights({"dense/w": np.ones((2, 2)), "dense/b": np.array(["a", "b"])})
    assert bits(net.get_weights()) == before
    net.set_weights({"dense/w": [[1, 2], [3, 4]], "dense/b": [5, 6]})
    np.testing.assert_array_equal(net.predict([[1.0, 1.0]]), [[9, 12]])


def test_set_weights_takes_a_dict_by_name():
    net = Sequential([Dense(2)], (2,))
    with pytest.raises(TypeError, match="set_weights: weights must be a dict by name, got 3"):
        net.set_weights(3)


def test_a_file_of_integers_is_refused(tmp_path):
    from safetensors.numpy import save_file

    net, path = Sequential([Dense(2)], (2,)), tmp_path / "w"
    save_file({"dense/w": np.ones((2, 2), np.int8), "dense/b": np.ones(2, np.float32)}, path)
    refuses_to_load(net, path, "load_weights: .*w: dense/w must hold floats, got dtype int8")


def test_a_model_is_neither_pickled_nor_copied(data):
    net = Sequential([Dense(3)], (4,))
    net.compile()
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        for _ in range(2):  # before it is used, and after
            with pytest.raises(TypeError, match=r"model isn't pickled .*save_weights"):
                make(net)
            net.fit(*data, verbose=0)


def test_a_failing_bind_is_done_again():
    class Once(Dense):
        def bind(self, n, kernels, needs_dx):
            if n == 7:
                raise MemoryError("no room")
            super().bind(n, kernels, needs_dx)

    net = Sequential([Dense(3), Once(2)], (4,), seed=1)
    x = np.ones((7, 4))
    y = net.predict(x[:5])
    with pytest.raises(MemoryError, match="no room"):
        net.predict(x)
    np.testing.assert_array_equal(net.predict(x[:5]), y)


@pytest.mark.parametrize("path", [3, None, ""])
def test_paths_that_are_none(path):
    net = Sequential([Dense(2)], (2,))
    for method in ("save_weights", "load_weights"):
        with pytest.raises(
            (TypeError, ValueError), match=f"{method}: path must be .*, got {path!r}"
        ):
            getattr(net, method)(path)


def test_what_is_too_large_is_named():
    huge = 10**17  # for any machine's addresses
    for layers in ([Dense(huge, name="wide")], [Dense(10**12), Dense(huge, name="wide")]):
        with pytest.raises(MemoryError, match=r"allocate [\d,]+ bytes for the parameters, wide/w "):
            Sequential(layers, (1000,)).get_weights()
    net = Sequential([Dense(3, name="wide")], (4,))
    net.build((4,))
    with pytest.raises(MemoryError, match=r"bytes for Dense 'wide': y \(10{17}, 3\)"):
        net.bind(huge, training=False)


def test_rows_of_unequal_length():
    net, ragged = Sequential([Dense(2)], (2,)), [[1.0, 2.0], [3.0]]
    net.compile()
    for use in (net.predict, lambda x: net.fit(x, [0, 1]), lambda x: net.evaluate(x, [0, 1])):
        with pytest.raises(ValueError, match=r"^x must be an array, its rows of one length"):
            use(ragged)
    with pytest.raises(ValueError, match=r"^y: labels must be an array"):
        net.fit(np.ones((2, 2)), ragged)
    with pytest.raises(ValueError, match=r"^set_weights: dense/w must be an array"):
        net.set_weights({"dense/w": ragged, "dense/b": [0, 0]})


def test_get_weights_are_copies():
    net = Sequential([Dense(2)], (2,))
    net.get_weights()["dense/w"][:] = 9
    assert not np.any(net.get_weights()["dense/w"] == 9)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    from fastnn import files

    net = Sequential([Dense(2)], (2,))
    path = tmp_path / "w"
    net.save_weights(path)
    old = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) & 0o600 == 0o600
    net.set_weights({n: a + 1 for n, a in net.get_weights().items()})

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        net.save_weights(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["w"], "a temporary file was left behind"


def test_saving_follows_links_keeps_modes_and_leaves_devices_alone(tmp_path):
    net = Sequential([Dense(2)], (2,))
    real, link, fifo = tmp_path / "real", tmp_path / "link", tmp_path / "fifo"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    net.save_weights(link)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    net.load_weights(real)
    os.mkfifo(fifo)
    with pytest.raises(OSError, match=r"not a regular file.*fifo"):
        net.save_weights(fifo)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


class _Wrong(Layer):
    """A layer with one method broken: ``returned`` is what that method gives."""

    def __init__(self, method, returned):
        super().__init__()
        self.method, self.returned = method, returned

    def build(self, input_shape):
        return self.returned(input_shape) if self.method == "build" else input_shape

    def forward(self, x, training):
        return self.returned(x) if self.method == "forward" else x

    def backward(self, dy, sink):
        return self.returned(dy) if self.method == "backward" else dy


@pytest.mark.parametrize("in_heads", [False, True])
@pytest.mark.parametrize(
    ("method", "returned"),
    [
        ("forward", lambda x: x[:, :2].copy()),
        ("forward", lambda x: x[:5]),
        ("forward", lambda x: np.asfortranarray(x)),
        ("forward", lambda x: x.astype(np.float64)),
        ("forward", lambda x: x.tolist()),
        ("backward", lambda dy: dy[:2, :2].copy()),
        ("backward", lambda dy: None),
        ("build", lambda shape: (7,)),
        ("build", lambda shape: None),
    ],
)
def test_what_a_layer_returns_is_checked_before_kernels_read_it(method, returned, in_heads):
    wrong = _Wrong(method, returned)
    last = Heads({"a": [wrong, Dense(3)]}) if in_heads else wrong
    net = Sequential([Dense(50), last, *([] if in_heads else [Dense(3)])])
    net.compile("sgd")
    labels = np.arange(20) % 3
    expected = "forward" if method == "build" and returned((1,)) else method
    with pytest.raises(ValueError, match=f"_Wrong .*: {expected} must return"):
        net.train_on_batch(np.ones((20, 4)), {"a": labels} if in_heads else labels)


def test_a_layer_belongs_to_one_model():
    layer = Dense(3)
    net = Sequential([layer], (4,))
    with pytest.raises(ValueError, match=r"Dense 'dense' is part of another model"):
        Sequential([layer], (2,))
    net.build((4,))  # its own model may be built anew
    assert net.predict(np.ones((1, 4))).shape == (1, 3)


def test_a_folder_that_cannot_be_written(tmp_path):
    net = Sequential([Dense(2)], (2,))
    with pytest.raises(OSError, match="nowhere"):
        net.save_weights(tmp_path / "nowhere" / "w")
    if os.name == "nt" or os.geteuid() == 0:
        return  # for root every folder can be written
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            net.save_weights(tmp_path / "w")
    finally:
        tmp_path.chmod(0o700)


# --- bad input ----------------------------------------------------------------------------------

BAD_CONSTRUCTION = [
    (lambda: Dense(0), ValueError, "Dense: units must be an integer >= 1, got 0"),
    (lambda: Dense(2.5), ValueError, "Dense: units must be an integer >= 1, got 2.5"),
    (lambda: Dense(True), ValueError, "Dense: units must be an integer >= 1, got True"),
    (lambda: Dense(3, activation="sigmod"), ValueError, "did you mean 'sigmoid'?"),
    (lambda: Dense(3, kernel_initializer="golrot_uniform"), ValueError,
     "unknown initializer 'golrot_uniform'; did you mean 'glorot_uniform'?"),
    (lambda: Dense(3, kernel_initializer=["zeros"]), ValueError, "unknown initializer ['zeros']"),
    (lambda: Dense(3, activation=["relu"]), ValueError, "unknown activation for Dense ['relu']"),
    (lambda: Dense(3, use_bias="no"), ValueError, "Dense: use_bias must be True or False, got 'no"),
    (lambda: Conv2D(3, 3, use_bias=0), ValueError, "Conv2D: use_bias must be True or False, got 0"),
    (lambda: Activation("softmx"), ValueError, "unknown activation for Activation 'softmx'"),
    (lambda: Heads({}), ValueError, "Heads: expected a dict of layers"),
    (lambda: Sequential([Dense(3), "relu"]), TypeError, "expected a layer, got str"),
    (lambda: Sequential([Dense(3)] * 2), ValueError, "the same Dense object is there twice"),
    (lambda: Sequential([], (3,)), ValueError, "the model has no layers"),
    (lambda: Sequential([Dense(3)], (0,)), ValueError, "input_shape must have sizes >= 1"),
    (lambda: Sequential([Dense(3)], ()), ValueError, "input_shape must have sizes >= 1"),
    (lambda: Sequential([Dense(3)], 8), TypeError, "input_shape must be a tuple of integers, with"),
    (lambda: Sequential([Dense(3)], (None, 4)), TypeError, "the batch, got (None, 4)"),
    (lambda: Sequential([Dense(3)], (8.5,)), TypeError, "the batch, got (8.5,)"),
    (lambda: Sequential([Dense(3)], (8, 8)), ValueError,
     "Dense 'dense': input must have shape (N, K), got (N, 8, 8); put Flatten() before it"),
    (lambda: Sequential([Dense(3)], dtype="float16"), ValueError, "unknown dtype 'float16'"),
    (lambda: Sequential([Heads({"a": Dense(2)}), Dense(3)], (4,)), ValueError,
     "can't follow Heads"),
    (lambda: optimizers.SGD(-0.1), ValueError,
     "SGD: learning_rate must be a number in [0, inf), got -0.1"),
    (lambda: optimizers.Adam(float("nan")), ValueError, "Adam: learning_rate must be a number"),
    (lambda: optimizers.Adam(1e-3, beta_1=1.0), ValueError, "Adam: beta_1 must be a number"),
    (lambda: optimizers.Adam(1e-3, epsilon=-1), ValueError, "Adam: epsilon must be a number"),
    (lambda: optimizers.RMSprop(1e-3, rho=1.5), ValueError, "RMSprop: rho must be a number"),
    (lambda: optimizers.SGD(0.1, momentum=-1), ValueError, "SGD: momentum must be a number"),
    (lambda: optimizers.SGD(0.1, nesterov=True), ValueError, "SGD: nesterov needs a momentum"),
    (lambda: optimizers.Adagrad(0.1, -1), ValueError, "initial_accumulator_value must be a number"),
    (lambda: optimizers.Adam(epsilon_hat=True, bias_correction=False), ValueError, "epsilon_hat"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "error", "text"), BAD_CONSTRUCTION, ids=[e[2][:50] for e in BAD_CONSTRUCTION]
)
def test_bad_construction(make, error, text):
    with pytest.raises(error, match=re.escape(text)):
        make()


BAD_COMPILE = [
    ({"optimizer": "adm"}, "unknown optimizer 'adm'; did you mean 'adam'?"),
    ({"loss": "softmax_crossentropy"}, "did you mean 'softmax_cross_entropy'?"),
    ({"metrics": ["acuracy"]}, "unknown metric 'acuracy'; did you mean 'accuracy'?"),
    ({"loss": ["mse"]}, "unknown loss ['mse']"),
    ({"metrics": [["accuracy"]]}, "unknown metric ['accuracy']"),
    ({"keep_gradients": "no"}, "compile: keep_gradients must be True or False, got 'no'"),
    ({"loss": {"domain": "mse", "objekt": "mse"}},
     "unknown head in compile's loss 'objekt'; did you mean 'object'?"),
    ({"loss": {"domain": "mse"}}, "compile: loss is missing for head 'object'"),
    ({"loss_weights": {"domian": 2.0}}, "did you mean 'domain'?"),
    ({"loss_weights": {"domain": "2"}}, "compile: loss_weights['domain'] must be a number in [0, "),
    ({"loss_weights": {"object": -1}}, "compile: loss_weights['object'] must be a number in [0, "),
    ({"loss_weights": {"object": math.nan}}, "loss_weights['object'] must be a number in [0, inf)"),
    ({"metrics": {"nothing": ["accuracy"]}}, "unknown head in compile's metrics 'nothing'"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "text"), BAD_COMPILE, ids=[e[1][:50] for e in BAD_COMPILE])
@pytest.mark.parametrize("built", [True, False])
def test_bad_compile(arguments, text, built):
    """Told at once if the model is built, else as soon as it is."""
    net = Sequential([Dense(4), Heads({"domain": Dense(2), "object": Dense(3)})], seed=1)
    if built:
        net.build((4,))
    with pytest.raises(ValueError, match=re.escape(text)):
        net.compile(**arguments) if built else _compile_and_build(net, arguments)
    if built:
        with pytest.raises(RuntimeError, match="call compile"):
            net.train_on_batch(np.ones((2, 4)), {"domain": [0, 1], "object": [0, 1]})


def _compile_and_build(net, arguments):
    net.compile(**arguments)
    net.build((4,))


def test_dicts_need_heads():
    net = Sequential([Dense(3)], (4,))
    with pytest.raises(ValueError, match="compile: loss is a dict, but the model has no heads"):
        net.compile("sgd", {"a": "mse"})


def test_wrong_order_of_calls(data):
    x, y = data
    net = Sequential([Dense(3)])
    for call in (lambda: net.fit(x, y), lambda: net.evaluate(x, y), lambda: net.optimizer):
        with pytest.raises(RuntimeError, match="call compile"):
            call()
    for call in (net.summary, net.get_weights, lambda: net.save_weights("x"), net.nbytes):
        with pytest.raises(RuntimeError, match="isn't built"):
            call()


GOOD_X = np.ones((6, 4), np.float32)
GOOD_Y = np.array([0, 1, 2, 0, 1, 2])
NAN_X = np.where(np.arange(24).reshape(6, 4) == 13, np.nan, GOOD_X)

BAD_DATA = [
    (GOOD_X[0], GOOD_Y, ValueError, "x must have a batch axis and features, got (4,)"),
    (np.ones((6, 5)), GOOD_Y, ValueError, "x must have shape (N, 4), got (6, 5)"),
    (np.ones((6, 2, 2)), GOOD_Y, ValueError, "x must have shape (N, 4), got (6, 2, 2)"),
    (np.full((6, 4), "a"), GOOD_Y, TypeError, "x must hold real numbers, got dtype <U1"),
    (GOOD_X * 1j, GOOD_Y, TypeError, "x must hold real numbers, got dtype complex"),
    (GOOD_X[:0], GOOD_Y[:0], ValueError, "x must hold at least one sample, got shape (0, 4)"),
    (GOOD_X, GOOD_Y[:5], ValueError, "y: labels must have shape (6,)"),
    (GOOD_X, GOOD_Y + 1, ValueError, "y: labels must be in 0..2 (C=3 classes), got 3"),
    (GOOD_X, GOOD_Y - 1, ValueError, "y: labels must be in 0..2 (C=3 classes), got -1"),
    (GOOD_X, GOOD_Y + 0.5, ValueError, "y: class numbers must be integers"),
    (GOOD_X, np.full(6, np.nan), ValueError, "y: class numbers must be integers"),
    (GOOD_X, np.ones((6, 3)), ValueError, "y: each row of one-hot labels must sum to 1"),
    (GOOD_X, np.ones((6, 2)), ValueError, "y: labels must have shape (6,)"),
    (GOOD_X, {"a": GOOD_Y}, TypeError, "y must be an array: the model has one output, got a dict"),
    (GOOD_X, ["a"] * 6, TypeError, "y: labels must hold real numbers"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("x", "y", "error", "text"), BAD_DATA, ids=[f"{e[3][:40]} {i}" for i, e in enumerate(BAD_DATA)]
)
def test_bad_data(x, y, error, text):
    net = small()
    net.build((4,))
    before = bits(net.get_weights())
    for call in (net.train_on_batch, net.test_on_batch, net.fit, net.evaluate):
        with pytest.raises(error, match=re.escape(text)):
            call(x, y)
    with pytest.raises(error, match="validation " + re.escape(text)):
        net.fit(GOOD_X, GOOD_Y, validation_data=(x, y))
    assert bits(net.get_weights()) == before
    assert net.store.step == 0


@pytest.mark.parametrize(
    ("y", "error", "text"),
    [
        (GOOD_Y, TypeError, "y must be a dict with the heads domain, object"),
        ({"domain": GOOD_Y % 2}, ValueError,
         "y: missing head 'object' (expected: domain, object)"),
        ({"domain": GOOD_Y % 2, "object": GOOD_Y, "x": GOOD_Y}, ValueError,
         "unknown head in y 'x' (expected one of: domain, object)"),
        ({"domain": GOOD_Y % 2, "objects": GOOD_Y}, ValueError, "did you mean 'object'?"),
        ({"domain": GOOD_Y, "object": GOOD_Y}, ValueError,
         "y['domain']: labels must be in 0..1 (C=2 classes), got 2"),
        ({"domain": GOOD_Y % 2, "object": GOOD_Y[:3]}, ValueError,
         "y['object']: labels must have shape (6,)"),
    ],
)  # fmt: skip
def test_bad_heads(y, error, text):
    net = heads()
    net.build((4,))
    before = bits(net.get_weights())
    for call in (net.train_on_batch, net.fit, net.evaluate):
        with pytest.raises(error, match=re.escape(text)):
            call(GOOD_X, y)
    assert bits(net.get_weights()) == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"batch_size": 0}, "fit: batch_size must be an integer >= 1, got 0"),
        ({"batch_size": -3}, "fit: batch_size must be an integer >= 1, got -3"),
        ({"batch_size": 2.0}, "fit: batch_size must be an integer >= 1, got 2.0"),
        ({"epochs": -1}, "fit: epochs must be an integer >= 0, got -1"),
        ({"shuffle": "no"}, "fit: shuffle must be True or False, got 'no'"),
        ({"validation_split": 1.0}, "fit: validation_split must be a number in [0, 1), got 1.0"),
        ({"validation_split": -0.1}, "fit: validation_split must be a number in [0, 1), got -0.1"),
        ({"validation_split": 0.01}, "of 6 samples leaves none for validation"),
        ({"validation_split": 0.5, "validation_data": (GOOD_X, GOOD_Y)}, "not both"),
    ],
)
def test_bad_arguments_of_fit(arguments, text):
    net = small()
    with pytest.raises(ValueError, match=re.escape(text)):
        net.fit(GOOD_X, GOOD_Y, verbose=0, **arguments)


def test_bad_batch_size_elsewhere():
    net = small()
    for call in (lambda: net.evaluate(GOOD_X, GOOD_Y, batch_size=0),
                 lambda: net.predict(GOOD_X, batch_size=0)):  # fmt: skip
        with pytest.raises(ValueError, match="batch_size must be an integer >= 1, got 0"):
            call()


def test_a_negative_rate_is_refused_later_too():
    net = small()
    with pytest.raises(ValueError, match="Adam: learning_rate must be a number in"):
        net.optimizer.learning_rate = -1
    assert net.optimizer.learning_rate == 0.01


def test_no_epochs_and_a_batch_larger_than_the_data():
    net = small()
    assert net.fit(GOOD_X, GOOD_Y, epochs=0, verbose=0).history == {}
    assert net.fit(GOOD_X, GOOD_Y, batch_size=1000, verbose=0)["loss"][0] > 0


# --- numbers that aren't finite -----------------------------------------------------------------


def test_nan_in_the_data_stops_before_the_update(backend):
    net = small()
    net.train_on_batch(GOOD_X, GOOD_Y)
    before, state = bits(net.get_weights()), bits(dict(enumerate(net.store.state)))
    with pytest.raises(FloatingPointError) as info:
        net.train_on_batch(NAN_X, GOOD_Y)
    text = str(info.value)
    assert text.startswith("step 2: loss=nan isn't finite")
    assert "the input itself (row 3 of the batch)" in text
    assert "The weights are as before this step" in text
    assert (bits(net.get_weights()), bits(dict(enumerate(net.store.state)))) == (before, state)


@pytest.mark.parametrize("activation", ["relu", "tanh", None])
def test_nan_names_the_layer(backend, activation):
    """Weights that overflow in the second layer: it is named, whatever the activation after."""
    net = Sequential(
        [Dense(4, name="first"), Dense(3, activation, name="second"), Dense(3)], seed=1
    )
    net.compile("sgd")
    net.build((4,))
    weights = net.get_weights()
    weights["second/w"][1, 2] = np.nan
    net.set_weights(weights)
    before = bits(net.get_weights())
    with pytest.raises(FloatingPointError, match=r"step 1: .*in the output of layer 'second'"):
        net.fit(GOOD_X, GOOD_Y, verbose=0)
    assert bits(net.get_weights()) == before


def test_nan_in_a_head_names_the_head(data):
    x, y = data
    net = heads()
    net.build((4,))
    weights = net.get_weights()
    weights["object/b"][0] = np.inf
    net.set_weights(weights)
    with pytest.raises(FloatingPointError, match=r"object=(nan|inf) .*output of layer 'object'"):
        net.train_on_batch(x, head_labels(y))


def test_a_rate_that_diverges_stops_with_a_message(data):
    """The classic: the loss runs away; training stops with finite weights and a hint."""
    x, _ = data
    net = Sequential([Dense(8, activation="relu"), Dense(1)], seed=1)
    net.compile(optimizers.SGD(1e3), "mse")
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(
        FloatingPointError, match=r"step \d+: loss=(inf|nan).*smaller learning rate"
    ):  # fmt: skip
        net.fit(x, x[:, 0], epochs=200, batch_size=10, seed=1, verbose=0)


# --- a layer of the user's own ------------------------------------------------------------------


class Scale(Layer):
    """y = x s, one trained factor per feature: as base.py says a layer is written."""

    def build(self, input_shape):
        self.s = self.add_parameter("s", input_shape, fastnn.initializers.Constant(2.0))
        return input_shape

    def bind(self, n, kernels, needs_dx):
        self.y = self.buffer("y", (n, *self.input_shape))
        self.dx = self.buffer("dx", (n, *self.input_shape))

    def forward(self, x, training):
        self.x = x
        return np.multiply(x, self.s.value, out=self.y)

    def backward(self, dy, sink):
        np.sum(dy * self.x, axis=0, out=sink.gradient(self.s))
        return np.multiply(dy, self.s.value, out=self.dx)


def test_a_layer_of_ones_own(backend, data):
    x, y = data
    net = Sequential([Dense(5, activation="tanh"), Scale(name="mine"), Dense(3)], seed=1)
    net.compile(optimizers.Adam(0.05))
    history = net.fit(x, y, epochs=10, batch_size=10, seed=1, verbose=0)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert np.all(net.get_weights()["mine/s"] != 2)
    assert "mine: Scale" in net.summary()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
@pytest.mark.parametrize(("inputs", "units"), [(4100, 70), (700, 600)])
def test_looking_ahead_gives_the_bits_of_steps_by_hand(
    backend, optimizer, activation, inputs, units, rng
):
    """fit multiplies the next batch while a large first layer is updated; step by step it can't.

    Where the sum isn't cut it begins with the bias, so nothing is gained and nothing tried.
    """
    x, y = rng.integers(0, 256, (47, inputs), np.uint8), rng.integers(0, 3, 47)

    def model():
        net = fastnn.Sequential(
            [fastnn.Dense(units, activation), fastnn.Dense(3)], input_shape=(inputs,), seed=1
        )
        net.compile(fastnn.optimizers.get(optimizer, 1e-5))
        assert net.store.parameters[0].gradient is None
        return net

    fitted, by_hand = model(), model()
    aheads = []
    first = fitted.layers[0]
    look_ahead = first.look_ahead
    first.look_ahead = lambda x_next: aheads.append(len(x_next)) or look_ahead(x_next)
    fitted.fit(x, y, epochs=2, batch_size=10, shuffle=True, seed=3, verbose=0)
    assert aheads == [10, 10, 10, 7] * 2
    order = np.random.default_rng(3)
    for _ in range(2):
        rows = order.permutation(47)
        for start in range(0, 47, 10):
            part = rows[start : start + 10]
            by_hand.train_on_batch(x[part].astype(np.float32), y[part])
    for name, weights in by_hand.get_weights().items():
        found = fitted.get_weights()[name]
        if backend == "cython":
            np.testing.assert_array_equal(found, weights)
        else:
            np.testing.assert_allclose(found, weights, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("only_reads", [False, True])
def test_fit_looks_ahead_unless_a_callback_may_change_weights(only_reads, rng):
    class Reads(fastnn.callbacks.Callback):
        def on_batch_end(self, step, loss):
            pass

    net = fastnn.Sequential([fastnn.Dense(70)], input_shape=(4100,), seed=1)
    net.compile(fastnn.optimizers.SGD(1e-3))
    aheads: list[int] = []
    net.layers[0].look_ahead = lambda x_next: aheads.append(len(x_next))
    spy = Reads()
    spy.only_reads = only_reads
    x = rng.random((30, 4100), dtype=np.float32)
    net.fit(x, rng.integers(0, 3, 30), batch_size=10, verbose=0, callbacks=[spy])
    assert aheads == [10, 10] * only_reads


def test_a_callback_that_changes_weights_between_steps_is_seen(rng):
    class Clear(fastnn.callbacks.Callback):
        def on_batch_end(self, step, loss):
            losses.append(loss)
            self.model.store.values[:] = 0

    losses: list[float] = []
    net = fastnn.Sequential([fastnn.Dense(70), fastnn.Dense(3)], input_shape=(4100,), seed=1)
    net.compile(fastnn.optimizers.SGD(1e-3))
    x = rng.random((30, 4100), dtype=np.float32)
    net.fit(x, rng.integers(0, 3, 30), batch_size=10, verbose=0, callbacks=[Clear()])
    np.testing.assert_allclose(losses[1:], np.log(3), rtol=1e-5)  # of zeros


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: Sequential([Dense(2)], seed=-1),
            "Sequential: seed must be an integer >= 0, got -1",
        ),
        (
            lambda: Sequential([Dense(2)], seed="a"),
            "Sequential: seed must be an integer >= 0, got 'a'",
        ),
        (
            lambda: Sequential([Dense(2)], (3,)).compile("sgd", metrics=None),
            "compile: metrics must be",
        ),
        (
            lambda: Sequential([Dense(2)], (3,)).compile("sgd", metrics=3),
            "compile: metrics must be",
        ),
        (lambda: fastnn.Softmax(-1), "Softmax: name must be a string without '/', got -1"),
        (lambda: Dense(2, name="a/b"), "Dense: name must be a string without '/', got 'a/b'"),
        (lambda: Dense(2, name=""), "Dense: name must be a string without '/', got ''"),
    ],
)
def test_arguments_are_named(make, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        make()


def test_layers_are_changed_by_add_and_pop_only():
    net = Sequential([Dense(4)], input_shape=(3,))
    with pytest.raises(AttributeError):
        net.layers.append(Dense(5))
    assert net.predict(np.zeros((1, 3))).shape == (1, 4)
