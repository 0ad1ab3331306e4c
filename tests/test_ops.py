"""Every op of the table, on every backend and instruction set, against the oracle and the
reference: three levels of truth, naive loops → reference → fast.
"""

from __future__ import annotations

import inspect

import naive
import numpy as np
import pytest
from cases import KINDS, SIZES, Case, arrays_of, cases, with_arrays
from cases.activation import relu_of_nan
from cases.update import rules as update_rules
from cases.update import text as update_text

import fastnn
from fastnn.backends import BACKENDS, load
from fastnn.geometry import conv2d_geometry, pool2d_geometry
from fastnn.ops import FROM_INPUT, FUSED_ACTIVATIONS, OPS
from fastnn.rules import RULES

DTYPES = ("float32", "float64")
FAST = [("cython", isa) for isa in fastnn.available_isas()] + [("numba", "")]
EVERY = [("reference", ""), *FAST]

#: Ops whose operations have one order and call no exp, so that real data give the same bits as the
#: reference.
BITWISE = [
    n for n, op in OPS.items()
    if n in ("update", "im2col", "max_pool2d", "leaky_relu", "prelu", "heaviside", "selu_backward")
    or n in ("batch_norm", "batch_norm_dx")
    or (n.endswith("_backward") and not op.ulps and n != "softmax_backward")
]  # fmt: skip

#: The ops that add real numbers, with the most terms of a sum, of their arguments.
LENGTHS = {
    "dense": lambda a: len(a["w"]),
    "dense_dx": lambda a: a["dz"].shape[1],
    "dense_dw": lambda a: len(a["x"]),
    "dense_db": lambda a: len(a["dz"]),
    "col2im": lambda a: a["geometry"].taps,
    "conv2d": lambda a: a["w"][..., 0].size,
    "conv2d_dx": lambda a: a["geometry"].taps * a["dz"].shape[3] // a["geometry"].groups,
    "conv2d_dw": lambda a: a["dz"][..., 0].size,
    "average_pool2d": lambda a: a["geometry"].taps,
}

