"""What is timed: arguments for every op and shape, and the proof that backends agree.

``benches(family)`` iterates the op table: an op without an entry in ``CASES`` is an error when
the benchmarks are collected. Before anything is timed, ``check_equal`` runs the backend on fresh
copies and compares with the reference: to the bit where the op is exact, else within the ulps
of its row in the table.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import fastnn
from bench import shapes
from bench.shapes import Sizes, describe
from fastnn import backends, optimizers
from fastnn.backends import BACKENDS, DTYPES
from fastnn.backends.threads import usable_cpus
from fastnn.ops import FROM_INPUT, FUSED_ACTIVATIONS, OPS, Op
from fastnn.rules import RULES

#: A second thread is timed from this much work on (flops or elements).
PARALLEL_FLOPS = 2_000_000
PARALLEL_ELEMENTS = 100_000

#: One sample of a bench in an ordinary run: a tenth of a second, or three rounds.
QUICK = pytest.mark.benchmark(max_time=0.1, min_rounds=3, min_time=0.00005, warmup=False)

Arguments = tuple[Any, ...]


# --- arguments of every op ------------------------------------------------------------------
# Small integers where the op is exact: every order of summation gives the same bits then.
# Gradients are never 0, so that no moment decays into denormal numbers while it is timed.


_NONZERO = np.array([-3, -2, -1, 1, 2, 3], np.int8)


def _integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Integers from -3 to 3 without 0."""
    return _NONZERO[rng.integers(0, len(_NONZERO), shape, np.uint8)]


def _dense(s: Sizes, rng: np.random.Generator) -> Arguments:
    x, w = _integers(rng, s["n"], s["k"]), _integers(rng, s["k"], s["o"])
    return x, w, _integers(rng, s["o"]), FUSED_ACTIVATIONS["relu"], np.zeros((s["n"], s["o"]))


def _dense_dx(s: Sizes, rng: np.random.Generator) -> Arguments:
    dz, w = _integers(rng, s["n"], s["o"]), _integers(rng, s["k"], s["o"])
    return dz, w, np.zeros((s["n"], s["k"]))


def _dense_dw(s: Sizes, rng: np.random.Generator) -> Arguments:
    x, dz = _integers(rng, s["n"], s["k"]), _integers(rng, s["n"], s["o"])
    return x, dz, 0, np.zeros((s["k"], s["o"]))


def _dense_db(s: Sizes, rng: np.random.Generator) -> Arguments:
    return _integers(rng, s["n"], s["o"]), np.zeros(s["o"])


def _dense_dw_update(s: Sizes, rng: np.random.Generator) -> Arguments:
    x, dz, _, _ = _dense_dw(s, rng)
    w, *state = (rng.random((s["k"], s["o"])) for _ in range(3))
    # Positive, so that no sum is 0.
    return (
        abs(x),
        abs(dz),
        w,
        tuple(a.ravel() for a in state),
        optimizers.get("adam").rule(7),
        None,
        None,
    )


def _forward(s: Sizes, rng: np.random.Generator) -> Arguments:
    return 3 * rng.standard_normal(s["size"]), np.zeros(s["size"])


def _backward(s: Sizes, rng: np.random.Generator) -> Arguments:
    return _integers(rng, s["size"]), _integers(rng, s["size"]), np.zeros(s["size"])


def _leaky(s: Sizes, rng: np.random.Generator) -> Arguments:
    x, y = _forward(s, rng)
    return x, 0.125, y


def _leaky_backward(s: Sizes, rng: np.random.Generator) -> Arguments:
    dy, y, dx = _backward(s, rng)
    return dy, y, 0.125, dx


def _from_input(s: Sizes, rng: np.random.Generator) -> Arguments:
    x, dx = _forward(s, rng)
    return _integers(rng, s["size"]), x, dx


def _softplus_backward(s: Sizes, rng: np.random.Generator) -> Arguments:
    dy, x, dx = _from_input(s, rng)
    return dy, abs(x), dx


