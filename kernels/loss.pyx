# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, binding=True
"""Losses on logits: the number and its gradient in one pass. N batch, C classes.

One thread: logits are small. Sums over the batch are kept in double, in order.
"""
from libc.math cimport log, log1p

include "parallel.pxi"

cdef extern from "elementary.h" nogil:
    float exp_f32(float x)
    double exp_f64(double x)


cdef inline floating exp(floating x) noexcept nogil:
    return exp_f32(x) if floating is float else exp_f64(x)


cdef inline double softmax_row(const floating *x, floating *p, Py_ssize_t n) noexcept nogil:
    """p = softmax(x); returns log sum exp(x)."""
    cdef Py_ssize_t j
    cdef floating top = x[0], total = 0
    for j in range(n):
        # Not max(): a NaN anywhere must reach the loss.
        top = x[j] if not x[j] <= top else top
    for j in range(n):
        p[j] = exp(x[j] - top)
    for j in range(n):
        total += p[j]
    for j in range(n):
        p[j] = p[j] / total
    return <double> top + log(<double> total)


def softmax_cross_entropy(const floating[:, ::1] x, const long long[::1] labels, double weight,
                          floating[:, ::1] dx):
    """L = mean of logsumexp(x_n) - x_n,label; dx = (softmax(x) - onehot(labels)) weight / N."""
    cdef Py_ssize_t i, j, n = x.shape[0], c = x.shape[1]
    cdef floating scale = <floating> (weight / n)
    cdef double loss = 0
    with nogil:
        for i in range(n):
            loss += softmax_row(&x[i, 0], &dx[i, 0], c) - x[i, labels[i]]
            dx[i, labels[i]] -= 1
            for j in range(c):
                dx[i, j] *= scale
    return weight * loss / n


def softmax_cross_entropy_targets(const floating[:, ::1] x, const floating[:, ::1] targets,
                                  double weight, floating[:, ::1] dx):
    """L = mean of sum_j t_nj (logsumexp(x_n) - x_nj), dx = (softmax sum_j t_nj - t) weight / N."""
    cdef Py_ssize_t i, j, n = x.shape[0], c = x.shape[1]
    cdef floating scale = <floating> (weight / n), mass
    cdef double loss = 0, log_sum
    with nogil:
        for i in range(n):
            log_sum = softmax_row(&x[i, 0], &dx[i, 0], c)
            mass = 0
            for j in range(c):
                loss += targets[i, j] * (log_sum - x[i, j])
                mass += targets[i, j]
            for j in range(c):
                dx[i, j] = (dx[i, j] * mass - targets[i, j]) * scale
    return weight * loss / n


def sigmoid_cross_entropy(const floating[::1] x, const floating[::1] targets, double weight,
                          floating[::1] dx):
    """L = mean of max(x, 0) - x t + log(1 + exp(-|x|)); dx = (sigmoid(x) - t) weight / size."""
    cdef Py_ssize_t i, n = x.shape[0]
    cdef floating scale = <floating> (weight / n), e
    cdef double loss = 0
    with nogil:
        for i in range(n):
            e = exp(x[i] if x[i] < 0 else -x[i])
            loss += (x[i] if x[i] > 0 else 0) - <double> x[i] * targets[i] + log1p(e)
            dx[i] = ((e if x[i] < 0 else <floating> 1) / (<floating> 1 + e) - targets[i]) * scale
    return weight * loss / n


def mse(const floating[::1] x, const floating[::1] targets, double weight, floating[::1] dx):
    """L = mean of (x - t)^2; dx = 2 (x - t) weight / size."""
    cdef Py_ssize_t i, n = x.shape[0]
    cdef floating scale = <floating> (2 * weight / n), d
    cdef double loss = 0
    with nogil:
        for i in range(n):
            d = x[i] - targets[i]
            loss += d * d
            dx[i] = d * scale
    return weight * loss / n
