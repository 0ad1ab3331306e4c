"""The kernels for people: check, convert, allocate, call.

Every function here takes arrays of any layout (C or Fortran order, strided, read-only, integer)
and returns new ones, except the updates, which work in place. Computation is in float64 if any
floating argument is float64, else in float32. Errors name the function, the argument, what was
expected and what came, and are raised before anything is written.

The kernels themselves, and their maths, are in ``fastnn.backends``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.backends import kernels
from fastnn.errors import unknown
from fastnn.geometry import (
    Axis,
    Conv2DGeometry,
    Geometry2D,
    Padding,
    Size,
    check_bytes,
    conv2d_geometry,
    pair,
    pool2d_geometry,
)
from fastnn.ops import ACTIVATION_ALIASES, ACTIVATIONS, FUSED_ACTIVATIONS
from fastnn.rules import Rule

Array = NDArray[Any]


# --- checks ---------------------------------------------------------------------------------


def as_array(what: str, value: ArrayLike) -> Array:
    """``value`` as an array; raises ``ValueError`` for lists of unequal lengths."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} must be an array, its rows of one length: {error}") from None


def _as_real(op: str, name: str, value: ArrayLike | None) -> Array:
    if value is None:
        raise TypeError(f"{op}: {name} must be an array of real numbers, got None")
    array = as_array(f"{op}: {name}", value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{op}: {name} must hold real numbers, got dtype {array.dtype}")
    return array


def _as_floats(op: str, **arguments: ArrayLike | None) -> list[Any]:
    """All arguments as C-contiguous arrays of one dtype; None stays None where it may (b, y)."""
    arrays = {
        name: None if value is None and name in ("b", "y") else _as_real(op, name, value)
        for name, value in arguments.items()
    }
    wide = any(
        a is not None and a.dtype.kind == "f" and a.dtype.itemsize >= 8 for a in arrays.values()
    )
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
    name = activation_name(op, activation, FUSED_ACTIVATIONS)
    return FUSED_ACTIVATIONS[name]


def activation_name(op: str, activation: str | None, valid: Collection[str] = ACTIVATIONS) -> str:
    """The op of an activation by one of its names; None is the identity."""
    given = "identity" if activation is None else activation
    name = ACTIVATION_ALIASES.get(given, given) if isinstance(given, str) else given
    if not isinstance(name, str) or name not in valid:
        raise unknown(f"activation for {op}", name, valid)
    return name


def check_number(op: str, name: str, value: float, low: float, high: float = math.inf) -> float:
    """``value`` as a float if it is a finite number in [low, high)."""
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )
    if not number or not low <= value < high:
        raise ValueError(f"{op}: {name} must be a number in [{low}, {high}), got {value!r}")
    return float(value)


def check_bool(op: str, name: str, value: bool) -> bool:
    """``value`` as a bool if it is one: ``"no"`` is true for Python."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{op}: {name} must be True or False, got {value!r}")
    return bool(value)


def check_count(name: str, value: int, least: int) -> None:
    """Raise ``ValueError`` unless ``value`` is an integer >= ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{name} must be an integer >= {least}, got {value!r}")


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
    code = _undone_code(op, activation, y)
    x_, w_, dy_, y_ = _as_floats(op, x=x, w=w, dy=dy, y=y)
    _check_dense(op, x_, w_)
    expected = (len(x_), w_.shape[1])
    _check_shape(op, "dy", dy_, expected, "N, O")
    k = kernels(x_.dtype)
    dz = _undo_activation(op, activation, dy_, y_, "N, O") if code else dy_
    dx, dw, db = np.empty_like(x_), np.empty_like(w_), np.empty(w_.shape[1], w_.dtype)
    k.dense_dx(dz, w_, dx)
    k.dense_dw(x_, dz, 0, dw)
    k.dense_db(dz, db)
    return dx, dw, db


def _undone_code(op: str, activation: str | None, y: ArrayLike | None) -> int:
    code = activation_code(op, activation)
    if code and y is None:
        raise ValueError(f"{op}: y, the output, is needed to undo activation={activation!r}")
    return code


def _undo_activation(op: str, activation: str | None, dy: Array, y: Array, letters: str) -> Array:
    """dz = dy · f′ from the output y of a fused activation f."""
    _check_shape(op, "y", y, dy.shape, letters)
    dz = np.empty_like(dy)
    getattr(kernels(dy.dtype), f"{activation}_backward")(dy.ravel(), y.ravel(), dz.reshape(-1))
    return dz


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


# --- convolution and pooling ----------------------------------------------------------------


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    b: ArrayLike | None = None,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Array:
    """y[n, oy, ox, o] = f(Σ x[n, oy·SH + ky − top, ox·SW + kx − left, c] w[ky, kx, c, o] + b[o]).

    The sum is over ky, kx, c. x (N, H, W, C), w (KH, KW, C/G, O), b (O,) or None; returns y
    (N, OH, OW, O). ``strides`` and ``dilation`` (the distance of two taps) are numbers or pairs,
    down and across. ``padding`` with zeros is ``"valid"`` (none), ``"same"`` (OH = ⌈H / SH⌉, the
    odd row or column at the end), a number for all sides or ``((top, bottom), (left, right))``.
    ``groups``: group g takes the g-th part of the channels to the g-th part of the outputs.
    ``activation`` as in ``dense``. At most 2·N·OH·OW·O·KH·KW·C/G flops: taps in the padding cost
    none.

    Raises ``ValueError`` for shapes that don't fit, strides, dilation and groups below 1, groups
    that don't divide C and O, a window larger than the padded image, and unknown paddings and
    activations; ``TypeError`` for arrays that don't hold real numbers.

    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> conv2d(x, np.ones((2, 2, 1, 1)), [-20.0], activation="relu")[0, :, :, 0]
    array([[0., 0.],
           [0., 4.]])
    """
    op = "conv2d"
    code = activation_code(op, activation)
    x_, w_, b_ = _as_floats(op, x=x, w=w, b=b)
    geometry = _conv2d_geometry(op, x_, w_, strides, padding, dilation, groups)
    if b_ is not None:
        _check_shape(op, "b", b_, (geometry.filters,), "O")
    y = _empty(op, "y", (len(x_), *geometry.out_shape), x_.dtype)
    kernels(x_.dtype).conv2d(x_, w_, b_, geometry, code, y)
    return y


