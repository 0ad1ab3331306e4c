"""The recorder: what it sees is so, the network learns as without it, and the page has it all."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from test_page import parsed

import fastnn
from fastnn import (
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Heads,
    Recorder,
    Residual,
    Sequential,
)
from fastnn.augmentation import Augmentation
from fastnn.callbacks import Callback
from fastnn.cli import cifar10, main, mnist, office31
from fastnn.page import Page
from fastnn.recorder import _classes, _Thinned, distribution
from fastnn.recorder_page import LEVELS, mosaic, record_page


def plane_net(outputs=2, loss="softmax_cross_entropy"):
    net = Sequential([Dense(6, "tanh"), Dense(outputs)], input_shape=(2,), seed=1)
    net.compile(fastnn.optimizers.Adam(0.05), loss)
    return net


@pytest.fixture
def xor(rng):
    x = rng.uniform(-1, 1, (60, 2))
    return x, (x[:, 0] * x[:, 1] > 0).astype(int)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.html"


# --- distributions ---


@pytest.mark.parametrize("size", [1, 2, 17, 1000, 5000])
def test_a_distribution_of_all(size, rng):
    a = rng.standard_normal(size)
    expected = [*np.quantile(a, LEVELS), a.std()]
    np.testing.assert_allclose(distribution(a.reshape(-1, 1)), expected, rtol=1e-12)


def test_a_distribution_of_some():
    """Of a large array, of the same places each time, all over it."""
    a = np.arange(1_000_000, dtype=np.float32)
    found = distribution(a)
    np.testing.assert_array_equal(distribution(2 * a), 2 * found)
    np.testing.assert_allclose(found[:7], 1e6 * np.array(LEVELS), atol=3e4)
    assert len(np.unique(found)) == 8
    # Every column is seen, though the rows are as long as a stride might be.
    columns = np.tile(np.arange(100.0), 10_000)
    np.testing.assert_allclose(distribution(columns)[:7], 99 * np.array(LEVELS), atol=2)


@pytest.mark.parametrize("a", [[], [1, math.nan], [math.inf, 2], [-math.inf, 2]])
def test_a_distribution_of_what_is_not_finite(a):
    assert np.isnan(distribution(a)).all()


@pytest.mark.parametrize("moments", [1, 7, 8, 9, 100, 1000])
def test_thinned(moments):
    kept: _Thinned[int] = _Thinned(8)
    taken = 0
    for i in range(moments):
        if kept.due():
            taken += 1
            kept.add(i)
    steps = set(np.diff(kept.items))
    assert kept.items[0] == 0
    assert len(kept.items) <= 8
    assert len(steps) <= 1
    assert moments - kept.items[-1] <= max(steps, default=1)
    if moments <= 8:
        assert kept.items == list(range(moments))
    else:
        assert len(kept.items) >= 4
        assert taken <= 8 + 4 * math.ceil(math.log2(moments / 8))


# --- what is recorded ---


def large_net():
    """Its first weights are streamed, it normalises, and it drops."""
    layers = [Dense(70, "relu"), BatchNormalization(), Dropout(0.5), Dense(3)]
    net = Sequential(layers, input_shape=(4100,), seed=1)
    net.compile(fastnn.optimizers.Adam(1e-4), metrics=["accuracy"])
    assert net.store.parameters[0].gradient is None
    return net


@pytest.mark.parametrize(
    "options", [None, {}, {"every": 1}, {"every": 3, "samples": 10}, {"keep_gradients": True}]
)
def test_the_network_learns_as_without(options, path, rng):
    x, y = rng.random((47, 4100), dtype=np.float32), rng.integers(0, 3, 47)
    found = []
    for callbacks in ([], [] if options is None else [Recorder(path, **options)]):
        net = large_net()
        history = net.fit(
            x, y, epochs=3, batch_size=10, validation_split=0.2, seed=3, verbose=0,
            callbacks=callbacks,
        ).history  # fmt: skip
        del history["seconds"]
        found.append((history, net.get_weights(), net.predict(x)))
    (plain, weights, outputs), (recorded, weights_too, outputs_too) = found
    assert plain == recorded
    assert plain["loss"][-1] < plain["loss"][0]
    for name, w in weights.items():
        np.testing.assert_array_equal(weights_too[name], w)
    np.testing.assert_array_equal(outputs, outputs_too)


def test_fit_looks_ahead_when_epochs_are_recorded(path, rng):
    net = large_net()
    aheads = []
    net.layers[0].look_ahead = lambda x_next: aheads.append(len(x_next))
    x, y = rng.random((30, 4100), dtype=np.float32), rng.integers(0, 3, 30)
    net.fit(x, y, batch_size=10, verbose=0, callbacks=[Recorder(path)])
    assert aheads == [10, 10]


class Spy(Callback):
    """Weights, gradients and losses after each step."""

    reads_gradients = True

    def __init__(self):
        self.weights, self.gradients, self.losses = {}, {}, []

    def on_batch_end(self, step, loss):
        self.losses.append(loss)
        self.weights[step] = self.model.get_weights()
        self.gradients[step] = self.model.get_gradients()


@pytest.mark.parametrize(
    ("every", "steps"), [(None, [0, 6, 12, 18]), (4, [0, 4, 8, 12, 16, 18]), (100, [0, 18])]
)
def test_snapshots_are_of_those_steps(every, steps, xor, path):
    net, spy, recorder = plane_net(), Spy(), Recorder(path, every=every, layers=["dense"])
    before = net.get_weights()
    history = net.fit(*xor, epochs=3, batch_size=10, verbose=0, callbacks=[spy, recorder])
    record = recorder.record
    assert [one.step for one in record.snapshots] == steps
    assert record.pictures[0].step == 0
    assert record.pictures[-1].step == 18
    assert list(record.losses) == spy.losses
    assert {k: record.history[k] for k in history.history} == history.history
    for one in record.snapshots:
        assert set(one.weights) == {"dense/w", "dense/b"}
        for name, found in one.weights.items():
            w = spy.weights[one.step][name] if one.step else before[name]
            np.testing.assert_array_equal(found, distribution(w))
        assert set(one.gradients) == (set(one.weights) if one.step else set())
        for name, found in one.gradients.items():
            np.testing.assert_array_equal(found, distribution(spy.gradients[one.step][name]))
            assert found[-1] > 0


def test_streamed_gradients_are_missing_unless_asked_for(path, rng):
    x, y = rng.random((20, 4100), dtype=np.float32), rng.integers(0, 3, 20)
    for keep in (False, True):
        recorder = Recorder(path, keep_gradients=keep)
        large_net().fit(x, y, epochs=2, batch_size=10, verbose=0, callbacks=[recorder])
        last = recorder.record.snapshots[-1]
        small = {"batchnormalization/gamma", "dense_1/w"}
        assert set(last.gradients) == (small | {"dense/w"} if keep else small)
        assert ("Not stored, so not here: those of dense/w," in path.read_text()) is not keep


def test_frozen_layers_have_no_gradients_and_that_is_said_of_none(path, rng):
    net = Sequential([Dense(70), Dense(5), Dense(3)], input_shape=(4100,), seed=1)
    net.layers[0].trainable = False
    net.compile("sgd")
    recorder = Recorder(path)
    net.fit(rng.random((20, 4100)), [0, 1] * 10, verbose=0, callbacks=[recorder])
    last = recorder.record.snapshots[-1]
    assert set(last.weights) == {"dense/w", "dense_1/w", "dense_2/w"}
    assert set(last.gradients) == {"dense_1/w", "dense_2/w"}
    assert "Not stored" not in path.read_text()


def test_images_that_augmentation_crops(path, rng):
    x, y = rng.random((20, 8, 8, 1)), [0, 1] * 10
    found = []
    for data in (None, (x[:, 1:7, 1:7], y)):
        net = Sequential([Flatten(), Dense(2)], input_shape=(6, 6, 1), seed=1)
        net.compile("sgd")
        recorder = Recorder(path, data=data)
        crop = Augmentation(random_crop=6)
        net.fit(x, y, augment=crop, seed=1, verbose=0, callbacks=[recorder])
        found.append(recorder.record.snapshots[-1].activations["dense"])
        html = path.read_text()
        assert "No activations" not in html
        assert "Waiting" not in html
    np.testing.assert_array_equal(*found)


def test_images_that_augmentation_enlarges(path, rng):
    net = Sequential([Flatten(), Dense(2)], input_shape=(10, 10, 1), seed=1)
    net.compile("sgd")
    recorder, grow = Recorder(path), Augmentation(random_crop=10, padding=1)
    x, y = rng.random((20, 8, 8, 1)), [0, 1] * 10
    net.fit(x, y, augment=grow, verbose=0, callbacks=[recorder])
    assert not recorder.record.snapshots[-1].activations
    assert "samples are (N, 8, 8, 1), the network takes (N, 10, 10, 1)" in path.read_text()


class Small(Dense):
    """Has no room for more than 30 samples."""

    def bind(self, n, kernels, needs_dx):
        if n > 30:
            raise MemoryError("no room")
        super().bind(n, kernels, needs_dx)


def test_training_goes_on_when_the_network_fails_in_a_snapshot(path, xor):
    weights = []
    for recorders in ([], [Recorder(path, every=1, samples=60)]):
        net = Sequential([Dense(6, "tanh"), Small(2)], input_shape=(2,), seed=1)
        net.compile("sgd")
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            net.fit(*xor, batch_size=30, epochs=2, seed=1, verbose=0, callbacks=recorders)
        text = "Recorder: outputs can't be seen at step 0: MemoryError: no room"
        assert [str(one.message) for one in said] == [text] * len(recorders)
        weights.append(b"".join(a.tobytes() for a in net.get_weights().values()))
    assert weights[0] == weights[1]
    assert [one.step for one in recorders[0].record.snapshots] == [0, 1, 2, 3, 4]
    assert "the network failed: MemoryError: no room" in path.read_text()


def test_training_goes_on_when_the_page_can_not_be_written_again(tmp_path, xor):
    folder = tmp_path / "pages"
    folder.mkdir()
    recorder = Recorder(folder / "run.html")

    class Away(Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 0:
                folder.rename(tmp_path / "kept")

    net = plane_net()
    with pytest.warns(RuntimeWarning, match="page isn't written any more: .*No such file") as said:
        history = net.fit(*xor, epochs=3, verbose=0, callbacks=[Away(), recorder])
    assert len(said) == 1
    assert len(history["loss"]) == 3
    assert (tmp_path / "kept" / "run.html").exists()
    assert len(recorder.record.history["loss"]) == 3


def test_layers_in_layers_are_seen(path, rng):
    net = Sequential([Residual([Dense(4, "relu"), Dense(4)]), Dense(2)], input_shape=(4,), seed=1)
    net.compile("sgd")
    recorder = Recorder(path)
    x = rng.standard_normal((20, 4))
    net.fit(x, [0, 1] * 10, verbose=0, callbacks=[recorder])
    last = recorder.record.snapshots[-1]
    assert set(last.weights) == set(last.gradients) == {"dense/w", "dense_1/w", "dense_2/w"}
    assert {"dense", "dense_2"} <= set(last.activations)
    np.testing.assert_allclose(
        last.activations["dense_2"], distribution(net.predict(x)), rtol=1e-5, atol=1e-6
    )


def test_activations_are_those_of_the_samples_in_inference(path, rng):
    """A convolution's backward writes over its output; dropout and flatten show nothing new."""
    net = Sequential(
        [Conv2D(4, 3, activation="relu"), Flatten(), Dropout(0.9), Dense(5, "tanh"), Dense(3)],
        input_shape=(6, 6, 2), seed=1,
    )  # fmt: skip
    net.compile("sgd")
    x, y = rng.standard_normal((50, 6, 6, 2)), rng.integers(0, 3, 50)
    shown, labels = rng.standard_normal((7, 6, 6, 2)), [0, 1, 2, 0, 1, 2, 0]
    recorder = Recorder(path, data=(shown, labels))
    net.fit(x, y, batch_size=10, verbose=0, callbacks=[recorder])
    found = recorder.record.snapshots[-1].activations
    assert set(found) == {"conv2d", "dense", "dense_1"}
    w = net.get_weights()
    y = fastnn.functional.conv2d(
        shown.astype(np.float32), w["conv2d/w"], w["conv2d/b"], activation="relu"
    )
    np.testing.assert_allclose(found["conv2d"], distribution(y), rtol=1e-5, atol=1e-6)
    assert found["conv2d"][0] == 0
    np.testing.assert_allclose(found["dense_1"], distribution(net.predict(shown)), rtol=1e-5)