def _softmax(s: Sizes, rng: np.random.Generator) -> Arguments:
    x = 3 * rng.standard_normal((s["n"], s["c"]))
    return x, np.zeros_like(x)


def _softmax_backward(s: Sizes, rng: np.random.Generator) -> Arguments:
    dy, y = _integers(rng, s["n"], s["c"]), _integers(rng, s["n"], s["c"])
    return dy, y, np.zeros(y.shape)


def _prelu(s: Sizes, rng: np.random.Generator) -> Arguments:
    x = _integers(rng, s["n"], s["c"])
    return x, _integers(rng, s["c"]), np.zeros(x.shape)


def _prelu_backward(s: Sizes, rng: np.random.Generator) -> Arguments:
    x, slope, dx = _prelu(s, rng)
    return _integers(rng, *x.shape), x, slope, dx, np.zeros_like(dx)


def _sum(s: Sizes, rng: np.random.Generator) -> Arguments:
    a, b, y = _backward(s, rng)
    return a, b, FUSED_ACTIVATIONS["relu"], y


def _class_loss(s: Sizes, rng: np.random.Generator) -> Arguments:
    x = 3 * rng.standard_normal((s["n"], s["c"]))
    return x, rng.integers(0, s["c"], s["n"]), 0.5, np.zeros_like(x)


def _target_loss(s: Sizes, rng: np.random.Generator) -> Arguments:
    x = 3 * rng.standard_normal((s["n"], s["c"]))
    targets = rng.random((s["n"], s["c"]))
    return x, targets / targets.sum(axis=1, keepdims=True), 0.5, np.zeros_like(x)


def _flat_loss(s: Sizes, rng: np.random.Generator) -> Arguments:
    size = s["n"] * s["c"]
    return 3 * rng.standard_normal(size), rng.random(size), 0.5, np.zeros(size)


def _mse(s: Sizes, rng: np.random.Generator) -> Arguments:
    size = s["n"] * s["c"]
    return _integers(rng, size), _integers(rng, size), 0.5, np.zeros(size)


def _images(s: Sizes, rng: np.random.Generator) -> Arguments:
    """The geometry and integers for x, w, dy."""
    geometry, n = shapes.conv_geometry(s), s["n"]
    x, dy = ((n, *geometry.in_shape), (n, *geometry.out_shape))
    return geometry, *(_integers(rng, *shape) for shape in (x, geometry.w_shape, dy))


