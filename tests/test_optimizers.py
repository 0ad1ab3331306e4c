"""What optimizers share (clipping, accumulation, narrow state), schedules, rules in Python."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from conftest import BACKENDS

import fastnn
from fastnn import Dense, Sequential, callbacks, optimizers, schedules
from fastnn.backends.reference import update as reference
from fastnn.datasets import load_digits, split
from fastnn.rules import BLOCK, RULES, Rule

STEPS = 100


def gradients(shape):
    rng = np.random.default_rng(5)
    scale = 10.0 ** rng.uniform(-3, 1, shape)
    return [rng.standard_normal(shape) * scale for _ in range(STEPS)]


def run(optimizer, start, grads):
    p = start.copy()
    state = optimizer.new_state(p.size, p.dtype)
    for step, g in enumerate(grads, 1):
        optimizer.apply(p, g, state, step)
    return p


# --- rules in Python against the papers, a number at a time ------------------------------------


def sign(x):
    return float(x > 0) - float(x < 0)


def shrink(x, l1, l2):
    return sign(x) * max(abs(x) - l1, 0) / (1 + l2)


def proximal_gradient_descent(p, grads, rate, l1, l2):
    for g in grads:
        p = shrink(p - rate * g, rate * l1, rate * l2)
    return p


def proximal_adagrad(p, grads, rate, l1, l2):
    a = 0.1
    for g in grads:
        a += g * g
        here = rate / math.sqrt(a)
        p = shrink(p - here * g, here * l1, here * l2)
    return p


def adagrad_da(p, grads, rate, l1, l2):
    total, a = 0.0, 0.1
    for t, g in enumerate(grads, 1):
        total, a = total + g, a + g * g
        p = -rate * sign(total) * max(abs(total) - l1 * t, 0) / (rate * l2 * t + math.sqrt(a))
    return p


def ftrl(p, grads, rate, l1, l2):
    z, n = 0.0, 0.1
    for g in grads:
        z += g - (math.sqrt(n + g * g) - math.sqrt(n)) / rate * p
        n += g * g
        p = 0.0 if abs(z) <= l1 else (sign(z) * l1 - z) / (math.sqrt(n) / rate + l2)
    return p


SPARSE = [
    (optimizers.ProximalGradientDescent, proximal_gradient_descent),
    (optimizers.ProximalAdagrad, proximal_adagrad),
    (optimizers.AdagradDA, adagrad_da),
    (optimizers.Ftrl, ftrl),
]


@pytest.mark.parametrize("penalties", [(0.0, 0.0), (0.2, 0.0), (0.05, 0.3)])
@pytest.mark.parametrize(("optimizer", "rule"), SPARSE)
def test_hundred_steps_of_the_sparse_rules(optimizer, rule, penalties):
    grads, start = gradients(23), np.random.default_rng(6).standard_normal(23)
    l1, l2 = penalties
    made = optimizer(0.05, l1_regularization_strength=l1, l2_regularization_strength=l2)
    got = run(made, start, grads)
    want = [rule(p, [g[i] for g in grads], 0.05, l1, l2) for i, p in enumerate(start)]
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)
    assert np.abs(got - start).max() > 0.1
    assert np.any(got == 0) == (l1 > 0), "the penalty λ₁ makes zeros, and nothing else does"


def test_the_proximal_step_is_the_answer_of_its_problem():
    """argmin over x of (x − p)² / 2 + α (λ₁ |x| + λ₂ x² / 2), by looking at very many x."""
    rule = optimizers.ProximalGradientDescent(0.5, 0.3, 0.8)
    x = np.linspace(-2, 2, 400_001)
    for start in (-1.2, -0.1, 0.0, 0.16, 1.7):
        p = np.array([start])
        rule.apply(p, np.zeros(1), (), 1)
        best = x[np.argmin((x - start) ** 2 / 2 + 0.5 * (0.3 * np.abs(x) + 0.8 * x**2 / 2))]
        assert p[0] == pytest.approx(best, abs=2e-5)


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_rate_of_0_moves_nothing(backend, name, decoupled):
    """As schedules end; and the steps after it are of a sound state."""
    made = optimizers.get(name, 0.1, weight_decay=0.1, decoupled_weight_decay=decoupled)
    made.l1, made.l2 = 0.01, 0.1
    p, grads = np.random.default_rng(6).standard_normal(23), gradients(23)
    state = made.new_state(p.size, p.dtype)
    # A velocity with the rate in it rolls on, by its formula: only from rest is 0 its step.
    rates = [0.0, 0.0, 0.1] if name in ("momentum", "nesterov") else [0.0, 0.1, 0.1, 0.0, 0.0, 0.1]
    for step, (rate, g) in enumerate(zip(rates, grads, strict=False), 1):
        before, made.learning_rate = p.copy(), rate
        made.apply(p, g, state, step)
        assert (p == before).all() == (rate == 0)
        assert all(np.isfinite(a).all() for a in (p, *state))


@pytest.mark.parametrize("shape", [(7,), (5, 4), (3, 2, 5, 4)])
def test_hundred_steps_of_adafactor(shape):
    rng = np.random.default_rng(3)
    optimizer = optimizers.Adafactor(0.02)
    p = rng.standard_normal(shape)
    want, start = p.copy(), p.copy()
    state = [np.zeros(s) for s in optimizer.state_shapes(shape)]
    assert sum(a.size for a in state) == {(7,): 7, (5, 4): 9, (3, 2, 5, 4): 54}[shape]
    r, c, v = 0.0, 0.0, 0.0
    for t, g in enumerate(gradients(shape), 1):
        optimizer.update(p, g, *state, t)
        beta, square = 1 - t**-0.8, g**2 + 1e-30
        if len(shape) == 1:
            v = beta * v + (1 - beta) * square
        else:
            r = beta * r + (1 - beta) * square.mean(-1)
            c = beta * c + (1 - beta) * square.mean(-2)
            v = np.einsum("...i,...j,...->...ij", r, c, 1 / r.mean(-1))
        u = g / np.sqrt(v)
        u = u / max(1, np.sqrt(np.mean(u**2)))
        rate = min(0.02, 1 / math.sqrt(t)) * max(1e-3, np.sqrt(np.mean(want**2)))
        want = want - rate * u
    np.testing.assert_allclose(p, want, rtol=1e-11, atol=1e-13)
    assert np.abs(p - start).max() > 0.1


def test_adafactor_of_inputs_that_are_always_zero():
    """A row of weights without gradient rests; in float32 its V would be 0."""
    optimizer, p = optimizers.Adafactor(0.1), np.ones((6, 5), "f4")
    state = [np.zeros(s, "f4") for s in optimizer.state_shapes(p.shape)]
    rng = np.random.default_rng(1)
    for step in range(1, 20):
        g = rng.standard_normal((6, 5)).astype("f4") * 1e-5
        g[2] = 0
        optimizer.update(p, g, *state, step)
    assert np.isfinite(p).all()
    np.testing.assert_array_equal(p[2], 1)
    assert np.all(p[[0, 1, 3, 4, 5]] != 1)


# --- schedules ----------------------------------------------------------------------------------


def test_schedules():
    steps = schedules.ExponentialDecay(0.1, 10, 0.5, staircase=True)
    assert [steps(s) for s in (0, 9, 10, 29, 30)] == [0.1, 0.1, 0.05, 0.025, 0.0125]
    smooth = schedules.ExponentialDecay(0.1, 10, 0.5)
    assert smooth(5) == pytest.approx(0.1 * math.sqrt(0.5))
    pieces = schedules.PiecewiseConstantDecay([2, 5], [1.0, 0.5, 0.1])
    assert [pieces(s) for s in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.1]
    cosine = schedules.CosineDecay(0.2, 8, alpha=0.1)
    assert [cosine(s) for s in (0, 4, 8, 100)] == pytest.approx([0.2, 0.11, 0.02, 0.02])
    assert all(cosine(s) > cosine(s + 1) for s in range(8))
    warm = schedules.CosineDecay(0.0, 8, warmup_target=0.4, warmup_steps=4)
    assert [warm(s) for s in (0, 1, 4, 8, 12)] == pytest.approx([0, 0.1, 0.4, 0.2, 0])
    line = schedules.Warmup(4, then=schedules.PiecewiseConstantDecay([1], [0.8, 0.2]))
    assert [line(s) for s in range(7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.2])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: schedules.ExponentialDecay(-1, 1, 0.5), "ExponentialDecay: initial_learning_rate"),
        (lambda: schedules.ExponentialDecay(1, 0, 0.5), "decay_steps must be an integer >= 1"),
        (lambda: schedules.CosineDecay(1, 2.5), "decay_steps must be an integer >= 1, got 2.5"),
        (lambda: schedules.CosineDecay(1, 5, warmup_steps=3), "belong together, got None and 3"),
        (lambda: schedules.PiecewiseConstantDecay([5, 2], [1, 2, 3]), "boundaries must rise"),
        (lambda: schedules.PiecewiseConstantDecay([5], [1]), "one more than boundaries, got 1 and"),
        (lambda: schedules.Warmup(0, 0.1), "Warmup: steps must be an integer >= 1"),
        (lambda: schedules.Warmup(3, float("nan")), "Warmup: then must be a number"),
        (lambda: schedules.Warmup(3, lambda step: "fast")(0), "then must be a number in [0, inf)"),
        (
            lambda: schedules.ExponentialDecay(1, 5, 0.5, staircase="no"),
            "staircase must be True or",
        ),
        (lambda: schedules.ExponentialDecay(1, 5, 0)(-1), "ExponentialDecay: step must be an int"),
        (lambda: schedules.PiecewiseConstantDecay([5], [1, 2])(-1), "step must be an integer >= 0"),
        (lambda: schedules.CosineDecay(1, 5)(-1), "CosineDecay: step must be an integer >= 0"),
        (lambda: schedules.Warmup(5, 1)(-1), "Warmup: step must be an integer >= 0, got -1"),
        (lambda: schedules.Warmup(5, 1)("1"), "Warmup: step must be an integer >= 0, got '1'"),
        (
            lambda: optimizers.SGD(lambda step: "fast").rate(3),
            "SGD: learning_rate = <lambda>(2) mus",
        ),
        (
            lambda: optimizers.SGD(schedules.Warmup),
            "SGD: learning_rate must be a number in [0, inf",
        ),
    ],
)
def test_bad_schedules(make, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        make()


def test_steps_of_a_schedule_may_be_numpys():
    assert schedules.Warmup(np.int64(4), 0.4)(np.int64(1)) == pytest.approx(0.2)
    assert schedules.CosineDecay(0.4, np.int32(4))(np.int64(4)) == 0


def test_a_schedule_is_asked_before_every_update(rng):
    asked = []

    def rate(step):
        asked.append(step)
        return 0.1 / (step + 1)

    x, y = rng.standard_normal((10, 4)), rng.integers(0, 3, 10)
    ends = []
    for learning_rate in (rate, None):
        net = Sequential([Dense(3)], seed=1, dtype="float64")
        net.compile(optimizers.SGD(learning_rate or 0.1), "softmax_cross_entropy")
        for step in range(5):
            if learning_rate is None:
                net.optimizer.learning_rate = 0.1 / (step + 1)
            net.train_on_batch(x, y)
        ends.append(net.get_weights())
    assert asked == [0, 1, 2, 3, 4]
    for name, want in ends[1].items():
        np.testing.assert_array_equal(ends[0][name], want)
    net.compile(optimizers.Adam(schedules.ExponentialDecay(0.1, 2, 0.1, staircase=True)))
    history = net.fit(x, y, epochs=3, batch_size=5, verbose=0)
    assert history["learning_rate"] == pytest.approx([0.1, 0.01, 0.001])
    net.compile(optimizers.SGD(lambda step: -1.0))
    before = net.get_weights()
    with pytest.raises(
        ValueError, match=r"SGD: learning_rate = <lambda>\(0\) must be a number in \[0"
    ):
        net.train_on_batch(x, y)
    for name, want in before.items():
        np.testing.assert_array_equal(net.get_weights()[name], want)


def test_plateau(rng):
    net = Sequential([Dense(3)], (4,), seed=1)
    net.compile(optimizers.SGD(1.0), "softmax_cross_entropy")
    callback = callbacks.ReduceLROnPlateau("loss", 0.5, patience=2, cooldown=1, min_lr=0.2)
    callback.model, callback.figures = net, ["loss"]
    callback.on_train_begin()
    rates = []
    for epoch, loss in enumerate([3, 2, 2, 2, 2, 2, 2, 1.99, 1.99, 1.99, 1.99, 1.99, 1.99]):
        callback.on_epoch_end(epoch, {"loss": loss})
        rates.append(net.optimizer.learning_rate)
    # Two epochs of waiting, a reduction, one of rest, two of waiting …
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]
    better = callbacks.ReduceLROnPlateau("val_accuracy", 0.5, patience=1)
    better.model, better.figures = net, ["val_accuracy"]
    better.on_train_begin()
    for epoch, accuracy in enumerate([0.5, 0.6, 0.7]):
        better.on_epoch_end(epoch, {"val_accuracy": accuracy})
    assert net.optimizer.learning_rate == 0.2, "a rising accuracy is no plateau"
    before = net.get_weights()
    with pytest.raises(ValueError, match=r"monitor 'val_loss'.*of: learning_rate, loss, seconds"):
        net.fit(rng.random((4, 4)), [0, 1, 2, 0], verbose=0,
                callbacks=[callbacks.ReduceLROnPlateau()])  # fmt: skip
    np.testing.assert_array_equal(net.get_weights()["dense/w"], before["dense/w"])
    net.compile(optimizers.SGD(schedules.Warmup(3, 0.1)))
    with pytest.raises(TypeError, match="must be a number, got a schedule"):
        net.fit(rng.random((4, 4)), [0, 1, 2, 0], verbose=0, callbacks=[callback])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"patience": 0}, "ReduceLROnPlateau: patience must be an integer >= 1, got 0"),
        ({"cooldown": 1.5}, "ReduceLROnPlateau: cooldown must be an integer >= 0, got 1.5"),
        ({"min_delta": -1}, "ReduceLROnPlateau: min_delta must be a number in [0, inf), got -1"),
    ],
)
def test_bad_plateaus(arguments, text):
    callbacks.ReduceLROnPlateau(patience=np.int64(3), cooldown=np.int64(0))
    with pytest.raises(ValueError, match=re.escape(text)):
        callbacks.ReduceLROnPlateau(**arguments)


# --- clipping, accumulation, gradients -----------------------------------------------------------


def network(optimizer, **more):
    net = Sequential([Dense(5, "tanh"), Dense(3)], (4,), seed=1, dtype="float64")
    net.compile(optimizer, "softmax_cross_entropy", **more)
    return net


def moved(net, x, y):
    """What one step of SGD with rate 1 subtracts: the gradient it follows."""
    before = net.get_weights()
    net.train_on_batch(x, y)
    return {name: before[name] - w for name, w in net.get_weights().items()}


def test_clipping(backend, rng):
    x, y = 9 * rng.standard_normal((8, 4)), rng.integers(0, 3, 8)
    plain = moved(network(optimizers.SGD(1.0)), x, y)
    norms = {name: np.linalg.norm(g) for name, g in plain.items()}
    total = math.sqrt(sum(n**2 for n in norms.values()))
    limit = sorted(norms.values())[1]
    assert 0 < limit < total
    by_value = moved(network(optimizers.SGD(1.0, clipvalue=0.1)), x, y)
    by_norm = moved(network(optimizers.SGD(1.0, clipnorm=limit)), x, y)
    by_global = moved(network(optimizers.SGD(1.0, global_clipnorm=total / 3)), x, y)
    loose = moved(network(optimizers.SGD(1.0, global_clipnorm=total * 1.01)), x, y)
    for name, g in plain.items():
        np.testing.assert_allclose(by_value[name], np.clip(g, -0.1, 0.1), atol=1e-14)
        shorter = g * min(1, limit / norms[name])
        np.testing.assert_allclose(by_norm[name], shorter, atol=1e-14)
        np.testing.assert_allclose(by_global[name], g / 3, atol=1e-14)
        np.testing.assert_array_equal(loose[name], g)


def test_batches_accumulate(backend, rng):
    """Three batches of 8 in one update are one batch of 24, and weights rest between."""
    x, y = rng.standard_normal((48, 4)), rng.integers(0, 3, 48)
    small = network(optimizers.Adam(0.1, gradient_accumulation_steps=3))
    large = network(optimizers.Adam(0.1))
    for i in range(6):
        before = small.get_weights()
        small.train_on_batch(x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8])
        rested = [np.array_equal(w, before[name]) for name, w in small.get_weights().items()]
        assert all(rested) if (i + 1) % 3 else not any(rested)
    for i in range(2):
        large.train_on_batch(x[24 * i : 24 * i + 24], y[24 * i : 24 * i + 24])
    for name, want in large.get_weights().items():
        np.testing.assert_allclose(small.get_weights()[name], want, rtol=1e-9, atol=1e-11)


def test_who_needs_gradients_gets_them(rng):
    """3000 x 128 float32 are streamed, unless something asks for the whole gradient."""
    x, y = rng.random((6, 3000)).astype("f4"), rng.integers(0, 3, 6)
    net = Sequential([Dense(128), Dense(3)], (3000,), seed=1)
    large = 3000 * 128 * 4
    for optimizer, kept in [
        (optimizers.Adam(), False),
        (optimizers.Adam(clipvalue=1), False),
        (optimizers.Adam(weight_decay=0.1, state_dtype="8bit"), False),
        (optimizers.Adam(clipnorm=1), True),
        (optimizers.Adam(global_clipnorm=1), True),
        (optimizers.Adam(gradient_accumulation_steps=2), True),
        (optimizers.Adafactor(), True),
        (optimizers.Ftrl(), True),
    ]:
        net.compile(optimizer, "softmax_cross_entropy")
        assert (net.nbytes()["gradients"] >= large) == kept
        net.train_on_batch(x, y)
    net.compile("adam", "softmax_cross_entropy")
    with pytest.raises(RuntimeError, match=r"compile\(keep_gradients=True\) stores them all"):
        net.get_gradients()
    net.compile("adam", "softmax_cross_entropy", keep_gradients=True)
    with pytest.raises(RuntimeError, match="there are none before the first training step"):
        net.get_gradients()
    net.train_on_batch(x, y)
    assert all(g.any() for g in net.get_gradients().values())
    net.compile("adam", "softmax_cross_entropy", keep_gradients=True)
    with pytest.raises(RuntimeError, match="before the first training step"):
        net.get_gradients()
    bare = Sequential([fastnn.Flatten()], (4,))
    with pytest.raises(RuntimeError, match="call compile"):
        bare.get_gradients()
    bare.compile()
    with pytest.raises(RuntimeError, match="before the first training step"):
        bare.get_gradients()
    norms = []

    class Watch(callbacks.Callback):
        reads_gradients = True

        def on_batch_end(self, step, loss):
            norms.append({n: np.linalg.norm(g) for n, g in self.model.get_gradients().items()})

    ends = []
    for watching in (True, False):
        net = Sequential([Dense(128), Dense(3)], (3000,), seed=1)
        net.compile("adam", "softmax_cross_entropy")
        for _ in range(2):
            net.fit(x, y, epochs=2, batch_size=3, seed=1, verbose=0,
                    callbacks=[Watch()] * watching)  # fmt: skip
            assert net.nbytes()["gradients"] < large, "given back"
        ends.append(net.get_weights())
    assert len(norms) == 8
    assert all(min(n.values()) > 0 for n in norms)
    for name, want in ends[1].items():
        np.testing.assert_array_equal(ends[0][name], want)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"weight_decay": -1}, "Adam: weight_decay must be a number in [0, inf), got -1"),
        ({"clipnorm": 0}, "Adam: clipnorm must be > 0, got 0"),
        ({"clipvalue": "1"}, "Adam: clipvalue must be a number"),
        ({"clipnorm": 1, "global_clipnorm": 1}, "give clipnorm or global_clipnorm, not both"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps must be an integer >= 1"),
        ({"seed": -1}, "Adam: seed must be an integer >= 0, got -1"),
        ({"state_dtype": "bf16"}, "unknown state_dtype of Adam 'bf16'"),
        ({"state_dtype": ["full"]}, "unknown state_dtype of Adam ['full']"),
        ({"weight_deca": 1}, "unknown argument of Adam 'weight_deca'; did you mean 'weight_decay'"),
        ({"beta1": 0.9}, "unknown argument of Adam 'beta1'; did you mean 'beta_1'?"),
        (
            {"lr": 0.1},
            "unknown argument of Adam 'lr'; did you mean 'learning_rate'? (expected one of: "
            "beta_1, beta_2, bias_correction, clipnorm, clipvalue, decoupled_weight_decay, "
            "epsilon, epsilon_hat, epsilon_inside_root, global_clipnorm, "
            "gradient_accumulation_steps, learning_rate, seed, state_dtype, weight_decay)",
        ),
        (
            {"decoupled_weight_decay": "no"},
            "Adam: decoupled_weight_decay must be True or False, got",
        ),
        ({"bias_correction": 0}, "Adam: bias_correction must be True or False, got 0"),
        ({"epsilon_hat": None}, "Adam: epsilon_hat must be True or False, got None"),
        (
            {"epsilon_inside_root": "yes"},
            "Adam: epsilon_inside_root must be True or False, got 'yes",
        ),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        optimizers.Adam(0.1, **arguments)


def test_more_bad_arguments():
    with pytest.raises(ValueError, match="SGD: nesterov must be True or False, got 'no'"):
        optimizers.SGD(momentum=0.9, nesterov="no")
    with pytest.raises(ValueError, match="SGD: rate_in_velocity must be True or False, got 1"):
        optimizers.SGD(rate_in_velocity=1)
    with pytest.raises(ValueError, match="RMSprop: epsilon_inside_root must be True or False"):
        optimizers.RMSprop(epsilon_inside_root=0.0)
    assert optimizers.SGD(momentum=0.9, nesterov=np.True_).nesterov is True


class Rebinding(optimizers.Optimizer):
    def update(self, param, grad, step):
        param = param - self.rate(step) * grad


class RebindingByParameter(Rebinding):
    def state_shapes(self, shape):
        return ()


@pytest.mark.parametrize("kind", [Rebinding, RebindingByParameter])
def test_an_update_that_changes_nothing_is_told(kind, rng):
    x, y = rng.standard_normal((8, 4)), rng.integers(0, 3, 8)
    net = network(kind(0.1))
    with pytest.warns(RuntimeWarning, match=f"{kind.__name__}.update changed no parameter"):
        net.train_on_batch(x, y)
    net.train_on_batch(x, y)  # told once
    net.compile(kind(0.0), "softmax_cross_entropy")
    net.train_on_batch(x, y)  # a rate of 0 changes nothing
    net.compile(kind(0.1), "mse")
    net.train_on_batch(x, net.predict(x))  # nor does a gradient of 0


@pytest.mark.parametrize("form", ["full", "8bit"])
def test_apply_refuses_arrays_that_do_not_fit(backend, form):
    """By hand too: a kernel would write out of bounds."""
    optimizer, ones = optimizers.Adam(0.1, state_dtype=form), np.ones(100, "f4")
    state = optimizer.new_state(100, "f4")
    for param, grad, arrays, text in [
        (ones, ones[:50].copy(), state, "grad must be contiguous float32 (100,), got contiguous"),
        (ones, np.ones(100), state, "grad must be contiguous float32 (100,)"),
        (ones, None, state, "got NoneType"),
        (ones, np.ones(200, "f4")[::2], state, "got not contiguous float32 (100,)"),
        (ones.reshape(10, 10), ones, state, "param must be 1-D, float32 or float64"),
        (ones.astype(int), ones, state, "param must be 1-D, float32 or float64"),
        (ones, ones, state, "param and grad share memory"),
        (ones, state[0].view("f4")[:100] if form == "full" else ones, state, "share memory"),
        (ones, ones, (), f"state must have {len(state)} arrays, got 0"),
        (ones, ones, optimizer.new_state(8, "f4"), "state[0] must be contiguous"),
        (ones, ones, optimizer.new_state(100, "f8")[::-1] if form == "full" else state[::-1],
         "state[0] must be contiguous"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match="Adam: .*" + re.escape(text)):
            optimizer.apply(param, grad, arrays, 1)
    for step in (0, -1, 1.5, "x"):
        with pytest.raises(ValueError, match="Adam: step must be an integer >= 1"):
            optimizer.apply(ones, ones, state, step)
    np.testing.assert_array_equal(ones, 1)


def test_a_rule_in_python_keeps_its_state_in_full():
    with pytest.raises(ValueError, match="Ftrl: a rule in Python needs state_dtype='full'"):
        optimizers.Ftrl(0.1, state_dtype="8bit")


# --- state in fewer bits --------------------------------------------------------------------------


def narrowed(x, form, signed, seed=0, place=0):
    """x (n,) written and read back."""
    rule = Rule("momentum" if signed else "rmsprop", 0.1, seed=seed, place=place)
    if form == "bfloat16":
        state = (np.empty(x.size, np.uint16),)
    else:
        state = np.empty(x.size, np.uint8), np.empty(-(-x.size // BLOCK), np.float32)
    reference._narrow([x], state, rule)
    return reference._widened(state, x.dtype, rule)[0]


def neighbours(x, form, signed):
    """The distance between the two numbers around each x that the form has."""
    if form == "bfloat16":
        return 2.0 ** (np.floor(np.log2(np.abs(x))) - 7)
    scale = np.repeat(np.abs(x).reshape(-1, BLOCK).max(1), BLOCK)
    part = np.abs(x) / scale
    most, power = (127, 2) if signed else (255, 4)
    c = np.floor(part ** (1 / power) * most * (1 - 1e-12))
    return scale * ((c + 1) ** power - c**power) / most**power


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("form", ["bfloat16", "8bit"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_narrow_number_is_one_of_its_neighbours(form, signed, dtype):
    """So the error is below their distance, for numbers of all sizes."""
    rng = np.random.default_rng(2)
    x = (rng.standard_normal(64_000) * 10.0 ** rng.uniform(-6, 2, 64_000)).astype(dtype)
    x = x if signed else np.abs(x)
    got, distance = narrowed(x, form, signed, seed=3), neighbours(x.astype("f8"), form, signed)
    assert np.all(np.abs(got - x) <= distance * 1.0001)
    assert np.mean(np.abs(got - x) > distance / 10) > 0.3, "the bound isn't loose"
    again = narrowed(got, form, signed, seed=4)
    # What can be written is written as it is, unless a rounding of its own moves it just below.
    assert np.mean(np.abs(again - got) > 2e-6 * np.abs(got)) < 1e-3


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("form", ["bfloat16", "8bit"])
def test_rounding_is_right_on_the_average(form, signed):
    """Over 400 seeds: within five standard errors, where rounding to nearest is 50 off."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal(640).astype("f4") ** 2 + 0.3
    x[::64] = 16  # the largest of each block
    n = 400
    mean = np.mean([narrowed(x, form, signed, seed).astype("f8") for seed in range(n)], axis=0)
    distance = neighbours(x.astype("f8"), form, signed)
    error = (mean - x) / (distance / 2 / math.sqrt(n))
    assert np.abs(error).max() < 5
    assert np.abs(error).mean() > 0.1


