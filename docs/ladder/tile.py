"""Step 5. The sums stay in registers: fastnn's own kernel, kernels/tile_template.h.

``dense`` without bias and activation is the plain product. It runs on the backend in force:
the register tile on Cython, its cousin in plain loops on Numba, BLAS again on the reference.
"""

from fastnn import functional


def multiply(a, b):
    """c = a b for a (M, K), b (K, N) of one dtype."""
    return functional.dense(a, b)