def conv2d_backward(
    x: ArrayLike,
    w: ArrayLike,
    dy: ArrayLike,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
    groups: int = 1,
    y: ArrayLike | None = None,
    activation: str | None = None,
) -> tuple[Array, Array, Array]:
    """dz = dy · f′, dx = col2im(dz wᵀ), dw = im2col(x)ᵀ dz, db = Σ dz over N, OH, OW.

    x (N, H, W, C), w (KH, KW, C/G, O), dy (N, OH, OW, O). With a fused ``activation`` its output
    y, like dy, is needed to undo it. Returns dx, dw, db with the shapes of x, w, b; of an empty
    batch dw and db are 0. At most 4·N·OH·OW·O·KH·KW·C/G flops.

    Raises as ``conv2d`` does, and ``ValueError`` for an activation without y.

    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> dx, dw, db = conv2d_backward(x, np.ones((2, 2, 1, 1)), np.ones((1, 2, 2, 1)))
    >>> dx[0, :, :, 0], dw[:, :, 0, 0], db
    (array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]]), array([[ 8., 12.],
           [20., 24.]]), array([4.]))
    """
    op = "conv2d_backward"
    code = _undone_code(op, activation, y)
    x_, w_, dy_, y_ = _as_floats(op, x=x, w=w, dy=dy, y=y)
    geometry = _conv2d_geometry(op, x_, w_, strides, padding, dilation, groups)
    _check_shape(op, "dy", dy_, (len(x_), *geometry.out_shape), "N, OH, OW, O")
    k = kernels(x_.dtype)
    dz = _undo_activation(op, activation, dy_, y_, "N, OH, OW, O") if code else dy_
    dx, dw, db = np.empty_like(x_), np.empty_like(w_), np.empty(geometry.filters, w_.dtype)
    k.conv2d_dx(dz, w_, geometry, dx)
    k.conv2d_dw(x_, dz, geometry, dw)
    k.dense_db(dz.reshape(-1, geometry.filters), db)
    return dx, dw, db


def im2col(
    x: ArrayLike,
    kernel_size: Size,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
) -> Array:
    """columns[(n, oy, ox), (ky, kx, c)] = x[n, oy·SH + ky − top, ox·SW + kx − left, c].

    x (N, H, W, C); returns (N·OH·OW, KH·KW·C), a row per window, 0 where it meets the padding:
    ``conv2d`` is the product of it and w as (KH·KW·C, O). No flops, KH·KW / (SH·SW) times the
    memory of x.

    Raises as ``conv2d`` does.

    >>> im2col(np.arange(6.0).reshape(1, 2, 3, 1), kernel_size=2)
    array([[0., 1., 3., 4.],
           [1., 2., 4., 5.]])
    """
    op = "im2col"
    (x_,) = _as_floats(op, x=x)
    geometry = _window_geometry(
        op, _image(op, "x", x_.shape), kernel_size, strides, padding, dilation
    )
    columns = _empty(op, "columns", _columns_shape(len(x_), geometry), x_.dtype)
    kernels(x_.dtype).im2col(x_, geometry, columns)
    return columns


def col2im(
    columns: ArrayLike,
    x_shape: Sequence[int],
    kernel_size: Size,
    strides: Size = 1,
    padding: Padding = "valid",
    dilation: Size = 1,
) -> Array:
    """x = Σ over all windows that meet it: puts back, and adds up, what ``im2col`` took.

    columns (N·OH·OW, KH·KW·C); returns x (N, H, W, C), which is ``x_shape``. What was padding is
    dropped. One flop an element of columns.

    Raises as ``im2col`` does, and ``ValueError`` for an ``x_shape`` that isn't four sizes.

    >>> col2im(im2col(np.ones((1, 2, 3, 1)), 2), (1, 2, 3, 1), kernel_size=2)[0, :, :, 0]
    array([[1., 2., 1.],
           [1., 2., 1.]])
    """
    op = "col2im"
    (columns_,) = _as_floats(op, columns=columns)
    n, *image = _sizes(op, x_shape)
    geometry = _window_geometry(
        op, _image(op, "x_shape", (n, *image)), kernel_size, strides, padding, dilation
    )
    _check_shape(op, "columns", columns_, _columns_shape(n, geometry), "N·OH·OW, KH·KW·C")
    x = _empty(op, "x", (n, *geometry.in_shape), columns_.dtype)
    kernels(x.dtype).col2im(columns_, geometry, x)
    return x