def test_samples_are_drawn_by_the_seed(xor, path):
    def last(**options):
        recorder = Recorder(path, samples=5, **options)
        plane_net().fit(*xor, verbose=0, seed=2, callbacks=[recorder])
        return recorder.record.snapshots[-1].activations["dense"]

    one = last()
    np.testing.assert_array_equal(last(), one)
    assert not np.array_equal(last(seed=1), one)


@pytest.mark.parametrize(
    ("outputs", "loss"), [(2, "softmax_cross_entropy"), (1, "sigmoid_cross_entropy")]
)
def test_the_boundary_is_what_the_network_says(outputs, loss, xor, path):
    x, y = xor
    x = x * [1, 0.5]  # the two inputs must not be taken for one another
    net, recorder = plane_net(outputs, loss), Recorder(path)
    labels = y if outputs == 2 else y.reshape(-1, 1)
    net.fit(x, labels, epochs=60, batch_size=10, seed=1, verbose=0, callbacks=[recorder])
    plane, last = recorder.record.plane, recorder.record.pictures[-1]
    left, right, bottom, top = plane.extent
    assert left < x[:, 0].min() < x[:, 0].max() < right
    assert bottom < x[:, 1].min() < x[:, 1].max() < top
    assert plane.classes == 2
    assert last.classes.shape == (64, 64)
    # The cell of a point says what the network says of its middle.
    for row, column in [(3, 60), (50, 10), (33, 31), (10, 5)]:
        middle = [left + (column + 0.5) / 64 * (right - left),
                  bottom + (row + 0.5) / 64 * (top - bottom)]  # fmt: skip
        out = net.predict(np.array([middle]))
        assert last.classes[row, column] == (out.argmax() if outputs == 2 else out[0, 0] > 0)
    # Rows are the second input: in XOR the corners are of class 1, 0, 0, 1.
    assert [last.classes[i, j] for i in (12, 51) for j in (12, 51)] == [1, 0, 0, 1]
    px, py, kinds = plane.points
    for a, b, kind in zip(px, py, kinds, strict=True):
        assert y[np.flatnonzero((x == (a, b)).all(axis=1))] == kind
    assert "Decision boundary" in path.read_text()


