"""Branches of a network that meet: one pass over memory for the sum and its ReLU."""
from libc.math cimport INFINITY

include "parallel.pxi"


cdef inline void add_chunk(const floating *a, const floating *b, floating least, floating *y,
                           Py_ssize_t n) noexcept nogil:
    """y = a + b, at least ``least``; NaN is not below it and stays."""
    cdef Py_ssize_t i
    cdef floating total
    for i in range(n):
        total = a[i] + b[i]
        y[i] = least if total < least else total


def add(const floating[::1] a, const floating[::1] b, int activation, floating[::1] y):
    cdef Py_ssize_t c, n = a.shape[0]
    cdef floating least = 0 if activation else -INFINITY
    cdef float_mode mode
    if n == 0:
        return
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(0.3 * n), nogil=True,
                    schedule="static"):
        mode = flush_denormals()
        add_chunk(&a[c * CHUNK], &b[c * CHUNK], least, &y[c * CHUNK], min(CHUNK, n - c * CHUNK))
        set_float_mode(mode)
