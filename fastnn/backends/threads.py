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

#: More than this is a mistake, and a team of very many threads can't be started.
MAX_THREADS = 256

_listeners: list[Callable[[int], None]] = []
_forked = False
_num_threads: int | None = None


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


def _checked(value: object, source: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_THREADS:
        raise ValueError(f"{source} must be an integer in 1..{MAX_THREADS}, got {value!r}")
    return value


def get_num_threads() -> int:
    """Number of threads the kernels may use.

    Raises ``ValueError`` if ``FASTNN_NUM_THREADS`` is set but isn't a number of threads.
    """
    global _num_threads
    if _num_threads is None:
        text = os.environ.get("FASTNN_NUM_THREADS")
        value = int(text) if text and text.strip().isdigit() else text
        _num_threads = usable_cpus() if text is None else _checked(value, "FASTNN_NUM_THREADS")
    return _num_threads


def set_num_threads(n: int) -> None:
    """Let kernels of all backends use up to ``n`` threads (an integer in 1..256).

    Raises ``ValueError`` otherwise, and ``RuntimeError`` for n > 1 in a forked child.
    """
    global _num_threads
    _checked(n, "set_num_threads: n")
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