def max_pool2d(
    x: ArrayLike,
    pool_size: Size,
    strides: Size | None = None,
    padding: Padding = "valid",
    return_indices: bool = False,
) -> Any:
    """y[n, oy, ox, c] = max x[n, oy·SH + ky − top, ox·SW + kx − left, c] over ky, kx.

    x (N, H, W, C); returns y (N, OH, OW, C). ``strides`` None is ``pool_size``, ``padding`` as in
    ``conv2d``; it never wins. With ``return_indices`` also idx, shaped like y: the position
    ky·KW + kx of the maximum in its window, uint8 (int32 for windows of more than 256). Of equal
    ones the first wins, NaN wins over all. N·OH·OW·C·KH·KW comparisons.

    Raises ``ValueError`` for shapes that don't fit, sizes and strides below 1, a window larger
    than the padded image or wholly in the padding; ``TypeError`` for arrays that don't hold real
    numbers.

    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> y, idx = max_pool2d(x, pool_size=3, strides=2, padding="same", return_indices=True)
    >>> y[0, :, :, 0], idx[0, :, :, 0]
    (array([[10., 11.],
           [14., 15.]]), array([[8, 7],
           [5, 4]], dtype=uint8))
    """
    op = "max_pool2d"
    (x_,) = _as_floats(op, x=x)
    image = _image(op, "x", x_.shape)
    y, idx = _max_pool2d(op, x_, pool2d_geometry(op, image, pool_size, strides, padding))
    return (y, idx) if return_indices else y


def max_pool2d_backward(
    dy: ArrayLike,
    idx: ArrayLike,
    x_shape: Sequence[int],
    pool_size: Size,
    strides: Size | None = None,
    padding: Padding = "valid",
) -> Array:
    """dx = Σ dy over the windows whose maximum it was; the others get 0.

    dy (N, OH, OW, C), idx as ``max_pool2d`` gives it, ``x_shape`` (N, H, W, C); returns dx of that
    shape. N·OH·OW·C flops.

    Raises as ``max_pool2d`` does, and ``ValueError`` for an idx of another dtype or shape, out of
    its window or in the padding.

    >>> dy, idx = np.array([5.0, 7.0]).reshape(1, 1, 2, 1), np.array([3, 0], np.uint8)
    >>> dx = max_pool2d_backward(dy, idx.reshape(dy.shape), (1, 2, 4, 1), pool_size=2)
    >>> dx[0, :, :, 0]
    array([[0., 0., 7., 0.],
           [0., 5., 0., 0.]])
    """
    op = "max_pool2d_backward"
    n, *image = _sizes(op, x_shape)
    geometry = pool2d_geometry(op, _image(op, "x_shape", (n, *image)), pool_size, strides, padding)
    return _max_pool2d_backward(op, dy, idx, n, geometry)


def average_pool2d(
    x: ArrayLike, pool_size: Size, strides: Size | None = None, padding: Padding = "valid"
) -> Array:
    """y[n, oy, ox, c] = mean x[n, oy·SH + ky − top, ox·SW + kx − left, c] over ky, kx.

    x (N, H, W, C); returns y (N, OH, OW, C). Arguments and errors as in ``max_pool2d``; what lies
    in the padding is left out of sum and number. N·OH·OW·C·KH·KW flops.

    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> average_pool2d(x, pool_size=2, padding="same")[0, :, :, 0]
    array([[2. , 3.5],
           [6.5, 8. ]])
    """
    op = "average_pool2d"
    (x_,) = _as_floats(op, x=x)
    image = _image(op, "x", x_.shape)
    return _average_pool2d(op, x_, pool2d_geometry(op, image, pool_size, strides, padding))


def average_pool2d_backward(
    dy: ArrayLike,
    x_shape: Sequence[int],
    pool_size: Size,
    strides: Size | None = None,
    padding: Padding = "valid",
) -> Array:
    """dx = Σ dy / (elements of the window that lie in the image) over the windows that meet it.

    dy (N, OH, OW, C), ``x_shape`` (N, H, W, C); returns dx of that shape. Raises as
    ``max_pool2d`` does. N·OH·OW·C·KH·KW flops.

    >>> average_pool2d_backward(np.full((1, 1, 2, 1), 4.0), (1, 2, 4, 1), 2)[0, :, :, 0]
    array([[1., 1., 1., 1.],
           [1., 1., 1., 1.]])
    """
    op = "average_pool2d_backward"
    n, *image = _sizes(op, x_shape)
    geometry = pool2d_geometry(op, _image(op, "x_shape", (n, *image)), pool_size, strides, padding)
    return _average_pool2d_backward(op, dy, n, geometry)


def global_max_pool2d(x: ArrayLike, return_indices: bool = False) -> Any:
    """y[n, c] = max x[n, iy, ix, c] over iy, ix: ``max_pool2d`` with the image for a window.

    x (N, H, W, C); returns y (N, C), with ``return_indices`` also idx (N, C), iy·W + ix.

    >>> y, idx = global_max_pool2d([[[[1.0, 8.0], [3.0, 2.0]]]], return_indices=True)
    >>> y, idx
    (array([[3., 8.]]), array([[1, 0]], dtype=uint8))
    """
    op = "global_max_pool2d"
    (x_,) = _as_floats(op, x=x)
    y, idx = (a[:, 0, 0] for a in _max_pool2d(op, x_, _global_geometry(op, "x", x_.shape)))
    return (y, idx) if return_indices else y


def global_max_pool2d_backward(dy: ArrayLike, idx: ArrayLike, x_shape: Sequence[int]) -> Array:
    """dx = dy where the maximum was, else 0. dy, idx (N, C); returns dx of ``x_shape``.

    Raises as ``max_pool2d_backward`` does.

    >>> global_max_pool2d_backward([[5.0]], np.array([[1]], np.uint8), (1, 1, 3, 1)).ravel()
    array([0., 5., 0.])
    """
    op = "global_max_pool2d_backward"
    sizes = _sizes(op, x_shape)
    geometry = _global_geometry(op, "x_shape", sizes)
    return _max_pool2d_backward(
        op, _spread(op, "dy", dy, sizes), _spread(op, "idx", idx, sizes), sizes[0], geometry
    )


