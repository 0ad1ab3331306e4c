"""Early stopping, and the log of figures."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from fastnn import Dense, Heads, Sequential, optimizers
from fastnn.callbacks import Callback, CSVLogger, EarlyStopping


def network(seed=1):
    net = Sequential([Dense(4, "tanh"), Dense(3)], (5,), seed=seed)
    net.compile(optimizers.Adam(0.05), metrics=["accuracy"])
    return net


@pytest.fixture
def data(rng):
    return rng.standard_normal((30, 5)).astype("f4"), rng.integers(0, 3, 30)


class Scripted(Callback):
    """Makes the monitored figure what a script says, and keeps the weights of every epoch."""

    def __init__(self, key, values):
        self.key, self.values, self.weights = key, values, []

    def on_epoch_end(self, epoch, logs):
        logs[self.key] = self.values[epoch]
        self.weights.append(self.model.get_weights())


def same(a, b):
    return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("values", "key", "min_delta", "ran", "best"),
    [
        ([3, 2, 1, 1, 1, 0], "val_loss", 0, 5, 2),  # stopped
        ([3, 2, 2.5, 1, 2, 0.5], "val_loss", 0, 6, 5),  # normal end, the last is best
        ([3, 2, 1, 1.5, 0.9, 2], "val_loss", 0, 6, 4),  # normal end, an earlier one is best
        ([3, 2, 1.95, 1.92, 1, 1], "val_loss", 0.1, 4, 1),  # too little
        ([0.1, 0.5, 0.4, 0.4, 0.9, 1], "val_accuracy", 0, 4, 1),
        ([np.nan, 2, np.nan, np.nan, 1, 1], "val_loss", 0, 4, 1),
        ([np.nan, np.nan, 1, 1, 1, 1], "loss", 0, 2, None),
    ],
)
@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(values, key, min_delta, ran, best, restore, data):
    net = network()
    script = Scripted(key, values)
    stopping = EarlyStopping(key, 2, min_delta, restore_best_weights=restore)
    history = net.fit(*data, epochs=6, validation_split=0.2, seed=1, verbose=0,
                      callbacks=[script, stopping])  # fmt: skip
    assert len(history["loss"]) == ran
    assert stopping.best_epoch == best
    end = best if restore and best is not None else ran - 1
    assert same(net.get_weights(), script.weights[end])
    assert not any(same(script.weights[i], script.weights[i - 1]) for i in range(1, ran))


def test_early_stopping_begins_anew_and_forgets(data):
    net, stopping = network(), EarlyStopping("loss", 2)
    net.fit(*data, epochs=1, verbose=0, callbacks=[Scripted("loss", [0]), stopping])
    script = Scripted("loss", [5, 4, 3])
    net.fit(*data, epochs=3, verbose=0, callbacks=[script, stopping])
    assert stopping.best_epoch == 2
    assert same(net.get_weights(), script.weights[2])
    net.fit(*data, epochs=0, verbose=0, callbacks=[stopping])
    assert stopping.best_epoch is None
    assert same(net.get_weights(), script.weights[2])


def test_an_error_leaves_the_weights_it_found(data):
    class Fails(Scripted):
        def on_epoch_end(self, epoch, logs):
            super().on_epoch_end(epoch, logs)
            if epoch == 2:
                raise KeyboardInterrupt

    net, script = network(), Fails("loss", [1, 2, 3])
    with pytest.raises(KeyboardInterrupt):
        net.fit(*data, epochs=5, verbose=0, callbacks=[script, EarlyStopping("loss", 5)])
    assert same(net.get_weights(), script.weights[2])


def test_early_stopping_refuses(data):
    with pytest.raises(ValueError, match="EarlyStopping: patience must be an integer >= 1, got 0"):
        EarlyStopping(patience=0)
    with pytest.raises(ValueError, match="EarlyStopping: restore_best_weights must be True or"):
        EarlyStopping(restore_best_weights=1)
    with pytest.raises(ValueError, match="unknown figure for EarlyStopping to monitor 'val_loss'"):
        network().fit(*data, verbose=0, callbacks=[EarlyStopping()])


# --- the log ------------------------------------------------------------------------------------


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_csv_log(data, tmp_path):
    net, path = network(), tmp_path / "log.csv"
    path.write_text("old\n")
    history = net.fit(*data, epochs=3, validation_split=0.2, verbose=0,
                      callbacks=[CSVLogger(path)])  # fmt: skip
    header, *lines = rows(path)
    assert header == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate",
                      "seconds"]  # fmt: skip
    assert [line[0] for line in lines] == ["0", "1", "2"]
    for key in header[1:]:
        assert [float(line[header.index(key)]) for line in lines] == history[key]
    net.fit(*data, epochs=2, validation_split=0.2, verbose=0, callbacks=[CSVLogger(path, True)])
    assert [line[0] for line in rows(path)] == ["epoch", "0", "1", "2", "3", "4"]
    net.fit(*data, epochs=1, verbose=0, callbacks=[CSVLogger(str(path))])
    assert [line[0] for line in rows(path)] == ["epoch", "0"]


def test_csv_log_line_by_line(data, tmp_path):
    """Each line is there as soon as its epoch has ended, whatever happens then."""
    path, seen = tmp_path / "log.csv", []

    class Looks(Callback):
        def on_epoch_end(self, epoch, logs):
            seen.append(len(rows(path)))
            if epoch == 1:
                raise RuntimeError("power cut")

    log = CSVLogger(path)
    with pytest.raises(RuntimeError, match="power cut"):
        network().fit(*data, epochs=4, verbose=0, callbacks=[log, Looks()])
    assert seen == [2, 3]
    assert log._file.closed


def test_csv_log_of_heads_with_strange_names(data, tmp_path):
    x, y = data
    net = Sequential([Heads({'a,"b"': Dense(3), "c": Dense(3)})])
    net.compile("sgd")
    labels = {'a,"b"': y, "c": y}
    for append in (False, True):
        net.fit(x, labels, verbose=0, callbacks=[CSVLogger(tmp_path / "log.csv", append)])
    header, *lines = rows(tmp_path / "log.csv")
    assert header == ["epoch", "loss", 'a,"b"_loss', "c_loss", "learning_rate", "seconds"]
    assert [len(line) for line in lines] == [6, 6]


def test_csv_log_refuses(data, tmp_path):
    net, path = network(), tmp_path / "log.csv"
    path.write_text("epoch,loss,learning_rate,seconds\n0,1,2,3\n")
    before = path.read_bytes()
    columns = r"log\.csv has columns epoch, loss, l.*; this training has epoch, loss, accuracy, l"
    with pytest.raises(ValueError, match=columns):
        net.fit(*data, verbose=0, callbacks=[CSVLogger(path, append=True)])
    assert path.read_bytes() == before
    for broken in (b"0,1,2,3", b"0,1,2\n"):
        path.write_bytes(b"epoch,loss,accuracy,learning_rate,seconds\n" + broken)
        with pytest.raises(ValueError, match="has a line that isn't whole"):
            net.fit(*data, verbose=0, callbacks=[CSVLogger(path, append=True)])
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match=r"CSVLogger: .*log\.csv isn't a text file"):
        net.fit(*data, verbose=0, callbacks=[CSVLogger(path, append=True)])
    assert path.read_bytes() == bytes(range(256))
    for wrong, error in ((3, TypeError), ("", ValueError)):
        with pytest.raises(error, match=f"CSVLogger: path must be .* of a file, got {wrong!r}"):
            CSVLogger(wrong)
    with pytest.raises(ValueError, match="CSVLogger: append must be True or False, got 'yes'"):
        CSVLogger(path, "yes")
    with pytest.raises(FileNotFoundError, match="missing"):
        net.fit(*data, verbose=0, callbacks=[CSVLogger(tmp_path / "missing" / "log.csv")])
    path.write_bytes(b"")
    net.fit(*data, verbose=0, callbacks=[CSVLogger(path, append=True)])
    assert len(rows(path)) == 2
