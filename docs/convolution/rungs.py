# ruff: noqa: E402
"""Time every rung of the convolution page, on one thread: ``python docs/convolution/rungs.py``.

The layer is the second of the CIFAR-10 network, 16 × 16 × 64 to 64, 5 × 5, SAME. Slow rungs take
fewer images, or one filter; the rate counts the multiply-adds of what they did, those with taps
in the image only. Each rung is checked against the reference on integers, where all orders of
summation give the same bits, before it is timed.
"""

import argparse
import os
import sys
import time
from pathlib import Path

# Before NumPy is imported: the libraries read these once.
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"

import blocks
import loops
import matrix
import numpy as np
import runs
import six
import tile

import fastnn
from fastnn.geometry import conv2d_geometry

sys.path.append(str(Path(__file__).parents[2]))  # for bench/, which isn't installed
from fastnn.limits import Limits, NoLimits


def rungs():
    """(name, function, backend or None, most images, most filters) from the bottom up."""
    yield "1 loops in Python", loops.convolve, None, 1, 1
    yield "2 loops compiled", loops.compiled, None, 4, 64
    yield "3 im2col, one product", matrix.convolve, None, 128, 64
    yield "4 im2col by images", blocks.convolve, None, 128, 64
    yield "5 runs", runs.convolve, None, 32, 64
    yield "6 six windows", six.convolve, None, 128, 64
    for backend in ("numba", "cython"):
        if not fastnn.available_backends()[backend]:
            with fastnn.use_backend(backend):
                isa = f", {fastnn.backends.current_isa()}" if backend == "cython" else ""
            yield f"7 fastnn ({backend}{isa})", tile.convolve, backend, 128, 64


def layer(size, filters):
    """The geometry of a 5 × 5 convolution, SAME, of size × size × 64."""
    return conv2d_geometry("rungs", (size, size, 64), (5, 5, 64, filters), 1, "same")


def check(convolve):
    """Raise unless ``convolve`` gives the reference's bits on integers."""
    rng = np.random.default_rng(0)
    geometry = layer(6, 2)
    x = rng.integers(-3, 4, (2, *geometry.in_shape)).astype(np.float32)
    w = rng.integers(-3, 4, geometry.w_shape).astype(np.float32)
    with fastnn.use_backend("reference"):
        expected = tile.convolve(x, w, geometry)
    if not np.array_equal(convolve(x, w, geometry), expected):
        raise AssertionError(f"{convolve.__module__}.{convolve.__name__} differs")


def seconds(convolve, x, w, geometry, repeats):
    """The shortest of some runs: on a busy machine the others measure the neighbours."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        convolve(x, w, geometry)
        best = min(best, time.perf_counter() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=128, help="of the fast rungs, at most 128")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each rung; the best counts")
    options = parser.parse_args()
    if not 1 <= options.images <= 128 or options.repeats < 1:
        parser.error("--images must be in 1..128 and --repeats at least 1")
    fastnn.set_num_threads(1)
    rng = np.random.default_rng(1)
    rows = []
    for name, convolve, backend, images, filters in rungs():
        images, geometry = min(images, options.images), layer(16, filters)
        x = rng.standard_normal((images, *geometry.in_shape), np.float32)
        w = rng.standard_normal(geometry.w_shape, np.float32)
        with fastnn.use_backend(backend or "auto"):
            check(convolve)
            best = seconds(convolve, x, w, geometry, options.repeats)
        rate = 2e-9 * images * geometry.multiply_adds / best
        rows.append((name, f"{images} x {filters}", f"{1e3 * best:.1f}", rate))
    try:
        limits = Limits(threads=1)
        peak = max(limits.peak(200_000) for _ in range(options.repeats))
        rows.append(("the machine's limit", "", "", peak))
    except NoLimits:
        pass
    top = max(rate for *_, rate in rows)
    print(f"16 x 16 x 64 to 64, 5 x 5 SAME, float32, one thread, best of {options.repeats}")
    print(f"{'rung':26}{'images x filters':>17}{'ms':>9}{'GFLOP/s':>10}{'of the top':>12}")
    for name, work, ms, rate in rows:
        print(f"{name:26}{work:>17}{ms:>9}{rate:10.3f}{rate / top:12.1%}")


if __name__ == "__main__":
    main()
