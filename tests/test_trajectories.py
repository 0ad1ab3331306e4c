"""Whole runs: optimizers against the textbook, backends against each other, threads, seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import BACKENDS, run_python

import fastnn
from fastnn import Dense, Heads, Sequential, optimizers
from fastnn import functional as F

# --- 100 steps against the textbook -------------------------------------------------------------


def textbook(rule, start, grads, lr=0.05, mu=0.9, rho=0.9, b1=0.9, b2=0.999, eps=1e-8, wd=0.1):
    """Each rule as its paper writes it, in NumPy float64, with a variable for every symbol."""
    p = np.array(start, np.float64)
    v, acc, m, s, d = (np.zeros_like(p) for _ in range(5))
    for t, g in enumerate(grads, 1):
        if rule.endswith("decay in the gradient"):
            g = g + wd * p
        elif rule.startswith("adamw") or rule.endswith("decoupled decay"):
            p = p - lr * wd * p
        elif rule.endswith("clipped"):
            g = np.clip(g, -0.5, 0.5)
        if rule.startswith("sgd"):
            p = p - lr * g
        elif rule in ("momentum", "nesterov"):
            v = mu * v + lr * g
            p = p - v if rule == "momentum" else p - (mu * v + lr * g)
        elif rule in ("momentum, rate outside", "nesterov, rate outside"):
            v = mu * v + g
            p = p - lr * (mu * v + g if rule.startswith("nesterov") else v)
        elif rule.startswith("adagrad"):
            acc = acc + g**2
            p = p - lr * g / (np.sqrt(acc) + eps if "outside" in rule else np.sqrt(acc + eps))
        elif rule == "adadelta":
            s = 0.95 * s + 0.05 * g**2
            step = np.sqrt(d + eps) / np.sqrt(s + eps) * g
            d = 0.95 * d + 0.05 * step**2
            p = p - step
        elif rule.startswith("lion"):
            p = p - lr * np.sign(b1 * m + (1 - b1) * g)
            m = 0.99 * m + 0.01 * g
        elif rule.startswith("rmsprop"):
            s = rho * s + (1 - rho) * g**2
            p = p - lr * g / (np.sqrt(s) + eps if "outside" in rule else np.sqrt(s + eps))
        else:
            m = b1 * m + (1 - b1) * g
            s = b2 * s + (1 - b2) * g**2
            m_hat, s_hat = m / (1 - b1**t), s / (1 - b2**t)
            if rule in ("adam", "adamw", "adam, decay in the gradient", "adam, clipped"):
                p = p - lr * m_hat / (np.sqrt(s_hat) + eps)
            elif rule == "adam, inside":
                p = p - lr * m_hat / np.sqrt(s_hat + eps)
            elif rule == "adam, slow start":
                p = p - lr * m / (np.sqrt(s) + eps)
            elif rule == "adam, epsilon hat":
                rate = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
                p = p - rate * m / (np.sqrt(s) + eps)
            else:
                raise AssertionError(rule)
    return p


LR = 0.05
RULES = {
    "sgd": optimizers.SGD(LR),
    "momentum": optimizers.SGD(LR, momentum=0.9),
    "nesterov": optimizers.SGD(LR, momentum=0.9, nesterov=True),
    "momentum, rate outside": optimizers.SGD(LR, momentum=0.9, rate_in_velocity=False),
    "nesterov, rate outside": optimizers.SGD(LR, 0.9, nesterov=True, rate_in_velocity=False),
    "adagrad": optimizers.Adagrad(LR),
    "adagrad, outside": optimizers.Adagrad(LR, epsilon_inside_root=False),
    "rmsprop": optimizers.RMSprop(LR),
    "rmsprop, outside": optimizers.RMSprop(LR, epsilon_inside_root=False),
    "adam": optimizers.Adam(LR),
    "adam, inside": optimizers.Adam(LR, epsilon_inside_root=True),
    "adam, slow start": optimizers.Adam(LR, bias_correction=False),
    "adam, epsilon hat": optimizers.Adam(LR, epsilon_hat=True),
    "adam, clipped": optimizers.Adam(LR, clipvalue=0.5),
    "adam, decay in the gradient": optimizers.Adam(LR, weight_decay=0.1),
    "adamw": optimizers.AdamW(LR, weight_decay=0.1),
    "adadelta": optimizers.Adadelta(),
    "lion": optimizers.Lion(LR),
    "lion, decoupled decay": optimizers.Lion(LR, weight_decay=0.1),
    "sgd, decay in the gradient": optimizers.SGD(LR, weight_decay=0.1),
    "sgd, clipped": optimizers.SGD(LR, clipvalue=0.5),
}


def gradients(n):
    """A hundred gradients of very different sizes, so that ε matters and signs change."""
    rng = np.random.default_rng(5)
    scale = 10.0 ** rng.uniform(-9, 1, 37)
    return [rng.standard_normal(37) * scale for _ in range(n)]


@pytest.mark.parametrize("rule", RULES)
def test_hundred_steps(backend, rule):
    optimizer, grads = RULES[rule], gradients(100)
    p = np.random.default_rng(6).standard_normal(37)
    want = textbook(rule, p, grads)
    start = p.copy()
    state = optimizer.new_state(37, "float64")
    for step, g in enumerate(grads, 1):
        optimizer.apply(p, g, state, step)
    assert np.abs(want - start).max() > 0.01, "nothing moved"
    np.testing.assert_allclose(p, want, rtol=1e-12, atol=1e-13)


def test_the_conventions_differ():
    """Or the test above could not tell them apart."""
    grads, start = gradients(100), np.ones(37)
    ends = {rule: textbook(rule, start, grads) for rule in RULES}
    names = list(ends)
    # With a constant rate, its place makes no difference to the path.
    same = [{"momentum", "momentum, rate outside"}, {"nesterov", "nesterov, rate outside"}]
    for i, a in enumerate(names):
        for b in names[:i]:
            if {a, b} not in same:
                assert np.abs(ends[a] - ends[b]).max() > 1e-6, (a, b)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_place_of_the_rate_matters_when_it_changes(backend, nesterov):
    p = [np.zeros(1), np.zeros(1)]
    v = [np.zeros(1), np.zeros(1)]
    for rate in (1.0, 0.1):
        F.momentum_update(p[0], [1.0], v[0], rate, 0.5, nesterov=nesterov)
        F.momentum_update(p[1], [1.0], v[1], rate, 0.5, nesterov=nesterov, rate_in_velocity=False)
    # v: 1 then 0.5 + 0.1; outside 1 then 0.5 + 1.
    want = (-1.5 - (0.3 + 0.1), -1.5 - 0.1 * 1.75) if nesterov else (-1.6, -1.15)
    np.testing.assert_allclose([p[0][0], p[1][0]], want, rtol=1e-15)


def test_state_starts_where_the_optimizer_says(backend):
    """TensorFlow's Adagrad: an accumulator of 0.1."""
    net = Sequential([Dense(1, use_bias=False, kernel_initializer="ones")], dtype="float64")
    net.compile(optimizers.Adagrad(0.5, initial_accumulator_value=0.1), "mse")
    net.train_on_batch([[1.0]], [[0.0]])  # g = 2
    (w,) = net.get_weights().values()
    assert w[0, 0] == pytest.approx(1 - 0.5 * 2 / np.sqrt(0.1 + 4 + 1e-8), rel=1e-14)


