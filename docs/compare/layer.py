"""The large network's first layer, backward with the update and forward of the next batch, in
nanoseconds a weight: all in memory, all in cache, and what the machine allows.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

import fastnn
from fastnn import optimizers
from fastnn.limits import Limits
from fastnn.rules import RULES

BATCH, UNITS = 10, 384
#: Rows of w: those of Office-31, and few enough for the cache of one core.
IN_MEMORY, IN_CACHE = 30_000, 128  # on two threads the small one is too short to be cut


def seconds(call: Callable[[], object], at_least: float = 0.05) -> float:
    """Of one call, by calls one after another that take ``at_least`` together."""
    call()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < at_least:
        call()
        count += 1
    return (time.perf_counter() - started) / count


def layer(name: str, rows: int) -> Callable[[], object]:
    """A call of the kernel ``dense_dw_update``, with the product for the next batch.

    Weights and state are a model's own: where they begin in their pages matters.
    """
    dense = fastnn.Dense(UNITS, use_bias=False)
    model = fastnn.Sequential([dense], input_shape=(rows,), seed=0)
    model.compile(optimizers.get(name, 1e-9))
    for array in dense.w.state:
        array[:] = 0.5
    rng = np.random.default_rng(0)
    x, x_next = (rng.random((BATCH, rows), np.float32) for _ in range(2))
    dz, y = rng.standard_normal((BATCH, UNITS), np.float32), np.empty((BATCH, UNITS), np.float32)
    update = fastnn.backends.kernels(model.dtype).dense_dw_update
    rule = model.optimizer.rule(3)
    return lambda: update(x, dz, dense.w.value, dense.w.state, rule, x_next, y)


def main() -> None:
    """Print a line for each optimizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    if min(options.threads, options.repeats) < 1:
        parser.error("--threads and --repeats must be at least 1")
    fastnn.set_num_threads(options.threads)
    machine = Limits(options.threads)
    in_memory, in_cache = IN_MEMORY * UNITS, IN_CACHE * UNITS
    print(f"{UNITS} units, batch {BATCH}, float32, {options.threads} threads; ns a weight")
    print(f"{'':10}{'in memory':>10}{'in cache':>10}{'loop':>8}{'products at peak':>18}")
    for name in ("sgd", "momentum", "adam"):
        large, small = layer(name, IN_MEMORY), layer(name, IN_CACHE)
        found = []
        for _ in range(options.repeats):  # in turns: a disturbance hits all
            found.append(
                [
                    1e9 * seconds(large) / in_memory,
                    1e9 * seconds(small) / in_cache,
                    1e9 * machine.streams(1 + len(RULES[name].state), 0, in_memory) / in_memory,
                    2 * 2 * BATCH / machine.peak(),
                ]
            )
        whole, cached, loop, peak = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        print(f"{name:10}{whole:10.3f}{cached:10.3f}{loop:8.3f}{peak:18.3f}")


if __name__ == "__main__":
    main()
