"""Activations, forward and backward: one scalar rule each, one parallel loop around it.

All arrays are 1-D and of one size. The loops are plain; the compiler turns them into vector
code because the rules (elementary.h) have neither calls nor branches.
"""
include "elementary.pxi"
include "parallel.pxi"

cdef enum Rule:
    RELU, SIGMOID, TANH


cdef inline void forward_chunk(Rule rule, const floating *x, floating *y,
                               Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    if rule == RELU:
        for i in range(n):
            y[i] = relu_f32(x[i]) if floating is float else relu_f64(x[i])
    elif rule == SIGMOID:
        for i in range(n):
            y[i] = sigmoid_f32(x[i]) if floating is float else sigmoid_f64(x[i])
    else:
        for i in range(n):
            y[i] = tanh_f32(x[i]) if floating is float else tanh_f64(x[i])


cdef inline void backward_chunk(Rule rule, const floating *dy, const floating *y, floating *dx,
                                Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    cdef floating gradient
    if rule == RELU:
        for i in range(n):
            gradient = dy[i]  # read before the choice, so that the compiler sees no branch
            dx[i] = gradient if y[i] > 0 else <floating> 0
    elif rule == SIGMOID:
        for i in range(n):
            dx[i] = dy[i] * (y[i] * (<floating> 1 - y[i]))
    else:
        for i in range(n):
            dx[i] = dy[i] * (<floating> 1 - y[i] * y[i])


cdef void forward(Rule rule, const floating[::1] x, floating[::1] y, double cost):
    """cost: nanoseconds an element takes on one core, about."""
    cdef Py_ssize_t c, n = x.shape[0]
    cdef float_mode mode
    if n == 0:
        return
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(cost * n), nogil=True,
                    schedule="static"):
        mode = flush_denormals()
        forward_chunk(rule, &x[c * CHUNK], &y[c * CHUNK], min(CHUNK, n - c * CHUNK))
        set_float_mode(mode)


cdef void backward(Rule rule, const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    cdef Py_ssize_t c, n = dy.shape[0]
    cdef float_mode mode
    if n == 0:
        return
    for c in prange((n + CHUNK - 1) // CHUNK, num_threads=threads_for(0.3 * n), nogil=True,
                    schedule="static"):
        mode = flush_denormals()
        backward_chunk(rule, &dy[c * CHUNK], &y[c * CHUNK], &dx[c * CHUNK],
                       min(CHUNK, n - c * CHUNK))
        set_float_mode(mode)


def relu(const floating[::1] x, floating[::1] y):
    forward(RELU, x, y, 0.2)


def relu_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    backward(RELU, dy, y, dx)


def sigmoid(const floating[::1] x, floating[::1] y):
    forward(SIGMOID, x, y, 1)


def sigmoid_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    backward(SIGMOID, dy, y, dx)


def tanh(const floating[::1] x, floating[::1] y):
    forward(TANH, x, y, 1)


def tanh_backward(const floating[::1] dy, const floating[::1] y, floating[::1] dx):
    backward(TANH, dy, y, dx)