# --- the same network on three backends ---------------------------------------------------------


def two_headed(dtype="float32", seed=3):
    return Sequential(
        [
            Dense(17, activation="sigmoid"),
            Dense(13, activation="tanh"),
            Dense(11, activation="relu"),
            Heads({"domain": Dense(3), "object": Dense(7)}),
        ],
        dtype=dtype,
        seed=seed,
    )


#: Those that train a network with hidden layers from its random weights; the others are for linear
#: models.
TRAINERS = [name for name in optimizers.OPTIMIZERS if name not in ("ftrl", "adagrad-da")]
#: Those whose rule is a kernel.
FUSED = [name for name in optimizers.OPTIMIZERS if not optimizers.get(name).in_python]


@pytest.mark.parametrize("optimizer", TRAINERS)
def test_twenty_steps_on_three_backends(optimizer, rng):
    """In float64: the same losses, to twelve digits or so."""
    x = rng.standard_normal((20, 23, 12))
    y = [{"domain": rng.integers(0, 3, 23), "object": rng.integers(0, 7, 23)} for _ in x]
    found = {}
    for name in BACKENDS:
        net = two_headed("float64")
        net.compile(optimizer, "softmax_cross_entropy")
        with fastnn.use_backend(name):
            found[name] = [net.train_on_batch(a, b) for a, b in zip(x, y, strict=True)]
    assert np.ptp(found["reference"]) > 1e-3
    for name in ("numba", "cython"):
        np.testing.assert_allclose(found[name], found["reference"], rtol=1e-11, err_msg=name)


def test_a_model_may_change_its_backend(rng):
    """Kernels are bound per batch: each step runs where the caller says."""
    x, y = rng.standard_normal((8, 12)), {"domain": [0] * 8, "object": [1] * 8}
    ends = []
    for names in (BACKENDS * 2, ["reference"] * 6):
        net = two_headed("float64")
        net.compile("adam", "softmax_cross_entropy")
        for name in names:
            with fastnn.use_backend(name):
                net.train_on_batch(x, y)
        ends.append(net.get_weights())
    for key, want in ends[1].items():
        np.testing.assert_allclose(ends[0][key], want, rtol=1e-10, atol=1e-12)


# --- gradients by panels -----------------------------------------------------------------------


