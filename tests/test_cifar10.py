"""The course's CIFAR-10 network, training that counts steps, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastnn import Dense, Flatten, Rescaling, Sequential
from fastnn.callbacks import Callback
from fastnn.cli import cifar10 as command
from fastnn.cli import main
from fastnn.datasets import draw_cifar10
from fastnn.experiments.images import cifar10_batch_norm, cifar10_cnn, fit_steps


def write_cifar10(folder, data):
    """One batch to train on, one to test."""
    for name, x, y in (
        ("data_batch_1.bin", data.x_train, data.y_train),
        ("test_batch.bin", data.x_test, data.y_test),
    ):
        planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        records = np.concatenate([y[:, np.newaxis].astype(np.uint8), planes], axis=1)
        (folder / name).write_bytes(records.tobytes())


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "cifar"
    place.mkdir()
    write_cifar10(place, draw_cifar10(30, 10))
    return place


@pytest.fixture
def few_drawn(monkeypatch):
    """The stand-in is small."""
    few = command._DATA.__class__(**vars(command._DATA) | {"drawn": (30, 10)})
    monkeypatch.setattr(command, "_DATA", few)


# --- the network ---


def test_the_texts_network():
    net = cifar10_cnn(seed=1)
    assert [layer.output_shape for layer in net.layers] == [
        (32, 32, 3), (32, 32, 64), (16, 16, 64), (16, 16, 64), (8, 8, 64), (8, 8, 128),
        (8, 8, 128), (8, 8, 128), (8 * 8 * 128,), (384,), (384,), (10,),
    ]  # fmt: skip
    conv = [5 * 5 * 3 * 64, 5 * 5 * 64 * 64, 3 * 3 * 64 * 128, 3 * 3 * 128 * 128, 3 * 3 * 128 * 128]
    weights = [*conv, 8192 * 384, 384 * 10]
    biases = [64, 64, 128, 128, 128, 384, 10]
    found = net.get_weights()
    assert [w.size for name, w in found.items() if name.endswith("/w")] == weights
    assert [b.size for name, b in found.items() if name.endswith("/b")] == biases
    assert sum(weights) + sum(biases) == 3_626_314


def test_with_batch_normalisation():
    plain, net = cifar10_cnn(seed=1), cifar10_batch_norm(seed=1)
    kinds = [type(layer).__name__ for layer in net.layers]
    normed = [kinds[i - 1] for i, kind in enumerate(kinds) if kind == "BatchNormalization"]
    assert normed == ["Conv2D"] * 5 + ["Dense"]
    without = [layer for layer in net.layers if type(layer).__name__ != "BatchNormalization"]
    assert [a.output_shape for a in without] == [b.output_shape for b in plain.layers]
    weights, others = net.get_weights(), plain.get_weights()
    assert all(weights[name].shape == w.shape for name, w in others.items() if name.endswith("/w"))
    # Scale and shift in place of each bias but the last.
    learned = sum(p.size for p in net.chain.parameters() if p.trainable)
    assert learned == 3_626_314 + (64 + 64 + 128 + 128 + 128 + 384)


def test_its_first_weights():
    for name, a in cifar10_cnn(seed=1).get_weights().items():
        if name.endswith("/b"):
            assert (a == np.float32(0.1)).all()
        else:
            assert abs(a).max() <= 0.1, "truncated at two standard deviations"
            # Of what is left between ±2 the standard deviation is 0.88.
            assert a.std() == pytest.approx(0.88 * 5e-2, rel=0.05)


def test_dropout_is_drawn_by_the_seed(rng):
    x, y = rng.integers(0, 256, (4, 32, 32, 3), np.uint8), np.arange(4)

    def losses(seed):
        net = cifar10_cnn(seed)
        net.compile("sgd")
        return net.test_on_batch(x, y), net.train_on_batch(x, y)

    test, train = losses(1)
    assert train != test, "something is dropped in training"
    assert losses(1) == (test, train)


# --- training by steps ---


def small_net():
    net = Sequential([Rescaling(1 / 255), Flatten(), Dense(10)], seed=0)
    net.compile("sgd", metrics=["accuracy"])
    return net


class Watch(Callback):
    def __init__(self):
        self.seen = []

    def on_train_begin(self):
        self.seen.append("begin")

    def on_batch_end(self, step, loss):
        assert step == self.model.store.step
        assert loss > 0

    def on_epoch_end(self, epoch, logs):
        self.seen.append((epoch, logs["step"]))

    def on_train_end(self):
        self.seen.append("end")


def test_as_many_steps_as_asked_for_with_a_row_for_the_rest():
    data = draw_cifar10(22, 10)
    net, watch = small_net(), Watch()
    history = fit_steps(
        net, data.x_train, data.y_train, steps=11, every=4, batch_size=8, seed=1,
        validation_data=(data.x_test, data.y_test), callbacks=[watch],
    )  # fmt: skip
    assert net.store.step == 11
    assert history["step"] == [4, 8, 11]
    assert watch.seen == ["begin", (3, 4), (7, 8), (10, 11), "end"]
    recorded = ["loss", "accuracy", "val_loss", "val_accuracy", "step", "seconds"]
    assert list(history.history) == watch.figures == recorded


def test_steps_of_whole_epochs_are_what_fit_does():
    """The same batches in the same order, a short one at the end of each epoch."""
    data = draw_cifar10(22, 10)
    validation = data.x_test, data.y_test
    by_epochs, by_steps = small_net(), small_net()
    a = by_epochs.fit(
        data.x_train, data.y_train, epochs=3, batch_size=8, validation_data=validation, seed=4,
        verbose=0,
    )  # fmt: skip
    b = fit_steps(
        by_steps, data.x_train, data.y_train, steps=9, every=3, batch_size=8, seed=4,
        validation_data=validation,
    )  # fmt: skip
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert a[key] == b[key]
    for name, w in by_epochs.get_weights().items():
        np.testing.assert_array_equal(w, by_steps.get_weights()[name])


# --- the command ---


def test_on_files(folder, tmp_path, capsys):
    path = tmp_path / "c.json"
    args = ["cifar10", "--data", str(folder), "--steps", "3", "--batch-size", "4", "--report", "2"]
    assert main([*args, "--seed", "2", "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith(
        f"CIFAR-10 from {folder} (data_batch_1.bin, test_batch.bin): 30 images to train on and 10 "
        "to test, 32 × 32, read in "
    )
    assert "open:\n  pixels from −1 to 1; RMSProp with ρ = 0.9" in out
    (model,) = (line for line in lines if line.startswith("Model "))
    assert model.endswith(
        "rmsprop with rate 0.001, batches of 4, seed 2: 3,626,314 parameters"
    )  # fmt: skip
    data = json.loads(path.read_text())
    run = data["run"]
    h = run["history"]
    assert h["step"] == [2, 3]
    for row, step in enumerate(h["step"]):
        loss, accuracy, val = (h[key][row] for key in ("loss", "accuracy", "val_accuracy"))
        start = f"Step {step}: cost={loss:.3f}, accuracy={accuracy:.3f}/{val:.3f} ("
        assert sum(line.startswith(start) for line in lines) == 1
    assert f"Test: accuracy = {run['test_accuracy']:.3f} (" in out
    assert f"{run['seconds']:.1f} s for 3 steps, {run['ms_per_step']:.2f} ms by step" in out
    assert (run["steps"], run["images"]) == (3, [28, 2, 10])
    assert data["data"]["class_names"][0] == "airplane"
    assert not data["data"]["drawn"]


@pytest.mark.usefixtures("few_drawn")
def test_batch_normalisation_by_option(capsys):
    assert main(["cifar10", "--steps", "2", "--batch-norm", "--augment", "--cosine"]) == 0
    out = capsys.readouterr().out
    assert "dense 10, batch normalisation; rmsprop with rate 0.001, falling to 0" in out
    assert "images augmented" in out
    assert "running statistics with momentum 0.9" in out


@pytest.mark.usefixtures("few_drawn")
def test_the_first_line_says_that_images_are_drawn(tmp_path, capsys):
    path = tmp_path / "c.json"
    args = ["cifar10", "--steps", "1", "--batch-size", "2", "--quiet", "--json", str(path)]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "No --data: images drawn here as a stand-in for CIFAR-10: 30 images to train on and 10 to "
        "test, 32 × 32, drawn in "
    )
    assert "Step" not in out
    data = json.loads(path.read_text())
    assert data["data"]["drawn"]
    assert data["run"]["settings"]["every"] == 10


def test_the_stand_in_is_learnt(tmp_path):
    """With fewer images a step, and a smaller rate for them, so that it is quick."""
    path = tmp_path / "c.json"
    args = ["cifar10", "--steps", "60", "--batch-size", "32", "--learning-rate", "3e-4", "--quiet"]
    assert main([*args, "--json", str(path)]) == 0
    run = json.loads(path.read_text())["run"]
    assert run["images"] == [1900, 100, 500]
    assert run["test_accuracy"] > 0.3
    assert run["history"]["loss"][-1] < 2 < run["history"]["loss"][0]


def test_the_texts_budget_is_the_default(folder, monkeypatch):
    """10,000 steps of 128 with a report every 100, on real images; fewer on drawn ones."""
    given = []
    monkeypatch.setattr(command.images, "run_one", lambda *args: given.append(args))
    assert main(["cifar10", "--data", str(folder)]) == 0
    assert main(["cifar10"]) == 0
    chosen, report = given[0][2:]
    assert (chosen.network, chosen.optimizer, chosen.learning_rate) == ("cifar10", "rmsprop", 1e-3)
    assert (chosen.steps, chosen.every, chosen.batch_size, chosen.epochs) == (10_000, 100, 128, 0)
    assert (report.every, report.unit) == (100, "Step")
    assert given[1][2].steps == 100


def test_pictures(folder, tmp_path, capsys):
    image = pytest.importorskip("matplotlib.image")
    place = tmp_path / "pictures"
    args = ["cifar10", "--data", str(folder), "--steps", "2", "--batch-size", "2", "--report", "1"]
    assert main([*args, "--quiet", "--pictures", str(place)]) == 0
    out = capsys.readouterr().out
    for name in ("curves", "predictions", "confusion"):
        assert f"picture: {place / name}.png\n" in out
        assert min(image.imread(place / f"{name}.png").shape[:2]) > 200


def test_the_same_figures_for_one_thread_and_two(folder, tmp_path):
    found = []
    for threads in ("1", "2"):
        path = tmp_path / "c.json"
        args = ["cifar10", "--data", str(folder), "--steps", "2", "--batch-size", "9", "--quiet"]
        assert main([*args, "--threads", threads, "--json", str(path)]) == 0
        run = json.loads(path.read_text())["run"]
        found.append((run["history"]["loss"], run["test_loss"], run["confusion"]))
    assert found[0] == found[1]


# --- errors: one line, exit code 2 ---


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data", "nowhere"], ["nowhere", "No such file"]),
        (["--data", "file"], ["file", "Not a directory"]),
        (["--data", "."], ["expected data_batch_1.bin to data_batch_5.bin"]),
        (["--steps", "0"], ["--steps", ">= 1"]),
        (["--steps", "many"], ["--steps", "'many'"]),
        (["--batch-size", "0"], ["--batch-size", ">= 1"]),
        (["--report", "-3"], ["--report", ">= 1"]),
        (["--epochs", "3"], ["--epochs"]),
        (["--optimizer", "rmspro"], ["did you mean 'rmsprop'"]),
        (["--learning-rate", "-1"], ["--learning-rate", ">= 0"]),
        (["--pictures", "file"], ["--pictures", "file"]),
        (["--json", "nowhere/c.json"], ["'nowhere' does not exist"]),
        (["--data", "c.json", "--json", "c.json"], ["--data and --json name the same file"]),
    ],
)
def test_errors(fails, args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    assert fails(["cifar10", *args], *words) == ""


def test_a_damaged_file_is_named_before_anything_is_trained(folder, fails):
    path = folder / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])
    assert fails(["cifar10", "--data", str(folder)], str(path), "whole records") == ""


def test_pictures_without_matplotlib_are_refused_before_training(monkeypatch, tmp_path, fails):
    monkeypatch.setattr("fastnn.plots.available", lambda: False)
    args = ["cifar10", "--pictures", str(tmp_path / "p")]
    assert fails(args, "need matplotlib: pip install") == ""
    assert not (tmp_path / "p").exists()


@pytest.mark.usefixtures("few_drawn")
def test_a_picture_that_fails_costs_no_figures(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(command.images, "draw_pictures", broken)
    path = tmp_path / "c.json"
    args = ["cifar10", "--steps", "1", "--batch-size", "2", "--quiet", "--json", str(path)]
    assert main([*args, "--pictures", str(tmp_path / "p")]) == 2
    assert json.loads(path.read_text())["run"]