def test_no_boundary_where_there_is_none(path, rng):
    for features, loss, y in (
        (2, "mse", np.zeros((20, 2))), (3, "softmax_cross_entropy", [0, 1] * 10),
    ):  # fmt: skip
        net = Sequential([Dense(2)], seed=1)
        net.compile("sgd", loss)
        recorder = Recorder(path)
        net.fit(rng.standard_normal((20, features)), y, verbose=0, callbacks=[recorder])
        assert recorder.record.plane is None
        assert "Decision boundary" not in path.read_text()


def test_heads(path, rng):
    net = Sequential([Dense(5, "relu"), Heads({"one": Dense(3), "two": Dense(2)})], seed=1)
    net.compile("sgd", metrics=["accuracy"])
    x, y = rng.standard_normal((20, 2)), {"one": [0, 1, 2, 0] * 5, "two": [0, 1] * 10}
    recorder = Recorder(path)
    net.fit(x, y, verbose=0, callbacks=[recorder])
    assert recorder.record.plane.classes == 3, "of the first head"
    shown = parsed(record_page(recorder.record)).texts
    assert {"Loss by epoch", "One accuracy by epoch", "Two loss by epoch"} <= set(shown)


def test_classes():
    assert list(_classes(np.array([2, 0]))) == [2, 0]
    assert list(_classes(np.eye(3)[[2, 0]])) == [2, 0]
    assert list(_classes(np.array([[0.0], [1.0]]))) == [0, 1]
    assert list(_classes(np.array([[-0.1], [0.1]]), 0.0)) == [0, 1]


