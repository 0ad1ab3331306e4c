"""The kernels for people: check, convert, allocate, call.

Every function here takes arrays of any layout (C or Fortran order, strided, read-only, integer)
and returns new ones, except the updates, which work in place. Computation is in float64 if any
floating argument is float64, else in float32. Errors name the function, the argument, what was
expected and what came, and are raised before anything is written.

The kernels themselves, and their maths, are in ``fastnn.backends``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.backends import kernels
from fastnn.errors import unknown
from fastnn.ops import FUSED_ACTIVATIONS

Array = NDArray[Any]


# --- checks ---------------------------------------------------------------------------------


def _as_real(op: str, name: str, value: ArrayLike | None) -> Array:
    if value is None:
        raise TypeError(f"{op}: {name} must be an array of real numbers, got None")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{op}: {name} must hold real numbers, got dtype {array.dtype}")
    return array


def _as_floats(op: str, **arguments: ArrayLike | None) -> list[Any]:
    """All arguments as C-contiguous arrays of one dtype; None stays None where it may (b, y)."""
    arrays = {
        name: None if value is None and name in ("b", "y") else _as_real(op, name, value)
        for name, value in arguments.items()
    }
    wide = any(a is not None and a.dtype == np.float64 for a in arrays.values())
    dtype = np.float64 if wide else np.float32
    return [None if a is None else np.asarray(a, dtype, order="C") for a in arrays.values()]


def _check_rank(op: str, name: str, array: Array, letters: str) -> None:
    expected = letters.replace(",", ", ")
    if array.ndim != len(letters.split(",")):
        raise ValueError(
            f"{op}: {name} must have shape ({expected}), got {array.ndim} dimensions: {array.shape}"
        )


def _check_shape(op: str, name: str, array: Array, expected: tuple[int, ...], why: str) -> None:
    if array.shape != expected:
        raise ValueError(f"{op}: {name} must have shape {expected} ({why}), got {array.shape}")


def activation_code(op: str, activation: str | None) -> int:
    """The kernels' code of a fused activation; None is the identity."""
    name = "identity" if activation in (None, "linear") else activation
    if name not in FUSED_ACTIVATIONS:
        raise unknown(f"activation for {op}", name, FUSED_ACTIVATIONS)
    return FUSED_ACTIVATIONS[name]


