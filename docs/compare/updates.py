"""Every rule's update alone, beside a plain loop with the same reads and writes."""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

import fastnn
from fastnn import optimizers
from fastnn.limits import Limits
from fastnn.rules import RULES


def main() -> None:
    """Print a line for each rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=25_000_000, help="parameters")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    if min(options.size, options.threads, options.repeats) < 1:
        parser.error("--size, --threads and --repeats must be at least 1")
    fastnn.set_num_threads(options.threads)
    machine, rng = Limits(options.threads), np.random.default_rng(0)
    param, grad = (rng.standard_normal(options.size, np.float32) for _ in range(2))
    print(f"{options.size:,} parameters, float32, {options.threads} threads")
    print(f"{'rule':12}{'ms':>8}{'loop ms':>9}{'ratio':>7}")
    for name, form in RULES.items():
        optimizer = optimizers.get(name, 1e-9)
        state = optimizer.new_state(options.size, np.float32)
        for array in state:
            array[:] = 0.5
        mine, loops = [], []
        for step in range(1, options.repeats + 1):  # in turns: a disturbance hits both
            started = time.perf_counter()
            optimizer.apply(param, grad, state, step)
            mine.append(1000 * (time.perf_counter() - started))
            loops.append(1000 * machine.streams(1 + len(form.state), 1, options.size))
        ratio = statistics.median(a / b for a, b in zip(mine, loops, strict=True))
        ms, loop = statistics.median(mine), statistics.median(loops)
        print(f"{name:12}{ms:8.1f}{loop:9.1f}{ratio:7.2f}")


if __name__ == "__main__":
    main()