def test_of_many_layers_some_are_shown(path, rng):
    def deep():
        net = Sequential([Dense(4, "relu") for _ in range(30)], seed=1)
        net.compile("sgd")
        return net

    x, y = rng.standard_normal((20, 4)), [0, 1] * 10
    recorder = Recorder(path)
    deep().fit(x, y, verbose=0, callbacks=[recorder])
    names = list(recorder.record.snapshots[0].weights)
    assert len(names) == 12
    assert (names[0], names[-1]) == ("dense/w", "dense_29/w")
    assert "18 other layers aren&#x27;t shown" in path.read_text()
    chosen = Recorder(path, layers=["dense_3", "dense_1"])
    deep().fit(x, y, verbose=0, callbacks=[chosen])
    one = chosen.record.snapshots[-1]
    assert set(one.weights) == {f"dense_{i}/{p}" for i in (1, 3) for p in "wb"}
    assert set(one.activations) == {"dense_1", "dense_3"}
    assert "aren&#x27;t shown" not in path.read_text()


def test_a_second_fit_begins_anew(xor, path):
    net, recorder = plane_net(), Recorder(path)
    for start in (0, 6):
        net.fit(*xor, batch_size=10, verbose=0, callbacks=[recorder])
        assert [one.step for one in recorder.record.snapshots] == [start, start + 6]
        assert not recorder.record.snapshots[0].gradients
        assert len(recorder.record.losses) == 6


