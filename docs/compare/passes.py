"""Where the time of a textbook step with Adam goes: every pass over memory by itself.

One dense layer of K × O weights with a batch of N, in NumPy and float32, one line of the textbook
after the other; then fastnn's kernel, which does all of it in one pass.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fastnn
from fastnn import optimizers


def passes(n: int, k: int, o: int) -> list[tuple[str, int, Callable[[], Any]]]:
    """(the line, arrays like w that it reads or writes, what it does)."""
    rng = np.random.default_rng(0)
    x, dz = rng.random((n, k), np.float32), rng.standard_normal((n, o), np.float32)
    w, m, v = (rng.random((k, o), np.float32) for _ in range(3))
    s: dict[str, Any] = {}
    b1, b2, rate, eps = 0.9, 0.999, 1e-9, 1e-8

    def keep(name: str, value: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            s[name] = value()

        return run

    return [
        ("y = x @ w", 1, lambda: x @ w),
        ("g = x.T @ dz", 1, keep("g", lambda: x.T @ dz)),
        ("m *= β₁", 2, lambda: np.multiply(m, b1, out=m)),
        ("a = (1 − β₁) * g", 2, keep("a", lambda: (1 - b1) * s["g"])),
        ("m += a", 3, lambda: np.add(m, s["a"], out=m)),
        ("v *= β₂", 2, lambda: np.multiply(v, b2, out=v)),
        ("a = g * g", 2, keep("a", lambda: s["g"] * s["g"])),
        ("a = (1 − β₂) * a", 2, keep("a", lambda: (1 - b2) * s["a"])),
        ("v += a", 3, lambda: np.add(v, s["a"], out=v)),
        ("m̂ = m / (1 − β₁ᵗ)", 2, keep("m", lambda: m / (1 - b1**3))),
        ("v̂ = v / (1 − β₂ᵗ)", 2, keep("v", lambda: v / (1 - b2**3))),
        ("a = √v̂", 2, keep("a", lambda: np.sqrt(s["v"]))),
        ("a = a + ε", 2, keep("a", lambda: s["a"] + eps)),
        ("b = α * m̂", 2, keep("b", lambda: rate * s["m"])),
        ("b = b / a", 3, keep("b", lambda: s["b"] / s["a"])),
        ("w -= b", 3, lambda: np.subtract(w, s["b"], out=w)),
    ]


def fused(n: int, k: int, o: int, optimizer: str) -> Callable[[], None]:
    """The same by fastnn: update from x and dz, then y of the next batch."""
    rng = np.random.default_rng(0)
    x, dz = rng.random((n, k), np.float32), rng.standard_normal((n, o), np.float32)
    w, y = rng.random((k, o), np.float32), np.empty((n, o), np.float32)
    kernels, rule = fastnn.backends.kernels("float32"), optimizers.get(optimizer, 1e-9)
    state = rule.new_state(k * o, np.float32)
    for array in state:
        array[:] = 0.5
    return lambda: kernels.dense_dw_update(x, dz, w, state, rule.rule(3), x, y)


def ms(run: Callable[[], Any], repeats: int) -> float:
    """The median."""
    run()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        found.append(1000 * (time.perf_counter() - started))
    return statistics.median(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=3, default=(10, 30_000, 384), metavar="N")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="of fastnn; NumPy chooses its own")
    options = parser.parse_args()
    if min(options.sizes) < 1 or options.repeats < 1 or options.threads < 1:
        parser.error("--sizes, --repeats and --threads must be at least 1")
    fastnn.set_num_threads(options.threads)
    n, k, o = options.sizes
    size, rows = 4e-6 * k * o, []
    for line, arrays, run in passes(n, k, o):
        rows.append((line, arrays * size, ms(run, options.repeats)))
    total = sum(row[2] for row in rows)
    print(f"{k} x {o} weights ({size:.0f} MB), batch {n}, float32, median of {options.repeats}")
    print(f"{'pass':24}{'MB':>7}{'ms':>9}{'of all':>9}")
    for line, moved, taken in rows:
        print(f"{line:24}{moved:7.0f}{taken:9.2f}{taken / total:9.1%}")
    print(f"{'all':24}{sum(row[1] for row in rows):7.0f}{total:9.2f}")
    sgd = (*rows[:2], rows[-3], rows[-1])
    moved, taken = sum(row[1] for row in sgd), sum(row[2] for row in sgd)
    print(f"{'SGD: y, g, α * g, w −=':24}{moved:7.0f}{taken:9.2f}")
    for name, arrays in (("sgd", 2), ("adam", 6)):
        taken = ms(fused(n, k, o, name), options.repeats)
        print(f"{f'fastnn, {name}: one pass':24}{arrays * size:7.0f}{taken:9.2f}")


if __name__ == "__main__":
    main()