def global_average_pool2d(x: ArrayLike) -> Array:
    """y[n, c] = mean x[n, iy, ix, c] over iy, ix. x (N, H, W, C); returns y (N, C).

    >>> global_average_pool2d([[[[1.0, 8.0], [3.0, 2.0]]]])
    array([[2., 5.]])
    """
    op = "global_average_pool2d"
    (x_,) = _as_floats(op, x=x)
    return _average_pool2d(op, x_, _global_geometry(op, "x", x_.shape))[:, 0, 0]


def global_average_pool2d_backward(dy: ArrayLike, x_shape: Sequence[int]) -> Array:
    """dx[n, iy, ix, c] = dy[n, c] / (H·W). dy (N, C); returns dx of ``x_shape`` (N, H, W, C).

    >>> global_average_pool2d_backward([[8.0]], (1, 2, 2, 1))[0, :, :, 0]
    array([[2., 2.],
           [2., 2.]])
    """
    op = "global_average_pool2d_backward"
    sizes = _sizes(op, x_shape)
    geometry = _global_geometry(op, "x_shape", sizes)
    return _average_pool2d_backward(op, _spread(op, "dy", dy, sizes), sizes[0], geometry)


def _max_pool2d(op: str, x: Array, geometry: Geometry2D) -> tuple[Array, Array]:
    y = _empty(op, "y", (len(x), *geometry.out_shape), x.dtype)
    idx = np.empty(y.shape, geometry.index_dtype)
    kernels(x.dtype).max_pool2d(x, geometry, y, idx)
    return y, idx


def _max_pool2d_backward(
    op: str, dy: ArrayLike, idx: ArrayLike, n: int, geometry: Geometry2D
) -> Array:
    (dy_,) = _as_floats(op, dy=dy)
    _check_shape(op, "dy", dy_, (n, *geometry.out_shape), "N, OH, OW, C")
    idx_ = np.ascontiguousarray(_as_real(op, "idx", idx))
    _check_shape(op, "idx", idx_, dy_.shape, "that of dy")
    if idx_.dtype != geometry.index_dtype:
        expected = np.dtype(geometry.index_dtype)
        raise ValueError(
            f"{op}: idx must be {expected} for windows of {geometry.taps}, got {idx_.dtype}"
        )
    ky, kx = np.divmod(idx_.astype(np.intp), geometry.columns.kernel)
    inside = _taps_inside(geometry.rows, ky, 1) & _taps_inside(geometry.columns, kx, 2)
    if not inside.all():
        place = tuple(map(int, np.argwhere(~inside)[0]))
        raise ValueError(
            f"{op}: idx must be positions in the window that lie in the image, got {idx_[place]} "
            f"at {place} (N,OH,OW,C)"
        )
    dx = _empty(op, "dx", (n, *geometry.in_shape), dy_.dtype)
    kernels(dx.dtype).max_pool2d_backward(dy_, idx_, geometry, dx)
    return dx


def _taps_inside(axis: Axis, taps: Array, dimension: int) -> Array:
    """Which of the taps, one for each window along ``dimension``, lie in the image."""
    ranges = [axis.taps_inside(o) for o in range(axis.out)]
    shape = [1] * taps.ndim
    shape[dimension] = axis.out
    first, end = (
        np.array([getattr(r, limit) for r in ranges]).reshape(shape) for limit in ("start", "stop")
    )
    return (first <= taps) & (taps < end)


def _average_pool2d(op: str, x: Array, geometry: Geometry2D) -> Array:
    y = _empty(op, "y", (len(x), *geometry.out_shape), x.dtype)
    kernels(x.dtype).average_pool2d(x, geometry, y)
    return y


def _average_pool2d_backward(op: str, dy: ArrayLike, n: int, geometry: Geometry2D) -> Array:
    (dy_,) = _as_floats(op, dy=dy)
    _check_shape(op, "dy", dy_, (n, *geometry.out_shape), "N, OH, OW, C")
    dx = _empty(op, "dx", (n, *geometry.in_shape), dy_.dtype)
    kernels(dx.dtype).average_pool2d_backward(dy_, geometry, dx)
    return dx


def _sizes(op: str, x_shape: Sequence[int]) -> tuple[int, ...]:
    sizes = tuple(x_shape) if isinstance(x_shape, (tuple, list)) else ()
    whole = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in sizes)
    if len(sizes) != 4 or not whole or sizes[0] < 0:
        raise ValueError(f"{op}: x_shape must be four sizes (N, H, W, C), got {x_shape!r}")
    return tuple(map(int, sizes))


