"""The optimizer lab: rules in Python, runs in processes, table, pictures and errors."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import run_python
from PIL import Image

import fastnn
from fastnn import Dense, Sequential, optimizers
from fastnn.cli import main
from fastnn.experiments import lab as lab_module
from fastnn.experiments.lab import (
    OPTIMIZERS,
    SKLEARN,
    Job,
    Run,
    SummedCrossEntropy,
    curves,
    draw,
    lab,
    network,
    run,
    samples,
    summary,
)
from fastnn.losses import SoftmaxCrossEntropy
from fastnn.optimizers import Optimizer

# --- rules in Python ---------------------------------------------------------------------------

ENGINES = {
    "SGD": optimizers.SGD(0.01),
    "Momentum": optimizers.SGD(0.01, momentum=0.9),
    "Adagrad": optimizers.Adagrad(0.01),
    "RMSProp": optimizers.RMSprop(0.01),
    "Adam": optimizers.Adam(0.01, beta_2=0.99),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_hundred_steps_as_the_kernels_do_them(name, dtype, backend):
    """In a model: the same path as the engine's own optimizer, but for rounding."""
    data = np.random.default_rng(1)
    x, y = data.random((100, 16, 12)), data.integers(0, 4, (100, 16))
    ends = []
    for optimizer in (OPTIMIZERS[name](0.01), ENGINES[name]):
        net = Sequential([Dense(7, "sigmoid"), Dense(4)], dtype=dtype, seed=2)
        net.compile(optimizer, "softmax_cross_entropy")
        losses = [net.train_on_batch(a, b) for a, b in zip(x, y, strict=True)]
        ends.append({**net.get_weights(), "losses": np.array(losses, dtype)})
    start = Sequential([Dense(7, "sigmoid"), Dense(4)], (12,), dtype=dtype, seed=2).get_weights()
    for key, want in ends[1].items():
        got = ends[0][key]
        assert got.dtype == dtype
        if key in start:
            assert np.abs(want - start[key]).max() > 1e-3, "nothing moved"
        # A hundred steps of a few roundings each, on numbers of about 1.
        np.testing.assert_allclose(got, want, rtol=0, atol=400 * np.finfo(dtype).eps, err_msg=key)


class Plain(Optimizer):
    """p ← p − α g, and a state that counts the steps."""

    state = ("steps",)
    initial_state = 5.0

    def update(self, param, grad, steps, step):
        steps += 1
        assert (steps == step + 5).all()
        param -= self.learning_rate * grad


def test_a_rule_in_python_gets_whole_flat_arrays(rng):
    """Even of a weight that a kernel's rule would stream: 3000 × 128 float32 are 1.5 MB."""
    seen = []

    class Spy(Plain):
        def update(self, param, grad, steps, step):
            seen.append((step, param, grad, steps))
            super().update(param, grad, steps, step)

    net = Sequential([Dense(128, "relu"), Dense(3)], seed=1)
    net.compile(Spy(0.5), "softmax_cross_entropy")
    other = Sequential([Dense(128, "relu"), Dense(3)], seed=1)
    other.compile(optimizers.SGD(0.5), "softmax_cross_entropy")
    for _ in range(2):
        x, y = rng.random((4, 3000)), rng.integers(0, 3, 4)
        assert net.train_on_batch(x, y) == other.train_on_batch(x, y)
    assert [step for step, *_ in seen] == [1, 2]
    size = 3000 * 128 + 128 + 128 * 3 + 3
    for _, *arrays in seen:
        for array in arrays:
            assert array.dtype == np.float32
            assert size <= array.size < size + 64
            assert array.ndim == 1
    assert all(p.gradient is not None for p in net.store.parameters)
    assert any(p.gradient is None for p in other.store.parameters)
    for key, want in other.get_weights().items():
        np.testing.assert_array_equal(net.get_weights()[key], want)


def test_a_method_wins_over_a_kernel(rng):
    class Still(optimizers.SGD):
        def update(self, param, grad, step):
            pass

    net = Sequential([Dense(3)], seed=1)
    net.compile(Still(0.5), "softmax_cross_entropy")
    x = rng.random((4, 5))
    with pytest.warns(RuntimeWarning, match=r"Still\.update changed no parameter"):
        losses = [net.train_on_batch(x, [0, 1, 2, 0]) for _ in range(2)]
    assert losses[0] == losses[1]


