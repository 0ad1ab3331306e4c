"""Branches of a network that meet, elementwise over 1-D arrays.

Why it is fast: one pass over the memory for sum and ReLU. The loop holds no branch; without ReLU
the smallest number that may come is −∞.
"""

import numpy as np
from numba import prange

from fastnn.backends.numba_ import elementwise, kernel, parallel_kernel, plain


def add(a, b, activation, y):
    least = y.dtype.type(0 if activation else -np.inf)
    elementwise(_add, _add_parallel, 0.3, plain(a), plain(b), least, y)


@kernel
def _add(a, b, least, y, start, stop):
    """y = a + b, at least ``least``; NaN is not below it and stays."""
    a, b, y = a[start:stop], b[start:stop], y[start:stop]
    for i in range(y.size):
        total = a[i] + b[i]
        y[i] = least if total < least else total


@parallel_kernel
def _add_parallel(a, b, least, y, chunk):
    for i in prange(-(-y.size // chunk)):
        _add(a, b, least, y, i * chunk, (i + 1) * chunk)