def _image(op: str, name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(H, W, C) of a batch of images that has the shape (N, H, W, C)."""
    if len(shape) != 4:
        raise ValueError(
            f"{op}: {name} must have shape (N, H, W, C), got {len(shape)} dimensions: {shape}"
        )
    if min(shape[1:]) < 1:
        raise ValueError(f"{op}: {name} must have H, W and C >= 1, got {shape} as N,H,W,C")
    return shape[1], shape[2], shape[3]


def _conv2d_geometry(
    op: str, x: Array, w: Array, strides: Size, padding: Padding, dilation: Size, groups: int
) -> Conv2DGeometry:
    image = _image(op, "x", x.shape)
    _check_rank(op, "w", w, "KH,KW,C/G,O")
    return conv2d_geometry(op, image, w.shape, strides, padding, dilation, groups)


def _window_geometry(
    op: str, image: tuple[int, int, int], kernel_size: Size, strides: Size, padding: Padding,
    dilation: Size,
) -> Geometry2D:  # fmt: skip
    w_shape = (*pair(op, "kernel_size", kernel_size), image[2], 1)
    return conv2d_geometry(op, image, w_shape, strides, padding, dilation)


def _columns_shape(n: int, geometry: Geometry2D) -> tuple[int, int]:
    return n * geometry.rows.out * geometry.columns.out, geometry.taps * geometry.channels


def _global_geometry(op: str, name: str, shape: tuple[int, ...]) -> Geometry2D:
    image = _image(op, name, shape)
    return pool2d_geometry(op, image, image[:2])


def _spread(op: str, name: str, array: ArrayLike, sizes: tuple[int, ...]) -> Array:
    """(N, C) as (N, 1, 1, C)."""
    values = _as_real(op, name, array)
    _check_shape(op, name, values, (sizes[0], sizes[3]), "N, C")
    return values[:, None, None]


def _empty(op: str, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    check_bytes(op, name, shape, dtype.itemsize)
    return np.empty(shape, dtype)


# --- activations ----------------------------------------------------------------------------


def _forward(name: str, x: ArrayLike, *numbers: float) -> Array:
    (x_,) = _as_floats(name, x=x)
    y = np.empty_like(x_)
    getattr(kernels(x_.dtype), name)(x_.ravel(), *numbers, y.reshape(-1))
    return y


def _backward(name: str, dy: ArrayLike, *numbers: float, **kept: ArrayLike) -> Array:
    """``kept`` is the y or the x that the gradient is computed from."""
    op = f"{name}_backward"
    ((key, value),) = kept.items()
    dy_, kept_ = _as_floats(op, dy=dy, **{key: value})
    _check_shape(op, "dy", dy_, kept_.shape, f"that of {key}")
    dx = np.empty_like(kept_)
    getattr(kernels(dx.dtype), op)(dy_.ravel(), kept_.ravel(), *numbers, dx.reshape(-1))
    return dx


def _last_axis(op: str, name: str, array: Array) -> Array:
    """``array`` as rows of its last axis."""
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(
            f"{op}: {name} must have a last axis of at least one element, got {array.shape}"
        )
    return array.reshape(-1, array.shape[-1])


def relu(x: ArrayLike) -> Array:
    """y = max(x, 0), any shape; NaN stays NaN."""
    return _forward("relu", x)


def relu_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dx = dy where y > 0, else 0; y is the output of ``relu``."""
    return _backward("relu", dy, y=y)


def sigmoid(x: ArrayLike) -> Array:
    """y = 1 / (1 + exp(−x)), any shape."""
    return _forward("sigmoid", x)


def sigmoid_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dx = dy · y (1 − y); y is the output of ``sigmoid``."""
    return _backward("sigmoid", dy, y=y)


def tanh(x: ArrayLike) -> Array:
    """y = tanh(x), any shape."""
    return _forward("tanh", x)


def tanh_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dx = dy · (1 − y²); y is the output of ``tanh``."""
    return _backward("tanh", dy, y=y)


def leaky_relu(x: ArrayLike, slope: float = 0.3) -> Array:
    """y = x where x > 0, else slope · x, any shape (Maas et al., 2013).

    Raises ``ValueError`` for a slope < 0.

    >>> leaky_relu([-2.0, 3.0], slope=0.5)
    array([-1.,  3.])
    """
    op = "leaky_relu"
    return _forward(op, x, check_number(op, "slope", slope, 0))


def leaky_relu_backward(dy: ArrayLike, y: ArrayLike, slope: float = 0.3) -> Array:
    """dx = dy where y > 0, else slope · dy; y is the output of ``leaky_relu``."""
    return _backward("leaky_relu", dy, check_number("leaky_relu_backward", "slope", slope, 0), y=y)


def prelu(x: ArrayLike, slope: ArrayLike) -> Array:
    """y = x where x > 0, else slope · x: a leaky ReLU whose slope is trained (He et al., 2015).

    x (…, C); slope (C,), one for each element of the last axis, or (1,), one for all.

    >>> prelu([[-2.0, -2.0]], [0.5, 0.25])
    array([[-1. , -0.5]])
    """
    op = "prelu"
    x_, slope_ = _as_floats(op, x=x, slope=slope)
    rows = _last_axis(op, "x", x_)
    y = np.empty_like(x_)
    kernels(x_.dtype).prelu(rows, _slopes(op, slope_, rows), y.reshape(rows.shape))
    return y


def prelu_backward(dy: ArrayLike, x: ArrayLike, slope: ArrayLike) -> tuple[Array, Array]:
    """dx = dy where x > 0, else slope · dy; dslope = Σ dy · min(x, 0), of the shape of slope."""
    op = "prelu_backward"
    dy_, x_, slope_ = _as_floats(op, dy=dy, x=x, slope=slope)
    _check_shape(op, "dy", dy_, x_.shape, "that of x")
    rows = _last_axis(op, "x", x_)
    dx, terms, dslope = np.empty_like(x_), np.empty_like(rows), np.empty_like(slope_)
    k = kernels(x_.dtype)
    k.prelu_backward(
        dy_.reshape(rows.shape), rows, _slopes(op, slope_, rows), dx.reshape(rows.shape), terms
    )
    k.dense_db(terms.reshape(-1, slope_.size), dslope)
    return dx, dslope


def _slopes(op: str, slope: Array, rows: Array) -> Array:
    if slope.shape != (1,):
        _check_shape(op, "slope", slope, rows.shape[1:], "the last axis of x, or (1,)")
    return np.ascontiguousarray(np.broadcast_to(slope, rows.shape[1:]))


def elu(x: ArrayLike, alpha: float = 1.0) -> Array:
    """y = x where x > 0, else α (exp(x) − 1), any shape (Clevert et al., 2016).

    Raises ``ValueError`` for an alpha < 0.
    """
    return _forward("elu", x, check_number("elu", "alpha", alpha, 0))


def elu_backward(dy: ArrayLike, y: ArrayLike, alpha: float = 1.0) -> Array:
    """dx = dy where y > 0, else dy · (y + α); y is the output of ``elu``."""
    return _backward("elu", dy, check_number("elu_backward", "alpha", alpha, 0), y=y)


def selu(x: ArrayLike) -> Array:
    """y = λ x where x > 0, else λ α (exp(x) − 1), any shape, λ = 1.0507…, α = 1.6732…

    Klambauer et al. (2017): through layers with LeCun's weights, mean and variance of the
    activations tend to 0 and 1.
    """
    return _forward("selu", x)


def selu_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dx = λ dy where y > 0, else dy · (y + λ α); y is the output of ``selu``."""
    return _backward("selu", dy, y=y)


def swish(x: ArrayLike) -> Array:
    """y = x σ(x), σ the sigmoid, any shape (Ramachandran et al., 2017; also called SiLU)."""
    return _forward("swish", x)


def swish_backward(dy: ArrayLike, x: ArrayLike) -> Array:
    """dx = dy · σ(x) (1 + x (1 − σ(x))); x is the input of ``swish``."""
    return _backward("swish", dy, x=x)


def gelu(x: ArrayLike, approximate: bool = False) -> Array:
    """y = x Φ(x), any shape, Φ(x) = (1 + erf(x / √2)) / 2 (Hendrycks and Gimpel, 2016).

    With ``approximate`` y = x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, up to 5e-4 away. The Cython
    kernels compute both on whole vectors; the second is a little cheaper.
    """
    return _forward("gelu_tanh" if approximate else "gelu", x)


def gelu_backward(dy: ArrayLike, x: ArrayLike, approximate: bool = False) -> Array:
    """dx = dy · (Φ(x) + x exp(−x² / 2) / √(2π)), or of the tanh form; x is the input of gelu."""
    return _backward("gelu_tanh" if approximate else "gelu", dy, x=x)


def softplus(x: ArrayLike) -> Array:
    """y = log(1 + exp(x)), any shape, without overflow."""
    return _forward("softplus", x)


def softplus_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dx = dy · (1 − exp(−y)); y is the output of ``softplus``."""
    return _backward("softplus", dy, y=y)


def heaviside(x: ArrayLike) -> Array:
    """y = 1 where x > 0, else 0, any shape: the threshold of the perceptron. NaN stays NaN.

    Its derivative is 0 wherever there is one, so no network learns through it.
    """
    return _forward("heaviside", x)


def softmax(x: ArrayLike) -> Array:
    """yⱼ = exp(xⱼ) / Σᵢ exp(xᵢ) over the last axis, for any size of x.

    Raises ``ValueError`` for a number in place of an array, and for an empty last axis.

    >>> softmax([[0.0, 0.0]])
    array([[0.5, 0.5]])
    """
    (x_,) = _as_floats("softmax", x=x)
    rows = _last_axis("softmax", "x", x_)
    y = np.empty_like(x_)
    kernels(x_.dtype).softmax(rows, y.reshape(rows.shape))
    return y


def softmax_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """dxⱼ = yⱼ (dyⱼ − Σᵢ dyᵢ yᵢ) over the last axis; y is the output of ``softmax``."""
    op = "softmax_backward"
    dy_, y_ = _as_floats(op, dy=dy, y=y)
    _check_shape(op, "dy", dy_, y_.shape, "that of y")
    rows = _last_axis(op, "y", y_)
    dx = np.empty_like(y_)
    kernels(y_.dtype).softmax_backward(dy_.reshape(rows.shape), rows, dx.reshape(rows.shape))
    return dx


# --- normalisation --------------------------------------------------------------------------


def batch_norm_statistics(x: ArrayLike) -> tuple[Array, Array]:
    """μ = Σ x / M and σ² = Σ (x − μ)² / M of each channel, over all axes but the last.

    x (N, …, C) with M = N·… >= 1 rows; returns both (C,). Raises ``ValueError`` for no rows.

    >>> batch_norm_statistics([[1.0, 2.0], [3.0, 2.0]])
    (array([2., 2.]), array([1., 0.]))
    """
    op = "batch_norm_statistics"
    (x_,) = _as_floats(op, x=x)
    rows = _rows(op, "x", x_)
    if not len(rows):
        raise ValueError(f"{op}: x must have at least one row, got shape {x_.shape}")
    mean, variance = np.empty((2, rows.shape[1]), x_.dtype)
    kernels(x_.dtype).batch_norm_statistics(rows, mean, variance)
    return mean, variance


def batch_norm(
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    epsilon: float = 1e-3,
    activation: str | None = None,
) -> Array:
    """y = f(γ (x − μ)/√(σ² + ε) + β), with the statistics of a batch or running ones.

    x, y (N, …, C), all others (C,); ``activation`` is ``relu`` or None. Ioffe and Szegedy (2015).

    >>> x = [[1.0], [3.0]]
    >>> batch_norm(x, *batch_norm_statistics(x), gamma=[2.0], beta=[5.0], epsilon=0)
    array([[3.],
           [7.]])
    """
    op = "batch_norm"
    given = _batch_norm(
        op, epsilon, activation, x=x, mean=mean, variance=variance, gamma=gamma, beta=beta
    )
    y = np.empty_like(given[0])
    kernels(y.dtype).batch_norm(*given, y)
    return y.reshape(np.shape(x))


def batch_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    mean: ArrayLike,
    variance: ArrayLike,
    gamma: ArrayLike,
    beta: ArrayLike,
    epsilon: float = 1e-3,
    activation: str | None = None,
    of_batch: bool = True,
) -> tuple[Array, Array, Array]:
    """dx, dγ = Σ dz x̂ and dβ = Σ dz, where x̂ = (x − μ)/√(σ² + ε) and dz = dy f′(γ x̂ + β).

    dx = γ/√(σ² + ε) (dz − dβ/M − x̂ dγ/M) if the statistics are those of x (``of_batch``), and
    γ/√(σ² + ε) dz if they are constants. dy, x, dx (N, …, C), all others (C,).
    """
    op = "batch_norm_backward"
    given = _batch_norm(
        op, epsilon, activation, dy=dy, x=x, mean=mean, variance=variance, gamma=gamma, beta=beta
    )
    _check_shape(op, "dy", np.asarray(dy), np.shape(x), "that of x")
    dx = np.empty_like(given[0])
    dgamma, dbeta = np.empty((2, dx.shape[1]), dx.dtype)
    kernel = kernels(dx.dtype)
    kernel.batch_norm_sums(*given, dgamma, dbeta)
    sums = (dgamma, dbeta) if of_batch else np.zeros((2, dx.shape[1]), dx.dtype)
    kernel.batch_norm_dx(*given, *sums, dx)
    return dx.reshape(np.shape(x)), dgamma, dbeta