def test_a_rule_that_cant_be_is_refused_at_compile():
    class NoRule(Optimizer):
        pass

    class OneName(Plain):
        state = "velocity"

    net = Sequential([Dense(3)], input_shape=(5,), seed=1)
    with pytest.raises(TypeError, match="NoRule has no rule: write an update method"):
        net.compile(NoRule(0.1))
    with pytest.raises(TypeError, match=r"OneName.state must be a tuple of names, got 'velocity'"):
        net.compile(OneName(0.1))
    with pytest.raises(ValueError, match="Plain: learning_rate"):
        Plain(-1)


# --- the lab's choices -------------------------------------------------------------------------


def test_the_gradient_is_that_of_the_sum(backend, rng):
    kernels = fastnn.backends.kernels("float64")
    x, labels = rng.standard_normal((5, 10)), rng.integers(0, 10, 5)
    mean, sum_ = np.empty_like(x), np.empty_like(x)
    want = SoftmaxCrossEntropy()(kernels, x, labels, 1.0, mean)
    assert SummedCrossEntropy()(kernels, x, labels, 1.0, sum_) == pytest.approx(want, rel=1e-14)
    np.testing.assert_allclose(sum_, 5 * mean, rtol=1e-12)


def test_samples_and_network():
    data = samples(3)
    assert [len(data.y), len(data.y_val), len(data.y_test)] == [1293, 144, 360]
    parts = [data.x, data.x_val, data.x_test]
    assert len({row.tobytes() for part in parts for row in part}) > 1790, "parts overlap"
    assert (data.x.min(), data.x.max()) == (0, 1)
    assert not np.array_equal(samples(4).y_test, data.y_test)
    net = network(3)
    weights = net.get_weights()
    assert [w.shape for w in weights.values() if w.ndim == 2] == [(64, 80), (80, 70), (70, 10)]
    assert np.abs(weights["dense/w"]).max() == pytest.approx(np.sqrt(6 / 144), rel=0.01)
    assert not weights["dense/b"].any()


# --- runs --------------------------------------------------------------------------------------


def test_a_run_by_hand():
    """Its figures are those of the model it trains."""
    found = run(Job("Momentum", seed=1, epochs=4, film=True))
    data = samples(1)
    net = network(1)
    net.compile(ENGINES["Momentum"], SummedCrossEntropy(), metrics=["accuracy"])
    frames, validation, test = [net.get_weights()["dense/w"]], [], []

    class Watch(fastnn.callbacks.Callback):
        def on_epoch_end(self, epoch, logs):
            frames.append(net.get_weights()["dense/w"])
            validation.append(net.evaluate(data.x_val, data.y_val)["accuracy"])
            test.append(net.evaluate(data.x_test, data.y_test)["accuracy"])

    history = net.fit(
        data.x, data.y, epochs=4, batch_size=64, seed=1, verbose=0, callbacks=[Watch()]
    )
    np.testing.assert_allclose(found.loss, history["loss"], rtol=1e-3)
    np.testing.assert_allclose(found.validation, validation, atol=0.02)
    np.testing.assert_allclose(found.test, test, atol=0.02)
    assert found.test[-1] > 2 * found.test[0] or found.test[0] > 0.3
    assert found.best_epoch == 1 + found.validation.index(max(found.validation))
    assert (found.guesses == data.y_test).mean() == found.test[-1]
    assert found.film_epochs == [0, 1, 2, 3, 4]
    for got, want in zip(found.film, frames, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-4)
    assert 0 < found.ms_per_step * 4 * 21 / 1000 < found.seconds


def test_film_epochs_are_few_and_reach_the_end():
    found = run(Job("SGD", seed=0, epochs=60, film=True))
    assert found.film_epochs[:4] == [0, 1, 2, 3]
    assert found.film_epochs[-1] == 60
    assert len(found.film) == len(found.film_epochs) < 42
    data, net = samples(0), network(0)
    net.compile(OPTIMIZERS["SGD"](0.01), SummedCrossEntropy())
    net.fit(data.x, data.y, epochs=60, batch_size=64, seed=0, verbose=0)
    np.testing.assert_array_equal(found.film[-1], net.get_weights()["dense/w"])
    assert not run(Job("SGD", seed=0, epochs=1)).film


def test_a_loss_that_isnt_finite(monkeypatch):
    monkeypatch.setattr(lab_module, "LEARNING_RATE", 1e38)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=r"SGD, seed 7: step "):
        run(Job("SGD", seed=7, epochs=3))


