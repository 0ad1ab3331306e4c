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

BATCH = 10
#: Inputs and outputs: of Office-31's layer, and of one that fits in the cache of a core, with as
#: many inputs as it takes to look ahead. On two threads the small one is too short to be cut.
IN_MEMORY, IN_CACHE = (30_000, 384), (2048, 32)


def seconds(call: Callable[[], object], at_least: float = 0.05) -> float:
    """Of one call, by calls one after another that take ``at_least`` together."""
    call()
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < at_least:
        call()
        count += 1
    return (time.perf_counter() - started) / count


def layer(name: str, inputs: int, units: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """Calls of ``dense_dw_update``, with the product for the next batch, and of the rule alone.

    Weights and state are a model's own: where they begin in their pages matters.
    """
    dense = fastnn.Dense(units, use_bias=False)
    model = fastnn.Sequential([dense], input_shape=(inputs,), seed=0)
    model.compile(optimizers.get(name, 1e-9))
    for array in dense.w.state:
        array[:] = 0.5
    rng = np.random.default_rng(0)
    x, x_next = (rng.random((BATCH, inputs), np.float32) for _ in range(2))
    dz, y = rng.standard_normal((BATCH, units), np.float32), np.empty((BATCH, units), np.float32)
    kernels = fastnn.backends.kernels(model.dtype)
    w, state, rule = dense.w.value, dense.w.state, model.optimizer.rule(3)
    gradient = rng.standard_normal(w.size, np.float32)
    return (
        lambda: kernels.dense_dw_update(x, dz, w, state, rule, x_next, y),
        lambda: kernels.update(w.reshape(-1), gradient, state, rule),
    )


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
    memory, cache = (inputs * units for inputs, units in (IN_MEMORY, IN_CACHE))
    print(f"batch {BATCH}, float32, {options.threads} threads; ns a weight")
    print(
        f"{'':10}{'in memory':>10}{'plain loop':>12}{'in cache':>10}{'rule alone':>12}"
        f"{'products at peak':>18}"
    )
    for name in ("sgd", "momentum", "adam"):
        large, _ = layer(name, *IN_MEMORY)
        small, rule = layer(name, *IN_CACHE)
        streams = 1 + len(RULES[name].state)
        found = []
        for _ in range(options.repeats):  # in turns: a disturbance hits all
            found.append(
                [
                    1e9 * seconds(large) / memory,
                    1e9 * machine.streams(streams, 0, memory) / memory,
                    1e9 * seconds(small) / cache,
                    1e9 * seconds(rule) / cache,
                    2 * 2 * BATCH / machine.peak(),
                ]
            )
        whole, loop, cached, alone, peak = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        print(f"{name:10}{whole:10.3f}{loop:12.3f}{cached:10.3f}{alone:12.3f}{peak:18.3f}")


if __name__ == "__main__":
    main()
