"""``python -m bench.zoo``: a training step of each network of the zoo, its time and its memory.

Every network has a process of its own, at its published input, with plain SGD. The peak is that of
the whole process (``ru_maxrss``); what it held before the network was made is taken off it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

import fastnn
from fastnn import zoo
from fastnn.files import write_atomically

#: The unit of ``ru_maxrss``.
_UNIT = 1 if sys.platform == "darwin" else 1024


def measure(name: str, batch: int, threads: int, steps: int) -> dict[str, Any]:
    """Peak bytes and seconds of training steps; in a process that has done nothing else."""
    fastnn.set_num_threads(threads)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
    network = zoo.NETWORKS[name]
    net = zoo.get(name, seed=1)
    net.compile(fastnn.optimizers.SGD(1e-3))
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, *network.input_shape), np.float32)
    y = rng.integers(0, network.classes, batch)
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        net.train_on_batch(x, y)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT - before
    return {
        "network": name, "batch": batch, "threads": threads, "seconds": min(seconds),
        "first": seconds[0], "peak": peak, "parameters": net.nbytes()["parameters"],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.zoo", description=__doc__)
    parser.add_argument("--network", nargs="+", choices=zoo.NETWORKS, default=list(zoo.NETWORKS),
                        metavar="NAME", help="default: all")  # fmt: skip
    parser.add_argument("--batch", nargs="+", type=int, metavar="N", default=[1])
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", default=[1])
    parser.add_argument("--steps", type=int, metavar="N", default=2, help="the fastest counts")
    parser.add_argument("--json", metavar="FILE", help="write all figures, in bytes and seconds")
    options = parser.parse_args(arguments)
    rows = []
    print(f"{'network':<14}  batch  threads  parameters MB  peak MB  ms a step")
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for name in options.network:
            for batch in options.batch:
                for threads in options.threads:
                    row = pool.submit(measure, name, batch, threads, options.steps).result()
                    rows.append(row)
                    print(
                        f"{name:<14}  {batch:>5}  {threads:>7}  {row['parameters'] / 1e6:>13.1f}  "
                        f"{row['peak'] / 1e6:>7.0f}  {1e3 * row['seconds']:>9.1f}",
                        flush=True,
                    )
    if options.json:
        write_atomically(options.json, json.dumps(rows, indent=2).encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
