"""What experiments that start processes share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

#: Variables that tell libraries how many threads to use.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def environment(names: tuple[str, ...], value: str) -> Iterator[None]:
    """Processes started meanwhile inherit these variables with that value."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, value))
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old


@contextmanager
def held_to_cpus(count: int) -> Iterator[None]:
    """Processes started meanwhile may use that many CPUs, where the system has CPU affinity.

    Some libraries can't be told how many threads to use: they take all CPUs that they may use.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(ours)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)
