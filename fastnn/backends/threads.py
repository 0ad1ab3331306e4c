"""The one knob for threads, heard by every backend.

The default is the number of CPUs this process may use (affinity and cgroup quota), or
``FASTNN_NUM_THREADS``. Kernels run serial below a measured amount of work, and give the same
bits for any number of threads. A forked child runs serial: the threads of an OpenMP team do
not survive ``fork``, and waiting for them would hang.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

_listeners: list[Callable[[int], None]] = []
_forked = False


def usable_cpus() -> int:
    """CPUs this process may use: affinity, cut by the cgroup's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cpus = min(cpus, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return cpus


def _positive(value: object, source: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{source} must be an integer >= 1, got {value!r}")
    return value


def _start_value() -> int:
    text = os.environ.get("FASTNN_NUM_THREADS")
    if text is None:
        return usable_cpus()
    return _positive(int(text) if text.strip().isdigit() else text, "FASTNN_NUM_THREADS")


_num_threads = _start_value()


def get_num_threads() -> int:
    """Number of threads the kernels may use."""
    return _num_threads


def set_num_threads(n: int) -> None:
    """Let kernels of all backends use up to ``n`` threads (an integer >= 1).

    Raises ``ValueError`` otherwise, and ``RuntimeError`` for n > 1 in a forked child.
    """
    global _num_threads
    _positive(n, "set_num_threads: n")
    if _forked and n > 1:
        raise RuntimeError(
            "set_num_threads: a forked child runs on one thread; start it by 'spawn' instead"
        )
    _num_threads = n
    for listener in _listeners:
        listener(n)


def on_change(listener: Callable[[int], None]) -> Callable[[int], None]:
    """Register ``listener(n)``, called on every change; usable as a decorator."""
    _listeners.append(listener)
    return listener


def _after_fork() -> None:
    global _forked
    _forked = True
    set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
