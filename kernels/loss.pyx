"""Losses on logits: the number and its gradient in one pass. N batch, C classes.

One thread: logits are small. Sums over the batch are kept in double, in order.
"""
from libc.math cimport log

include "elementary.pxi"
include "parallel.pxi"

cdef enum:
    LANES = 16     # sums and maxima run in so many lanes, which are joined at the end: one
    #                chain would wait for each addition, and could not use vectors
    BLOCK = 256    # losses computed at a time before they are summed


cdef inline floating exp(floating x) noexcept nogil:
    return exp_f32(x) if floating is float else exp_f64(x)


cdef inline floating log1p(floating x) noexcept nogil:
    return log1p_f32(x) if floating is float else log1p_f64(x)


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


def softmax_cross_entropy(const floating[:, ::1] x, const long long[::1] labels, double weight,
                          floating[:, ::1] dx):
    """L = mean of log sum_j exp(x_nj) - x_n,label.

    dx = (softmax(x) - onehot(labels)) weight / N.
    """
    cdef Py_ssize_t i, j, n = x.shape[0], c = x.shape[1]
    cdef floating scale = <floating> (weight / n)
    cdef double loss = 0, log_mass, top
    cdef float_mode mode
    with nogil:
        mode = flush_denormals()
        for i in range(n):
            log_mass = softmax_row(&x[i, 0], &dx[i, 0], c, &top)
            loss += log_mass - (x[i, labels[i]] - top)
            dx[i, labels[i]] -= 1
            for j in range(c):
                dx[i, j] *= scale
        set_float_mode(mode)
    return weight * loss / n


def softmax_cross_entropy_targets(const floating[:, ::1] x, const floating[:, ::1] targets,
                                  double weight, floating[:, ::1] dx):
    """L = mean of sum_j t_nj (log sum_i exp(x_ni) - x_nj).

    dx = (softmax(x) sum_j t_nj - t) weight / N.
    """
    cdef Py_ssize_t i, j, n = x.shape[0], c = x.shape[1]
    cdef floating scale = <floating> (weight / n), mass
    cdef double loss = 0, log_mass, top
    cdef float_mode mode
    with nogil:
        mode = flush_denormals()
        for i in range(n):
            log_mass = softmax_row(&x[i, 0], &dx[i, 0], c, &top)
            mass = 0
            for j in range(c):
                loss += targets[i, j] * (log_mass - (x[i, j] - top))
                mass += targets[i, j]
            for j in range(c):
                dx[i, j] = (dx[i, j] * mass - targets[i, j]) * scale
        set_float_mode(mode)
    return weight * loss / n


def sigmoid_cross_entropy(const floating[::1] x, const floating[::1] targets, double weight,
                          floating[::1] dx):
    """L = mean of max(x, 0) - x t + log(1 + exp(-|x|)); dx = (sigmoid(x) - t) weight / size."""
    cdef Py_ssize_t i, b, start, size, n = x.shape[0]
    cdef floating scale = <floating> (weight / n), z, t, e, above, positive
    cdef floating[BLOCK] losses
    cdef double loss = 0
    cdef float_mode mode
    with nogil:
        mode = flush_denormals()
        for b in range((n + BLOCK - 1) // BLOCK):
            start = b * BLOCK
            size = min(BLOCK, n - start)
            for i in range(size):
                z = x[start + i]
                t = targets[start + i]
                e = exp(z if z < 0 else -z)
                above = e if z < 0 else <floating> 1
                positive = <floating> 0 if z < 0 else z
                losses[i] = positive - z * t + log1p(e)
                dx[start + i] = (above / (<floating> 1 + e) - t) * scale
            loss += total(&losses[0], size)
        set_float_mode(mode)
    return weight * loss / n


def mse(const floating[::1] x, const floating[::1] targets, double weight, floating[::1] dx):
    """L = mean of (x - t)^2; dx = 2 (x - t) weight / size."""
    cdef Py_ssize_t i, b, start, size, n = x.shape[0]
    cdef floating scale = <floating> (2 * weight / n), d
    cdef floating[BLOCK] losses
    cdef double loss = 0
    cdef float_mode mode
    with nogil:
        mode = flush_denormals()
        for b in range((n + BLOCK - 1) // BLOCK):
            start = b * BLOCK
            size = min(BLOCK, n - start)
            for i in range(size):
                d = x[start + i] - targets[start + i]
                losses[i] = d * d
                dx[start + i] = d * scale
            loss += total(&losses[0], size)
        set_float_mode(mode)
    return weight * loss / n
