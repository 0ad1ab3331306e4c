"""The Office-31 experiment and its command, on small data; the drawn stand-in is learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from fastnn import Dense, Rescaling, Sequential, plots, use_backend
from fastnn.cli import main
from fastnn.cli.office31 import runs_table, summary_table
from fastnn.datasets import Office31, course_split
from fastnn.experiments.office31 import (
    HEADS,
    NETWORKS,
    OPTIMIZERS,
    PUBLISHED,
    Run,
    Settings,
    best,
    confusion_matrix,
    dead_units,
    majority,
    network,
    parts,
    summarise,
    train_and_test,
)
from fastnn.parameters import Gradients

CLASSES = {"domain": 3, "object": 5}


def images(rng, n=120, size=8):
    """Images of 3 domains, told apart by colour, and 5 objects, by a bright row."""
    domain, what = rng.integers(3, size=n), rng.integers(5, size=n)
    pixels = rng.integers(0, 60, (n, size, size, 3))
    pixels[np.arange(n), :, :, domain] += 90
    pixels[np.arange(n), what] += 100
    names = ["amazon", "dslr", "webcam"], [f"thing_{i}" for i in range(5)]
    return Office31(pixels.astype(np.uint8), domain, what, *names, [], [], [], [])


@pytest.fixture
def data(rng):
    return images(rng)


def a_run(**changes) -> Run:
    found = Run(
        settings=Settings(), inputs=30_000, parameters=7, images=(3280, 205, 625),
        history={f"val_{head}_accuracy": [0.5] for head in HEADS},
        test_accuracy={"domain": 0.85, "object": 0.25}, majority={"domain": 0.66, "object": 0.03},
        confusion={}, constant_heads=[], dead_units=[0.25, 0.5], steps=16_400, seconds=32.8,
        test_seconds=0.1, test_rows=np.arange(625), outputs={},
    )  # fmt: skip
    return replace(found, **changes)


# --- the network ---


def test_network_is_the_courses():
    net = network(30_000, Settings((384, 192, 64, 32, 10)), {"domain": 3, "object": 31})
    weights = net.get_weights()
    shapes = [w.shape for name, w in weights.items() if name.endswith("/w")]
    sizes = [30_000, 384, 192, 64, 32, 10]
    assert shapes == [*pairwise(sizes), (10, 3), (10, 31)]
    first = weights["dense/w"]
    assert abs(first.mean()) < 1e-4
    assert first.std() == pytest.approx(0.030, rel=1e-3)
    assert not any(b.any() for name, b in weights.items() if name.endswith("/b"))
    assert [layer.activation for layer in net.layers[:-1]] == ["relu"] * 5


def test_each_head_learns_from_its_own_loss_only(rng):
    """Other labels for one head change its gradient and the trunk's, not the other head's."""
    net = network(12, Settings((6,), seed=1), CLASSES)
    net.compile(loss="softmax_cross_entropy")
    x = rng.integers(0, 255, (9, 12)).astype(np.uint8)
    y = {head: rng.integers(0, count, 9) for head, count in CLASSES.items()}

    def gradients(labels, weights=None):
        net.compile(loss="softmax_cross_entropy", loss_weights=weights)
        inputs, prepared = net.check_data(x, labels)
        net.bind(len(x), training=True)
        net.losses_of(net.chain.forward(net.as_input(inputs), True), prepared)
        sink = Gradients()
        net.backward(sink)
        return sink.arrays

    both = gradients(y)
    other = gradients(y | {"object": (y["object"] + 1) % 5})
    np.testing.assert_array_equal(both["domain/w"], other["domain/w"])
    assert np.abs(both["object/w"] - other["object/w"]).max() > 1e-3
    assert np.abs(both["dense/w"] - other["dense/w"]).max() > 1e-3
    # The trunk's gradient is the sum of what comes from either head.
    one, two = (gradients(y, {head: 0.0}) for head in HEADS)
    np.testing.assert_allclose(both["dense/w"], one["dense/w"] + two["dense/w"], rtol=1e-4)
    assert not one["domain/w"].any()
    assert not two["object/w"].any()


def test_scaled_inputs_are_a_layer_without_parameters(rng):
    raw, scaled = (network(12, Settings((6,), scale=scale), CLASSES) for scale in (False, True))
    assert isinstance(scaled.layers[0], Rescaling)
    assert list(raw.get_weights()) == list(scaled.get_weights())
    x = rng.integers(0, 255, (4, 12)).astype(np.uint8)
    of_raw, of_scaled = raw.predict(x / 255), scaled.predict(x)
    for head in HEADS:
        np.testing.assert_allclose(of_raw[head], of_scaled[head], rtol=1e-4, atol=1e-8)


def test_rescaling():
    net = Sequential([Rescaling(0.5, offset=-1), Dense(2)], input_shape=(2, 3)[1:])
    layer = net.layers[0]
    net.compile(loss="mse")
    x = np.array([[2.0, 4, 6]])
    net.train_on_batch(x, [[0.0, 0]])
    assert layer.y.tolist() == [[0, 1, 2]]
    assert layer.dx is None  # below the first parameter nobody reads it
    assert x.tolist() == [[2, 4, 6]]
    assert "Rescaling(0.5, -1)" in net.summary()
    assert Rescaling(1 / 255).describe() == "Rescaling(0.00392157)"
    for arguments, bad in (((np.nan,), "scale"), ((1, np.inf), "offset"), (("2",), "scale")):
        with pytest.raises(ValueError, match=f"Rescaling: {bad} must be a finite number"):
            Rescaling(*arguments)


def test_optimizers():
    assert set(OPTIMIZERS) > {"sgd", "adam"}
    for name, build in OPTIMIZERS.items():
        assert build(0.5).learning_rate == 0.5, name
    adam, inside = OPTIMIZERS["adam"](1e-4), OPTIMIZERS["adam-inside"](1e-4)
    assert (adam.beta_2, adam.epsilon_inside_root) == (0.999, False)
    assert (inside.beta_2, inside.epsilon_inside_root) == (0.99, True)
    assert Settings(optimizer="adam-inside").published == PUBLISHED[(64, 32, 10), "adam"]
    assert Settings(optimizer="momentum").published is None
    assert set(PUBLISHED) == {(n, o) for n in NETWORKS for o in ("sgd", "adam")}


# --- data and figures ---


def test_parts(data):
    train, validation, test = parts(data, seed=3)
    expected = course_split(len(data.pixels), 3)
    for part, rows in zip((train, validation, test), expected, strict=True):
        np.testing.assert_array_equal(part.rows, rows)
        assert part.x.dtype == np.uint8
        np.testing.assert_array_equal(part.x, data.pixels[rows].reshape(len(rows), -1))
        np.testing.assert_array_equal(part.y["domain"], data.domain[rows])
        np.testing.assert_array_equal(part.y["object"], data.object[rows])


@pytest.mark.parametrize("head", HEADS)
def test_a_head_with_one_class(data, head):
    with pytest.raises(ValueError, match=f"of one {head} only"):
        parts(replace(data, **{head: np.full(120, 2)}), 0)


def test_too_few_images(rng):
    with pytest.raises(ValueError, match="at least 20"):
        parts(images(rng, 19), 0)


def test_majority_is_of_the_training_labels():
    assert majority(np.array([0, 2, 2, 1]), np.array([0, 0, 0, 2, 1])) == 0.2


def test_confusion_matrix():
    found = confusion_matrix(np.array([0, 0, 2, 1]), np.array([0, 1, 1, 1]), 4)
    assert found.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_dead_units():
    net = network(2, Settings((4, 2)), CLASSES)
    weights = net.get_weights()
    # Of the first layer two units see nothing but negative numbers; of the second one does.
    weights["dense/w"] = np.array([[1, -1, 0, -1], [0, -1, 1, 0]])
    weights["dense_1/w"] = np.array([[1, -1]] * 4)
    net.set_weights(weights)
    x = np.zeros((300, 2), np.uint8)
    x[299] = 1
    assert dead_units(net, x) == [0.5, 0.5]
    assert dead_units(net, x[:299]) == [1, 1]


def test_speed_is_compared_only_where_the_work_is_the_same():
    found = a_run()
    assert found.ms_per_step == pytest.approx(2)
    assert found.times_faster_than_text == pytest.approx(2260 / 32.8)
    assert found.times_faster_than_numpy == pytest.approx(20.3 / 2)
    short = replace(found, steps=8200)
    assert short.times_faster_than_text is None
    assert short.times_faster_than_numpy == pytest.approx(20.3 / 4)
    for other in (replace(found, inputs=192), replace(found, settings=Settings((7,)))):
        assert other.times_faster_than_text is None
        assert other.times_faster_than_numpy is None


def test_summary_counts_collapsed_runs_in():
    def one(seed, domain, what, heads=()):
        accuracy = {"domain": domain, "object": what}
        return a_run(settings=Settings(seed=seed), test_accuracy=accuracy, constant_heads=heads)

    runs = [one(1, 0.8, 0.2), one(2, 0.6, 0.1, ["domain"]), one(5, 0.7, 0.0, [*HEADS])]
    other = a_run(settings=Settings(optimizer="sgd"))
    first, second = summarise([*runs, other])
    assert (first.seeds, first.collapsed_seeds) == ([1, 2, 5], [5])
    assert first.mean["domain"] == pytest.approx(0.7)
    assert first.standard_error["domain"] == pytest.approx(0.1 / 3**0.5)
    assert first.median == {"domain": 0.7, "object": 0.1}
    assert second.optimizer == "sgd"
    text = summary_table([first, second])
    assert "0.700 ± 0.058" in text
    assert "nan" not in text
    rows = runs_table(runs, published=True).splitlines()
    assert rows[3].endswith("one domain only")
    assert rows[4].endswith("collapsed")
    assert "0.800+0.200  0.858+0.269" in rows[2]
    assert "68.9×" in rows[2]
    assert "0.858" not in runs_table(runs, published=False)


def test_best_is_chosen_on_the_validation_images():
    good = a_run(history={f"val_{head}_accuracy": [0.1, 0.6] for head in HEADS})
    once_good = a_run(history={f"val_{head}_accuracy": [0.9, 0.5] for head in HEADS})
    assert best([once_good, good]) is good


# --- one run ---


@pytest.mark.parametrize("backend", ["reference", "cython"])
def test_a_run(data, backend):
    settings = Settings((12,), epochs=30, seed=2, learning_rate=1e-3)
    with use_backend(backend):
        found = train_and_test(data, settings)
    assert found.images == (90, 6, 24)
    assert found.steps == 30 * 9
    assert found.inputs == 192
    assert found.parameters == 193 * 12 + 13 * 8
    assert found.test_accuracy["domain"] > 0.9
    assert found.test_accuracy["object"] > found.majority["object"] + 0.25
    assert not found.collapsed
    for head in HEADS:
        guessed = found.outputs[head].argmax(axis=1)
        labels = getattr(data, head)[found.test_rows]
        assert (guessed == labels).mean() == found.test_accuracy[head]
        assert found.confusion[head].sum() == 24
        assert np.trace(found.confusion[head]) / 24 == pytest.approx(found.test_accuracy[head])
        assert len(found.history[f"val_{head}_accuracy"]) == 30
    json.dumps(found.figures(), default=np.ndarray.tolist)
    assert not {"outputs", "test_rows"} & set(found.figures())


def test_the_seed_decides_everything(data):
    losses = [
        train_and_test(data, Settings((4,), epochs=1, seed=seed)).history["loss"]
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_the_seed_decides_the_order_too(data, monkeypatch):
    given = []
    fit = Sequential.fit

    def spy(self, *args, **options):
        given.append((self.seed, options["seed"], options["batch_size"]))
        return fit(self, *args, **options)

    monkeypatch.setattr(Sequential, "fit", spy)
    train_and_test(data, Settings((4,), epochs=1, seed=6))
    assert given == [(6, 6, 10)]


def test_a_collapsed_run_is_found(data):
    """A rate that throws every hidden unit out of range in the first steps."""
    found = train_and_test(data, Settings((4,), learning_rate=3.0, epochs=3, optimizer="sgd"))
    assert found.collapsed
    assert found.constant_heads == list(HEADS)
    assert found.dead_units == [1.0]


# --- the command ---


@pytest.fixture
def folder(tmp_path, rng):
    """A small Office-31 as files."""
    small = images(rng, 60)
    for i, (pixels, domain, what) in enumerate(
        zip(small.pixels, small.domain, small.object, strict=True)
    ):
        place = tmp_path / "office" / small.domain_names[domain] / "images" / f"thing_{what}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.png")
    return tmp_path / "office"


TINY = ["--image-size", "8", "--epochs", "2"]


def test_the_six_runs_beside_the_text(folder, tmp_path, capsys):
    path, cache = tmp_path / "o.json", tmp_path / "cache"
    args = ["office31", "--data", str(folder), "--cache", str(cache), *TINY, "--seed", "1234"]
    assert main([*args, "--json", str(path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"Office-31 from {folder}: 60 images of 8 × 8, 3 domains, 5 objects")
    data = json.loads(path.read_text())
    settings = [run["settings"] for run in data["runs"]]
    assert [(tuple(s["hidden"]), s["optimizer"]) for s in settings] == list(PUBLISHED)
    assert {s["seed"] for s in settings} == {1234}
    rows = [line for line in out.splitlines() if line.startswith("(") and "+" in line]
    for run, row, text in zip(data["runs"], rows, PUBLISHED.values(), strict=True):
        a = run["test_accuracy"]
        assert f"{a['domain']:.3f}+{a['object']:.3f}  {text.domain:.3f}+{text.object:.3f}" in row
        m = run["majority"]
        assert f"{m['domain']:.3f}+{m['object']:.3f}" in row
        assert len(run["history"]["val_object_accuracy"]) == 2
        assert np.shape(run["confusion"]["object"]) == (5, 5)
        assert row.endswith("collapsed") == run["collapsed"]
        assert run["times_faster_than_text"] is None
    collapsed = sum(run["collapsed"] for run in data["runs"])
    assert f"the same answer to every image: {collapsed} of 6 runs" in out
    assert out.count("\nModel ") == out.count("\nEpoch 2: cost=") == out.count("\nTest: ") == 6
    assert "Model 192 → 64 → 32 → 10 → 3 + 5, adam with rate 0.0001, seed 1234" in out
    assert data["environment"]["backend"]
    assert data["data"]["domains"] == ["amazon", "dslr", "webcam"]
    assert "3 domains, 5 objects, decoded in " in out
    assert len(list(cache.iterdir())) == 1
    assert main([*args, "--hidden", "8", "--optimizer", "sgd", "--quiet"]) == 0
    assert "3 domains, 5 objects, read from the cache in " in capsys.readouterr().out
    assert len(data["summaries"]) == 6


def test_one_network_over_several_seeds(folder, capsys, tmp_path):
    path = tmp_path / "o.json"
    args = ["office31", "--data", str(folder), "--no-cache", *TINY, "--hidden", "8", "--quiet"]
    more = ["--optimizer", "momentum", "--seeds", "1,2,3", "--scale", "--json", str(path)]
    assert main([*args, *more, "--backend", "reference"]) == 0
    out = capsys.readouterr().out
    assert "Epoch" not in out
    assert "divided by 255" in out
    data = json.loads(path.read_text())
    assert [run["settings"]["seed"] for run in data["runs"]] == [1, 2, 3]
    assert all(run["settings"]["scale"] for run in data["runs"])
    (summary,) = data["summaries"]
    accuracies = [run["test_accuracy"]["domain"] for run in data["runs"]]
    assert summary["mean"]["domain"] == pytest.approx(np.mean(accuracies))
    assert f"{np.mean(accuracies):.3f} ± " in out
    assert data["environment"]["backend"] == "reference"


def test_no_hidden_layer(folder, capsys):
    args = ["office31", "--data", str(folder), "--no-cache", *TINY, "--hidden", "none"]
    assert main([*args, "--optimizer", "sgd", "--learning-rate", "1e-6"]) == 0
    out = capsys.readouterr().out
    assert "Model 192 → 3 + 5, sgd" in out
    (row,) = (line for line in out.splitlines() if line.startswith("none "))
    assert row.split()[1] == "sgd"


def test_pictures(folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    place = tmp_path / "new" / "pictures"
    args = ["office31", "--data", str(folder), "--no-cache", *TINY, "--hidden", "8"]
    for optimizer in ("adam", "both"):
        assert main([*args, "--optimizer", optimizer, "--pictures", str(place)]) == 0
        out = capsys.readouterr().out
        names = sorted(path.name for path in place.iterdir())
        assert names == ["confusion.png", "curves.png", "predictions.png"]
        for path in place.iterdir():
            assert f"picture: {path}\n" in out
            with Image.open(path) as picture:
                assert min(picture.size) > 200
            path.unlink()


def test_pictures_without_matplotlib_are_refused_before_training(monkeypatch, tmp_path, fails):
    monkeypatch.setattr(plots, "available", lambda: False)
    fails(["office31", "--pictures", str(tmp_path / "p")], "need matplotlib: pip install")
    assert not (tmp_path / "p").exists()


def test_damaged_files_are_named(folder, capsys, tmp_path, fails):
    broken = folder / "dslr" / "images" / "thing_0" / "broken.jpg"
    broken.write_text("no image")
    (folder / "dslr" / "images" / "notes.txt").write_text("not an image either")
    args = ["office31", "--data", str(folder), "--no-cache", *TINY, "--hidden", "8"]
    assert fails(args, str(broken)) == ""
    path = tmp_path / "o.json"
    assert main([*args, "--skip-damaged", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert f"left out: {broken}: " in out
    data = json.loads(path.read_text())["data"]
    assert data["images"] == 60
    assert data["left_out"][0][0] == str(broken)


def test_the_stand_in_is_learnt(capsys, tmp_path):
    """At a quarter of the size, with scaled inputs and a higher rate, so that it is quick."""
    path = tmp_path / "o.json"
    args = ["office31", "--image-size", "32", "--scale", "--learning-rate", "1e-3", "--quiet"]
    assert main([*args, "--optimizer", "adam", "--threads", "1", "--json", str(path)]) == 0
    assert capsys.readouterr().out.startswith("No --data: images drawn here as a stand-in")
    data = json.loads(path.read_text())
    (run,) = data["runs"]
    assert data["data"]["drawn"]
    assert len(data["data"]["objects"]) == 31
    assert run["test_accuracy"]["domain"] > run["majority"]["domain"] + 0.05
    assert run["test_accuracy"]["object"] > run["majority"]["object"] + 0.2


# --- errors: one line, exit code 2 ---


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["--data", "nowhere"], ["nowhere", "No such file"]),
        (["--data", "file"], ["file", "Not a directory"]),
        (["--data", "."], ["expected the folders <domain>/images/<object>"]),
        (["--image-size", "0"], ["--image-size", ">= 1", "'0'"]),
        (["--epochs", "0"], ["--epochs", ">= 1"]),
        (["--report", "0"], ["--report", ">= 1"]),
        (["--hidden", "64,x"], ["--hidden", "'x'"]),
        (["--optimizer", "adm"], ["did you mean 'adam'"]),
        (["--learning-rate", "-1"], ["--learning-rate", ">= 0"]),
        (["--seeds", "1,1"], ["--seeds"]),
        (["--seeds", "1,2", "--seed", "3"], ["give --seed or --seeds, not both"]),
        (["--no-cache"], ["--no-cache needs --data"]),
        (["--cache", "x"], ["--cache needs --data"]),
        (["--skip-damaged"], ["--skip-damaged needs --data"]),
        (["--workers", "2"], ["--workers needs --data"]),
        (["--data", ".", "--cache", "x", "--no-cache"], ["give --cache or --no-cache, not both"]),
        (["--pictures", "file"], ["--pictures", "file"]),
        (["--pictures", "file/x"], ["--pictures", "file"]),
        (["--json", "nowhere/o.json"], ["'nowhere' does not exist"]),
        (["--image-size", "8", "--optimizer", "sgd", "--learning-rate", "1e30"], ["isn't finite"]),
    ],
)
def test_errors(fails, args, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    fails(["office31", *args], *parts)


def test_data_that_can_not_be_split_or_asked_about(folder, tmp_path, fails):
    only = tmp_path / "only"
    only.mkdir()
    (folder / "amazon").rename(only / "amazon")
    args = ["office31", "--no-cache", *TINY, "--data", str(only)]
    out = fails(args, "at least 20" if len(list(only.rglob("*.png"))) < 20 else "one domain")
    assert "Model" not in out


def test_a_run_that_diverges_is_named_and_costs_no_other(folder, tmp_path, capsys, monkeypatch):
    def some(data, settings, callbacks=()):
        if settings.seed == 2 or settings.seed > 5:
            raise FloatingPointError("step 3: domain=nan")
        return train_and_test(data, settings, callbacks)

    monkeypatch.setattr("fastnn.cli.office31.train_and_test", some)
    path = tmp_path / "o.json"
    args = ["office31", "--data", str(folder), "--no-cache", *TINY, "--hidden", "4",
            "--optimizer", "sgd", "--quiet"]  # fmt: skip
    assert main([*args, "--seeds", "1,2,3", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    assert "diverged: (4) sgd seed 2: step 3: domain=nan" in out
    assert "1 of 3 runs: (4) sgd seed 2" in out
    data = json.loads(path.read_text())
    assert [run["settings"]["seed"] for run in data["runs"]] == [1, 3]
    assert [one["settings"]["seed"] for one in data["diverged"]] == [2]
    assert main([*args, "--seeds", "6,7"]) == 2
    assert "every run diverged; (4) sgd seed 6: step 3" in capsys.readouterr().err


def test_a_picture_that_fails_costs_no_figures(folder, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr("fastnn.cli.office31.draw_pictures", broken)
    path = tmp_path / "o.json"
    args = ["office31", "--data", str(folder), "--no-cache", *TINY, "--hidden", "4", "--quiet"]
    assert main([*args, "--json", str(path), "--pictures", str(tmp_path / "p")]) == 2
    assert json.loads(path.read_text())["runs"]