def _batch_norm(op: str, epsilon: float, activation: str | None, **arrays: ArrayLike) -> list[Any]:
    """The arguments of a kernel of batch normalisation, but for its sums and outputs."""
    small = check_number(op, "epsilon", epsilon, 0)
    code = activation_code(op, activation)
    if code > FUSED_ACTIVATIONS["relu"]:
        raise unknown(f"activation for {op}", str(activation), ("identity", "relu"))
    found = dict(zip(arrays, _as_floats(op, **arrays), strict=True))
    channels = _rows(op, "x", found["x"]).shape[1]
    for name, array in found.items():
        if name in ("dy", "x"):
            found[name] = _rows(op, name, array)
        else:
            _check_shape(op, name, array, (channels,), "the channels of x")
    if not np.all(found["variance"] >= 0):
        raise ValueError(f"{op}: variance must not be negative or NaN")
    return [*found.values(), small, code]


def local_response_norm(
    x: ArrayLike, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, bias: float = 2.0
) -> Array:
    """y = x s^−β, s[c] = bias + α/size Σ x[j]² over the ``size`` channels j around c.

    j runs from c − ⌊(size−1)/2⌋ to c + ⌈(size−1)/2⌉, as far as there are channels; x, y (N, …, C).
    ONNX's definition; the numbers are AlexNet's, whose paper doesn't divide α by the size.

    >>> local_response_norm([[3.0, 4.0]], size=3, alpha=3.0, beta=1.0, bias=7.0)
    array([[0.09375, 0.125  ]])
    """
    op = "local_response_norm"
    numbers = response_numbers(op, size, alpha, beta, bias)
    (x_,) = _as_floats(op, x=x)
    y = np.empty_like(x_)
    kernels(x_.dtype).local_response_norm(_rows(op, "x", x_), *numbers, _rows(op, "x", y))
    return y