def check_number(op: str, name: str, value: float, low: float, high: float = math.inf) -> float:
    """``value`` as a float if it is a finite number in [low, high)."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )
    if not number or not low <= value < high:
        raise ValueError(f"{op}: {name} must be a number in [{low}, {high}), got {value!r}")
    return float(value)


# --- dense ----------------------------------------------------------------------------------


def dense(
    x: ArrayLike, w: ArrayLike, b: ArrayLike | None = None, activation: str | None = None
) -> Array:
    """y = f(x w + b).

    x (N, K), w (K, O), b (O,) or None; returns y (N, O). ``activation`` is one of
    ``identity``, ``relu``, ``sigmoid``, ``tanh``, or None. 2·N·K·O flops.

    Raises ``ValueError`` for shapes that don't fit and unknown activations, ``TypeError`` for
    arrays that don't hold real numbers.

    >>> dense([[1.0, 2.0]], [[1.0], [-1.0]], [3.0], activation="relu")
    array([[2.]])
    """
    code = activation_code("dense", activation)
    x_, w_, b_ = _as_floats("dense", x=x, w=w, b=b)
    _check_dense("dense", x_, w_)
    if b_ is not None:
        _check_shape("dense", "b", b_, (w_.shape[1],), "O")
    y = np.empty((len(x_), w_.shape[1]), x_.dtype)
    kernels(x_.dtype).dense(x_, w_, b_, code, y)
    return y


def dense_backward(
    x: ArrayLike,
    w: ArrayLike,
    dy: ArrayLike,
    y: ArrayLike | None = None,
    activation: str | None = None,
) -> tuple[Array, Array, Array]:
    """dz = dy · f′, dx = dz wᵀ, dw = xᵀ dz, db = Σₙ dz.

    x (N, K), w (K, O), dy (N, O). With a fused ``activation`` its output y (N, O) is needed to
    undo it. Returns dx (N, K), dw (K, O), db (O,). 4·N·K·O flops.

    Raises as ``dense`` does, and ``ValueError`` for an activation without y.

    >>> dx, dw, db = dense_backward([[1.0, 2.0]], [[1.0], [-1.0]], [[0.5]])
    >>> dx, dw, db
    (array([[ 0.5, -0.5]]), array([[0.5],
           [1. ]]), array([0.5]))
    """
    op = "dense_backward"
    code = activation_code(op, activation)
    if code and y is None:
        raise ValueError(f"{op}: y, the output, is needed to undo activation={activation!r}")
    x_, w_, dy_, y_ = _as_floats(op, x=x, w=w, dy=dy, y=y)
    _check_dense(op, x_, w_)
    expected = (len(x_), w_.shape[1])
    _check_shape(op, "dy", dy_, expected, "N, O")
    k = kernels(x_.dtype)
    dz = dy_
    if code:
        _check_shape(op, "y", y_, expected, "N, O")
        dz = np.empty_like(dy_)
        getattr(k, f"{activation}_backward")(dy_.ravel(), y_.ravel(), dz.ravel())
    dx, dw, db = np.empty_like(x_), np.empty_like(w_), np.empty(w_.shape[1], w_.dtype)
    k.dense_dx(dz, w_, dx)
    k.dense_dw(x_, dz, 0, dw)
    k.dense_db(dz, db)
    return dx, dw, db


def _check_dense(op: str, x: Array, w: Array) -> None:
    _check_rank(op, "x", x, "N,K")
    _check_rank(op, "w", w, "K,O")
    if x.shape[1] != w.shape[0]:
        raise ValueError(
            f"{op}: x has K={x.shape[1]} but w expects K={w.shape[0]} "
            f"(x: {x.shape} as N,K; w: {w.shape} as K,O)"
        )
    if 0 in w.shape:
        raise ValueError(f"{op}: w must have K >= 1 and O >= 1, got {w.shape} as K,O")


# --- activations ----------------------------------------------------------------------------


def _forward(name: str, x: ArrayLike) -> Array:
    (x_,) = _as_floats(name, x=x)
    y = np.empty_like(x_)
    getattr(kernels(x_.dtype), name)(x_.ravel(), y.reshape(-1))
    return y


def _backward(name: str, dy: ArrayLike, y: ArrayLike) -> Array:
    op = f"{name}_backward"
    dy_, y_ = _as_floats(op, dy=dy, y=y)
    _check_shape(op, "dy", dy_, y_.shape, "that of y")
    dx = np.empty_like(y_)
    getattr(kernels(y_.dtype), op)(dy_.ravel(), y_.ravel(), dx.reshape(-1))
    return dx


def relu(x: ArrayLike) -> Array:
    """y = max(x, 0), any shape; NaN stays NaN."""
    return _forward("relu", x)


def relu_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dx = dy where y > 0, else 0; y is the output of ``relu``."""
    return _backward("relu", dy, y)


def sigmoid(x: ArrayLike) -> Array:
    """y = 1 / (1 + exp(−x)), any shape."""
    return _forward("sigmoid", x)


def sigmoid_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dx = dy · y (1 − y); y is the output of ``sigmoid``."""
    return _backward("sigmoid", dy, y)


def tanh(x: ArrayLike) -> Array:
    """y = tanh(x), any shape."""
    return _forward("tanh", x)


def tanh_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dx = dy · (1 − y²); y is the output of ``tanh``."""
    return _backward("tanh", dy, y)


# --- losses ---------------------------------------------------------------------------------