every_op = pytest.mark.parametrize("op", OPS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_fast = pytest.mark.parametrize(
    ("backend", "isa"), FAST, ids=["-".join(filter(None, pair)) for pair in FAST]
)


def normal(array: np.ndarray) -> np.ndarray:
    """Numbers below the smallest normal one as 0: so the Cython kernels count them."""
    if array.dtype.kind != "f":
        return array
    return np.where(np.abs(array) < np.finfo(array.dtype).tiny, array.dtype.type(0), array)


def same_bits(got: dict[str, np.ndarray], want: dict[str, np.ndarray], text: str) -> None:
    for name in want:
        found, expected = normal(got[name]), normal(want[name])
        assert found.dtype == expected.dtype
        if found.tobytes() != expected.tobytes():
            where = np.argwhere(found.view(np.uint8) != expected.view(np.uint8))
            at = np.flatnonzero(found.ravel() != expected.ravel())
            raise AssertionError(
                f"{text}: {name} differs in {len(where)} bytes, {len(at)} elements of "
                f"{found.size}, first at {at[:5]}: {found.ravel()[at[:5]]} against "
                f"{expected.ravel()[at[:5]]}"
            )


def worth_testing(case: Case, outputs: dict[str, np.ndarray]) -> None:
    """A case must be able to fail: data that vary, outputs all written and mostly not zero."""
    arrays = arrays_of(case.arguments)
    for name, value in arrays.items():
        if value.dtype.kind == "f" and value.size > 8:
            finite = value[np.isfinite(value)]
            assert not finite.size or np.ptp(finite) > 0, f"{case.text}: {name} is constant"
    empty = any(value.size == 0 for value in arrays.values())
    geometry = case.arguments.get("geometry")
    for name, output in outputs.items():
        assert not np.isnan(output).any(), f"{case.text}: {name} has NaN"
        if output.size <= 8 or empty:
            continue
        if geometry is None and output.dtype.kind != "f":
            assert np.ptp(output) > 0, f"{case.text}: {name} is constant"
            continue
        if output.dtype.kind != "f":
            assert output.max() < geometry.taps, f"{case.text}: {name} isn't written"
            assert geometry.taps == 1 or np.ptp(output) > 0, f"{case.text}: {name} is constant"
            continue
        reached = output.size
        if geometry is not None and output.shape[1:] == geometry.in_shape:
            # Some pixels may be in no window, but no two windows meet the same ones only.
            windows = len(output) * geometry.rows.out * geometry.columns.out
            reached = min(reached, windows * geometry.channels)
        assert np.count_nonzero(output) > reached // 4, f"{case.text}: {name} is mostly 0"


_wide: dict[str, dict[str, np.ndarray]] = {}


def wide(case: Case) -> dict[str, np.ndarray]:
    """The reference in the next wider type; found once per case."""
    if case.text not in _wide:
        _wide[case.text] = _widened(case)
    return _wide[case.text]


def _widened(case: Case) -> dict[str, np.ndarray]:
    wider = {"float32": np.float64, "float64": np.longdouble}
    arguments = with_arrays(case.arguments, lambda a: a.astype(wider.get(a.dtype.name, a.dtype)))
    return Case(case.text, arguments, case.op).outputs(
        getattr(load("reference", "", "float64"), case.op.name)
    )


def within_ulps(case: Case, got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    """Errors of at most ``op.ulps`` units in the last place.

    Of the element itself. A loss's gradient is a difference of numbers up to weight / N, and its
    value one of logits: the units are those of these. The sum over the batch, kept in double,
    may add one rounding per term; so may that of a softmax over the row. exp gives 0 where the
    result isn't a normal number. The units of a mean are those of its largest term; the gradient of
    a response is a difference, too.
    """
    dtype = next(a.dtype for a in case.arguments.values() if getattr(a, "ndim", 0) > 0)
    info = np.finfo(dtype)
    eps, tiny = float(info.eps), float(info.tiny)
    for name, expected in want.items():
        size = np.abs(expected)
        bound = case.op.ulps * eps * size
        if case.op.family == "loss":
            x, weight = case.arguments["x"], case.arguments["weight"]
            if name == "result":
                bound = bound + weight * case.op.ulps * eps * max(1.0, float(np.abs(x).max()))
                bound += x.size * 2.3e-16 * size
            else:
                bound = bound + case.op.ulps * eps * weight / len(x)
        elif name == "mean":
            bound = bound + case.op.ulps * eps * np.abs(case.arguments["x"]).max(axis=0)
        elif case.op.name == "local_response_norm_backward":
            row = np.abs(case.arguments["dy"]).max(axis=1, initial=0, keepdims=True)
            bound = bound + case.op.ulps * eps * row
        elif case.op.name == "softmax":
            bound = bound + len(size[:1].T) * 2.3e-16 * size
        elif case.op.name.removesuffix("_backward") in FROM_INPUT:
            # x times, or dy times, a number up to 1 that cancels where it is small.
            factor = case.arguments.get("dy", case.arguments["x"])
            bound = bound + case.op.ulps * eps * np.abs(factor)
        error = np.abs(got[name] - expected)
        worst = float(np.max(error - bound, initial=0.0))
        assert worst <= tiny, (
            f"{case.text}: {name} is off by {float(error.max()):.3g}, {worst:.3g} more than "
            f"{case.op.ulps} ulps"
        )


def test_all_backends_are_here():
    """In this suite a backend that can't be loaded is a failure, not a skip."""
    assert fastnn.available_backends() == dict.fromkeys(BACKENDS, "")
    assert len(fastnn.available_isas()) >= 1


@every_op
def test_the_op_has_cases(op):
    for kind in KINDS:
        for size in SIZES:
            found = cases(op, kind, "float32", size)
            assert len(found) >= 2
            assert len({case.text for case in found}) == len(found), "two cases of one name"


@every_fast
@every_op
def test_signature(op, backend, isa):
    for dtype in DTYPES:
        want = inspect.signature(getattr(load("reference", "", dtype), op))
        got = inspect.signature(getattr(load(backend, isa, dtype), op))
        assert list(got.parameters) == list(want.parameters)


@every_dtype
@every_op
def test_reference_against_naive_loops(op, dtype):
    function, row = getattr(load("reference", "", dtype), op), OPS[op]
    for kind in KINDS:
        for case in cases(op, kind, dtype, "tiny"):
            got = case.outputs(function)
            arguments = with_arrays(
                case.arguments, lambda a: a.astype(np.float64 if a.dtype.kind == "f" else a.dtype)
            )
            want = Case(case.text, arguments, row).outputs(getattr(naive, op))
            exact = row.exact and kind == "exact" and case.arguments.get("activation", 0) < 2
            if exact and row.family not in ("loss", "update") and "rule" not in case.arguments:
                for name, expected in want.items():
                    rounded = expected.astype(got[name].dtype)
                    np.testing.assert_array_equal(got[name], rounded, err_msg=case.text)
            eps = float(np.finfo(dtype).eps)
            for name, expected in want.items():
                # Sums have up to 20 terms of size up to 16; updates may cancel.
                np.testing.assert_allclose(
                    got[name], expected, rtol=32 * eps, atol=64 * eps, err_msg=f"{case.text} {name}"
                )
            worth_testing(case, got)


@pytest.mark.parametrize("threads", [1, 2])
@every_dtype
@every_fast
@pytest.mark.parametrize("op", [name for name, row in OPS.items() if row.exact])
def test_same_bits_as_the_reference(op, backend, isa, dtype, threads):
    """Exact ops on data whose sums are exact: whatever the order, the same bits."""
    fastnn.set_num_threads(threads)
    fast = getattr(load(backend, isa, dtype), op)
    reference = getattr(load("reference", "", dtype), op)
    count = 0
    for case in cases(op, "exact", dtype, "full"):
        if case.arguments.get("activation", 0) > FUSED_ACTIVATIONS["relu"]:
            continue  # these call exp
        want = case.outputs(reference)
        worth_testing(case, want)
        same_bits(case.outputs(fast), want, case.text)
        count += 1
    assert count >= 8


@pytest.mark.parametrize("threads", [1, 2])
@every_dtype
@every_fast
@pytest.mark.parametrize("op", BITWISE)
def test_same_bits_on_real_data(op, backend, isa, dtype, threads):
    """Updates and gradients of activations have one order of operations."""
    fastnn.set_num_threads(threads)
    fast = getattr(load(backend, isa, dtype), op)
    reference = getattr(load("reference", "", dtype), op)
    for case in cases(op, "real", dtype, "full"):
        want = case.outputs(reference)
        worth_testing(case, want)
        same_bits(case.outputs(fast), want, case.text)


@every_dtype
@pytest.mark.parametrize(("backend", "isa"), EVERY, ids=lambda value: value or "any")
@pytest.mark.parametrize("op", [name for name, row in OPS.items() if row.ulps])
def test_within_ulps(op, backend, isa, dtype):
    """Ops that call exp or log, against the next wider type."""
    function = getattr(load(backend, isa, dtype), op)
    count = 0
    for kind in KINDS:
        for case in cases(op, kind, dtype, "full"):
            if op in ("dense", "conv2d") and (
                kind == "real" or case.arguments["activation"] <= FUSED_ACTIVATIONS["relu"]
            ):
                continue  # sums are exact on exact data only
            got = case.outputs(function)
            worth_testing(case, got)
            within_ulps(case, got, wide(case))
            count += 1
    assert count >= 8


@every_dtype
@pytest.mark.parametrize(("backend", "isa"), EVERY, ids=lambda value: value or "any")
@pytest.mark.parametrize("op", LENGTHS)
def test_real_sums(op, backend, isa, dtype):
    """A sum of k products, in any order, errs by at most k · eps · Σ |products|."""
    function = getattr(load(backend, isa, dtype), op)
    eps = float(np.finfo(dtype).eps)
    for case in cases(op, "real", dtype, "full"):
        a = case.arguments
        if a.get("activation"):
            continue
        (name,) = case.op.writes
        got, want = case.outputs(function)[name], wide(case)[name]
        if not got.size:
            continue
        positive = {n: np.abs(v) if isinstance(v, np.ndarray) else v for n, v in a.items()}
        sizes = Case(f"{case.text}, absolute", positive, case.op)
        length = LENGTHS[op](a)
        bound = (length + 2) * eps * wide(sizes)[name]
        assert np.all(np.abs(got - want) <= bound), case.text
        if length > 60 and dtype == "float32":
            # The bound means something: a hundredth of the results' size.
            some = bound > 0  # not the pixels that are in no window
            typical = np.median(np.abs(want[some]))
            assert np.median(bound[some]) < 0.05 * typical or length > 1000


@every_dtype
@pytest.mark.parametrize(("backend", "isa"), EVERY, ids=lambda value: value or "any")
def test_batch_norm_sums_of_real_data(backend, isa, dtype):
    """As above: k terms, each of up to 4 roundings; many rows don't cost more than a few."""
    function, eps = load(backend, isa, dtype).batch_norm_sums, float(np.finfo(dtype).eps)
    for case in cases("batch_norm_sums", "real", dtype, "full"):
        dy, x, mean, variance, *_, epsilon, activation, _, _ = case.arguments.values()
        if activation:
            continue  # near the kink a rounding decides
        x_hat = (x.astype(np.float64) - mean) / np.sqrt(variance + np.float64(epsilon))
        got, want = case.outputs(function), wide(case)
        for name, terms in (("dbeta", dy), ("dgamma", dy * x_hat)):
            bound = (min(len(x), 32) + 6) * eps * np.abs(terms).sum(axis=0)
            assert np.all(np.abs(got[name] - want[name]) <= bound), f"{case.text}: {name}"


@every_dtype
@pytest.mark.parametrize(("backend", "isa"), EVERY, ids=lambda value: value or "any")
def test_statistics_far_from_zero(backend, isa, dtype):
    """A mean of 1e4 standard deviations, and a first row that is far from all others, cost no
    digits; nor does a channel whose first half is far from its second.
    """
    rng, m = np.random.default_rng(3), 40_000
    x = (rng.standard_normal((m, 5)) * [1, 1, 1e-3, 1, 0] + [1e4, -1e4, 10, 0, 7]).astype(dtype)
    x[0, :3] = [0, 1e6, -1e3]
    x[: m // 2, 3] += 1e4
    mean, variance = np.empty((2, 5), dtype)
    load(backend, isa, dtype).batch_norm_statistics(x, mean, variance)
    exact = x.astype(np.longdouble).mean(axis=0)
    want = np.square(x - exact).mean(axis=0)
    eps = np.finfo(dtype).eps
    assert np.all(np.abs(mean - exact) <= eps * np.abs(x).max(axis=0))
    assert np.all(np.abs(variance - want) <= 20 * eps * want)


@every_dtype
@every_fast
@every_op
def test_same_bits_for_one_and_two_threads(op, backend, isa, dtype):
    """On real data, where another order of summation would show."""
    function = getattr(load(backend, isa, dtype), op)
    for case in cases(op, "real", dtype, "full"):
        fastnn.set_num_threads(1)
        one = case.outputs(function)
        fastnn.set_num_threads(2)
        same_bits(case.outputs(function), one, case.text)


@pytest.mark.parametrize(("backend", "isa"), EVERY, ids=lambda value: value or "any")
@every_op
def test_only_what_the_table_says_is_written(op, backend, isa):
    """Inputs may be read-only and stay as they are; every output changes."""
    row = OPS[op]
    for dtype in DTYPES:
        function = getattr(load(backend, isa, dtype), op)
        for case in cases(op, "real", dtype, "tiny"):
            arguments = with_arrays(case.arguments, np.copy)
            arrays, before = arrays_of(arguments), arrays_of(case.arguments)
            written = {name: name.split("[")[0] in row.writes for name in arrays}
            for name, array in arrays.items():
                array.flags.writeable = written[name]
            function(*arguments.values())
            for name, array in arrays.items():
                same = array.tobytes() == before[name].tobytes()
                idle = row.name == "dense_dw_update" and not len(arrays["x"])  # no gradient
                assert same == (not written[name] or not array.size) or idle, f"{case.text}: {name}"


@pytest.mark.parametrize("threads", [1, 2])
@every_dtype
@every_fast
def test_the_streamed_gradient_has_the_same_bits(backend, isa, dtype, threads):
    """dense_dw_update is dense_dw, the update and the next dense, on real data too.

    Not so the reference: its BLAS chooses the order of a sum by the shape of the panel.
    """
    fastnn.set_num_threads(threads)
    kernels = load(backend, isa, dtype)
    for case in cases("dense_dw_update", "real", dtype, "full"):
        arguments = with_arrays(case.arguments, np.copy)
        x, dz, w, state, rule, x_next, y_next = arguments.values()
        dw = np.empty_like(w)
        kernels.dense_dw(x, dz, 0, dw)
        kernels.update(w.reshape(-1), dw.reshape(-1), state, rule)
        if x_next is not None:
            kernels.dense(x_next, w, None, FUSED_ACTIVATIONS["identity"], y_next)
        wanted = arrays_of({"w": w, "state": state, "y_next": y_next})
        same_bits(case.outputs(kernels.dense_dw_update), wanted, case.text)


@pytest.mark.parametrize(("backend", "isa"), FAST, ids=lambda value: value or "any")
@every_dtype
def test_nan_and_infinity_pass(backend, isa, dtype):
    """A NaN must reach the loss, and no activation may hide one."""
    kernels = load(backend, isa, dtype)
    x = relu_of_nan(dtype)
    for name, limits in {"relu": (0, np.inf), "sigmoid": (0, 1), "tanh": (-1, 1)}.items():
        y = np.empty_like(x)
        getattr(kernels, name)(x, y)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(x), err_msg=name)
        assert tuple(y[[2, 1]]) == limits
    # Where relu is off nothing comes back, however large it was.
    dx, y = np.empty_like(x), np.tile(np.array([0, 1], dtype), 34)[:67]
    kernels.relu_backward(x, y, dx)
    np.testing.assert_array_equal(dx, np.where(y > 0, x, 0))
    for position in (0, 3, 6):
        logits = np.linspace(-1, 1, 21).astype(dtype).reshape(3, 7)
        logits[1, position] = np.nan
        target = np.full((3, 7), 1 / 7, dtype)
        out = np.empty_like(logits)
        assert np.isnan(kernels.softmax_cross_entropy(logits, np.array([0, 1, 2]), 1.0, out))
        assert np.isnan(kernels.softmax_cross_entropy_targets(logits, target, 1.0, out))
        flat, t, d = logits.ravel(), target.ravel(), out.ravel()
        assert np.isnan(kernels.sigmoid_cross_entropy(flat, t, 1.0, d))
        assert np.isnan(kernels.mse(flat, t, 1.0, d))
    y = np.empty((1, 20), dtype)
    w = np.ones((3, 20), dtype)
    kernels.dense(np.array([[np.nan, 1, 2]], dtype), w, None, FUSED_ACTIVATIONS["relu"], y)
    assert np.isnan(y).all()


@pytest.mark.parametrize("rule", list(update_rules()), ids=update_text)
@pytest.mark.parametrize(("backend", "isa"), EVERY, ids=lambda value: value or "any")
@every_dtype
def test_no_rule_hides_a_nan(dtype, backend, isa, rule):
    """Where the gradient is NaN the parameter becomes it, clipped or not, and nothing else does."""
    p, g = np.ones(37, dtype), np.ones(37, dtype)
    g[[0, 17, 36]] = np.nan
    state = tuple(np.ones(37, dtype) for _ in RULES[rule.name].state)
    load(backend, isa, dtype).update(p, g, state, rule)
    np.testing.assert_array_equal(np.isnan(p), np.isnan(g))


@pytest.mark.parametrize("groups", [1, 4], ids=["whole", "depthwise"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("op", ["conv2d", "conv2d_dx", "conv2d_dw"])
@pytest.mark.parametrize(("backend", "isa"), EVERY, ids=lambda value: value or "any")
@every_dtype
def test_nan_and_infinity_reach_what_they_are_added_to(dtype, backend, isa, op, bad, groups):
    """And nothing else: not the neighbours in a tile, and no window that has only padding there.

    So with images and gradients. What isn't finite in the weights (in dz, for dw) may meet the
    padding too, as 0 · inf in a matrix of windows, or not, where taps are clipped.
    """
    image, kernel = (7, 8, 4), (3, 2, 4 // groups, 16 + groups // 4 * 4)
    geometry = conv2d_geometry(op, image, kernel, (2, 1), "same", (1, 2), groups)
    shapes = {"x": (3, *image), "w": kernel, "dz": (3, *geometry.out_shape)}
    first, second, out = {
        "conv2d": ("x", "w", "dz"), "conv2d_dx": ("dz", "w", "x"), "conv2d_dw": ("x", "dz", "w")
    }[op]  # fmt: skip
    rng = np.random.default_rng(4)
    # Positive, so that no infinity meets another sign or a 0.
    a, b = (rng.integers(1, 5, shapes[name]).astype(dtype) for name in (first, second))

    def result(kernels, a, b):
        more = (None, geometry, FUSED_ACTIVATIONS["relu"]) if op == "conv2d" else (geometry,)
        array = np.full(shapes[out], -1, dtype)
        with np.errstate(invalid="ignore"):  # the reference's BLAS, of lanes it doesn't use
            getattr(kernels, op)(a, b, *more, array)
        return array

    kernels, reference = load(backend, isa, dtype), load("reference", "", dtype)
    clean = result(kernels, a, b)
    for place in [(0, 0, 0, 0), (1, 2, 3, 2), (2, -1, -1, -1)]:
        mark, marked = np.zeros_like(a), a.copy()
        mark[place], marked[place] = 1, bad
        reached = result(reference, mark, b) > 0
        assert 0 < np.count_nonzero(reached) < reached.size
        want = np.where(reached, np.asarray(bad, dtype), clean)
        np.testing.assert_array_equal(result(kernels, marked, b), want)


@pytest.mark.parametrize("padding", ["valid", "same", ((0, 2), (1, 0))])
@pytest.mark.parametrize(("backend", "isa"), EVERY, ids=lambda value: value or "any")
@every_dtype
def test_max_pool_of_what_is_not_finite(dtype, backend, isa, padding):
    """NaN wins, the first one; of equals the first; of −inf alone the first in the image."""
    kernels, rng = load(backend, isa, dtype), np.random.default_rng(5)
    geometry = pool2d_geometry("max_pool2d", (9, 8, 67), 3, (2, 1), padding)
    for values in ([-np.inf, np.nan, np.inf, -1], [-np.inf, -np.inf, -1], [-np.inf], [np.nan]):
        x = rng.choice(np.array(values, dtype), (2, 9, 8, 67))
        y, want = np.empty((2, 2, *geometry.out_shape), dtype)
        index, where = np.full((2, *y.shape), 255, np.uint8)
        kernels.max_pool2d(x, geometry, y, index)
        naive.max_pool2d(x, geometry, want, where)
        np.testing.assert_array_equal(y, want)
        np.testing.assert_array_equal(index, where)
        # Backward a NaN goes to the winner only.
        dy, dx = np.ones_like(y), np.empty_like(x)
        dy[1, 1, 1, 3] = np.nan
        kernels.max_pool2d_backward(dy, index, geometry, dx)
        assert np.count_nonzero(np.isnan(dx)) == 1
