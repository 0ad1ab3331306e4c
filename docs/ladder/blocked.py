"""Step 4. The loops of step 3 in blocks: a block of b is used by all rows of a while in cache.

The outer two loops choose the block, the inner three are those of step 3. For one element of
c, k still rises, so the sum has the same order and the same bits as in step 3.
"""

import numpy as np
from numba import njit

KB = 32  # rows and …
NB = 512  # … columns of a block of b: 64 KB of float32, at home in any L2 cache


@njit(fastmath={"contract"})
def loops(a, b, c):
    for k0 in range(0, a.shape[1], KB):
        k1 = min(k0 + KB, a.shape[1])
        for j0 in range(0, c.shape[1], NB):
            for i in range(c.shape[0]):
                c_i = c[i, j0 : j0 + NB]
                for k in range(k0, k1):
                    a_ik, b_k = a[i, k], b[k, j0 : j0 + NB]
                    for j in range(c_i.size):
                        c_i[j] += a_ik * b_k[j]


def multiply(a, b):
    """c = a b for a (M, K), b (K, N) of one dtype."""
    c = np.zeros((len(a), b.shape[1]), a.dtype)
    loops(a, b, c)
    return c
