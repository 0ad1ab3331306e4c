"""The functions people call by hand: layouts, in-place updates, errors, and the examples."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import numpy as np
import pytest

import fastnn
from fastnn import functional as F

LAYOUTS = {
    "C": lambda a: np.ascontiguousarray(a),
    "Fortran": lambda a: np.asfortranarray(a),
    "every second": lambda a: np.repeat(np.repeat(a, 2, 0), 3, -1)[::2, ..., ::3],
    "backwards": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "last axis backwards": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "read-only": lambda a: _read_only(a),
    "list": lambda a: a.tolist(),
    "int8": lambda a: a.astype(np.int8),
    "uint8": lambda a: np.abs(a).astype(np.uint8),
    "float16": lambda a: a.astype(np.float16),
    "big-endian": lambda a: a.astype(">f4"),
    "longdouble": lambda a: a.astype(np.longdouble),
    "bool": lambda a: a > 0,
}


def _read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def integers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float64)


# --- layouts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(backend, layout, rng):
    """Whatever the layout, the result is that of the plain array, and inputs stay."""
    x, w, b, dy = (integers(rng, *s) for s in [(7, 5), (5, 9), (9, 1), (7, 9)])
    given = [LAYOUTS[layout](a) for a in (x, w, b, dy)]
    given[2] = given[2][:, 0] if isinstance(given[2], np.ndarray) else [row[0] for row in given[2]]
    plain = [np.array(a, np.float32 if layout != "list" else np.float64) for a in given]
    before = [np.array(a) for a in given]
    x_, w_, b_, dy_ = plain
    y = F.dense(given[0], given[1], given[2], activation="relu")
    want = np.maximum(x_ @ w_ + b_, 0)
    np.testing.assert_array_equal(y, want)
    assert y.flags.c_contiguous
    dz = dy_ * (want > 0)
    for got, expected in zip(
        F.dense_backward(given[0], given[1], given[3], y=y, activation="relu"),
        (dz @ w_.T, x_.T @ dz, dz.sum(axis=0)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(F.relu(given[0]), np.maximum(x_, 0))
    loss, dx = F.mse(given[0], np.zeros((7, 5)))
    assert loss == pytest.approx(np.mean(x_**2), rel=1e-6)
    np.testing.assert_allclose(dx, 2 * x_ / x_.size, rtol=1e-6)
    for a, kept in zip(given, before, strict=True):
        np.testing.assert_array_equal(np.array(a), kept)


def test_dtypes():
    """float64 if any argument is float64, else float32; integers don't decide."""
    x32, w32 = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    assert F.dense(x32, w32).dtype == np.float32
    assert F.dense(x32, w32.astype(np.float64)).dtype == np.float64
    assert F.dense(x32.astype(int), w32).dtype == np.float32
    assert F.dense(x32.astype(int), w32.astype(np.uint8)).dtype == np.float32
    assert F.dense(x32.astype(np.float16), w32).dtype == np.float32
    assert F.relu([1.0, -1.0]).dtype == np.float64
    assert F.softmax_cross_entropy(x32, [0, 1])[1].dtype == np.float32


def test_empty_batches(backend):
    """An empty batch gives empty arrays, and zeros where there is a sum over it."""
    x, w = np.empty((0, 3)), np.ones((3, 2))
    assert F.dense(x, w, [1.0, 2.0], "sigmoid").shape == (0, 2)
    dx, dw, db = F.dense_backward(x, w, np.empty((0, 2)))
    assert dx.shape == (0, 3)
    np.testing.assert_array_equal(dw, np.zeros((3, 2)))
    np.testing.assert_array_equal(db, np.zeros(2))
    assert F.tanh(np.empty((0, 4))).shape == (0, 4)
    assert F.sigmoid_backward(np.empty(0), np.empty(0)).shape == (0,)
    for loss, other in [
        (F.softmax_cross_entropy, np.empty(0, int)),
        (F.sigmoid_cross_entropy, np.empty((0, 2))),
        (F.mse, np.empty((0, 2))),
    ]:
        with pytest.raises(ValueError, match=r"at least one sample, got shape \(0, 2\)"):
            loss(np.empty((0, 2)), other)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3, 4)])