# --- filters ---


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_mosaic(channels, rng):
    w = rng.standard_normal((2, 3, channels, 10))
    image = mosaic(w)
    assert image.shape == (5, 31, 4), "eight and two"
    levels = w if channels == 3 else w.mean(axis=2, keepdims=True)
    levels = 255 * (levels - levels.min()) / np.ptp(levels)
    np.testing.assert_allclose(image[:2, :3, :3], np.rint(levels[..., 0]) * np.ones(3))
    np.testing.assert_allclose(image[3:, 4:7, :3], np.rint(levels[..., 9]) * np.ones(3))
    assert image[..., :3].max() == 255
    assert image[..., 3].sum() == 255 * 2 * 3 * 10, "nothing between them, nor at the end"


def test_mosaic_of_equal_weights():
    image = mosaic(np.full((2, 2, 1, 1), 0.1))
    assert (image == [0, 0, 0, 255]).all()


def test_filters_of_the_first_convolution(path, rng):
    net = Sequential([Conv2D(2, 3, name="eye"), Conv2D(3, 3), Flatten(), Dense(2)], seed=1)
    net.compile(fastnn.optimizers.SGD(0.1))
    recorder = Recorder(path)
    x = rng.standard_normal((20, 6, 6, 1))
    net.build((6, 6, 1))
    before = net.get_weights()["eye/w"]
    net.fit(x, [0, 1] * 10, epochs=2, verbose=0, callbacks=[recorder])
    pictures = recorder.record.pictures
    np.testing.assert_array_equal(pictures[0].filters, before)
    np.testing.assert_array_equal(pictures[-1].filters, net.get_weights()["eye/w"])
    assert not np.array_equal(pictures[-1].filters, before)
    html = path.read_text()
    assert "Filters of eye" in html
    assert html.count("data:image/png") == len(pictures) == 3


# --- the page ---


