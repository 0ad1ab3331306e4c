"""What this machine allows: FMA peak, and plain in-place loops with given reads and writes.

>>> machine = Limits(threads=1)
>>> machine.peak() > 0           # GFLOP/s in float32
True
>>> machine.streams(updated=3, read=1, size=1_000_000) > 0  # seconds
True
"""

from __future__ import annotations

import importlib

import numpy as np
from numpy.typing import NDArray

from fastnn.backends import current_isa

_MULTIPLY_ADDS = 12  # in a round of kernels/machine.h


class NoLimits(RuntimeError):
    """The limits can't be measured here; the message is one line that says why."""


class Limits:
    """Measures with a number of threads, on the instruction set in force.

    Raises ``NoLimits`` without compiled kernels, or where their compiler had no vectors.
    """

    def __init__(self, threads: int) -> None:
        if not current_isa():
            raise NoLimits("limits need the compiled kernels, which can't be loaded here")
        self._c = importlib.import_module(f"fastnn._kernels.machine_{current_isa()}")
        self._step = self._c.floats_together(threads)
        if not self._step:
            raise NoLimits("limits need kernels built by GCC or Clang")
        self.threads = threads
        self._width = self._c.floats_together(1) // 4
        self._arrays: dict[tuple[int, int], list[NDArray[np.float32]]] = {}

    def peak(self, rounds: int = 1_000_000) -> float:
        """GFLOP/s of multiply-adds in registers, float32, on all threads."""
        seconds = self._c.seconds_of_multiply_adds(self.threads, rounds)
        return 2e-9 * _MULTIPLY_ADDS * self._width * rounds * self.threads / seconds

    def forget(self) -> None:
        """Free the arrays that ``streams`` keeps for its next call."""
        self._arrays.clear()

    def streams(self, updated: int, read: int, size: int) -> float:
        """Seconds for one plain pass over ``size`` float32 of each array.

        ``updated`` arrays (0 to 3) are read and written, ``read`` arrays (0 to 2) only read.
        Small sizes are repeated until the clock is exact, and so come from cache, as they do in
        training.
        """
        n = -(-size // self._step) * self._step
        arrays = self._arrays.setdefault((updated + read, n), [])
        while len(arrays) < updated + read:
            arrays.append(_aligned_ones(n))
        repeats = max(1, 2_000_000 // n)
        seconds = self._c.seconds_of_streams(self.threads, updated, arrays, repeats)
        if seconds < 0:
            raise ValueError(f"streams: no loop for updated={updated}, read={read}")
        return seconds / repeats * size / n


def _aligned_ones(size: int) -> NDArray[np.float32]:
    raw = np.ones(size + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + size]
