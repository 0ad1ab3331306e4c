# Included by the kernels of losses and activations: a row of softmax.
from libc.math cimport log

cdef enum:
    LANES = 16     # sums and maxima run in so many lanes, which are joined at the end: one
    #                chain would wait for each addition, and could not use vectors


cdef inline floating exp(floating x) noexcept nogil:
    return exp_f32(x) if floating is float else exp_f64(x)


cdef inline double total(const floating *x, Py_ssize_t n) noexcept nogil:
    """Sum of x, in double."""
    cdef double[LANES] lanes
    cdef double result = 0
    cdef Py_ssize_t i = 0, j
    if n < LANES:
        for j in range(n):
            result += x[j]
        return result
    for j in range(LANES):
        lanes[j] = 0
    while i + LANES <= n:
        for j in range(LANES):
            lanes[j] += x[i + j]
        i += LANES
    for j in range(n - i):
        lanes[j] += x[i + j]
    for j in range(LANES):
        result += lanes[j]
    return result


cdef inline floating larger(floating a, floating b) noexcept nogil:
    """The maximum, or NaN if one is NaN: it must reach the loss."""
    return a if not a <= b else b


cdef inline floating maximum(const floating *x, Py_ssize_t n) noexcept nogil:
    cdef floating[LANES] lanes
    cdef floating result = x[0]
    cdef Py_ssize_t i = 0, j
    if n < LANES:
        for j in range(n):
            result = larger(x[j], result)
        return result
    for j in range(LANES):
        lanes[j] = result
    while i + LANES <= n:
        for j in range(LANES):
            lanes[j] = larger(x[i + j], lanes[j])
        i += LANES
    for j in range(n - i):
        lanes[j] = larger(x[i + j], lanes[j])
    for j in range(LANES):
        result = larger(lanes[j], result)
    return result


cdef inline double softmax_row(const floating *x, floating *p, Py_ssize_t n,
                               double *top_out) noexcept nogil:
    """p = softmax(x); returns log sum exp(x - top), and top, the maximum of x."""
    cdef Py_ssize_t j
    cdef floating top = maximum(x, n), scale
    cdef double mass
    top_out[0] = top
    for j in range(n):
        p[j] = exp(x[j] - top)
    mass = total(p, n)
    scale = <floating> (1 / mass)
    for j in range(n):
        p[j] = p[j] * scale
    return log(mass)
