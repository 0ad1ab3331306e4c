"""The functions people call by hand: layouts, in-place updates, errors, and the examples."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re

import naive
import numpy as np
import pytest

import fastnn
from fastnn import functional as F
from fastnn.geometry import conv2d_geometry, pool2d_geometry
from fastnn.ops import FUSED_ACTIVATIONS

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


# --- convolution and pooling ------------------------------------------------------------------

#: Of each function: its arrays by name, those that are given back by the naive loops, and the
#: call. Strides, paddings and window differ between the axes, so that nothing can be swapped.
WINDOW = {"strides": (2, 1), "padding": ((1, 0), (2, 1))}
IMAGE = (3, 6, 5, 4)
CONV = {**WINDOW, "dilation": (1, 2), "groups": 2}
CONV_GEOMETRY = conv2d_geometry("test", IMAGE[1:], (3, 2, 2, 6), **CONV)
WINDOW_GEOMETRY = conv2d_geometry("test", IMAGE[1:], (3, 2, 4, 1), **WINDOW, dilation=(1, 2))
POOL_GEOMETRY = pool2d_geometry("test", IMAGE[1:], (2, 3), **WINDOW)
CONV_OUT, POOL_OUT = ((3, *g.out_shape) for g in (CONV_GEOMETRY, POOL_GEOMETRY))


def _naive(op, *arguments, shape):
    out = np.full(shape, np.nan)
    getattr(naive, op)(*arguments, out)
    return out


def _naive_backward(x, w, dy):
    db = dy.sum(axis=(0, 1, 2))
    return (
        _naive("conv2d_dx", dy, w, CONV_GEOMETRY, shape=x.shape),
        _naive("conv2d_dw", x, dy, CONV_GEOMETRY, shape=w.shape),
        db,
    )


def _naive_max_pool(x, geometry):
    y, index = np.empty((2, len(x), *geometry.out_shape))
    naive.max_pool2d(x, geometry, y, index)
    return y, index


WHOLE = pool2d_geometry("test", IMAGE[1:], IMAGE[1:3])
COLUMNS = (3 * WINDOW_GEOMETRY.rows.out * WINDOW_GEOMETRY.columns.out, 3 * 2 * 4)
IMAGES = {
    "conv2d": (
        {"x": IMAGE, "w": (3, 2, 2, 6), "b": (6,)},
        lambda x, w, b: F.conv2d(x, w, b, **CONV, activation="relu"),
        lambda x, w, b: _naive("conv2d", x, w, b, CONV_GEOMETRY, 1, shape=CONV_OUT),
    ),
    "conv2d_backward": (
        {"x": IMAGE, "w": (3, 2, 2, 6), "dy": CONV_OUT},
        lambda x, w, dy: F.conv2d_backward(x, w, dy, **CONV),
        _naive_backward,
    ),
    "conv2d_backward, relu": (
        {"x": IMAGE, "w": (3, 2, 2, 6), "dy": CONV_OUT, "y": CONV_OUT},
        lambda x, w, dy, y: F.conv2d_backward(x, w, dy, **CONV, y=y, activation="relu"),
        lambda x, w, dy, y: _naive_backward(x, w, dy * (y > 0)),
    ),
    "im2col": (
        {"x": IMAGE},
        lambda x: F.im2col(x, (3, 2), **WINDOW, dilation=(1, 2)),
        lambda x: _naive("im2col", x, WINDOW_GEOMETRY, shape=COLUMNS),
    ),
    "col2im": (
        {"columns": COLUMNS},
        lambda columns: F.col2im(columns, IMAGE, (3, 2), **WINDOW, dilation=(1, 2)),
        lambda columns: _naive("col2im", columns, WINDOW_GEOMETRY, shape=IMAGE),
    ),
    "max_pool2d": (
        {"x": IMAGE},
        lambda x: F.max_pool2d(x, (2, 3), **WINDOW, return_indices=True),
        lambda x: _naive_max_pool(x, POOL_GEOMETRY),
    ),
    "max_pool2d_backward": (
        {"x": IMAGE, "dy": POOL_OUT},
        lambda x, dy: F.max_pool2d_backward(
            dy, F.max_pool2d(x, (2, 3), **WINDOW, return_indices=True)[1], IMAGE, (2, 3), **WINDOW
        ),
        lambda x, dy: _naive(
            "max_pool2d_backward", dy, _naive_max_pool(x, POOL_GEOMETRY)[1], POOL_GEOMETRY,
            shape=IMAGE,
        ),
    ),
    "average_pool2d": (
        {"x": IMAGE},
        lambda x: 12 * F.average_pool2d(x, (2, 3), **WINDOW),
        lambda x: 12 * _naive("average_pool2d", x, POOL_GEOMETRY, shape=POOL_OUT),
    ),
    "average_pool2d_backward": (
        {"dy": POOL_OUT},
        lambda dy: F.average_pool2d_backward(dy, IMAGE, (2, 3), **WINDOW),
        lambda dy: _naive("average_pool2d_backward", dy, POOL_GEOMETRY, shape=IMAGE),
    ),
    "global_max_pool2d": (
        {"x": IMAGE},
        lambda x: F.global_max_pool2d(x, return_indices=True),
        lambda x: tuple(a[:, 0, 0] for a in _naive_max_pool(x, WHOLE)),
    ),
    "global_max_pool2d_backward": (
        {"x": IMAGE, "dy": (3, 4)},
        lambda x, dy: F.global_max_pool2d_backward(
            dy, F.global_max_pool2d(x, return_indices=True)[1], IMAGE
        ),
        lambda x, dy: _naive(
            "max_pool2d_backward", np.array(dy)[:, None, None], _naive_max_pool(x, WHOLE)[1], WHOLE,
            shape=IMAGE,
        ),
    ),
    "global_average_pool2d": (
        {"x": IMAGE},
        F.global_average_pool2d,
        lambda x: _naive("average_pool2d", x, WHOLE, shape=(3, 1, 1, 4))[:, 0, 0],
    ),
    "global_average_pool2d_backward": (
        {"dy": (3, 4)},
        lambda dy: F.global_average_pool2d_backward(dy, IMAGE),
        lambda dy: _naive(
            "average_pool2d_backward", np.array(dy)[:, None, None], WHOLE, shape=IMAGE
        ),
    ),
}  # fmt: skip
every_image_function = pytest.mark.parametrize("name", IMAGES)


def _results(results):
    return results if isinstance(results, tuple) else (results,)


@pytest.mark.parametrize("layout", LAYOUTS)
@every_image_function
def test_images_of_any_layout(backend, name, layout, rng):
    """The result is that of the naive loops on the plain array, and inputs stay."""
    shapes, call, oracle = IMAGES[name]
    given = {n: integers(rng, *shape) for n, shape in shapes.items()}
    # A vector has one axis, which can't be the first and the last.
    given = {n: LAYOUTS[layout](a) if a.ndim > 1 else a for n, a in given.items()}
    plain = {n: np.array(a, np.float64) for n, a in given.items()}
    results = _results(call(**given))
    for got, want in zip(results, _results(oracle(**plain)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
        assert np.any(got != 0)
    for n, a in given.items():
        np.testing.assert_array_equal(np.array(a, np.float64), plain[n])


#: The calls of IMAGES that are told the shape of the images, told that there are none.
NONE, NO_INDEX = (0, *IMAGE[1:]), np.empty((0, *POOL_OUT[1:]), np.uint8)
EMPTY = {
    "col2im": lambda columns: F.col2im(columns, NONE, (3, 2), **WINDOW, dilation=(1, 2)),
    "max_pool2d_backward": lambda x, dy: F.max_pool2d_backward(
        dy, NO_INDEX, NONE, (2, 3), **WINDOW
    ),
    "average_pool2d_backward": lambda dy: F.average_pool2d_backward(dy, NONE, (2, 3), **WINDOW),
    "global_max_pool2d_backward": lambda x, dy: F.global_max_pool2d_backward(
        dy, NO_INDEX[:, 0, 0], NONE
    ),
    "global_average_pool2d_backward": lambda dy: F.global_average_pool2d_backward(dy, NONE),
}


@every_image_function
def test_empty_batches_of_images(backend, name):
    """Empty arrays, and zeros where there is a sum over the batch."""
    shapes, call, _ = IMAGES[name]
    full = _results(call(**{n: np.ones(s) for n, s in shapes.items()}))
    none = {n: np.ones(s if n in "wb" else (0, *s[1:])) for n, s in shapes.items()}
    for i, (got, some) in enumerate(
        zip(_results(EMPTY.get(name, call)(**none)), full, strict=True)
    ):
        sums = i > 0 and name.startswith("conv2d_backward")
        assert got.shape == (some.shape if sums else (0, *some.shape[1:]))
        assert got.dtype == some.dtype
        assert not got.any()


def test_dtypes_of_images():
    """float64 if an array is, else float32; an index is uint8 while the window allows."""
    x = np.ones((1, 17, 17, 2), np.uint8)
    w = np.ones((3, 3, 2, 4), np.float16)
    assert F.conv2d(x, w).dtype == np.float32
    assert F.conv2d(x, w.astype(np.float64)).dtype == np.float64
    assert F.im2col(x, 3).dtype == np.float32
    assert {a.dtype for a in F.conv2d_backward(x, w, np.ones((1, 15, 15, 4)))} == {
        np.dtype(np.float64)
    }
    for size, kind in ((2, np.uint8), (16, np.uint8), ((1, 17), np.uint8), (17, np.int32)):
        y, idx = F.max_pool2d(x, size, return_indices=True)
        assert (y.dtype, idx.dtype) == (np.float32, kind)
    # A row of 256 still fits in uint8.
    ramp = np.arange(512.0).reshape(2, 1, 256, 1)
    y, idx = F.max_pool2d(ramp, (1, 256), return_indices=True)
    assert idx.tolist() == [[[[255]]], [[[255]]]]
    dx = F.max_pool2d_backward(y, idx, ramp.shape, (1, 256))
    assert dx[:, 0, 255, 0].tolist() == [255, 511]
    assert np.count_nonzero(dx) == 2


@pytest.mark.parametrize("activation", FUSED_ACTIVATIONS)
def test_conv2d_backward_undoes_the_activation(backend, activation, rng):
    x, w = rng.standard_normal((2, 5, 4, 3)), rng.standard_normal((2, 3, 3, 4))
    y = F.conv2d(x, w, activation=activation)
    dy = rng.standard_normal(y.shape)
    dz = dy if activation == "identity" else getattr(F, f"{activation}_backward")(dy, y)
    want = F.conv2d_backward(x, w, dz)
    got = F.conv2d_backward(x, w, dy, y=y, activation=activation)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(dz != dy) == (activation != "identity")


def test_a_convolution_is_a_product_of_columns(backend, rng):
    """The identity that gave im2col its use, and a 1x1 convolution is a dense layer."""
    x, w = rng.standard_normal((2, 7, 6, 3)), rng.standard_normal((3, 2, 3, 5))
    columns = F.im2col(x, (3, 2), strides=2, padding="same")
    y = F.conv2d(x, w, strides=2, padding="same")
    np.testing.assert_allclose(columns @ w.reshape(-1, 5), y.reshape(-1, 5), rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    dx, dw, _ = F.conv2d_backward(x, w, dy, strides=2, padding="same")
    back = F.col2im(dy.reshape(-1, 5) @ w.reshape(-1, 5).T, x.shape, (3, 2), 2, "same")
    np.testing.assert_allclose(back, dx, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        columns.T @ dy.reshape(-1, 5), dw.reshape(-1, 5), rtol=1e-12, atol=1e-12
    )
    point = rng.standard_normal((1, 1, 3, 5))
    np.testing.assert_allclose(
        F.conv2d(x, point, np.ones(5)), F.dense(x.reshape(-1, 3), point[0, 0], np.ones(5)).reshape(
            2, 7, 6, 5
        ), rtol=1e-12, atol=1e-12,
    )  # fmt: skip


@pytest.mark.parametrize("bad", [4, 255])
def test_an_index_out_of_its_window_is_refused(backend, bad):
    dy, idx = np.ones((2, 2, 2, 3)), np.zeros((2, 2, 2, 3), np.uint8)
    idx[1, 0, 1, 2] = bad
    with pytest.raises(ValueError, match=rf"idx must be positions in .* got {bad} at \(1, 0, 1, 2"):
        F.max_pool2d_backward(dy, idx, (2, 4, 4, 3), 2)
    with pytest.raises(ValueError, match=rf"idx must be positions in .* got {bad} at \(0, 0, 0, 0"):
        F.global_max_pool2d_backward([[1.0]], np.array([[bad]], np.uint8), (1, 2, 2, 1))


def test_an_index_into_the_padding_is_refused(backend):
    """Each side of the image, in a window that has taps on both sides of its edge."""
    shape, pool = (1, 4, 4, 1), {"pool_size": 3, "strides": 3, "padding": 1}
    _, idx = F.max_pool2d(np.ones(shape), **pool, return_indices=True)
    dy = np.ones(idx.shape)
    assert idx.ravel().tolist() == [4, 3, 1, 0]
    F.max_pool2d_backward(dy, idx, shape, **pool)
    for place, taps in (((0, 0), (0, 1, 2, 3, 6)), ((0, 1), (0, 1, 2, 5, 8)),
                        ((1, 0), (0, 3, 6, 7, 8)), ((1, 1), (2, 5, 6, 7, 8))):  # fmt: skip
        for tap in taps:
            changed = idx.copy()
            changed[0, *place, 0] = tap
            with pytest.raises(ValueError, match=f"idx must be positions in .* got {tap} at"):
                F.max_pool2d_backward(dy, changed, shape, **pool)


def test_a_large_window_has_signed_indices_and_none_below_zero(backend):
    x = np.arange(17.0 * 17).reshape(1, 17, 17, 1)
    y, idx = F.max_pool2d(x, 17, return_indices=True)
    assert idx.item() == 288
    assert F.max_pool2d_backward(y, idx, x.shape, 17)[0, 16, 16, 0] == 288
    for bad in (-1, -289, 289, 2**31 - 1):
        with pytest.raises(ValueError, match=f"idx must be positions in .* got {bad} at"):
            F.max_pool2d_backward(y, np.full_like(idx, bad), x.shape, 17)


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
    "adadelta_update": (("mean_square", "mean_square_step"), {}),
    "rmsprop_update": (("mean_square",), {}),
    "adam_update": (("m", "v"), {"step": 3}),
    "lion_update": (("m",), {}),
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


@pytest.mark.parametrize("name", UPDATES)
def test_a_gradient_that_is_a_state_too_is_read_before_it_is_written(backend, name, rng):
    states, more = UPDATES[name]
    for shared in states:
        found = []
        for copied in (False, True):
            p = np.ones(300)
            arrays = {n: rng.random(300) for n in states} if not found else found[0][2]
            arrays = {n: a.copy() for n, a in arrays.items()}
            first = {n: a.copy() for n, a in arrays.items()}
            grad = arrays[shared].copy() if copied else arrays[shared]
            getattr(F, name)(param=p, grad=grad, **arrays, **more)
            found.append((p, arrays, first))
        np.testing.assert_array_equal(found[0][0], found[1][0])
        for n in states:
            np.testing.assert_array_equal(found[0][1][n], found[1][1][n])


@pytest.mark.parametrize("dtype", [">f8", "longdouble"])
def test_wide_floats_stay_wide(dtype):
    y = F.relu(np.array([1e300, -1], dtype))
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, [1e300, 0])


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("momentum_update", "nesterov"),
        ("momentum_update", "rate_in_velocity"),
        ("adagrad_update", "epsilon_inside_root"),
        ("rmsprop_update", "epsilon_inside_root"),
        ("adam_update", "epsilon_inside_root"),
        ("adam_update", "bias_correction"),
    ],
)
def test_updates_refuse_what_is_neither_true_nor_false(name, argument):
    arrays, more = UPDATES[name]
    p, states = np.ones(3), [np.zeros(3) for _ in arrays]
    with pytest.raises(ValueError, match=f"{name}: {argument} must be True or False, got 'no'"):
        getattr(F, name)(p, np.ones(3), *states, **more, **{argument: "no"})
    np.testing.assert_array_equal(p, 1)
    getattr(F, name)(p, np.ones(3), *states, **more, **{argument: np.False_})


def test_a_gradient_may_share_memory_with_the_parameter():
    """Only what is written must not overlap; p ← p − α p is plain decay."""
    p = np.array([1.0, 2.0, 3.0])
    F.sgd_update(p, p, 0.5)
    np.testing.assert_array_equal(p, [0.5, 1.0, 1.5])


# --- errors -----------------------------------------------------------------------------------

X, W, B, DY = np.ones((2, 3)), np.ones((3, 4)), np.ones(4), np.ones((2, 4))

IMG, KER, OUT = np.ones((2, 5, 4, 3)), np.ones((2, 2, 3, 4)), np.ones((2, 4, 3, 4))
POOLED, INDEX = np.ones((2, 2, 2, 3)), np.zeros((2, 2, 2, 3), np.uint8)

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
    (lambda: F.conv2d(IMG[0], KER), ValueError,
     "conv2d: x must have shape (N, H, W, C), got 3 dimensions: (5, 4, 3)"),
    (lambda: F.conv2d(IMG, KER[0]), ValueError,
     "conv2d: w must have shape (KH, KW, C/G, O), got 3 dimensions: (2, 3, 4)"),
    (lambda: F.conv2d(IMG, np.ones((2, 2, 4, 4))), ValueError,
     "conv2d: x has C=3 but w expects C=4 (x: (N, 5, 4, 3) as N,H,W,C; w: (2, 2, 4, 4) as "),
    (lambda: F.conv2d(IMG, np.ones((2, 2, 2, 3)), groups=3), ValueError,
     "conv2d: x has C=3 but w expects C=6 (C/G=2, G=3) (x: "),
    (lambda: F.conv2d(IMG, KER, groups=2), ValueError,
     "conv2d: groups=2 must divide C=3 of x and O=4 of w"),
    (lambda: F.conv2d(IMG, KER, groups=0), ValueError, "conv2d: groups must be in 1.."),
    (lambda: F.conv2d(IMG, KER, groups=True), ValueError,
     "conv2d: groups must be an integer >= 1, got True"),
    (lambda: F.conv2d(IMG, KER, np.ones(3)), ValueError,
     "conv2d: b must have shape (4,) (O), got (3,)"),
    (lambda: F.conv2d(IMG, np.ones((2, 2, 3, 0))), ValueError,
     "conv2d: w must have no size of 0, got (2, 2, 3, 0)"),
    (lambda: F.conv2d(np.ones((2, 0, 4, 3)), KER), ValueError,
     "conv2d: x must have H, W and C >= 1, got (2, 0, 4, 3) as N,H,W,C"),
    (lambda: F.conv2d(IMG, KER, strides=-1), ValueError, "conv2d: strides must be in 1.."),
    (lambda: F.conv2d(IMG, KER, strides=(1, 0)), ValueError, "conv2d: strides[1] must be in 1.."),
    (lambda: F.conv2d(IMG, KER, strides=1.0), ValueError,
     "conv2d: strides must be an integer >= 1, got 1.0"),
    (lambda: F.conv2d(IMG, KER, strides=(1, 1, 1)), ValueError,
     "conv2d: strides must be an integer or a pair, got (1, 1, 1)"),
    (lambda: F.conv2d(IMG, KER, strides=2**40), ValueError, "conv2d: strides must be in 1.."),
    (lambda: F.conv2d(IMG, KER, dilation=0), ValueError, "conv2d: dilation must be in 1.."),
    (lambda: F.conv2d(IMG, KER, dilation=5), ValueError,
     "conv2d: the window's height 6 (kernel 2, dilation 5) is larger than the padded input's 5"),
    (lambda: F.conv2d(IMG, KER, padding="smae"), ValueError,
     "unknown padding for conv2d 'smae'; did you mean 'same'?"),
    (lambda: F.conv2d(IMG, KER, padding=-1), ValueError, "conv2d: padding must be 'valid', "),
    (lambda: F.conv2d(IMG, KER, padding=((0, 0), (0, -1))), ValueError,
     "conv2d: padding must be 'valid', 'same', an integer >= 0 or ((top, bottom), (left, right))"),
    (lambda: F.conv2d(IMG, KER, padding=(1, 1)), ValueError, "conv2d: padding must be "),
    (lambda: F.conv2d(IMG, KER, padding=None), ValueError, "conv2d: padding must be "),
    (lambda: F.conv2d(IMG, KER, padding=2**31 - 1), ValueError,
     "conv2d: the padded height must be at most"),
    (lambda: F.conv2d(IMG, KER, padding=2**30 - 3), ValueError, "conv2d: y would have shape (2, "),
    (lambda: F.conv2d(IMG, KER, activation="rellu"), ValueError,
     "unknown activation for conv2d 'rellu'; did you mean 'relu'?"),
    (lambda: F.conv2d(IMG, "w"), TypeError, "conv2d: w must hold real numbers"),
    (lambda: F.conv2d(None, KER), TypeError, "conv2d: x must be an array of real numbers"),
    (lambda: F.conv2d_backward(IMG, KER, np.ones((2, 4, 4, 4))), ValueError,
     "conv2d_backward: dy must have shape (2, 4, 3, 4) (N, OH, OW, O), got (2, 4, 4, 4)"),
    (lambda: F.conv2d_backward(IMG, KER, np.ones((1, 4, 3, 4))), ValueError,
     "conv2d_backward: dy must have shape (2, 4, 3, 4)"),
    (lambda: F.conv2d_backward(IMG, KER, OUT, activation="relu"), ValueError,
     "conv2d_backward: y, the output, is needed to undo activation='relu'"),
    (lambda: F.conv2d_backward(IMG, KER, OUT, y=OUT[:1], activation="relu"), ValueError,
     "conv2d_backward: y must have shape (2, 4, 3, 4) (N, OH, OW, O), got (1, 4, 3, 4)"),
    (lambda: F.im2col(IMG, 0), ValueError, "im2col: kernel_size must be in 1.."),
    (lambda: F.im2col(IMG, (2, 5)), ValueError, "im2col: the window's width 5 (kernel 5"),
    (lambda: F.im2col(IMG, 2**15, padding=2**20), ValueError,
     "im2col: columns would have shape ("),
    (lambda: F.col2im(np.ones((24, 12)), (2, 5, 4), 2), ValueError,
     "col2im: x_shape must be four sizes (N, H, W, C), got (2, 5, 4)"),
    (lambda: F.col2im(np.ones((24, 12)), (-2, 5, 4, 3), 2), ValueError, "x_shape must be four"),
    (lambda: F.col2im(np.ones((24, 12)), (2, 5, 4.0, 3), 2), ValueError, "x_shape must be four"),
    (lambda: F.col2im(np.ones((24, 12)), 7, 2), ValueError, "x_shape must be four sizes"),
    (lambda: F.col2im(np.ones((24, 12)), (2, 5, -4, 3), 2), ValueError,
     "col2im: x_shape must have H, W and C >= 1, got (2, 5, -4, 3)"),
    (lambda: F.col2im(np.ones((24, 12)), (2, 5, 5, 3), 2), ValueError,
     "col2im: columns must have shape (32, 12) (N·OH·OW, KH·KW·C), got (24, 12)"),
    (lambda: F.max_pool2d(IMG[0], 2), ValueError, "max_pool2d: x must have shape (N, H, W, C)"),
    (lambda: F.max_pool2d(IMG, 0), ValueError, "max_pool2d: pool_size must be in 1.."),
    (lambda: F.max_pool2d(IMG, 2, strides=0), ValueError, "max_pool2d: strides must be in 1.."),
    (lambda: F.max_pool2d(IMG, (2, 5)), ValueError,
     "max_pool2d: the window's width 5 (kernel 5, dilation 1) is larger than the padded"),
    (lambda: F.max_pool2d(IMG, 2, padding=2), ValueError,
     "max_pool2d: a window lies wholly in the padding along the height: padding (2, 2) for"),
    (lambda: F.max_pool2d(np.ones((2, 5, 4, 0)), 2), ValueError,
     "max_pool2d: x must have H, W and C >= 1, got (2, 5, 4, 0)"),
    (lambda: F.max_pool2d_backward(POOLED, INDEX[:1], (2, 5, 4, 3), 2), ValueError,
     "max_pool2d_backward: idx must have shape (2, 2, 2, 3) (that of dy), got (1, 2, 2, 3)"),
    (lambda: F.max_pool2d_backward(POOLED[:, :1], INDEX, (2, 5, 4, 3), 2), ValueError,
     "max_pool2d_backward: dy must have shape (2, 2, 2, 3) (N, OH, OW, C), got (2, 1, 2, 3)"),
    (lambda: F.max_pool2d_backward(POOLED, INDEX.astype(np.int64), (2, 5, 4, 3), 2), ValueError,
     "max_pool2d_backward: idx must be uint8 for windows of 4, got int64"),
    (lambda: F.max_pool2d_backward(POOLED, INDEX.astype(float), (2, 5, 4, 3), 2), ValueError,
     "max_pool2d_backward: idx must be uint8 for windows of 4, got float64"),
    (lambda: F.max_pool2d_backward(POOLED, None, (2, 5, 4, 3), 2), TypeError,
     "max_pool2d_backward: idx must be an array of real numbers, got None"),
    (lambda: F.max_pool2d_backward(POOLED, INDEX, (2, 7, 4, 3), 2), ValueError,
     "max_pool2d_backward: dy must have shape (2, 3, 2, 3)"),
    (lambda: F.average_pool2d(IMG, 2, padding=((0, 0), (0, 9))), ValueError,
     "average_pool2d: a window lies wholly in the padding along the width"),
    (lambda: F.average_pool2d_backward(POOLED, (2, 5, 6, 3), 2), ValueError,
     "average_pool2d_backward: dy must have shape (2, 2, 3, 3) (N, OH, OW, C), got (2, 2, 2, 3)"),
    (lambda: F.average_pool2d_backward(POOLED, (2, 5, 4, 3), -2), ValueError,
     "average_pool2d_backward: pool_size must be in 1.."),
    (lambda: F.global_max_pool2d(np.ones((2, 3, 0, 4))), ValueError,
     "global_max_pool2d: x must have H, W and C >= 1, got (2, 3, 0, 4)"),
    (lambda: F.global_max_pool2d_backward(X, np.zeros((3, 2), np.uint8), (2, 5, 4, 3)), ValueError,
     "global_max_pool2d_backward: idx must have shape (2, 3) (N, C), got (3, 2)"),
    (lambda: F.global_average_pool2d(X), ValueError,
     "global_average_pool2d: x must have shape (N, H, W, C), got 2 dimensions: (2, 3)"),
    (lambda: F.global_average_pool2d_backward(X.T, (2, 5, 4, 3)), ValueError,
     "global_average_pool2d_backward: dy must have shape (2, 3) (N, C), got (3, 2)"),
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