def test_the_page_has_everything(xor, path):
    net, recorder = plane_net(), Recorder(path, title="<b>XOR</b>")
    net.compile("adam", metrics=["accuracy"])
    net.fit(*xor, epochs=4, validation_split=0.2, verbose=0, callbacks=[recorder])
    shown = parsed(record_page(recorder.record)).texts
    for text in (
        "<b>XOR</b>", "Loss by epoch", "Accuracy by epoch", "validation", "Loss of each step",
        "Decision boundary", "step 0", "step 8", "class 1", "Weights", "Gradients", "Activations",
        "Standard deviation of weights", "dense/w", "dense_1", "Dense(6, tanh)", "(N, 6)",
    ):  # fmt: skip
        assert text in shown, text
    assert any(text.startswith("Adam, 32 parameters; 8 steps") for text in shown)


def test_bands_are_around_the_median(xor, path, monkeypatch):
    recorder, drawn = Recorder(path), {}
    plane_net().fit(*xor, epochs=3, verbose=0, callbacks=[recorder])

    def lines(page, title, series, *_, bands=None, **__):
        drawn.setdefault(title, (series, bands))  # those of the weights come first

    monkeypatch.setattr(Page, "lines", lines)
    record_page(recorder.record)
    series, bands = drawn["dense/w"]
    rows = np.array([one.weights["dense/w"] for one in recorder.record.snapshots])
    steps, median = series["median"]
    assert steps == [0, 2, 4, 6]
    np.testing.assert_array_equal(median, rows[:, 3])
    for (low, high), i in zip(bands["median"], range(3), strict=True):
        np.testing.assert_array_equal(low, rows[:, i])
        np.testing.assert_array_equal(high, rows[:, 6 - i])
    spread = drawn["Standard deviation of weights"][0]["dense/w"]
    np.testing.assert_array_equal(spread[1], rows[:, 7])


def test_the_learning_rate_is_shown_where_it_changes(xor, path):
    for patience, there in ((1, True), (9, False)):
        reduce = fastnn.callbacks.ReduceLROnPlateau("loss", patience=patience, min_delta=100)
        net = plane_net()
        net.fit(*xor, epochs=4, verbose=0, callbacks=[reduce, Recorder(path)])
        assert ("Learning rate" in path.read_text()) is there


def test_the_page_is_there_from_the_beginning_and_grows(xor, path, monkeypatch):
    monkeypatch.setattr("fastnn.recorder._WRITING", 1e9)
    texts = []

    class Reads(Callback):
        def on_epoch_begin(self, epoch):
            texts.append(path.read_text())

    plane_net().fit(*xor, epochs=3, batch_size=10, verbose=0, callbacks=[Recorder(path), Reads()])
    assert "Training has just begun." in texts[0]
    assert [re.search(r"(\d+) steps", text)[1] for text in texts] == ["0", "6", "12"]
    assert "18 steps" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["run.html"]


def test_writing_takes_little_of_the_time(xor, path, monkeypatch):
    writes = []
    write = Recorder._write
    monkeypatch.setattr(Recorder, "_write", lambda self: writes.append(1) or write(self))
    recorder = Recorder(path)
    plane_net().fit(*xor, epochs=50, batch_size=10, verbose=0, callbacks=[recorder])
    assert 2 <= len(writes) < 25
    assert 0 < recorder.record.recording < recorder.record.seconds + 1


@pytest.mark.parametrize("error", [FloatingPointError, KeyboardInterrupt])
def test_what_was_recorded_stays_when_training_fails(error, xor, path):
    class Fail(Callback):
        def on_batch_end(self, step, loss):
            if step == 9:
                raise error

    recorder = Recorder(path)
    with pytest.raises(error):
        plane_net().fit(*xor, epochs=3, batch_size=10, verbose=0, callbacks=[recorder, Fail()])
    assert "9 steps" in path.read_text()
    assert len(recorder.record.losses) == 9


def test_a_run_that_diverges_can_be_seen(path, rng):
    net = Sequential([Dense(30), Dense(30), Dense(1)], seed=1)
    net.compile(fastnn.optimizers.SGD(1e3), "mse")
    x = rng.standard_normal((50, 3))
    recorder = Recorder(path, every=1)
    with pytest.raises(FloatingPointError, match="isn't finite"), np.errstate(all="ignore"):
        net.fit(x, x[:, :1], epochs=20, batch_size=5, verbose=0, callbacks=[recorder])
    assert len(recorder.record.snapshots) > 2
    parsed(record_page(recorder.record))
    assert "Loss of each step" in path.read_text()