def local_response_norm_backward(
    dy: ArrayLike,
    x: ArrayLike,
    size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    bias: float = 2.0,
) -> Array:
    """dx[c] = dy[c] s[c]^−β − 2αβ/size x[c] Σ dy[j] x[j] s[j]^(−β−1), over the j whose sum has c.

    dy, x, dx (N, …, C); s as in ``local_response_norm``.
    """
    op = "local_response_norm_backward"
    numbers = response_numbers(op, size, alpha, beta, bias)
    dy_, x_ = _as_floats(op, dy=dy, x=x)
    _check_shape(op, "dy", dy_, x_.shape, "that of x")
    dx = np.empty_like(x_)
    rows = (_rows(op, "x", a) for a in (dy_, x_))
    kernels(x_.dtype).local_response_norm_backward(*rows, *numbers, _rows(op, "x", dx))
    return dx


def response_numbers(
    op: str, size: int, alpha: float, beta: float, bias: float
) -> tuple[int, float, float, float]:
    """The numbers of a local response normalisation, if they may be."""
    check_count(f"{op}: size", size, 1)
    least = float(np.finfo(np.float32).tiny)  # of s, which is divided by
    return (
        int(size),
        check_number(op, "alpha", alpha, 0),
        check_number(op, "beta", beta, 0),
        check_number(op, "bias", bias, least),
    )