def _im2col(s: Sizes, rng: np.random.Generator) -> Arguments:
    geometry, x, _, dy = _images(s, rng)
    return x, geometry, np.zeros((dy.size // s["o"], geometry.taps * s["c"]))


def _col2im(s: Sizes, rng: np.random.Generator) -> Arguments:
    x, geometry, columns = _im2col(s, rng)
    return _integers(rng, *columns.shape), geometry, np.zeros(x.shape)


def _conv2d(s: Sizes, rng: np.random.Generator) -> Arguments:
    geometry, x, w, dy = _images(s, rng)
    b = _integers(rng, s["o"])
    return x, w, b, geometry, FUSED_ACTIVATIONS["relu"], np.zeros(dy.shape)


def _conv2d_dx(s: Sizes, rng: np.random.Generator) -> Arguments:
    geometry, x, w, dz = _images(s, rng)
    return dz, w, geometry, np.zeros(x.shape)


def _conv2d_dw(s: Sizes, rng: np.random.Generator) -> Arguments:
    geometry, x, w, dz = _images(s, rng)
    return x, dz, geometry, np.zeros(w.shape)


def _pooled(s: Sizes, rng: np.random.Generator) -> Arguments:
    """The geometry and integers for x, dy."""
    geometry, n = shapes.pool_geometry(s), s["n"]
    return geometry, _integers(rng, n, *geometry.in_shape), _integers(rng, n, *geometry.out_shape)


def _max_pool2d(s: Sizes, rng: np.random.Generator) -> Arguments:
    geometry, x, dy = _pooled(s, rng)
    return x, geometry, np.zeros(dy.shape), np.zeros(dy.shape, geometry.index_dtype)


def _max_pool2d_backward(s: Sizes, rng: np.random.Generator) -> Arguments:
    geometry, x, dy = _pooled(s, rng)
    _, _, y, index = _max_pool2d(s, rng)
    backends.load("reference", "", "float64").max_pool2d(x.astype(np.float64), geometry, y, index)
    return dy, index, geometry, np.zeros(x.shape)


def _average_pool2d(s: Sizes, rng: np.random.Generator) -> Arguments:
    geometry, x, dy = _pooled(s, rng)
    return x, geometry, np.zeros(dy.shape)


def _average_pool2d_backward(s: Sizes, rng: np.random.Generator) -> Arguments:
    geometry, x, dy = _pooled(s, rng)
    return dy, geometry, np.zeros(x.shape)


def _rows(s: Sizes) -> tuple[int, int]:
    return s["n"] * s["h"] * s["w"], s["c"]


def _statistics(s: Sizes, rng: np.random.Generator) -> Arguments:
    return _integers(rng, *_rows(s)), np.zeros(s["c"]), np.zeros(s["c"])


def _batch_norm(s: Sizes, rng: np.random.Generator) -> Arguments:
    """With σ² + ε = 4: no root is rounded."""
    c = s["c"]
    mean, gamma, beta = (_integers(rng, c) for _ in range(3))
    numbers = mean, np.full(c, 3.75), gamma, beta, 0.25, FUSED_ACTIVATIONS["relu"]
    return _integers(rng, *_rows(s)), *numbers, np.zeros(_rows(s))


def _batch_norm_sums(s: Sizes, rng: np.random.Generator) -> Arguments:
    *given, dx = _batch_norm(s, rng)
    return _integers(rng, *dx.shape), *given, np.zeros(s["c"]), np.zeros(s["c"])


def _batch_norm_dx(s: Sizes, rng: np.random.Generator) -> Arguments:
    *given, dx = _batch_norm(s, rng)
    return _integers(rng, *dx.shape), *given, *_integers(rng, 2, s["c"]), dx


def _response(s: Sizes, rng: np.random.Generator) -> Arguments:
    return rng.standard_normal(_rows(s)), 5, 1.0, 0.75, 2.0, np.zeros(_rows(s))


def _response_backward(s: Sizes, rng: np.random.Generator) -> Arguments:
    return rng.standard_normal(_rows(s)), *_response(s, rng)


def _update(s: Sizes, rng: np.random.Generator) -> Arguments:
    n, optimizer = s["size"], optimizers.get(s["rule"], state_dtype=s["state"])
    gradient = _integers(rng, n) * 0.1
    state = optimizer.new_state(n, np.float64)
    for array in state:
        array[:] = rng.random(n)[: array.size] * (1 if array.dtype.kind == "f" else 250)
    return rng.standard_normal(n), gradient, state, optimizer.rule(7)


#: Every rule with its state in full, and Adam with narrow ones.
_UPDATES = {
    f"{rule}{'-' * (state != 'full')}{state * (state != 'full')}-{shape}": sizes
    | {"rule": rule, "state": state}
    for rule, state in [
        *((name, "full") for name in RULES), ("adam", "bfloat16"), ("adam", "8bit")
    ]
    for shape, sizes in shapes.ELEMENTWISE.items()
}  # fmt: skip


def _pick(*names: str) -> dict[str, Sizes]:
    return {name: shapes.DENSE[name] for name in names}


def _few(found: dict[str, Sizes], single: str = "", **batches: int) -> dict[str, Sizes]:
    """Shapes of a network with smaller batches: the reference takes seconds for whole ones.

    Underscores stand for hyphens. Those named in ``single`` are timed in float32 only.
    """
    rows = {name.replace("_", "-"): n for name, n in batches.items()}
    return {
        name: found[name] | {"n": n} | ({"dtypes": ["float32"]} if name in single.split() else {})
        for name, n in rows.items()
    }


_CONV = _few(
    shapes.CONV, "cifar10-conv1 tail-depthwise-s2 resnet50-14-1x1-1024-256",
    cifar10_conv1=8, cifar10_conv2=8, resnet50_14_1x1_1024_256=2, tail_primes_s2=4,
    tail_depthwise_s2=2,
)  # fmt: skip
_COLUMNS = _few(shapes.CONV, "cifar10-conv2", cifar10_conv2=8, tail_primes_s2=4)
_MAX = _few(shapes.POOL, cifar10_pool1=8, vgg16_pool4=2)
_NORM = _few(shapes.NORM, "resnet50-14-norm", resnet50_28_norm=2, resnet50_14_norm=8, tail_norm=1)
_RESPONSE = _few(shapes.NORM, "alexnet-response2", alexnet_response2=2, tail_norm=1)
_MEAN = _few(shapes.POOL, resnet50_global=8, tail_average=16)


CASES: dict[str, tuple[Callable[[Sizes, np.random.Generator], Arguments], dict[str, Sizes]]] = {
    "dense": (_dense, shapes.DENSE),
    "dense_dx": (_dense_dx, shapes.DENSE),
    "dense_dw": (_dense_dw, shapes.DENSE),
    "dense_db": (_dense_db, shapes.DENSE),
    "dense_dw_update": (_dense_dw_update, _pick("digits-2", "office-small-1", "cifar-dense")),
    "im2col": (_im2col, _COLUMNS),
    "col2im": (_col2im, _COLUMNS),
    "conv2d": (_conv2d, _CONV),
    "conv2d_dx": (_conv2d_dx, _CONV),
    "conv2d_dw": (_conv2d_dw, _CONV),
    "max_pool2d": (_max_pool2d, _MAX),
    "max_pool2d_backward": (_max_pool2d_backward, _MAX),
    "average_pool2d": (_average_pool2d, _MEAN),
    "average_pool2d_backward": (_average_pool2d_backward, _MEAN),
    "relu": (_forward, shapes.ELEMENTWISE),
    "relu_backward": (_backward, shapes.ELEMENTWISE),
    "sigmoid": (_forward, shapes.ELEMENTWISE),
    "sigmoid_backward": (_backward, shapes.ELEMENTWISE),
    "tanh": (_forward, shapes.ELEMENTWISE),
    "tanh_backward": (_backward, shapes.ELEMENTWISE),
    **dict.fromkeys(("leaky_relu", "elu"), (_leaky, shapes.ELEMENTWISE)),
    **{f"{n}_backward": (_leaky_backward, shapes.ELEMENTWISE) for n in ("leaky_relu", "elu")},
    **dict.fromkeys(("selu", "softplus", "heaviside", *FROM_INPUT), (_forward, shapes.ELEMENTWISE)),
    "selu_backward": (_backward, shapes.ELEMENTWISE),
    "softplus_backward": (_softplus_backward, shapes.ELEMENTWISE),
    **{f"{name}_backward": (_from_input, shapes.ELEMENTWISE) for name in FROM_INPUT},
    "prelu": (_prelu, shapes.ROWS),
    "prelu_backward": (_prelu_backward, shapes.ROWS),
    "softmax": (_softmax, shapes.LOSS),
    "softmax_backward": (_softmax_backward, shapes.LOSS),
    "batch_norm_statistics": (_statistics, _NORM),
    "batch_norm": (_batch_norm, _NORM),
    "batch_norm_sums": (_batch_norm_sums, _NORM),
    "batch_norm_dx": (_batch_norm_dx, _NORM),
    "local_response_norm": (_response, _RESPONSE),
    "local_response_norm_backward": (_response_backward, _RESPONSE),
    "add": (_sum, shapes.ELEMENTWISE),
    "softmax_cross_entropy": (_class_loss, shapes.LOSS),
    "softmax_cross_entropy_targets": (_target_loss, shapes.LOSS),
    "sigmoid_cross_entropy": (_flat_loss, shapes.LOSS),
    "mse": (_mse, shapes.LOSS),
    "update": (_update, _UPDATES),
}


@lru_cache(maxsize=4)  # benches of one op and shape follow one another
def arguments(name: str, shape: str, dtype: str) -> dict[str, Any]:
    """Arguments of an op by name; all arrays but whole numbers are in ``dtype``."""
    make, found = CASES[name]
    rng = np.random.default_rng(sum(map(ord, name + shape)))
    values = make(found[shape], rng)
    names = inspect.signature(getattr(backends.load("reference", "", dtype), name)).parameters
    return {
        key: value if key in ("labels", "index") else _as_dtype(value, dtype)
        for key, value in zip(names, values, strict=True)
    }


def _as_dtype(value: Any, dtype: str) -> Any:
    """Arrays in ``dtype``, but those of a narrow state."""
    if type(value) is tuple:
        return tuple(_as_dtype(v, dtype) for v in value)
    if not isinstance(value, np.ndarray) or value.dtype in (np.uint8, np.uint16, np.float32):
        return value
    return np.ascontiguousarray(value, dtype)


def _arrays(value: Any) -> tuple[np.ndarray, ...]:
    """The arrays of an argument, which is an array, a tuple of them, or neither."""
    values = value if isinstance(value, tuple) else (value,)
    return tuple(v for v in values if isinstance(v, np.ndarray))


def fresh(op: Op, given: dict[str, Any]) -> dict[str, Any]:
    """The arguments with what the op writes copied, so that ``given`` stays as it is."""

    def copied(value: Any) -> Any:
        if type(value) is tuple:
            return tuple(map(copied, value))
        return None if value is None else value.copy()

    return {key: copied(a) if key in op.writes else a for key, a in given.items()}


def updates(op: Op) -> bool:
    """Whether the op changes what it writes, instead of filling it anew."""
    return op.name in ("update", "dense_dw_update")


# --- equality -------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def _expected(name: str, shape: str, dtype: str) -> tuple[Any, dict[str, tuple[np.ndarray, ...]]]:
    op = OPS[name]
    given = fresh(op, arguments(name, shape, dtype))
    returned = getattr(backends.load("reference", "", dtype), name)(*given.values())
    written = {key: _arrays(given[key]) for key in op.writes}
    for key, array in ((key, array) for key, arrays in written.items() for array in arrays):
        # A comparison of constants or of zeros would prove nothing.
        assert np.isfinite(array).all(), f"{name}: the reference's {key} isn't finite"
        assert array.size < 2 or np.ptp(array) > 0, f"{name}: the reference's {key} is constant"
        assert np.count_nonzero(array) > array.size / 8, f"{name}: {key} is mostly zero"
    return returned, written


def check_equal(op: Op, kernel: Callable[..., Any], shape: str, dtype: str) -> None:
    """Assert that ``kernel`` does what the reference does, on copies of the bench's arguments."""
    before = arguments(op.name, shape, dtype)
    given = fresh(op, before)
    if not updates(op):
        for key in op.writes:  # outputs: what isn't written shows
            given[key].fill(np.nan if given[key].dtype.kind == "f" else 99)
    returned = kernel(*given.values())
    expected_return, expected = _expected(op.name, shape, dtype)
    for key, arrays in expected.items():
        same = zip(_arrays(given[key]), arrays, _arrays(before[key]), strict=True)
        for got, want, start in same:
            _check_array(op, key, got, want)
            assert not updates(op) or not np.array_equal(got, start), f"{key} is unchanged"
    eps = float(np.finfo(dtype).eps)
    if expected_return is None:
        assert returned is None
    else:
        # The loss is a sum in double, in an order of the backend's own.
        tolerance = (op.ulps or 4) * eps + given["dx"].size * np.finfo(np.float64).eps
        assert math.isclose(returned, expected_return, rel_tol=tolerance)


def _check_array(op: Op, key: str, got: np.ndarray, want: np.ndarray) -> None:
    if op.exact:
        np.testing.assert_array_equal(got, want, err_msg=f"{op.name}: {key}")
        return
    # Elements that cancel are as exact as the largest is.
    cancels = op.family != "activation" or op.name.removesuffix("_backward") in FROM_INPUT
    scale = np.abs(want).max() if cancels else np.abs(want)
    worst = float(np.max(np.abs(got - want) / (np.finfo(want.dtype).eps * scale)))
    # A loss sums over the classes, in an order of the backend's own: a random walk.
    allowed = op.ulps + (math.sqrt(want.shape[-1]) if want.ndim > 1 else 0)
    assert worst <= allowed, f"{op.name}: {key} is {worst:.1f} ulps off, {allowed} allowed"


# --- parameters of the benches --------------------------------------------------------------


def thread_counts(parallel: bool) -> tuple[int, ...]:
    """1, and 2 where the work is large enough and there are two CPUs."""
    return (1, 2) if parallel and usable_cpus() > 1 else (1,)


def _is_parallel(op: Op, sizes: Sizes) -> bool:
    if op.family == "dense":
        if op.name == "dense_db":
            return False
        return 2 * sizes["n"] * sizes["k"] * sizes["o"] >= PARALLEL_FLOPS
    if op.family == "conv":
        return 2 * sizes["n"] * shapes.conv_geometry(sizes).multiply_adds >= PARALLEL_FLOPS
    if op.family in ("pool", "norm"):
        return sizes["n"] * sizes["h"] * sizes["w"] * sizes["c"] >= PARALLEL_ELEMENTS
    elements = sizes["size"] if "size" in sizes else sizes["n"] * sizes["c"]
    return elements >= PARALLEL_ELEMENTS


def benches(family: str) -> Any:
    """The decorator that gives a bench all ops of a family × shape × backend × dtype × threads."""
    parameters = []
    for op in (op for op in OPS.values() if op.family == family):
        if op.name not in CASES:
            raise LookupError(f"op {op.name!r} has no benchmark: add it to CASES in bench/cases.py")
        seen = set()
        for shape, sizes in CASES[op.name][1].items():
            if op.name == "dense_db":  # K doesn't matter to it
                key = (sizes["n"], sizes["o"])
                if key in seen:
                    continue
                seen.add(key)
            for dtype in sizes.get("dtypes", DTYPES):
                for threads in thread_counts(_is_parallel(op, sizes)):
                    for backend in BACKENDS:
                        name = f"{op.name}-{shape}-{dtype}-{threads}t-{backend}"
                        parameters.append(pytest.param(op, shape, dtype, threads, backend, id=name))
    assert parameters, f"no op in family {family}"
    return pytest.mark.parametrize(("op", "shape", "dtype", "threads", "backend"), parameters)


@contextlib.contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """fastnn's kernels and NumPy's BLAS on so many threads.

    NumPy's needs threadpoolctl, which comes with scikit-learn; without it, it stays as it is.
    """
    before = fastnn.get_num_threads()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(threads, user_api="blas"))
        fastnn.set_num_threads(threads)
        stack.callback(fastnn.set_num_threads, before)
        yield


def time_op(benchmark: Any, op: Op, shape: str, dtype: str, threads: int, backend: str) -> None:
    """Check one op on one backend against the reference, then time it."""
    if reason := backends.available_backends()[backend]:
        pytest.skip(f"backend {backend}: {reason}")
    isa = backends.current_isa() if backend == "cython" else ""
    kernel = getattr(backends.load(backend, isa, dtype), op.name)
    benchmark.group = group(op.name, describe(CASES[op.name][1][shape]), dtype, threads)
    given = fresh(op, arguments(op.name, shape, dtype))
    sizes = CASES[op.name][1][shape]
    benchmark.extra_info.update(
        backend=backend,
        dtype=dtype,
        threads=threads,
        elements=max(a.size for value in given.values() for a in _arrays(value)),
        origin=sizes["origin"],
    )
    with limited_to(threads):
        check_equal(op, kernel, shape, dtype)
        benchmark(kernel, *given.values())


def group(name: str, sizes: str, dtype: str, threads: int) -> str:
    """The benches that are shown side by side: one per backend."""
    return f"{name} {sizes} {dtype}, {threads} thread{'s'[: threads > 1]}"
