"""What this machine allows: FMA peak, and plain in-place loops with given reads and writes.

``limits.c`` is compiled when it is needed, for the instruction set that fastnn runs on.

>>> machine = Limits(threads=1)  # doctest: +SKIP
>>> machine.peak()               # GFLOP/s in float32  # doctest: +SKIP
>>> machine.streams(updated=3, read=1, size=25_000_000)  # seconds  # doctest: +SKIP
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from fastnn.backends import current_isa

SOURCE = Path(__file__).with_name("limits.c")

#: Floats in a vector, and the compiler's flags, by instruction set.
_BUILDS: dict[str, tuple[int, tuple[str, ...]]] = {
    "avx512": (16, ("-mavx512f", "-mfma", "-mprefer-vector-width=512")),
    "avx2": (8, ("-mavx2", "-mfma")),
}
_MULTIPLY_ADDS = 12  # in a round of limits.c


class NoCompiler(RuntimeError):
    """The limits can't be measured here; the message is one line that says why."""


def build(folder: str) -> str:
    """Compile ``limits.c`` into ``folder``; returns the library's path."""
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise NoCompiler("limits need a C compiler: found neither cc, gcc nor clang on PATH")
    width, flags = _BUILDS.get(current_isa(), (4, ()))
    library = str(Path(folder, "limits.so"))
    command = [
        *compiler.split(), "-O3", *flags, f"-DW={width}", "-fopenmp", "-fPIC", "-shared",
        str(SOURCE), "-o", library,
    ]  # fmt: skip
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoCompiler(f"limits need a C compiler: {error}") from None
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if "error" in line] or ["no message"]
        raise NoCompiler(f"limits: {compiler} failed on bench/limits.c: {lines[0]}")
    return library


class Limits:
    """Measures with a number of threads; ``library`` is one that ``build`` made, if there is."""

    def __init__(self, threads: int, library: str | None = None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._c = ctypes.CDLL(library or build(folder))
        self.threads = threads
        self._c.multiply_add.restype = self._c.streams.restype = ctypes.c_double
        self._c.multiply_add.argtypes = [ctypes.c_int, ctypes.c_long]
        self._c.streams.argtypes = [
            ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_long, ctypes.c_long,
        ]  # fmt: skip
        self._c.granule.restype = ctypes.c_long
        self._width = self._c.granule(1) // 4
        self._arrays: dict[tuple[int, int], list[np.ndarray]] = {}

    def peak(self, rounds: int = 1_000_000) -> float:
        """GFLOP/s of multiply-adds in registers, float32, on all threads."""
        seconds = self._c.multiply_add(self.threads, rounds)
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
        step = self._c.granule(self.threads)
        n = -(-size // step) * step
        arrays = self._arrays.setdefault((updated + read, n), [])
        while len(arrays) < updated + read:
            arrays.append(_aligned_ones(n))
        pointers = (ctypes.c_void_p * len(arrays))(*(a.ctypes.data for a in arrays))
        repeats = max(1, 2_000_000 // n)
        seconds = self._c.streams(self.threads, updated, read, pointers, n, repeats)
        if seconds < 0:
            raise ValueError(f"streams: no loop for updated={updated}, read={read}")
        return seconds / repeats * size / n


def _aligned_ones(size: int) -> np.ndarray:
    raw = np.ones(size + 16, np.float32)
    start = -raw.ctypes.data % 64 // 4
    return raw[start : start + size]