def _rows(op: str, name: str, array: Array) -> Array:
    """(N, …, C) as (M, C), a view."""
    if array.ndim < 2 or not array.shape[-1]:
        raise ValueError(f"{op}: {name} must have shape (N, …, C) with C >= 1, got {array.shape}")
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


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
        if any(np.may_share_memory(self.grad, array) for array in arrays.values()):
            self.grad = self.grad.copy()  # it is read after some of them are written
        self._arrays = list(arrays.values())
        self.flat = [np.ascontiguousarray(array).reshape(-1) for array in self._arrays]

    def put_back(self) -> None:
        for array, flat in zip(self._arrays, self.flat, strict=True):
            if not array.flags.c_contiguous:
                array[...] = flat.reshape(array.shape)


def _update(op: str, grad: ArrayLike, rule: Rule, **arrays: Array) -> None:
    """Apply the rule in place to ``param``, the first array, with the others as its state."""
    flat = _InPlace(op, grad, **arrays)
    param, *state = flat.flat
    kernels(param.dtype).update(param, flat.grad, tuple(state), rule)
    flat.put_back()


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
    _update(op, grad, Rule("sgd", check_number(op, "learning_rate", learning_rate, 0)), param=param)


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
    rule = Rule(
        "momentum",
        check_number(op, "learning_rate", learning_rate, 0),
        momentum=check_number(op, "momentum", momentum, 0, 1),
        nesterov=check_bool(op, "nesterov", nesterov),
        rate_in_velocity=check_bool(op, "rate_in_velocity", rate_in_velocity),
    )
    _update(op, grad, rule, param=param, velocity=velocity)


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
    rule = Rule(
        "adagrad",
        check_number(op, "learning_rate", learning_rate, 0),
        epsilon=check_number(op, "epsilon", epsilon, 0),
        epsilon_inside_root=check_bool(op, "epsilon_inside_root", epsilon_inside_root),
    )
    _update(op, grad, rule, param=param, accumulator=accumulator)


def adadelta_update(
    param: Array,
    grad: ArrayLike,
    mean_square: Array,
    mean_square_step: Array,
    learning_rate: float = 1.0,
    rho: float = 0.95,
    epsilon: float = 1e-8,
) -> None:
    """s ← ρ s + (1−ρ) g², Δ = √(d + ε) / √(s + ε) · g, d ← ρ d + (1−ρ) Δ², p ← p − α Δ; in place.

    s is ``mean_square``, d ``mean_square_step``. Zeiler (2012). Raises as ``sgd_update`` does.
    """
    op = "adadelta_update"
    rule = Rule(
        "adadelta",
        check_number(op, "learning_rate", learning_rate, 0),
        rho=check_number(op, "rho", rho, 0, 1),
        epsilon=check_number(op, "epsilon", epsilon, 0),
    )
    arrays = {"mean_square": mean_square, "mean_square_step": mean_square_step}
    _update(op, grad, rule, param=param, **arrays)


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
    rule = Rule(
        "rmsprop",
        check_number(op, "learning_rate", learning_rate, 0),
        rho=check_number(op, "rho", rho, 0, 1),
        epsilon=check_number(op, "epsilon", epsilon, 0),
        epsilon_inside_root=check_bool(op, "epsilon_inside_root", epsilon_inside_root),
    )
    _update(op, grad, rule, param=param, mean_square=mean_square)


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
    weight_decay: float = 0.0,
) -> None:
    """Adam, Algorithm 1 of Kingma and Ba (2015), in place; ``step`` counts from 1.

    m ← β₁ m + (1−β₁) g, v ← β₂ v + (1−β₂) g², m̂ = m / (1−β₁ᵗ), v̂ = v / (1−β₂ᵗ),
    p ← p − α m̂ / (√v̂ + ε). With ``weight_decay`` λ > 0 it is AdamW: first p ← (1 − α λ) p.
    14 flops and, of each array, one read and one write an element: 28 bytes in float32. Raises as
    ``sgd_update`` does, and for betas outside [0, 1) and a step below 1.
    """
    op = "adam_update"
    check_count(f"{op}: step", step, 1)
    b1 = check_number(op, "beta_1", beta_1, 0, 1)
    b2 = check_number(op, "beta_2", beta_2, 0, 1)
    corrects = check_bool(op, "bias_correction", bias_correction)
    rule = Rule(
        "adam",
        check_number(op, "learning_rate", learning_rate, 0),
        beta_1=b1,
        beta_2=b2,
        correction_1=1 / (1 - b1 ** int(step)) if corrects else 1.0,
        correction_2=1 / (1 - b2 ** int(step)) if corrects else 1.0,
        epsilon=check_number(op, "epsilon", epsilon, 0),
        epsilon_inside_root=check_bool(op, "epsilon_inside_root", epsilon_inside_root),
        weight_decay=check_number(op, "weight_decay", weight_decay, 0),
        decoupled=True,
    )
    _update(op, grad, rule, param=param, m=m, v=v)


def lion_update(
    param: Array,
    grad: ArrayLike,
    m: Array,
    learning_rate: float = 1e-4,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    weight_decay: float = 0.0,
) -> None:
    """p ← p − α sign(β₁ m + (1−β₁) g), m ← β₂ m + (1−β₂) g, in place; Chen and others (2023).

    With ``weight_decay`` λ > 0 first p ← (1 − α λ) p. Raises as ``sgd_update`` does, and for betas
    outside [0, 1).
    """
    op = "lion_update"
    rule = Rule(
        "lion",
        check_number(op, "learning_rate", learning_rate, 0),
        beta_1=check_number(op, "beta_1", beta_1, 0, 1),
        beta_2=check_number(op, "beta_2", beta_2, 0, 1),
        weight_decay=check_number(op, "weight_decay", weight_decay, 0),
        decoupled=True,
    )
    _update(op, grad, rule, param=param, m=m)