@pytest.mark.parametrize("state", ["full", "bfloat16", "8bit"])
@pytest.mark.parametrize("optimizer", FUSED)
@pytest.mark.parametrize("name", ["numba", "cython"])
def test_panels_give_the_same_bits_as_stored_gradients(name, optimizer, state, rng):
    """3000 x 129 float32 are 1.5 MB: streamed, in several panels, the last one short.

    With 129 columns a block of 8-bit codes goes over several rows.
    """
    x, y = rng.random((10, 3000)).astype("f4"), rng.integers(0, 128, 10)
    weights, streamed = [], []
    with fastnn.use_backend(name):
        for keep in (False, True):
            net = Sequential([Dense(129, activation="relu"), Dense(128)], seed=1)
            rule = optimizers.get(
                optimizer, state_dtype=state, seed=3, weight_decay=0.01, clipvalue=0.1
            )
            net.compile(rule, "softmax_cross_entropy", keep_gradients=keep)
            losses = [net.train_on_batch(x, y) for _ in range(5)]
            weights.append({**net.get_weights(), "losses": np.array(losses)})
            streamed.append([p.name for p in net.store.parameters if p.gradient is None])
    assert streamed == [["dense/w"], []]
    for key, want in weights[1].items():
        assert weights[0][key].tobytes() == want.tobytes(), key
    assert np.ptp(weights[0]["losses"]) > 0


# --- threads and seeds ---------------------------------------------------------------------------


def digits_like(rng, n=640, features=512, classes=10):
    """Noisy copies of ten patterns, 0 … 16 as in the handwritten digits."""
    patterns = rng.integers(0, 17, (classes, features))
    y = rng.integers(0, classes, n)
    x = np.clip(patterns[y] + rng.integers(-4, 5, (n, features)), 0, 16)
    return (x / 16).astype(np.float32), y


def train(name, threads, seed=4):
    """Two epochs of batches of 256 and a last one of 128.

    Sizes are such that the parallel kernels run: 256·512·384 = 50 million multiply-adds in the
    first layer, where threads begin at about a million, and 200,000 weights in one update, where
    Adam's threads begin at 20,000 (Cython) and 40,000 (Numba).
    """
    x, y = digits_like(np.random.default_rng(11))
    fastnn.set_num_threads(threads)
    with fastnn.use_backend(name):
        net = Sequential(
            [Dense(384, activation="relu"), Dense(80, activation="sigmoid"), Dense(10)], seed=seed
        )
        net.compile(optimizers.Adam(1e-3), "softmax_cross_entropy", ["accuracy"])
        history = net.fit(x, y, epochs=2, batch_size=256, seed=seed, verbose=0)
    return {**net.get_weights(), "loss": np.array(history["loss"])}


COUNT_THREADS = """
import os
from test_trajectories import train
tasks = lambda: len(os.listdir("/proc/self/task"))
train("cython", 1)
before = tasks()
train("cython", 2)
print(before, tasks())
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_the_parallel_kernels_really_run():
    """A team of threads is made at the first parallel loop: it shows in the process."""
    from fastnn._kernels import cpu

    if not cpu.build_info()["openmp"]:
        pytest.skip("built without OpenMP: there is one thread only")
    run = run_python(COUNT_THREADS, OPENBLAS_NUM_THREADS="1")
    before, after = map(int, run.stdout.split())
    assert after == before + 1

    from fastnn.backends import numba_

    fastnn.set_num_threads(2)
    available = numba_.numba.config.NUMBA_NUM_THREADS
    assert numba_.num_threads(256 * 512 * 384 * 0.06) == min(2, available)


@pytest.mark.parametrize("name", ["numba", "cython"])
def test_training_gives_the_same_bits_on_one_and_two_threads(name):
    one, two, again = train(name, 1), train(name, 2), train(name, 2)
    other = train(name, 2, seed=5)
    for key, want in one.items():
        assert two[key].tobytes() == want.tobytes(), key
        assert again[key].tobytes() == want.tobytes(), f"{key}: two runs of one seed differ"
    assert any(other[key].tobytes() != want.tobytes() for key, want in one.items())
    assert one["loss"][1] < one["loss"][0], "it doesn't learn"


@pytest.mark.parametrize("isa", fastnn.available_isas())
def test_every_instruction_set_trains(isa):
    with fastnn.use_isa(isa):
        found = train("cython", 2)
    want = train("reference", 1)
    np.testing.assert_allclose(found["loss"], want["loss"], rtol=1e-3)


def test_it_learns(backend):
    """Ten patterns with noise are learnt within five epochs, by every backend."""
    x, y = digits_like(np.random.default_rng(11), features=64)
    net = Sequential([Dense(32, activation="relu"), Dense(10)], seed=1)
    net.compile(optimizers.Adam(1e-2), "softmax_cross_entropy", ["accuracy"])
    net.fit(x[:512], y[:512], epochs=5, batch_size=32, seed=1, verbose=0)
    assert net.evaluate(x[512:], y[512:])["accuracy"] > 0.95
