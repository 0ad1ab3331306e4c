"""The course's report lines."""

from __future__ import annotations

import numpy as np
import pytest

from fastnn import Dense, Heads, Sequential
from fastnn.experiments import report
from fastnn.experiments.report import Report, joined, line_of_test


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets; it is read wherever the report reads the time."""

    class Clock:
        now = 100.0

    monkeypatch.setattr(report.time, "perf_counter", lambda: Clock.now)
    return Clock


def model(*heads: str) -> Sequential:
    last = Heads({head: Dense(3) for head in heads}) if heads else Dense(3)
    net = Sequential([Dense(4), last], input_shape=(5,), seed=1)
    net.compile(loss="softmax_cross_entropy", metrics=["accuracy"])
    return net


def test_the_line_is_the_texts(clock):
    lines: list[str] = []
    callback = Report("office31", 10, lines.append)
    callback.model = model("domain", "object")
    callback.on_train_begin()
    logs = {
        "loss": 3.7126, "domain_loss": 1.0, "object_loss": 2.7,
        "domain_accuracy": 0.8182, "object_accuracy": 0.0841,
        "val_domain_accuracy": 0.8701, "val_object_accuracy": 0.0398,
    }  # fmt: skip
    for epoch in range(20):
        clock.now += 6.2
        callback.on_epoch_end(epoch, logs)
    callback.on_train_end()
    assert lines == [
        "Model office31: 54 parameters",
        "Epoch 10: cost=3.713, accuracy=0.818+0.084/0.870+0.040 (62/62 secs)",
        "Epoch 20: cost=3.713, accuracy=0.818+0.084/0.870+0.040 (62/124 secs)",
    ]


def test_one_output_no_validation_and_a_last_epoch_between_two_reports(clock):
    lines: list[str] = []
    x, y = np.ones((6, 5)), np.array([0, 0, 0, 1, 2, 0])
    net = model()
    history = net.fit(x, y, epochs=5, callbacks=[Report("m", 3, lines.append)], verbose=0)
    third, fifth = (
        f"cost={history['loss'][i]:.3f}, accuracy={history['accuracy'][i]:.3f} (0/0 secs)"
        for i in (2, 4)
    )
    assert lines[1:] == [f"Epoch 3: {third}", f"Epoch 5: {fifth}"]
    assert third != fifth


def test_with_validation_in_fit():
    lines: list[str] = []
    x, y = np.ones((6, 5)), np.zeros(6, int)
    labels = {"a": y, "b": y}
    callbacks = [Report("m", 2, lines.append)]
    history = model("a", "b").fit(
        x, labels, epochs=2, validation_data=(x, {"a": y, "b": y + 1}), callbacks=callbacks,
        verbose=0,
    )  # fmt: skip
    keys = ("a_accuracy", "b_accuracy", "val_a_accuracy", "val_b_accuracy")
    a, b, va, vb = (f"{history[key][-1]:.3f}" for key in keys)
    assert va != vb
    assert f"accuracy={a}+{b}/{va}+{vb} (" in lines[1]


def test_no_epochs_no_line():
    lines: list[str] = []
    model().fit(np.ones((2, 5)), [0, 1], epochs=0, callbacks=[Report("m", 1, lines.append)])
    assert lines == ["Model m: 39 parameters"]


def test_another_unit(clock):
    lines: list[str] = []
    callback = Report("m", 100, lines.append, "Step")
    callback.model = model()
    callback.on_train_begin()
    for last in (99, 119):
        clock.now += 3
        callback.on_epoch_end(last, {"loss": 2.0, "accuracy": 0.25})
    callback.on_train_end()
    assert lines[1:] == [
        "Step 100: cost=2.000, accuracy=0.250 (3/3 secs)",
        "Step 120: cost=2.000, accuracy=0.250 (3/6 secs)",
    ]


def test_the_line_of_the_test():
    assert joined([0.8784, 0.2456]) == "0.878+0.246"
    assert line_of_test([0.8784, 0.2456], 1.7) == "Test: accuracy = 0.878+0.246 (2 secs)"


def test_every_must_be_at_least_one():
    with pytest.raises(ValueError, match="every must be an integer >= 1, got 0"):
        Report("m", 0)