def test_a_mean_that_forgets_slowly_follows(backend):
    """v ← 0.999 v + 0.001 g² from 1 towards 4: every step is less than half a unit of the form."""
    for form in ("full", "bfloat16", "8bit"):
        rule = optimizers.RMSprop(0.0, rho=0.999, state_dtype=form, seed=1)
        p, g = np.zeros(6400, "f4"), np.full(6400, 2, "f4")
        state = rule.new_state(p.size, p.dtype)
        rule.rho = 0.0
        rule.apply(p, g / 2, state, 1)
        rule.rho = 0.999
        for step in range(2, 702):
            rule.apply(p, g, state, step)
        widened = (
            reference._widened(state, p.dtype, Rule("rmsprop", 0)) if form != "full" else state
        )
        want = 4 - 3 * 0.999**700
        assert np.mean(widened[0]) == pytest.approx(want, rel=0.01), form


@pytest.mark.parametrize("form", ["bfloat16", "8bit"])
def test_zeros_and_what_is_almost_zero(form):
    x = np.zeros(192, "f4")
    np.testing.assert_array_equal(narrowed(x, form, True), x)
    np.testing.assert_array_equal(narrowed(x, form, False), x)
    x[0], x[1], x[2], x[64] = 1, 1e-20, 1e-39, 1e-39
    for seed in range(20):
        got = narrowed(x, form, False, seed)
        assert got[0] == 1
        assert got[1] > 0, "a mean square never becomes 0: it is divided by"
        assert got[2] == got[64] == 0, "numbers below the smallest normal one count as 0"
        assert not got[3:64].any()
        assert not got[65:].any()


