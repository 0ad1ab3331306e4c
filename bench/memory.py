"""``python -m bench.memory``: peak extra memory of convolutions, beside that of the im2col form.

Every measurement is the first call of a kernel in a new process, so that nothing it keeps between
calls is missed. Extra is what the process holds at its peak beyond inputs and outputs, in bytes
that the operating system has given it: pages of the program's code aren't counted, those that
malloc keeps are. Linux only; its counts may be off by 64 pages for every CPU.
"""

from __future__ import annotations

import argparse
import ctypes
import fnmatch
import gc
import inspect
import json
import math
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import fastnn
from bench import shapes
from bench.workloads import Conv
from fastnn import backends
from fastnn.ops import OPS

#: Bytes that a pass may take for each thread, beyond inputs and outputs.
LIMIT = 2 << 20

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_PR_SET_THP_DISABLE = 41  # <linux/prctl.h>


def peak_extra(call: Callable[[], Any]) -> int:
    """Bytes that ``call`` takes at its peak beyond what the process holds before."""
    libc = ctypes.CDLL(None)
    gc.collect()
    # Else it may take memory that was freed and is still the process's.
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    # NumPy asks for huge pages; beside its arrays others would be rounded up to them.
    libc.prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)
    try:
        _CLEAR.write_text("5")  # the peak counts from here
        before = _status()
        call()
        after = _status()
    finally:
        libc.prctl(_PR_SET_THP_DISABLE, 0, 0, 0, 0)
    program = after["RssFile"] - before["RssFile"]
    return max(0, after["VmHWM"] - before["VmRSS"] - program)


def _status() -> dict[str, int]:
    rows = (line.split() for line in _STATUS.read_text().splitlines())
    return {row[0][:-1]: 1024 * int(row[1]) for row in rows if row[-1] == "kB"}


def im2col_bytes(sizes: shapes.Sizes) -> int:
    """N·OH·OW rows of KH·KW·C float32."""
    return 4 * math.prod(_columns_shape(sizes))


def _columns_shape(sizes: shapes.Sizes) -> tuple[int, int]:
    geometry = shapes.conv_geometry(sizes)
    rows, columns = geometry.rows, geometry.columns
    return sizes["n"] * rows.out * columns.out, geometry.taps * geometry.channels


def measure(op: str, shape: str, threads: int, backend: str) -> int:
    """Peak extra bytes of one op; in a process in which its backend has computed nothing."""
    fastnn.use_backend(backend)
    fastnn.set_num_threads(threads)
    kernels = backends.kernels("float32")
    sizes = shapes.CONV[shape]
    found = Conv(shape, "forward").array_shapes()
    found |= {"dz": found["dy"], "columns": _columns_shape(sizes)}
    given: list[Any] = []
    for name in inspect.signature(
        getattr(backends.load("reference", "", "float32"), op)
    ).parameters:
        scalar = {"geometry": shapes.conv_geometry(sizes), "activation": 1}.get(name)
        # Filled, so that all their pages are there before.
        given.append(scalar or np.full(found[name], 0.5, np.float32))
    ones = np.ones(1 << 22, np.float32)
    kernels.relu(ones, ones)  # starts the threads
    del ones
    return peak_extra(lambda: getattr(kernels, op)(*given))


def rows_of(
    ops: list[str], names: list[str], counts: list[int], backend: str
) -> list[dict[str, Any]]:
    """Measure and print a row for every op, shape and number of threads."""
    found = []
    print(f"{'shape':<28}  {'op':<9}  threads  extra KiB  a thread  im2col KiB")
    with ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        for name in names:
            for op in ops:
                for threads in counts:
                    extra = pool.submit(measure, op, name, threads, backend).result()
                    row = {
                        "shape": name, "op": op, "threads": threads, "extra": extra,
                        "extra_a_thread": extra // threads,
                        "im2col": im2col_bytes(shapes.CONV[name]),
                        "within": extra <= threads * LIMIT,
                    }  # fmt: skip
                    found.append(row)
                    print(
                        f"{name:<28}  {op:<9}  {threads:>7}  {extra >> 10:>9}  "
                        f"{extra // threads >> 10:>8}  {row['im2col'] >> 10:>10}"
                        + ("" if row["within"] else "  above the limit"),
                        flush=True,
                    )
    return found


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code: 1 if anything is above the limit."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    every = [op.name for op in OPS.values() if op.family == "conv"]
    parser.add_argument("--op", nargs="+", choices=every, default=every, help="default: all")
    parser.add_argument("--shape", nargs="+", metavar="PATTERN", default=["*"], help="default: '*'")
    parser.add_argument("--threads", nargs="+", type=int, metavar="N", default=[1, 2])
    parser.add_argument("--backend", choices=("cython", "reference"), default="cython",
                        help="Numba compiles in its first call")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write all figures, in bytes")
    options = parser.parse_args(arguments)
    if not _CLEAR.exists():
        parser.error("the peak can only be measured on Linux (no /proc/self/clear_refs)")
    names = [n for n in shapes.CONV if any(fnmatch.fnmatchcase(n, p) for p in options.shape)]
    if not names:
        parser.error(f"no shape {' '.join(options.shape)!r}; bench/shapes/conv.json names them")
    if min(options.threads) < 1:
        parser.error("--threads must be >= 1")
    rows = rows_of(options.op, names, options.threads, options.backend)
    largest = max(rows, key=lambda row: row["extra_a_thread"])
    within = sum(row["within"] for row in rows)
    print(f"\n{within} of {len(rows)} take at most {LIMIT >> 10} KiB a thread; ", end="")
    print("the most is {shape} {op}, threads {threads}".format(**largest), end="")
    print(f": {largest['extra_a_thread'] >> 10} KiB a thread")
    if options.json:
        report = {"backend": options.backend, "isa": backends.current_isa(), "rows": rows}
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0 if within == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