def class_labels(op: str, labels: ArrayLike, n: int, classes: int) -> tuple[bool, Array]:
    """Checks labels for n samples: (True, int64 (N,)) or (False, distributions (N, C))."""
    array = _as_real(op, "labels", labels)
    if array.ndim == 2 and array.shape == (n, classes) and classes > 1:
        if not np.all(array >= 0):
            raise ValueError(f"{op}: one-hot labels must not be negative or NaN")
        off = np.abs(array.sum(axis=1, dtype=np.float64) - 1) > 1e-3
        if off.any():
            row = int(off.argmax())
            raise ValueError(
                f"{op}: each row of one-hot labels must sum to 1, row {row} sums to "
                f"{float(array[row].sum()):g}"
            )
        return False, array
    if array.shape not in ((n,), (n, 1)):
        raise ValueError(
            f"{op}: labels must have shape ({n},) with class numbers or ({n}, {classes}) one-hot, "
            f"got {array.shape}"
        )
    array = array.reshape(n)
    whole = array
    if array.dtype.kind == "f":
        if not np.all(array == np.floor(array)):
            bad = array[array != np.floor(array)][0]
            raise ValueError(f"{op}: class numbers must be integers, got {bad}")
        whole = np.clip(array, -1, classes)  # what is out of range stays so, and fits an integer
    numbers = np.ascontiguousarray(whole, np.int64)
    # As unsigned numbers, those below zero are the largest: one pass finds both kinds.
    if n and numbers.view(np.uint64).max() >= classes:
        bad = array[(array < 0) | (array >= classes)][0]
        raise ValueError(
            f"{op}: labels must be in 0..{classes - 1} (C={classes} classes), got {bad}"
        )
    return True, numbers


