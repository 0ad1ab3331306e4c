"""Step 1. The definition, c[i, j] = Σₖ a[i, k] b[k, j], as six lines of loops."""

import numpy as np
from numba import njit


@njit
def loops(a, b, c):
    for i in range(c.shape[0]):
        for j in range(c.shape[1]):
            total = c.dtype.type(0)
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            c[i, j] = total


def multiply(a, b):
    """c = a b for a (M, K), b (K, N) of one dtype."""
    c = np.empty((len(a), b.shape[1]), a.dtype)
    loops(a, b, c)
    return c
