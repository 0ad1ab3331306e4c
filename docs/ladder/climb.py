# ruff: noqa: E402
"""Time every step of the ladder, on one thread: ``python docs/ladder/climb.py [--size 512]``.

Prints the rate of each step and its fraction of the top: of what the machine's multiply-add
units can do, or, where no C compiler is at hand to measure that, of the best step. Each step is
checked against NumPy on integers, where all orders of summation give the same bits, before it
is timed.
"""

import argparse
import os
import sys
import time
from pathlib import Path

# Before NumPy is imported: the libraries read these once.
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_variable] = "1"

import blocked
import naive
import numpy as np
import numpy_
import rows
import tile

import fastnn

sys.path.append(str(Path(__file__).parents[2]))  # for bench/, which isn't installed
from fastnn.limits import Limits, NoLimits


def steps():
    """(name, function, backend or None) of every step that can run here, from the bottom up."""
    yield "1 naive loops", naive.multiply, None
    yield "2 NumPy", numpy_.multiply, None
    yield "3 rows", rows.multiply, None
    yield "4 blocked", blocked.multiply, None
    for backend in ("numba", "cython"):
        if not fastnn.available_backends()[backend]:
            with fastnn.use_backend(backend):
                isa = f", {fastnn.backends.current_isa()}" if backend == "cython" else ""
            yield f"5 tile ({backend}{isa})", tile.multiply, backend


def check(multiply, size):
    """Raise unless ``multiply`` gives NumPy's bits on integers."""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-3, 4, (2, size, size)).astype(np.float32)
    if not np.array_equal(multiply(a, b), a @ b):
        raise AssertionError(f"{multiply.__module__}.multiply differs from NumPy")


def seconds(multiply, a, b, repeats):
    """The shortest of some runs: on a busy machine the others measure the neighbours."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        multiply(a, b)
        best = min(best, time.perf_counter() - start)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="rows and columns of a, b and c")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each step; the best counts")
    options = parser.parse_args()
    if options.size < 1 or options.repeats < 1:
        parser.error("--size and --repeats must be at least 1")
    fastnn.set_num_threads(1)
    n = options.size
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, n, n), np.float32)

    rates = {}
    for name, multiply, backend in steps():
        with fastnn.use_backend(backend or "auto"):
            check(multiply, min(n, 96))
            rates[name] = 2 * n**3 / seconds(multiply, a, b, options.repeats) / 1e9
    try:
        limits = Limits(threads=1)
        rates["the machine's limit"] = max(limits.peak(200_000) for _ in range(options.repeats))
    except NoLimits:
        pass
    top = max(rates.values())
    print(f"({n}, {n}) times ({n}, {n}), float32, one thread, best of {options.repeats}")
    print(f"{'step':24} {'GFLOP/s':>9} {'of the top':>11}")
    for name, rate in rates.items():
        print(f"{name:24} {rate:9.1f} {rate / top:11.1%}")


if __name__ == "__main__":
    main()