@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_activations_of_any_shape(backend, name, shape, rng):
    x = np.asarray(rng.standard_normal(shape))
    y = getattr(F, name)(x)
    want = {"relu": lambda z: np.maximum(z, 0), "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
            "tanh": np.tanh}[name](x)  # fmt: skip
    assert y.shape == shape
    np.testing.assert_allclose(y, want, rtol=1e-14)
    dy = np.asarray(rng.standard_normal(shape))
    slope = {"relu": y > 0, "sigmoid": y * (1 - y), "tanh": 1 - y * y}[name]
    np.testing.assert_allclose(getattr(F, f"{name}_backward")(dy, y), dy * slope, rtol=1e-14)


# --- losses -----------------------------------------------------------------------------------


def test_one_hot_is_the_same_as_class_numbers(backend, rng):
    x, labels = rng.standard_normal((9, 4)), rng.integers(0, 4, 9)
    loss, dx = F.softmax_cross_entropy(x, labels)
    for other in (np.eye(4)[labels], np.eye(4, dtype=int)[labels], labels[:, None],
                  labels.astype(np.float32), labels.astype(np.uint8)):  # fmt: skip
        other_loss, other_dx = F.softmax_cross_entropy(x, other)
        assert other_loss == pytest.approx(loss, rel=1e-14)
        np.testing.assert_allclose(other_dx, dx, rtol=1e-12, atol=1e-16)
    assert dx.sum() == pytest.approx(0, abs=1e-15)
    by_class = F.sigmoid_cross_entropy(x, labels)
    by_target = F.sigmoid_cross_entropy(x, np.eye(4)[labels])
    assert by_class[0] == by_target[0]
    np.testing.assert_array_equal(by_class[1], by_target[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_are_stable(backend, dtype):
    """Logits of 1e4 and more give the limit, not infinity."""
    x = np.array([[1e4, 0, -1e4], [-1e30, 1e30, 0]], dtype)
    loss, dx = F.softmax_cross_entropy(x, [0, 0])
    assert loss == pytest.approx(1e30, rel=1e-6)
    np.testing.assert_array_equal(dx, np.array([[0, 0, 0], [-0.5, 0.5, 0]]))
    loss, dx = F.sigmoid_cross_entropy(np.array([1e4, -1e4, 1e30], dtype), [0, 0, 1])
    assert loss == pytest.approx(1e4 / 3)
    np.testing.assert_allclose(dx, np.array([1 / 3, 0, 0]), rtol=1e-6)


# --- updates in place -------------------------------------------------------------------------

#: Name of the function, its arrays besides param and grad, and further arguments.
UPDATES = {
    "sgd_update": ((), {}),
    "momentum_update": (("velocity",), {}),
    "adagrad_update": (("accumulator",), {}),
    "rmsprop_update": (("mean_square",), {}),
    "adam_update": (("m", "v"), {"step": 3}),
}
every_update = pytest.mark.parametrize("name", UPDATES)

PLACES = {
    "0-d": ((), lambda a: a),
    "1-d": ((7,), lambda a: a),
    "3-d": ((2, 3, 4), lambda a: a),
    "empty": ((0, 3), lambda a: a),
    "Fortran": ((5, 3), np.asfortranarray),
    "column": ((6,), lambda a: np.repeat(a[:, None], 2, 1)[:, 1]),
    "backwards": ((4, 3), lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]),
    "every third row": ((4, 3), lambda a: np.repeat(a, 3, 0)[::3]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("place", PLACES)
@every_update
def test_updates_of_any_layout(backend, name, place, dtype, rng):
    states, further = UPDATES[name]
    shape, arrange = PLACES[place]
    flat = {n: np.abs(rng.standard_normal(shape)).astype(dtype) for n in ("param", "grad", *states)}
    want = {n: a.reshape(-1).copy() for n, a in flat.items()}
    getattr(F, name)(*want.values(), **further)
    given = {n: arrange(np.array(a)) for n, a in flat.items()}
    getattr(F, name)(*given.values(), **further)
    for n, a in given.items():
        assert a.shape == shape
        np.testing.assert_array_equal(a.reshape(-1), want[n], err_msg=n)
        changed = a.size > 0 and np.all(a != flat[n])
        assert changed == (n != "grad" and a.size > 0), n


@every_update
def test_updates_leave_the_neighbours_alone(backend, name, rng):
    """A strided parameter is part of a larger array, whose rest must stay."""
    states, further = UPDATES[name]
    whole = {n: np.abs(rng.standard_normal((6, 4))) for n in ("param", *states)}
    before = {n: a.copy() for n, a in whole.items()}
    parts = [a[::2, 1:3] for a in whole.values()]
    getattr(F, name)(parts[0], np.ones((3, 2)), *parts[1:], **further)
    inside = np.zeros((6, 4), bool)
    inside[::2, 1:3] = True
    for n, a in whole.items():
        np.testing.assert_array_equal(a != before[n], inside, err_msg=n)


@every_update
def test_updates_refuse_what_does_not_fit(name, rng):
    """Each error names the argument, and nothing was changed."""
    states, further = UPDATES[name]
    function = getattr(F, name)
    good = {n: np.abs(rng.standard_normal((3, 2))) for n in ("param", "grad", *states)}
    start = {n: a.copy() for n, a in good.items()}

    def refused(error, pattern, **changed):
        with pytest.raises(error, match=pattern) as info:
            function(**{**good, **further, **changed})
        assert str(info.value).startswith(f"{name}: ")
        for n, a in good.items():
            np.testing.assert_array_equal(a, start[n])

    for n in ("param", *states):
        refused(TypeError, rf"{n} must be a NumPy array, got list", **{n: [[1.0, 2.0]] * 3})
        read_only = good[n].copy()
        read_only.flags.writeable = False
        refused(ValueError, rf"{n} is updated in place but is read-only", **{n: read_only})
    refused(TypeError, "param must be float32 or float64, got int", param=np.ones((3, 2), int))
    refused(ValueError, r"grad must have shape \(3, 2\) \(that of param\), got \(2, 3\)",
            grad=np.ones((2, 3)))  # fmt: skip
    refused(TypeError, "grad must hold real numbers, got dtype <U1", grad=np.full((3, 2), "a"))
    for n in states:
        refused(ValueError, rf"{n} must have shape \(3, 2\)", **{n: np.ones(6)})
        refused(TypeError, rf"{n} must be float64, got float32", **{n: np.ones((3, 2), "f4")})
        refused(ValueError, f"param and {n} share memory", **{n: good["param"]})
    for bad in (-0.1, float("nan"), float("inf"), "0.1", None, True):
        refused(ValueError, re.escape(f"learning_rate must be a number in [0, inf), got {bad!r}"),
                learning_rate=bad)  # fmt: skip
    for number in {"momentum", "rho", "beta_1", "beta_2"} & set(function.__annotations__):
        refused(ValueError, rf"{number} must be a number in \[0, 1\), got 1", **{number: 1})
        refused(ValueError, rf"{number} must be a number in \[0, 1\)", **{number: -0.5})
    if "epsilon" in function.__annotations__:
        refused(ValueError, r"epsilon must be a number in \[0, inf\), got -1", epsilon=-1)
    if "step" in function.__annotations__:
        for bad in (0, -1, 1.0, True, None):
            refused(ValueError, f"step must be an integer >= 1, got {bad!r}", step=bad)


def test_a_gradient_may_share_memory_with_the_parameter():
    """Only what is written must not overlap; p ← p − α p is plain decay."""
    p = np.array([1.0, 2.0, 3.0])
    F.sgd_update(p, p, 0.5)
    np.testing.assert_array_equal(p, [0.5, 1.0, 1.5])


# --- errors -----------------------------------------------------------------------------------

X, W, B, DY = np.ones((2, 3)), np.ones((3, 4)), np.ones(4), np.ones((2, 4))

#: What is called, the error, and a part of its text.
ERRORS = [
    (lambda: F.dense(X[0], W), ValueError,
     "dense: x must have shape (N, K), got 1 dimensions: (3,)"),
    (lambda: F.dense(X, W[None]), ValueError,
     "dense: w must have shape (K, O), got 3 dimensions: (1, 3, 4)"),
    (lambda: F.dense(X, W.T), ValueError,
     "dense: x has K=3 but w expects K=4 (x: (2, 3) as N,K; w: (4, 3) as K,O)"),
    (lambda: F.dense(X, W, np.ones(3)), ValueError,
     "dense: b must have shape (4,) (O), got (3,)"),
    (lambda: F.dense(X, W, np.ones((1, 4))), ValueError,
     "dense: b must have shape (4,) (O), got (1, 4)"),
    (lambda: F.dense(X, np.ones((3, 0))), ValueError,
     "dense: w must have K >= 1 and O >= 1, got (3, 0)"),
    (lambda: F.dense(np.ones((2, 0)), np.ones((0, 4))), ValueError,
     "dense: w must have K >= 1 and O >= 1, got (0, 4)"),
    (lambda: F.dense(X, W, activation="rellu"), ValueError,
     "unknown activation for dense 'rellu'; did you mean 'relu'? (expected one of: identity, "),
    (lambda: F.dense([["a", "b", "c"]], W), TypeError,
     "dense: x must hold real numbers, got dtype <U1"),
    (lambda: F.dense(X * 1j, W), TypeError,
     "dense: x must hold real numbers, got dtype complex128"),
    (lambda: F.dense(X, W, np.array([None] * 4)), TypeError,
     "dense: b must hold real numbers, got dtype object"),
    (lambda: F.dense_backward(X, W, DY.T), ValueError,
     "dense_backward: dy must have shape (2, 4) (N, O), got (4, 2)"),
    (lambda: F.dense_backward(X, W, DY, activation="relu"), ValueError,
     "dense_backward: y, the output, is needed to undo activation='relu'"),
    (lambda: F.dense_backward(X, W, DY, y=X, activation="tanh"), ValueError,
     "dense_backward: y must have shape (2, 4) (N, O), got (2, 3)"),
    (lambda: F.relu_backward(X, DY), ValueError,
     "relu_backward: dy must have shape (2, 4) (that of y), got (2, 3)"),
    (lambda: F.tanh("x"), TypeError, "tanh: x must hold real numbers"),
    (lambda: F.softmax_cross_entropy(X[0], [0]), ValueError,
     "softmax_cross_entropy: logits must have shape (N, C), got 1 dimensions: (3,)"),
    (lambda: F.softmax_cross_entropy(X, [0, 3]), ValueError,
     "softmax_cross_entropy: labels must be in 0..2 (C=3 classes), got 3"),
    (lambda: F.softmax_cross_entropy(X, [-1, 0]), ValueError,
     "softmax_cross_entropy: labels must be in 0..2 (C=3 classes), got -1"),
    (lambda: F.softmax_cross_entropy(X, [0.5, 1]), ValueError,
     "softmax_cross_entropy: class numbers must be integers, got "),
    (lambda: F.softmax_cross_entropy(X, [np.nan, 1]), ValueError,
     "softmax_cross_entropy: class numbers must be integers"),
    (lambda: F.softmax_cross_entropy(X, [0, 1, 2]), ValueError,
     "labels must have shape (2,) with class numbers or (2, 3) one-hot, got (3,)"),
    (lambda: F.softmax_cross_entropy(X, np.ones((2, 3))), ValueError,
     "each row of one-hot labels must sum to 1, row 0 sums to 3"),
    (lambda: F.softmax_cross_entropy(X, [[1, 0, 0], [2, -1, 0]]), ValueError,
     "one-hot labels must not be negative or NaN"),
    (lambda: F.softmax_cross_entropy(X, [[1, 0, 0], [np.nan, 1, 0]]), ValueError,
     "one-hot labels must not be negative or NaN"),
    (lambda: F.softmax_cross_entropy(X, ["cat", "dog"]), TypeError,
     "softmax_cross_entropy: labels must hold real numbers"),
    (lambda: F.sigmoid_cross_entropy(X, X * 1.5), ValueError,
     "sigmoid_cross_entropy: labels must be in 0..1"),
    (lambda: F.sigmoid_cross_entropy(X, X * np.nan), ValueError,
     "sigmoid_cross_entropy: labels must be in 0..1"),
    (lambda: F.sigmoid_cross_entropy(X, X.T), ValueError,
     "sigmoid_cross_entropy: labels must have shape (2, 3) (that of the output), got (3, 2)"),
    (lambda: F.mse(X, X.T), ValueError,
     "mse: targets must have shape (2, 3) (that of the output), got (3, 2)"),
    (lambda: F.mse(1.0, 1.0), ValueError, "mse: a loss needs at least one sample"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "text"), ERRORS, ids=[e[2][:60] for e in ERRORS])
def test_errors_name_the_argument(call, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call()


def test_labels_of_the_python_zoo(rng):
    """What people hand over as labels: bool, uint8, floats that are whole, columns."""
    x = rng.standard_normal((2, 2))
    want = F.softmax_cross_entropy(x, [1, 0])[0]
    for labels in ([True, False], np.array([1, 0], np.uint8), [1.0, 0.0], [[1], [0]], (1, 0)):
        assert F.softmax_cross_entropy(x, labels)[0] == want


# --- the examples in the documentation --------------------------------------------------------

MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastnn.__path__, "fastnn.")
    if "_kernels" not in module.name and not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", ["fastnn", *MODULES])
def test_examples_run(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) >= 15
