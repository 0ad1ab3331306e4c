# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, binding=True
"""Optimizer updates, in place: one scalar rule each, one parallel loop around it.

All arrays are 1-D and of one size. An update reads and writes each array once, in one pass;
NumPy's form makes a pass per operation. It is limited by memory: with division and square
root vectorised (no errno, no division by zero check) the arithmetic hides behind it.
Scalars are rounded to the arrays' type first, and the operations are those of the reference
in its order, so the bits are the same.
"""
from libc.math cimport sqrt, sqrtf

include "parallel.pxi"


cdef inline floating root(floating square, floating epsilon, bint inside) noexcept nogil:
    if floating is float:
        return sqrtf(square + epsilon) if inside else sqrtf(square) + epsilon
    else:
        return sqrt(square + epsilon) if inside else sqrt(square) + epsilon


cdef inline void sgd(floating *p, const floating *g, floating rate, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        p[i] -= rate * g[i]


cdef inline void momentum_rule(floating *p, const floating *g, floating *velocity, floating rate,
                               floating mu, bint nesterov, bint rate_inside,
                               Py_ssize_t n) noexcept nogil:
    # The rate is a factor of the gradient (inside) or of the step; the other factor is 1,
    # and a product with 1 is exact.
    cdef floating inner = rate if rate_inside else 1, outer = 1 if rate_inside else rate, v
    cdef Py_ssize_t i
    if nesterov:
        for i in range(n):
            v = mu * velocity[i] + inner * g[i]
            velocity[i] = v
            p[i] -= outer * (mu * v + inner * g[i])
    else:
        for i in range(n):
            v = mu * velocity[i] + inner * g[i]
            velocity[i] = v
            p[i] -= outer * v


cdef inline void adagrad(floating *p, const floating *g, floating *accumulator, floating rate,
                         floating epsilon, bint inside, Py_ssize_t n) noexcept nogil:
    cdef floating a
    cdef Py_ssize_t i
    for i in range(n):
        a = accumulator[i] + g[i] * g[i]
        accumulator[i] = a
        p[i] -= rate * g[i] / root(a, epsilon, inside)


cdef inline void rmsprop(floating *p, const floating *g, floating *mean_square, floating rate,
                         floating rho, floating one_minus_rho, floating epsilon, bint inside,
                         Py_ssize_t n) noexcept nogil:
    cdef floating s
    cdef Py_ssize_t i
    for i in range(n):
        s = rho * mean_square[i] + one_minus_rho * (g[i] * g[i])
        mean_square[i] = s
        p[i] -= rate * g[i] / root(s, epsilon, inside)


cdef inline void adam(floating *p, const floating *g, floating *m, floating *v, floating rate,
                      floating beta_1, floating one_minus_beta_1, floating beta_2,
                      floating one_minus_beta_2, floating correction_1, floating correction_2,
                      floating epsilon, bint inside, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        m[i] = beta_1 * m[i] + one_minus_beta_1 * g[i]
        v[i] = beta_2 * v[i] + one_minus_beta_2 * (g[i] * g[i])
        p[i] -= rate * (m[i] / correction_1) / root(v[i] / correction_2, epsilon, inside)


def sgd_update(floating[::1] param, const floating[::1] grad, double learning_rate):
    cdef Py_ssize_t c, n = param.shape[0]
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(0.5 * n), nogil=True,
                    schedule="static"):
        sgd(&param[c * CHUNK], &grad[c * CHUNK], <floating> learning_rate,
            min(CHUNK, n - c * CHUNK))


def momentum_update(floating[::1] param, const floating[::1] grad, floating[::1] velocity,
                    double learning_rate, double momentum, bint nesterov, bint rate_in_velocity):
    cdef Py_ssize_t c, n = param.shape[0]
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(0.7 * n), nogil=True,
                    schedule="static"):
        momentum_rule(&param[c * CHUNK], &grad[c * CHUNK], &velocity[c * CHUNK],
                      <floating> learning_rate, <floating> momentum, nesterov, rate_in_velocity,
                      min(CHUNK, n - c * CHUNK))


def adagrad_update(floating[::1] param, const floating[::1] grad, floating[::1] accumulator,
                   double learning_rate, double epsilon, bint epsilon_inside_root):
    cdef Py_ssize_t c, n = param.shape[0]
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(n), nogil=True,
                    schedule="static"):
        adagrad(&param[c * CHUNK], &grad[c * CHUNK], &accumulator[c * CHUNK],
                <floating> learning_rate, <floating> epsilon, epsilon_inside_root,
                min(CHUNK, n - c * CHUNK))


def rmsprop_update(floating[::1] param, const floating[::1] grad, floating[::1] mean_square,
                   double learning_rate, double rho, double epsilon, bint epsilon_inside_root):
    cdef Py_ssize_t c, n = param.shape[0]
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(n), nogil=True,
                    schedule="static"):
        rmsprop(&param[c * CHUNK], &grad[c * CHUNK], &mean_square[c * CHUNK],
                <floating> learning_rate, <floating> rho, <floating> (1 - rho),
                <floating> epsilon, epsilon_inside_root, min(CHUNK, n - c * CHUNK))


def adam_update(floating[::1] param, const floating[::1] grad, floating[::1] m, floating[::1] v,
                long step, double learning_rate, double beta_1, double beta_2, double epsilon,
                bint epsilon_inside_root, bint bias_correction):
    cdef Py_ssize_t c, n = param.shape[0]
    cdef double correction_1 = 1 - beta_1 ** step if bias_correction else 1
    cdef double correction_2 = 1 - beta_2 ** step if bias_correction else 1
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(n), nogil=True,
                    schedule="static"):
        adam(&param[c * CHUNK], &grad[c * CHUNK], &m[c * CHUNK], &v[c * CHUNK],
             <floating> learning_rate, <floating> beta_1, <floating> (1 - beta_1),
             <floating> beta_2, <floating> (1 - beta_2), <floating> correction_1,
             <floating> correction_2, <floating> epsilon, epsilon_inside_root,
             min(CHUNK, n - c * CHUNK))