# --- errors ---


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"path": 3}, "Recorder: path must be the name of a file, got 3"),
        ({"path": ""}, "Recorder: path must be the name of a file, got ''"),
        ({"title": 3}, "Recorder: title must be a string, got 3"),
        ({"data": np.zeros((3, 2))}, "Recorder: data must be a pair (x, y)"),
        ({"data": (1, 2, 3)}, "Recorder: data must be a pair (x, y)"),
        ({"every": 0}, "Recorder: every must be an integer >= 1, got 0"),
        ({"every": 1.5}, "Recorder: every must be an integer >= 1, got 1.5"),
        ({"samples": 0}, "Recorder: samples must be an integer >= 1, got 0"),
        ({"seed": -1}, "Recorder: seed must be an integer >= 0, got -1"),
        ({"layers": "dense"}, "Recorder: layers must be a list of names, got 'dense'"),
    ],
)
def test_bad_arguments(options, text):
    with pytest.raises((TypeError, ValueError), match=re.escape(text)):
        Recorder(**{"path": "run.html"} | options)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"data": (np.zeros((4, 3)), [0] * 4)}, "Recorder: data x must have shape (N, 2), got (4,"),
        ({"data": (np.zeros((4, 2)), [0] * 3)}, "Recorder: data y"),
        ({"data": (np.zeros((0, 2)), [])}, "Recorder: data x must hold at least one sample"),
        ({"layers": ["dense", "dens_1"]}, "unknown layer for Recorder 'dens_1'; did you mean"),
        ({"path": "missing/run.html"}, "missing/run.html"),
        ({"path": "."}, "not a regular file"),
    ],
)
def test_errors_when_training_begins(options, text, xor, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    net = plane_net()
    before = net.get_weights()
    with pytest.raises((ValueError, OSError), match=re.escape(text)):
        net.fit(*xor, verbose=0, callbacks=[Recorder(**{"path": path} | options)])
    assert not path.exists()
    assert net.store.step == 0
    for name, w in net.get_weights().items():
        np.testing.assert_array_equal(w, before[name])


# --- docs/recorder.md ---

DOCS = Path(__file__).parent.parent / "docs"


def test_the_docs_script(path):
    done = subprocess.run(
        [sys.executable, DOCS / "recorder" / "spirals.py", path, "--epochs", "2"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("accuracy ")
    assert "Decision boundary" in path.read_text()


# --- the commands ---


@pytest.fixture
def few_drawn(monkeypatch):
    """The stand-ins are small."""
    for command in (mnist, cifar10):
        few = command._DATA.__class__(**vars(command._DATA) | {"drawn": (60, 20)})
        monkeypatch.setattr(command, "_DATA", few)
    monkeypatch.setattr(office31, "_DRAWN_IMAGES", 100)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("train --epochs 3", {"digits", "Adam, 11,580 parameters; 69 steps", "dense_2/w"}),
        ("mnist --epochs 2 --network lenet5", {"Filters of conv2d", "Accuracy by epoch"}),
        ("cifar10 --steps 4 --report 2 --batch-size 8", {"Filters of conv2d", "Accuracy by step"}),
        (
            "office31 --optimizer sgd --hidden 8 --epochs 2 --image-size 12",
            {"Object loss by epoch"},
        ),
    ],
)
def test_commands_record(command, shown, few_drawn, path, capsys):
    assert main([*command.split(), "--record", str(path), "--quiet"]) == 0
    html = path.read_text()
    for text in shown:
        assert text in html
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("office31 --record run.html", "--record shows one run, but there are 2: choose one"),
        ("train --record run.html --json run.html", "--json and --record name the same file"),
        ("mnist --record missing/run.html", "--record: missing/run.html: the folder 'missing'"),
    ],
)
def test_errors_of_commands(command, text, few_drawn, path, capsys, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert main(command.split()) == 2
    assert text in capsys.readouterr().err