def binary_targets(op: str, labels: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Labels for sigmoid cross-entropy as an array of ``shape`` with values in 0..1.

    Class numbers (N,) for logits (N, C) with C > 1 become one-hot.
    """
    array = _as_real(op, "labels", labels)
    if len(shape) == 2 and shape[1] > 1 and array.shape in ((shape[0],), (shape[0], 1)):
        _, numbers = class_labels(op, array, *shape)
        array = np.eye(shape[1], dtype=np.float32)[numbers]
    array = regression_targets(op, "labels", array, shape)
    if not np.all((array >= 0) & (array <= 1)):
        raise ValueError(f"{op}: labels must be in 0..1")
    return array


def regression_targets(op: str, name: str, targets: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Targets as an array of ``shape``; (N,) is taken for (N, 1)."""
    array = _as_real(op, name, targets)
    if array.shape != shape and array.shape in (shape[:1], (*shape, 1)) and (
        array.size == math.prod(shape)
    ):  # fmt: skip
        array = array.reshape(shape)
    _check_shape(op, name, array, shape, "that of the output")
    return array


def softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> tuple[float, Array]:
    """L = meanₙ (log Σⱼ exp(xₙⱼ) − xₙ,label), stable for any size of logits.

    logits (N, C); labels (N,) class numbers in 0..C−1, or (N, C) one-hot or any distribution.
    Returns the mean over the batch as a float and its gradient (N, C),
    (softmax(x) − onehot) / N.

    Raises ``ValueError`` for an empty batch, other shapes and labels out of range.

    >>> loss, dlogits = softmax_cross_entropy([[0.0, 0.0]], [1])
    >>> round(loss, 4), dlogits
    (0.6931, array([[ 0.5, -0.5]]))
    """
    op = "softmax_cross_entropy"
    (x,) = _as_floats(op, logits=logits)
    _check_rank(op, "logits", x, "N,C")
    _check_batch(op, x)
    is_class, prepared = class_labels(op, labels, *x.shape)
    dx = np.empty_like(x)
    if is_class:
        return kernels(x.dtype).softmax_cross_entropy(x, prepared, 1.0, dx), dx
    prepared = np.asarray(prepared, x.dtype, order="C")
    return kernels(x.dtype).softmax_cross_entropy_targets(x, prepared, 1.0, dx), dx


def sigmoid_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> tuple[float, Array]:
    """L = mean (max(x, 0) − x t + log(1 + exp(−|x|))) over all elements.

    logits (N,) or (N, C); labels of the same shape with values in 0..1, or class numbers (N,)
    for C > 1. Returns the loss as a float and its gradient, (sigmoid(x) − t) / size.

    Raises as ``softmax_cross_entropy`` does.

    >>> loss, dlogits = sigmoid_cross_entropy([0.0, 0.0], [0, 1])
    >>> round(loss, 4), dlogits
    (0.6931, array([ 0.25, -0.25]))
    """
    op = "sigmoid_cross_entropy"
    (x,) = _as_floats(op, logits=logits)
    _check_batch(op, x)
    targets = np.asarray(binary_targets(op, labels, x.shape), x.dtype, order="C")
    dx = np.empty_like(x)
    loss = kernels(x.dtype).sigmoid_cross_entropy(x.ravel(), targets.ravel(), 1.0, dx.reshape(-1))
    return loss, dx


def mse(predictions: ArrayLike, targets: ArrayLike) -> tuple[float, Array]:
    """L = mean (x − t)² over all elements, gradient 2 (x − t) / size.

    predictions of any shape, targets of the same. Returns the loss as a float and the gradient.

    >>> mse([1.0, 2.0], [1.0, 0.0])
    (2.0, array([0., 2.]))
    """
    op = "mse"
    (x,) = _as_floats(op, predictions=predictions)
    _check_batch(op, x)
    t = np.asarray(regression_targets(op, "targets", targets, x.shape), x.dtype, order="C")
    dx = np.empty_like(x)
    return kernels(x.dtype).mse(x.ravel(), t.ravel(), 1.0, dx.reshape(-1)), dx


def _check_batch(op: str, x: Array) -> None:
    if x.ndim == 0 or x.size == 0:
        raise ValueError(f"{op}: a loss needs at least one sample, got shape {x.shape}")


# --- updates --------------------------------------------------------------------------------


class _InPlace:
    """Flat views of arrays to update; arrays that aren't contiguous are copied and put back."""

    def __init__(self, op: str, grad: ArrayLike, **arrays: Array) -> None:
        param = arrays["param"]
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise TypeError(f"{op}: {name} must be a NumPy array, got {type(array).__name__}")
            if array.dtype not in (np.float32, np.float64) or array.dtype != param.dtype:
                expected = "float32 or float64" if name == "param" else param.dtype
                raise TypeError(f"{op}: {name} must be {expected}, got {array.dtype}")
            _check_shape(op, name, array, param.shape, "that of param")
            if not array.flags.writeable:
                raise ValueError(f"{op}: {name} is updated in place but is read-only")
        named = list(arrays.items())
        for i, (name, array) in enumerate(named):
            for other_name, other in named[:i]:
                if np.may_share_memory(array, other) and np.shares_memory(array, other):
                    raise ValueError(f"{op}: {other_name} and {name} share memory")
        g = _as_real(op, "grad", grad)
        _check_shape(op, "grad", g, param.shape, "that of param")
        self.grad = np.asarray(g, param.dtype, order="C").ravel()
        self._arrays = list(arrays.values())
        self.flat = [np.ascontiguousarray(array).reshape(-1) for array in self._arrays]

    def put_back(self) -> None:
        for array, flat in zip(self._arrays, self.flat, strict=True):
            if not array.flags.c_contiguous:
                array[...] = flat.reshape(array.shape)


def sgd_update(param: Array, grad: ArrayLike, learning_rate: float = 0.01) -> None:
    """p ← p − α g, in place; arrays of any one shape.

    Raises ``TypeError`` or ``ValueError`` for arrays that don't fit param, are read-only or
    share memory, and for a negative rate; nothing is changed then.

    >>> p = np.array([1.0, 2.0])
    >>> sgd_update(p, [1.0, 1.0], learning_rate=0.5)
    >>> p
    array([0.5, 1.5])
    """
    op = "sgd_update"
    rate = check_number(op, "learning_rate", learning_rate, 0)
    arrays = _InPlace(op, grad, param=param)
    kernels(param.dtype).sgd_update(arrays.flat[0], arrays.grad, rate)
    arrays.put_back()


def momentum_update(
    param: Array,
    grad: ArrayLike,
    velocity: Array,
    learning_rate: float = 0.01,
    momentum: float = 0.9,
    nesterov: bool = False,
    rate_in_velocity: bool = True,
) -> None:
    """v ← μ v + α g, p ← p − v (Nesterov: p ← p − (μ v + α g)), in place.

    ``rate_in_velocity=False`` is the form of PyTorch: v ← μ v + g, p ← p − α v. Raises as
    ``sgd_update`` does, and for a momentum outside [0, 1).
    """
    op = "momentum_update"
    rate = check_number(op, "learning_rate", learning_rate, 0)
    mu = check_number(op, "momentum", momentum, 0, 1)
    arrays = _InPlace(op, grad, param=param, velocity=velocity)
    p, v = arrays.flat
    kernels(param.dtype).momentum_update(
        p, arrays.grad, v, rate, mu, bool(nesterov), bool(rate_in_velocity)
    )
    arrays.put_back()


def adagrad_update(
    param: Array,
    grad: ArrayLike,
    accumulator: Array,
    learning_rate: float = 0.01,
    epsilon: float = 1e-8,
    epsilon_inside_root: bool = True,
) -> None:
    """a ← a + g², p ← p − α g / √(a + ε), or / (√a + ε) with ε outside; in place.

    Duchi, Hazan and Singer (2011). Raises as ``sgd_update`` does.
    """
    op = "adagrad_update"
    rate = check_number(op, "learning_rate", learning_rate, 0)
    eps = check_number(op, "epsilon", epsilon, 0)
    arrays = _InPlace(op, grad, param=param, accumulator=accumulator)
    p, a = arrays.flat
    kernels(param.dtype).adagrad_update(p, arrays.grad, a, rate, eps, bool(epsilon_inside_root))
    arrays.put_back()


def rmsprop_update(
    param: Array,
    grad: ArrayLike,
    mean_square: Array,
    learning_rate: float = 1e-3,
    rho: float = 0.9,
    epsilon: float = 1e-8,
    epsilon_inside_root: bool = True,
) -> None:
    """s ← ρ s + (1−ρ) g², p ← p − α g / √(s + ε), or / (√s + ε) with ε outside; in place.

    Tieleman and Hinton (2012). Raises as ``sgd_update`` does.
    """
    op = "rmsprop_update"
    rate = check_number(op, "learning_rate", learning_rate, 0)
    decay = check_number(op, "rho", rho, 0, 1)
    eps = check_number(op, "epsilon", epsilon, 0)
    arrays = _InPlace(op, grad, param=param, mean_square=mean_square)
    p, s = arrays.flat
    kernels(param.dtype).rmsprop_update(
        p, arrays.grad, s, rate, decay, eps, bool(epsilon_inside_root)
    )
    arrays.put_back()


def adam_update(
    param: Array,
    grad: ArrayLike,
    m: Array,
    v: Array,
    step: int,
    learning_rate: float = 1e-3,
    beta_1: float = 0.9,
    beta_2: float = 0.999,
    epsilon: float = 1e-8,
    epsilon_inside_root: bool = False,
    bias_correction: bool = True,
) -> None:
    """Adam, Algorithm 1 of Kingma and Ba (2015), in place; ``step`` counts from 1.

    m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g², m̂ = m / (1−β₁ᵗ), v̂ = v / (1−β₂ᵗ),
    p ← p − α m̂ / (√v̂ + ε). 14 flops and, of each array, one read and one write an element:
    28 bytes in float32. Raises as ``sgd_update`` does, and for betas outside [0, 1) and a step
    below 1.
    """
    op = "adam_update"
    if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 1:
        raise ValueError(f"{op}: step must be an integer >= 1, got {step!r}")
    rate = check_number(op, "learning_rate", learning_rate, 0)
    b1 = check_number(op, "beta_1", beta_1, 0, 1)
    b2 = check_number(op, "beta_2", beta_2, 0, 1)
    eps = check_number(op, "epsilon", epsilon, 0)
    arrays = _InPlace(op, grad, param=param, m=m, v=v)
    p, m_, v_ = arrays.flat
    kernels(param.dtype).adam_update(
        p, arrays.grad, m_, v_, int(step), rate, b1, b2, eps, bool(epsilon_inside_root),
        bool(bias_correction),
    )  # fmt: skip
    arrays.put_back()
