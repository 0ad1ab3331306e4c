"""The course's CNN and LeNet-5, and the command that trains them on MNIST."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest

from fastnn import Sequential
from fastnn.cli import main
from fastnn.cli import mnist as command
from fastnn.datasets import draw_mnist
from fastnn.experiments.images import (
    VALIDATION_FRACTION,
    Settings,
    hidden_layer,
    lenet5,
    mnist_cnn,
    parts,
    single_layer,
    train_and_test,
)


def write_mnist(folder, data):
    """The four files, packed."""
    for part, x, y in (("train", data.x_train, data.y_train), ("t10k", data.x_test, data.y_test)):
        header = struct.pack(">IIII", 2051, *x.shape[:3])
        images = gzip.compress(header + x.tobytes(), 1)
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(images)
        labels = gzip.compress(struct.pack(">II", 2049, len(y)) + bytes(y.tolist()), 1)
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(labels)


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "mnist"
    place.mkdir()
    write_mnist(place, draw_mnist(60, 20))
    return place


@pytest.fixture
def few_drawn(monkeypatch):
    """The stand-in is small."""
    few = command._DATA.__class__(**vars(command._DATA) | {"drawn": (60, 20)})
    monkeypatch.setattr(command, "_DATA", few)


# --- the networks ---


def shapes(net):
    return [layer.output_shape for layer in net.layers]


def test_dense_ones():
    one, two = single_layer(seed=1), hidden_layer(seed=1)
    assert shapes(one) == [(28, 28, 1), (784,), (10,)]
    assert shapes(two) == [(28, 28, 1), (784,), (1000,), (10,)]
    assert sum(p.size for p in one.chain.parameters()) == 785 * 10
    assert sum(p.size for p in two.chain.parameters()) == 785 * 1000 + 1001 * 10


def test_the_texts_cnn():
    net = mnist_cnn(seed=1)
    assert shapes(net) == [
        (28, 28, 1), (28, 28, 6), (14, 14, 6), (14, 14, 12), (7, 7, 12), (588,), (128,), (10,)
    ]  # fmt: skip
    conv = (5 * 5 * 1 + 1) * 6 + (5 * 5 * 6 + 1) * 12
    dense = (7 * 7 * 12 + 1) * 128 + (128 + 1) * 10
    assert conv + dense == 78_650 == sum(p.size for p in net.chain.parameters())


def test_lenet5_is_the_classic_one():
    net = lenet5(seed=1)
    assert shapes(net) == [
        (28, 28, 1), (32, 32, 1), (28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (400,),
        (120,), (84,), (10,),
    ]  # fmt: skip
    counts = [p.size for p in net.chain.parameters()]
    assert [a + b for a, b in zip(counts[::2], counts[1::2], strict=True)] == [
        156, 2416, 48_120, 10_164, 850
    ]  # fmt: skip
    assert sum(counts) == 61_706


@pytest.mark.parametrize("network", [single_layer, hidden_layer, mnist_cnn, lenet5])
def test_the_seed_draws_the_weights(network):
    one, same, other = (network(seed).get_weights() for seed in (3, 3, 4))
    for name, w in one.items():
        np.testing.assert_array_equal(w, same[name])
        assert name.endswith("/b") or not np.array_equal(w, other[name])
        assert w.any() != name.endswith("/b"), "biases begin at 0"


@pytest.mark.parametrize("network", [single_layer, hidden_layer, mnist_cnn, lenet5])
def test_outputs(network, rng):
    x = rng.integers(0, 256, (3, 28, 28, 1), np.uint8)
    y = network(seed=0).predict(x)
    assert y.shape == (3, 10)
    assert np.isfinite(y).all()
    assert len(np.unique(y)) == 30


# --- one run ---


def test_a_run():
    data = draw_mnist(130, 40)
    settings = Settings("lenet5", "momentum", 0.02, batch_size=32, epochs=2, seed=5)
    found = train_and_test(data, settings)
    assert found.images == (123, 7, 40)
    assert found.steps == 2 * 4
    assert found.parameters == 61_706
    assert [len(found.history[key]) for key in ("loss", "val_accuracy", "seconds")] == [2, 2, 2]
    assert found.seconds == sum(found.history["seconds"])
    assert found.ms_per_step == pytest.approx(1000 * found.seconds / 8)
    guessed = found.outputs.argmax(axis=1)
    assert (guessed == data.y_test).mean() == pytest.approx(found.test_accuracy)
    assert found.confusion[data.y_test[0], guessed[0]] >= 1
    assert found.confusion.sum() == 40
    assert np.trace(found.confusion) / 40 == pytest.approx(found.test_accuracy)
    shifted = found.outputs.astype(float) - found.outputs.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    assert found.test_loss == pytest.approx(-logs[np.arange(40), data.y_test].mean(), rel=1e-4)
    assert "outputs" not in found.figures()
    json.dumps(found.figures(), default=np.ndarray.tolist)


def test_the_seed_decides_the_order_too(monkeypatch):
    given = []
    fit = Sequential.fit

    def spy(self, *args, **options):
        given.append((self.seed, options["seed"], options["batch_size"]))
        return fit(self, *args, **options)

    monkeypatch.setattr(Sequential, "fit", spy)
    train_and_test(draw_mnist(20, 10), Settings("cnn", "sgd", 0.1, 7, epochs=1, seed=6))
    assert given == [(6, 6, 7)]


def test_validation_images_are_not_trained_on():
    data = draw_mnist(100, 10)
    x, y, x_val, y_val = parts(data, seed=1)
    assert len(x_val) == len(y_val) == VALIDATION_FRACTION * 100
    both = np.concatenate([x, x_val]).reshape(100, -1)
    assert len(np.unique(both, axis=0)) == len(np.unique(data.x_train.reshape(100, -1), axis=0))
    assert len(y) == 95
    assert not np.array_equal(x_val, parts(data, seed=2)[2])


# --- the command ---


def test_on_files(folder, tmp_path, capsys):
    path = tmp_path / "m.json"
    args = ["mnist", "--data", str(folder), "--epochs", "2", "--batch-size", "16", "--seed", "3"]
    assert main([*args, "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith(
        f"MNIST from {folder}: 60 images to train on and 20 to test, 28 × 28, read in "
    )
    assert "drawn" not in out
    assert "open:\n  pixels / 255, ReLU, padding same" in out
    data = json.loads(path.read_text())
    run = data["run"]
    assert (
        "Model conv 6@5×5, pool, conv 12@5×5, pool, dense 128, dense 10; adam with rate 0.001, "
        "batches of 16, seed 3: 78,650 parameters" in lines
    )
    h = run["history"]
    for epoch in (1, 2):
        loss, accuracy, val = (h[key][epoch - 1] for key in ("loss", "accuracy", "val_accuracy"))
        start = f"Epoch {epoch}: cost={loss:.3f}, accuracy={accuracy:.3f}/{val:.3f} ("
        assert sum(line.startswith(start) for line in lines) == 1
    assert f"Test: accuracy = {run['test_accuracy']:.3f} (" in out
    assert f"{run['seconds']:.1f} s for 8 steps, {run['seconds'] / 2:.2f} by epoch" in out
    assert run["images"] == [57, 3, 20]
    assert run["settings"]["epochs"] == 2
    assert run["settings"]["seed"] == 3
    assert np.shape(run["confusion"]) == (10, 10)
    assert not data["data"]["drawn"]
    assert data["data"]["class_names"] == list("0123456789")
    assert data["data"]["size"] == [28, 28, 1]
    assert data["environment"]["backend"]
    assert data["seconds"] > run["seconds"]


@pytest.mark.usefixtures("few_drawn")
def test_a_rate_that_falls(tmp_path, capsys):
    path = tmp_path / "m.json"
    args = ["mnist", "--network", "single-layer", "--epochs", "4", "--cosine", "--optimizer", "sgd"]
    assert main([*args, "--learning-rate", "0.5", "--json", str(path)]) == 0
    assert (
        "Model dense 10; sgd with rate 0.5, falling to 0, batches of 64" in capsys.readouterr().out
    )
    rates = json.loads(path.read_text())["run"]["history"]["learning_rate"]
    # Four epochs of one step; each row has the rate of the epoch's first step.
    assert rates == pytest.approx([0.5 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)])


@pytest.mark.usefixtures("few_drawn")
def test_the_first_line_says_that_images_are_drawn(tmp_path, capsys):
    path = tmp_path / "m.json"
    args = ["mnist", "--network", "lenet5", "--epochs", "1", "--json", str(path)]
    assert main([*args, "--optimizer", "sgd", "--learning-rate", "0.25"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "No --data: images drawn here as a stand-in for MNIST: 60 images to train on and 20 to "
        "test, 28 × 28, drawn in "
    )
    assert "Model LeNet-5: " in out
    assert "sgd with rate 0.25" in out
    data = json.loads(path.read_text())
    assert data["data"]["drawn"]
    assert data["run"]["settings"]["network"] == "lenet5"
    assert data["run"]["parameters"] == 61_706


@pytest.mark.parametrize("network", ["hidden-layer", "cnn", "lenet5"])
def test_the_stand_in_is_learnt(tmp_path, network):
    """On one thread: the layers are so small that a second one on a busy CPU costs time."""
    path = tmp_path / "m.json"
    args = ["mnist", "--epochs", "1", "--network", network, "--threads", "1", "--quiet"]
    assert main([*args, "--json", str(path)]) == 0
    run = json.loads(path.read_text())["run"]
    assert run["images"] == [5700, 300, 1000]
    assert run["test_accuracy"] > 0.7


@pytest.mark.usefixtures("few_drawn")
def test_quiet_and_sparse_reports(capsys):
    assert main(["mnist", "--epochs", "3", "--report", "2"]) == 0
    out = capsys.readouterr().out
    assert "Epoch 1:" not in out
    assert "Epoch 2:" in out
    assert "Epoch 3:" in out
    assert main(["mnist", "--epochs", "1", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Epoch" not in out
    assert "Model" not in out
    assert "Test: accuracy = " in out


def test_pictures(folder, tmp_path, capsys):
    image = pytest.importorskip("matplotlib.image")
    place = tmp_path / "new" / "pictures"
    args = ["mnist", "--data", str(folder), "--epochs", "1", "--quiet", "--pictures", str(place)]
    assert main(args) == 0
    out = capsys.readouterr().out
    assert sorted(p.name for p in place.iterdir()) == [
        "confusion.png", "curves.png", "predictions.png"
    ]  # fmt: skip
    for path in place.iterdir():
        assert f"picture: {path}\n" in out
        assert min(image.imread(path).shape[:2]) > 200


def test_the_same_figures_for_one_thread_and_two(folder, tmp_path):
    found = []
    for threads in ("1", "2"):
        path = tmp_path / "m.json"
        args = ["mnist", "--data", str(folder), "--epochs", "1", "--threads", threads, "--quiet"]
        assert main([*args, "--json", str(path)]) == 0
        data = json.loads(path.read_text())
        assert data["environment"]["threads"] == int(threads)
        run = data["run"]
        found.append((run["history"]["loss"], run["test_loss"], run["confusion"]))
    assert found[0] == found[1]


# --- errors: one line, exit code 2 ---


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--data", "nowhere"], ["nowhere", "No such file"]),
        (["--data", "file"], ["file", "Not a directory"]),
        (["--data", "."], ["expected train-images-idx3-ubyte"]),
        (["--network", "lenet"], ["--network", "did you mean 'lenet5'"]),
        (["--epochs", "0"], ["--epochs", ">= 1"]),
        (["--epochs", "1.5"], ["--epochs", "'1.5'"]),
        (["--batch-size", "-1"], ["--batch-size", ">= 1"]),
        (["--report", "0"], ["--report", ">= 1"]),
        (["--optimizer", "adm"], ["did you mean 'adam'"]),
        (["--learning-rate", "nan"], ["--learning-rate", "'nan'"]),
        (["--steps", "5"], ["--steps"]),
        (["--pictures", "file/x"], ["--pictures", "file"]),
        (["--json", "nowhere/m.json"], ["'nowhere' does not exist"]),
        (["--pictures", "p", "--json", "p"], ["--json and --pictures name the same file"]),
    ],
)
def test_errors(fails, args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    assert fails(["mnist", *args], *words) == ""


def test_a_damaged_file_is_named_before_anything_is_trained(folder, fails):
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">II", 2049, 20) + bytes([10] * 20)))
    assert fails(["mnist", "--data", str(folder)], str(path), "0..9, got 10") == ""


def test_one_image_is_too_few(folder, fails):
    write_mnist(folder, data := draw_mnist(10, 10))
    one = type(data)(**vars(data) | {"x_train": data.x_train[:1], "y_train": data.y_train[:1]})
    write_mnist(folder, one)
    out = fails(["mnist", "--data", str(folder)], "no row is left to train on (1 rows")
    assert "Model" not in out


@pytest.mark.usefixtures("few_drawn")
def test_a_run_that_diverges(fails, tmp_path):
    path = tmp_path / "m.json"
    args = ["mnist", "--optimizer", "sgd", "--learning-rate", "1e30", "--json", str(path)]
    fails(args, "isn't finite", "a smaller learning rate")
    assert not path.exists()
