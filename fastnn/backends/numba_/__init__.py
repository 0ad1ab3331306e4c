"""The Numba backend: every op as plain loops in Python, compiled at the first call.

Each op is made of three short functions. A *range kernel* does the work from ``start`` to
``stop`` on one thread. A *parallel kernel* calls the range kernel on one chunk after another
under ``prange``. A Python function with the signature of the reference picks one of the two.
Every output element is computed by the same operations wherever the chunks are cut, and sums
are cut into blocks that depend on the shape only, so the bits don't depend on the number of
threads.

Nothing is compiled at import. ``warmup`` compiles everything, for people who time things;
the machine code is kept on disk, where Numba finds a directory it may write to
(``NUMBA_CACHE_DIR``, the package's own folder or the user's cache folder).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fastnn.backends import threads
from fastnn.geometry import Axis, Conv2DGeometry, Geometry2D
from fastnn.ops import ACTIVATIONS, FUSED_ACTIVATIONS
from fastnn.rules import RULES, Rule

#: Threads' parts of an elementwise op are cut at multiples of this many elements: of every
#: vector length, so that the compiler's vector loop and its remainder meet the same elements
#: for any number of threads.
CUT = 64

#: Work below which a second thread costs more than it saves, in nanoseconds of one thread.
PARALLEL_WORK = 60_000

# Numba starts this many threads and can use no more. (Its settings are set at run time.)
_MOST_THREADS: int = vars(numba.config)["NUMBA_NUM_THREADS"]


def _caching() -> bool:
    """Whether Numba finds a directory to keep machine code in; it raises where there is none."""
    try:
        numba.njit(cache=True)(_probe)
    except RuntimeError:
        return False
    return True


def _probe() -> None:
    pass


#: What all kernels share: no GIL; a division by zero gives inf or NaN, as in NumPy.
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "cache": _caching()}


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of range kernels and their helpers. No fastmath: IEEE, operation by operation."""
    return numba.njit(**_OPTIONS)(function)


def matrix_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """As ``kernel``; a product and a sum may become one fused multiply-add (rounded once).

    Nothing else is allowed: sums keep their order, NaN and inf keep their meaning.
    """
    return numba.njit(fastmath={"contract"}, **_OPTIONS)(function)


def parallel_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of the functions that call a range kernel under ``prange``."""
    return numba.njit(parallel=True, **_OPTIONS)(function)


def num_threads(work: float) -> int:
    """Threads for a call that takes one thread ``work`` nanoseconds; 1 after a fork."""
    if work < PARALLEL_WORK:
        return 1
    return min(threads.get_num_threads(), _MOST_THREADS)


# Numba's simplest threading layer aborts the process when two Python threads enter it at once.
_one_at_a_time = threading.Lock()


def call_parallel(function: Callable[..., Any], n: int, *args: Any) -> None:
    """Call a parallel kernel on ``n`` threads."""
    with _one_at_a_time:
        before = numba.get_num_threads()  # the caller's own
        numba.set_num_threads(n)
        try:
            function(*args)
        finally:
            numba.set_num_threads(before)


def elementwise(
    serial: Callable[..., Any], parallel: Callable[..., Any], cost: float, *args: Any
) -> None:
    """Run an elementwise op over 1-D arrays, at ``cost`` nanoseconds an element."""
    size = args[0].size
    n = num_threads(size * cost)
    if n == 1:
        serial(*args, 0, size)
    else:
        call_parallel(parallel, n, *args, -(-size // (n * CUT)) * CUT)


class _Window:
    """Describes the memory of an array as writable, in NumPy's array interface."""

    def __init__(self, array: np.ndarray) -> None:
        self.owner = array  # the window keeps the memory alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def plain(array: np.ndarray) -> np.ndarray:
    """An input array in the one form the kernels are compiled for.

    To Numba a read-only array is another type, for which everything would be compiled again.
    So the kernels get a view of the same memory that calls itself writable. They never write
    to an input.
    """
    return array if array.flags.writeable else np.asarray(_Window(array))


def warmup(dtype: str = "float32") -> None:
    """Compile all ops for ``dtype``, the serial and the parallel form, by calling each."""
    # These modules import this one.
    from fastnn.backends.numba_ import activation, conv, dense, loss, merge, norm, pool, update

    def axis(size: int) -> Axis:
        return Axis(size, kernel=1, stride=1, dilation=1, before=0, after=0)

    # A tiny call is serial, a big one parallel, if there is more than one thread.
    for rows in (1, 65536):
        x, y, z = (np.full((rows, 16), 0.5, dtype) for _ in range(3))
        w = np.full((16, 16), 0.5, dtype)
        for code in FUSED_ACTIVATIONS.values():
            dense.dense(x, w, w[0], code, y)
        dense.dense_dx(y, w, z)
        dense.dense_dw(x, y, 0, w)
        dense.dense_db(y, w[0])
        side = 16 if rows > 1 else 1
        image, out, dx = (a.reshape(-1, side, side, 16) for a in (x, y, z))
        window = Geometry2D(axis(side), axis(side), 16)
        conv.im2col(image, window, y)
        conv.col2im(x, window, out)
        for groups in (1, 16):
            form = Conv2DGeometry(window.rows, window.columns, 16, 16, groups)
            factors = w[: 16 // groups].reshape(form.w_shape)
            conv.conv2d(image, factors, None, form, 0, out)
            conv.conv2d_dx(out, factors, form, dx)
            conv.conv2d_dw(image, out, form, factors)
        for index in (np.zeros(out.shape, np.uint8), np.zeros(out.shape, np.int32)):
            pool.max_pool2d(image, window, out, index)
            pool.max_pool2d_backward(out, index, window, dx)
        pool.average_pool2d(image, window, out)
        pool.average_pool2d_backward(out, window, dx)
        one, two = np.ones((2, 16), dtype)
        norm.batch_norm_statistics(x, one, two)
        norm.batch_norm(x, one, one, one, one, 0, 0, y)
        norm.batch_norm_sums(y, x, one, one, one, one, 0, 0, two, two)
        norm.batch_norm_dx(y, x, one, one, one, one, 0, 0, two, two, z)
        norm.local_response_norm(x, 5, 1e-4, 0.75, 1.0, y)
        norm.local_response_norm_backward(y, x, 5, 1e-4, 0.75, 1.0, z)
        loss.softmax_cross_entropy(x, np.zeros(rows, np.int64), 1.0, z)
        loss.softmax_cross_entropy_targets(x, y, 1.0, z)
        p, g, v = x.ravel(), y.ravel(), z.ravel()
        m = np.ones(p.size, dtype)
        loss.sigmoid_cross_entropy(p, g, 1.0, v)
        loss.mse(p, g, 1.0, v)
        for name, numbers in ACTIVATIONS.items():
            shape = x.shape if name == "softmax" else (-1,)
            a, b, c = (array.reshape(shape) for array in (p, g, v))
            if name != "identity":
                getattr(activation, name)(a, *numbers, b)
            if name not in ("identity", "heaviside"):
                getattr(activation, f"{name}_backward")(a, b, *numbers, c)
        activation.prelu(x, w[0], y)
        activation.prelu_backward(x, y, w[0], z, np.empty_like(z))
        merge.add(p, g, 0, v)
        for name, rule in RULES.items():
            states = (m, v)[: len(rule.state)]
            update.update(p, g, states, Rule(name, 0.1, epsilon=1e-8))
        update.update(p, g, (m, v), Rule("adam", 0.1, epsilon=1e-8, weight_decay=0.1))