def test_processes_give_the_same_as_one_run():
    told = []
    with fastnn.use_backend("cython"):
        found = lab(
            ["SGD", "Adam"], [5, 3], epochs=2, processes=2,
            progress=lambda done, total, run: told.append((done, total)),
        )  # fmt: skip
    assert [(r.optimizer, r.seed) for r in found] == [
        ("SGD", 5), ("SGD", 3), ("Adam", 5), ("Adam", 3)
    ]  # fmt: skip
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    alone = run(Job("Adam", 3, 2, "cython"))
    assert found[3].loss == alone.loss
    np.testing.assert_array_equal(found[3].guesses, alone.guesses)
    assert [bool(r.film) for r in found] == [True, False, True, False]


def tells(job):
    """Stands in for ``run``: what a process knows."""
    deaf = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    blas = os.environ["OPENBLAS_NUM_THREADS"]
    return job.backend, fastnn.get_num_threads(), blas, deaf, os.getpid()


def test_backend_and_threads_of_the_processes(monkeypatch):
    monkeypatch.setattr(lab_module, "run", tells)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    fastnn.set_num_threads(2)
    handler = signal.getsignal(signal.SIGINT)
    with fastnn.use_backend("reference"):
        ((backend, threads, blas, deaf, pid),) = lab(["SGD"], [0], 1)
    assert (backend, threads, blas, deaf) == ("reference", 1, "1", True)
    assert pid != os.getpid()
    # Here everything is as before.
    assert (os.environ["OPENBLAS_NUM_THREADS"], fastnn.get_num_threads()) == ("7", 2)
    assert "MKL_NUM_THREADS" not in os.environ
    assert signal.getsignal(signal.SIGINT) is handler


def fails(job):
    """Stands in for ``run`` in the processes."""
    if job.seed == 1:
        raise FloatingPointError("SGD, seed 1: broken")
    time.sleep(60)