def test_what_is_not_finite_stays_so_in_bfloat16():
    x = np.array([np.inf, -np.inf, np.nan, 3.4e38], "f4")
    for seed in range(10):
        got = narrowed(x, "bfloat16", True, seed)
        assert got[0] == np.inf
        assert got[1] == -np.inf
        assert np.isnan(got[2])
        assert got[3] > 3.3e38


def test_random_bits():
    """Even, and of two neighbours, two seeds or both halves none tells the other."""
    rule = Rule("adam", 0.1, seed=12)
    bits = reference._random_bits(1 << 16, rule)
    ones = (bits[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    assert np.abs(ones.mean(axis=0) - 0.5).max() < 5 * 0.5 / 256
    other = reference._random_bits(1 << 16, rule._replace(seed=13))
    signs, more = 2.0 * ones - 1, 2.0 * ((other[:, None] >> np.arange(32, dtype=np.uint32)) & 1) - 1
    for a, b in [(signs[1:], signs[:-1]), (signs, more), (signs[:, :16], signs[:, 16:])]:
        assert np.abs(a.T @ b / len(a)).max() < 6 / 256
    moved = reference._random_bits(100, rule._replace(place=50))
    np.testing.assert_array_equal(moved[:50], bits[50:100])


@pytest.mark.parametrize("optimizer", ["momentum", "rmsprop", "adam", "adadelta", "lion"])
def test_training_ends_where_it_does_with_the_full_state(optimizer):
    """The digits, three seeds: mean accuracies within 1 %, and the state is smaller."""
    x, y, x_test, y_test = split(*load_digits(), 0.2, 1)
    rates = {"momentum": 0.1, "rmsprop": 3e-3, "adam": 3e-3, "adadelta": 3.0, "lion": 3e-4}
    found, held = {}, {}
    for form in ("full", "bfloat16", "8bit"):
        accuracies = []
        for seed in range(3):
            net = Sequential([Dense(80, "relu"), Dense(70, "relu"), Dense(10)], (64,), seed=seed)
            rule = optimizers.get(optimizer, rates[optimizer], state_dtype=form, seed=seed)
            net.compile(rule, "softmax_cross_entropy", metrics=["accuracy"])
            net.fit(x, y, epochs=12, batch_size=64, seed=seed, verbose=0)
            accuracies.append(net.evaluate(x_test, y_test)["accuracy"])
        found[form], held[form] = np.mean(accuracies), net.nbytes()["state"]
    assert found["full"] > 0.93
    assert found["bfloat16"] > found["full"] - 0.01
    assert found["8bit"] > found["full"] - 0.01
    count = len(RULES[net.optimizer.name].state)
    parameters = net.nbytes()["parameters"]
    assert held["full"] == count * parameters
    assert held["bfloat16"] == count * parameters / 2
    assert held["8bit"] == count * parameters / 4 * (1 + 4 / BLOCK)


def test_the_seed_of_the_rounding_matters_and_is_enough(rng):
    x, y = rng.standard_normal((32, 4)), rng.integers(0, 3, 32)
    ends = {}
    for name in BACKENDS:
        for seed in (1, 2):
            net = Sequential([Dense(5, "tanh"), Dense(3)], (4,), seed=1)
            net.compile(optimizers.Adam(0.1, state_dtype="8bit", seed=seed))
            with fastnn.use_backend(name):
                for _ in range(5):
                    net.train_on_batch(x, y)
            ends[name, seed] = np.concatenate([w.ravel() for w in net.get_weights().values()])
    assert not np.array_equal(ends["cython", 1], ends["cython", 2])
    np.testing.assert_allclose(ends["cython", 1], ends["cython", 2], atol=0.2)
