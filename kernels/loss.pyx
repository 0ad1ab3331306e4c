"""Losses on logits: the number and its gradient in one pass. N batch, C classes.

One thread: logits are small. Sums over the batch are kept in double, in order.
"""
include "elementary.pxi"
include "parallel.pxi"
include "softmax.pxi"

cdef enum:
    BLOCK = 256    # losses computed at a time before they are summed


cdef inline floating log1p(floating x) noexcept nogil:
    return log1p_f32(x) if floating is float else log1p_f64(x)


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