def test_a_run_that_fails_ends_the_others(monkeypatch):
    monkeypatch.setattr(lab_module, "run", fails)
    started = time.perf_counter()
    with pytest.raises(FloatingPointError, match="seed 1: broken"):
        lab(["SGD"], [0, 1], epochs=1, processes=2)
    assert time.perf_counter() - started < 50
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed():
    def kill():
        while not (children := multiprocessing.active_children()):
            time.sleep(0.01)
        time.sleep(0.3)
        children[0].kill()

    thread = threading.Thread(target=kill)
    thread.start()
    with pytest.raises(RuntimeError, match="lab: a process ended before its run"):
        lab(["SGD"], [0], epochs=10**6, processes=1)
    thread.join()
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize("seconds", [0.3, 2])
def test_an_interrupt_is_one_line(seconds):
    """While processes start, and while they run. Ctrl-C reaches the whole group: nobody prints a
    traceback, and nobody stays.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "fastnn", "lab", "--epochs", "1000000", "--seeds", "0,1",
         "--optimizers", "sgd", "--processes", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(fastnn.__file__).parents[1])},
        # Whoever runs the tests in the background has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        while process.stdout.readline().strip():
            pass  # the head ends with an empty line, then the processes are started
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 130
    assert err == "fastnn: error: interrupted\n"
    until = time.monotonic() + 30
    while group_exists(process.pid) and time.monotonic() < until:
        time.sleep(0.1)
    assert not group_exists(process.pid)


def group_exists(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# --- scikit-learn ------------------------------------------------------------------------------


def test_sklearn_is_the_texts():
    from sklearn.neural_network import MLPClassifier

    found = run(Job(SKLEARN, seed=2, epochs=3))
    data = samples(2)
    model = MLPClassifier(hidden_layer_sizes=(80, 70), activation="logistic", solver="sgd",
        alpha=0.01, learning_rate_init=0.01, max_iter=3, random_state=2)  # fmt: skip
    with pytest.warns(Warning, match="iterations"):
        model.fit(data.x, data.y)
    assert found.loss == pytest.approx(model.loss_curve_)
    assert found.test == [pytest.approx(model.score(data.x_test, data.y_test))]
    assert found.best_epoch is None


# --- the table ---------------------------------------------------------------------------------


def a_run(name, seed, test, validation, loss, guesses=None):
    guesses = samples(seed).y_test if guesses is None else guesses
    return Run(name, seed, loss, validation, test, guesses, seconds=2.0 + seed, ms_per_step=0.5)


def test_summary():
    runs = [
        a_run("SGD", 0, [0.1, 0.7, 0.9], [0.2, 0.8, 0.8], [2.0, 1.0, 0.5]),
        a_run("SGD", 1, [0.1, 0.6, 0.8], [0.2, 0.7, 0.9], [2.0, 1.0, 0.7]),
        a_run(SKLEARN, 0, [0.95], [], [1.0, 0.5]),
    ]
    sgd, sklearn = summary(runs)
    assert sgd.test_accuracy == pytest.approx(0.85)
    assert sgd.test_accuracy_error == pytest.approx(np.std([0.9, 0.8], ddof=1) / np.sqrt(2))
    assert (sgd.text_accuracy, sgd.text_loss) == (0.967, 3.5e-4)
    assert sgd.train_loss == pytest.approx(0.6)
    assert sgd.best_epoch == (2.5, 2, 3), "the first of equals counts"
    assert sgd.best_test_accuracy == pytest.approx((0.7 + 0.8) / 2)
    assert (sgd.seconds_per_run, sgd.ms_per_step, sgd.epochs) == (2.5, 0.5, 3)
    assert (sklearn.runs, sklearn.test_accuracy_error, sklearn.best_epoch) == (1, None, None)
    found = curves(runs)
    assert found["test accuracy"]["SGD"]["mean"] == pytest.approx([0.1, 0.65, 0.85])
    assert found["test accuracy"]["SGD"]["error"] == pytest.approx([0.0, 0.05, 0.05])
    assert found["training loss"]["SGD"]["median"] == pytest.approx([2.0, 1.0, 0.6])
    assert list(found["training loss"]) == ["SGD", SKLEARN]
    assert list(found["test accuracy"]) == ["SGD"]


# --- pictures ----------------------------------------------------------------------------------


def test_digits_that_models_got_wrong_come_first(tmp_path, monkeypatch):
    drawn = {}

    def predictions(path, images, answers, columns):
        drawn.update(answers, images=images)

    monkeypatch.setattr(lab_module.plots, "predictions", predictions)
    true = samples(0).y_test
    guesses = [true.copy(), true.copy()]
    guesses[0][[5, 9]] += 1
    guesses[1][9] += 1
    draw(
        tmp_path,
        [
            a_run(n, 0, [0.9], [0.9], [1.0], g)
            for n, g in zip(("SGD", "Adam"), guesses, strict=True)
        ],
    )
    sgd, adam = drawn["SGD"], drawn["Adam"]
    assert (sgd.guessed != sgd.true).nonzero()[0].tolist() == [0, 1]
    assert (adam.guessed != adam.true).nonzero()[0].tolist() == [0]
    assert len(sgd.true) == 20
    assert len({image.tobytes() for image in drawn["images"]}) == 20, "a digit is there twice"


# --- the command -------------------------------------------------------------------------------


def test_the_command(capsys, tmp_path):
    folder, path = tmp_path / "new" / "pictures", tmp_path / "lab.json"
    assert main(["lab", "--epochs", "3", "--seeds", "0,4", "--pictures", str(folder),
                 "--json", str(path)]) == 0  # fmt: skip
    out, err = capsys.readouterr()
    data = json.loads(path.read_text())
    assert [row["optimizer"] for row in data["results"]] == [*OPTIMIZERS, SKLEARN]
    for row in data["results"]:
        line = next(line for line in out.splitlines() if line.startswith(f"{row['optimizer']} "))
        assert f"{row['test_accuracy']:.4f} ± {row['test_accuracy_error']:.4f}" in line
        assert f"{row['text_accuracy']:.3f}" in line
        assert (row["best_epoch"] is None) == (row["optimizer"] == SKLEARN)
    assert [(r["optimizer"], r["seed"]) for r in data["runs"]] == [
        (name, seed) for name in (*OPTIMIZERS, SKLEARN) for seed in (0, 4)
    ]
    assert len(data["curves"]["training loss"]["Adam"]["mean"]) == 3
    assert err.count("run ") == 12
    for words in ("seeds 0, 4", "sum of the batch's gradients", "Glorot", "1293", "3 epochs"):
        assert words in out
    pictures = sorted(p.name for p in folder.iterdir())
    assert pictures == ["curves.png", "digits.png",
                        *sorted(f"weights-{n.lower()}.gif" for n in OPTIMIZERS)]  # fmt: skip
    assert all(f"Picture written to {folder / name}\n" in out for name in pictures)
    for name in pictures:
        with Image.open(folder / name) as image:
            assert len(np.unique(np.asarray(image.convert("L")))) > 10, name
            if name.endswith(".gif"):
                assert (image.is_animated, image.n_frames) == (True, 4)


def short(*more):
    return ["lab", "--epochs", "1", "--optimizers", "sgd", *more]


def test_seeds_and_processes(capsys, tmp_path):
    path = tmp_path / "lab.json"
    assert main(short("--seed", "7", "--threads", "1", "--json", str(path))) == 0
    data = json.loads(path.read_text())
    assert [r["seed"] for r in data["runs"]] == list(range(7, 17))
    assert data["environment"]["processes"] == 1
    assert "seeds 7–16" in capsys.readouterr().out
    assert main(short("--seeds", "2", "--backend", "reference", "--json", str(path))) == 0
    data = json.loads(path.read_text())
    assert [r["seed"] for r in data["runs"]] == [2]
    assert data["environment"]["backend"] == "reference"
    assert "±" not in capsys.readouterr().out


def test_without_sklearn(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert main(["lab", "--epochs", "1", "--seeds", "0", "--processes", "1"]) == 0
    out = capsys.readouterr().out
    assert "left out: scikit-learn isn't installed: pip install scikit-learn" in out
    assert not any(line.startswith("scikit-learn ") for line in out.splitlines())
    assert main(["lab", "--optimizers", "sgd,scikit-learn"]) == 2
    assert "pip install scikit-learn" in capsys.readouterr().err


def test_without_matplotlib(capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(short("--pictures", str(tmp_path / "p"))) == 2
    out, err = capsys.readouterr()
    assert err == "fastnn: error: pictures need matplotlib: pip install matplotlib\n"
    assert out == ""
    assert not (tmp_path / "p").exists()
    assert main(short("--seeds", "0")) == 0


BAD = {
    "did you mean 'adam'": ["--optimizers", "sgd,adma"],
    "expected each once, got 'sgd,sgd'": ["--optimizers", "sgd,sgd"],
    "expected seeds such as 1,2,3 or 0-9, got 'x'": ["--seeds", "x"],
    "ranges upwards, got '9-0'": ["--seeds", "9-0"],
    "expected 1 to 1000 seeds": ["--seeds", "0-1000"],
    "expected each once, got '1,0-3'": ["--seeds", "1,0-3"],
    "give --seeds or --seed": ["--seeds", "1", "--seed", "2"],
    "expected an integer >= 1, got '0'": ["--epochs", "0"],
    "expected an integer >= 1 and <= 256, got '1000'": ["--processes", "1000"],
    "is a file": ["--pictures", __file__],
}


@pytest.mark.parametrize("message", BAD)
def test_bad_options(capsys, message):
    assert main(["lab", *BAD[message]]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_seeds_of_both_kinds():
    from fastnn.cli.options import seeds

    assert seeds("0-3,7") == [0, 1, 2, 3, 7]
    assert seeds("12") == [12]


def test_unknown_names_from_python():
    with pytest.raises(ValueError, match="did you mean 'Adam'"):
        lab(["adam"], [0])
    with pytest.raises(ValueError, match="at least one"):
        lab(["Adam"], [])


def test_from_a_thread():
    """Where signals can't be set."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(lab(["SGD"], [0], 1, 1)))
    thread.start()
    thread.join()
    assert found[0].optimizer == "SGD"


def test_imports_of_the_children_are_light():
    """scikit-learn and matplotlib are imported where they are used, not with the module."""
    done = run_python("""
        import sys, fastnn.experiments.lab, fastnn.cli
        print([m for m in ("sklearn", "matplotlib", "scipy") if m in sys.modules])
    """)
    assert done.stdout.strip() == "[]"


def test_pictures_and_figures_may_not_be_one_path(tmp_path, capsys):
    same = str(tmp_path / "same")
    assert main(["lab", "--json", same, "--pictures", same]) == 2
    assert "--json and --pictures name the same file" in capsys.readouterr().err
    assert not (tmp_path / "same").exists()


@pytest.mark.parametrize("option", ["--seed", "--seeds"])
def test_a_seed_too_large_for_the_generators_is_refused_at_once(option, capsys):
    assert main(["lab", option, str(2**31)]) == 2
    err = capsys.readouterr().err
    assert option in err
    assert str(2**31 - 1) in err
