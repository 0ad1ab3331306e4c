"""Activations, elementwise over 1-D arrays.

Why it is fast: one pass over the memory with no temporary array. The loops of relu and of the
three gradients hold no branch, so LLVM turns each into vector instructions; sigmoid and tanh
cost one exp an element.
"""

import math

from numba import prange

from fastnn.backends.numba_ import elementwise, kernel, parallel_kernel, plain


def relu(x, y):
    elementwise(_relu, _relu_parallel, 0.15, plain(x), y)


def relu_backward(dy, y, dx):
    elementwise(_relu_backward, _relu_backward_parallel, 0.2, plain(dy), plain(y), dx)


def sigmoid(x, y):
    elementwise(_sigmoid, _sigmoid_parallel, 5, plain(x), y)


def sigmoid_backward(dy, y, dx):
    elementwise(_sigmoid_backward, _sigmoid_backward_parallel, 0.2, plain(dy), plain(y), dx)


def tanh(x, y):
    elementwise(_tanh, _tanh_parallel, 20, plain(x), y)


def tanh_backward(dy, y, dx):
    elementwise(_tanh_backward, _tanh_backward_parallel, 0.2, plain(dy), plain(y), dx)


@kernel
def _relu(x, y, start, stop):
    """y = max(x, 0). NaN is not below 0 and stays."""
    x, y = x[start:stop], y[start:stop]
    zero = y.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@parallel_kernel
def _relu_parallel(x, y, chunk):
    for i in prange(-(-x.size // chunk)):
        _relu(x, y, i * chunk, (i + 1) * chunk)


@kernel
def _relu_backward(dy, y, dx, start, stop):
    """dx = dy where y > 0, else 0."""
    dy, y, dx = dy[start:stop], y[start:stop], dx[start:stop]
    zero = dx.dtype.type(0)
    for i in range(dx.size):
        gradient = dy[i]  # read before the choice, so that LLVM sees no branch
        dx[i] = gradient if y[i] > zero else zero


@parallel_kernel
def _relu_backward_parallel(dy, y, dx, chunk):
    for i in prange(-(-dx.size // chunk)):
        _relu_backward(dy, y, dx, i * chunk, (i + 1) * chunk)


@kernel
def _sigmoid(x, y, start, stop):
    """y = 1 / (1 + exp(−x)), from e = exp(−|x|) <= 1: e / (1 + e) where x < 0."""
    x, y = x[start:stop], y[start:stop]
    one = y.dtype.type(1)
    for i in range(x.size):
        e = math.exp(-abs(x[i]))
        y[i] = (e if x[i] < 0 else one) / (one + e)


@parallel_kernel
def _sigmoid_parallel(x, y, chunk):
    for i in prange(-(-x.size // chunk)):
        _sigmoid(x, y, i * chunk, (i + 1) * chunk)


@kernel
def _sigmoid_backward(dy, y, dx, start, stop):
    """dx = dy · y (1 − y)."""
    dy, y, dx = dy[start:stop], y[start:stop], dx[start:stop]
    one = dx.dtype.type(1)
    for i in range(dx.size):
        dx[i] = dy[i] * (y[i] * (one - y[i]))


@parallel_kernel
def _sigmoid_backward_parallel(dy, y, dx, chunk):
    for i in prange(-(-dx.size // chunk)):
        _sigmoid_backward(dy, y, dx, i * chunk, (i + 1) * chunk)


@kernel
def _tanh(x, y, start, stop):
    """y = tanh(x)."""
    x, y = x[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = math.tanh(x[i])


@parallel_kernel
def _tanh_parallel(x, y, chunk):
    for i in prange(-(-x.size // chunk)):
        _tanh(x, y, i * chunk, (i + 1) * chunk)


@kernel
def _tanh_backward(dy, y, dx, start, stop):
    """dx = dy · (1 − y²)."""
    dy, y, dx = dy[start:stop], y[start:stop], dx[start:stop]
    one = dx.dtype.type(1)
    for i in range(dx.size):
        dx[i] = dy[i] * (one - y[i] * y[i])


@parallel_kernel
def _tanh_backward_parallel(dy, y, dx, chunk):
    for i in prange(-(-dx.size // chunk)):
        _tanh_backward(dy, y, dx, i * chunk, (i + 1) * chunk)
