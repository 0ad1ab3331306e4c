"""Activations, elementwise over 1-D arrays; PReLU and softmax over rows.

Why it is fast: one pass over the memory with no temporary array. The loops without exp hold no
branch, so LLVM turns each into vector instructions; the others cost one exp or erf an element,
and are computed in double and rounded once where that is no dearer.
"""

import math

import numpy as np
from numba import prange

from fastnn.backends.numba_ import (
    call_parallel,
    elementwise,
    kernel,
    num_threads,
    parallel_kernel,
    plain,
)
from fastnn.backends.reference.activation import SELU_ALPHA, SELU_SCALE

_SELU = SELU_SCALE, SELU_SCALE * SELU_ALPHA

#: Elements of the rows that a thread takes at a time.
_BLOCK = 16384


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


def leaky_relu(x, slope, y):
    elementwise(_leaky, _leaky_parallel, 0.4, plain(x), plain(x), slope, y)


def leaky_relu_backward(dy, y, slope, dx):
    elementwise(_leaky, _leaky_parallel, 0.4, plain(dy), plain(y), slope, dx)


def prelu(x, slope, y):
    _by_rows(_prelu, _prelu_parallel, 0.3, plain(x), plain(slope), y)


def prelu_backward(dy, x, slope, dx, terms):
    args = plain(dy), plain(x), plain(slope), dx, terms
    _by_rows(_prelu_backward, _prelu_backward_parallel, 0.5, *args)


def elu(x, alpha, y):
    elementwise(_elu, _elu_parallel, 6, plain(x), 1.0, float(alpha), y)


def elu_backward(dy, y, alpha, dx):
    args = plain(dy), plain(y), 1.0, float(alpha), dx
    elementwise(_elu_backward, _elu_backward_parallel, 0.4, *args)


def selu(x, y):
    elementwise(_elu, _elu_parallel, 6, plain(x), *_SELU, y)


def selu_backward(dy, y, dx):
    elementwise(_elu_backward, _elu_backward_parallel, 0.4, plain(dy), plain(y), *_SELU, dx)


def swish(x, y):
    elementwise(_swish, _swish_parallel, 5, plain(x), y)


def swish_backward(dy, x, dx):
    elementwise(_swish_backward, _swish_backward_parallel, 6, plain(dy), plain(x), dx)


def gelu(x, y):
    elementwise(_gelu, _gelu_parallel, 10, plain(x), y)


def gelu_backward(dy, x, dx):
    elementwise(_gelu_backward, _gelu_backward_parallel, 15, plain(dy), plain(x), dx)


def gelu_tanh(x, y):
    elementwise(_gelu_tanh, _gelu_tanh_parallel, 6, plain(x), y)


def gelu_tanh_backward(dy, x, dx):
    elementwise(_gelu_tanh_backward, _gelu_tanh_backward_parallel, 7, plain(dy), plain(x), dx)


def softplus(x, y):
    elementwise(_softplus, _softplus_parallel, 12, plain(x), y)


def softplus_backward(dy, y, dx):
    elementwise(_softplus_backward, _softplus_backward_parallel, 6, plain(dy), plain(y), dx)


def heaviside(x, y):
    elementwise(_heaviside, _heaviside_parallel, 0.3, plain(x), y)


def softmax(x, y):
    _by_rows(_softmax, _softmax_parallel, 6, plain(x), y)


def softmax_backward(dy, y, dx):
    _by_rows(_softmax_backward, _softmax_backward_parallel, 1, plain(dy), plain(y), dx)


def _by_rows(serial, parallel, cost, *args):
    """As ``elementwise``, over the rows of 2-D arrays, in blocks of them."""
    rows, columns = args[0].shape
    n = num_threads(rows * columns * cost)
    if n == 1:
        serial(*args, 0, rows)
    else:
        call_parallel(parallel, n, *args, max(1, _BLOCK // columns))


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


@kernel
def _leaky(a, sign, slope, out, start, stop):
    """out = a where sign > 0, else slope · a: as a product, so that LLVM sees no branch."""
    a, sign, out = a[start:stop], sign[start:stop], out[start:stop]
    zero, one, factor = out.dtype.type(0), out.dtype.type(1), out.dtype.type(slope)
    for i in range(out.size):
        out[i] = a[i] * (one if sign[i] > zero else factor)


@parallel_kernel
def _leaky_parallel(a, sign, slope, out, chunk):
    for i in prange(-(-out.size // chunk)):
        _leaky(a, sign, slope, out, i * chunk, (i + 1) * chunk)


@kernel
def _elu(x, scale, scaled_alpha, y, start, stop):
    """y = scale · x where x > 0, else scale · α (exp(x) − 1)."""
    x, y = x[start:stop], y[start:stop]
    for i in range(y.size):
        z = float(x[i])
        y[i] = scale * z if z > 0 else scaled_alpha * math.expm1(z)


@parallel_kernel
def _elu_parallel(x, scale, scaled_alpha, y, chunk):
    for i in prange(-(-y.size // chunk)):
        _elu(x, scale, scaled_alpha, y, i * chunk, (i + 1) * chunk)


@kernel
def _elu_backward(dy, y, scale, scaled_alpha, dx, start, stop):
    """dx = scale · dy where y > 0, else dy · (y + scale · α)."""
    dy, y, dx = dy[start:stop], y[start:stop], dx[start:stop]
    zero, above, rest = dx.dtype.type(0), dx.dtype.type(scale), dx.dtype.type(scaled_alpha)
    for i in range(dx.size):
        below = y[i] + rest  # before the choice, so that LLVM sees no branch
        dx[i] = dy[i] * (above if y[i] > zero else below)


@parallel_kernel
def _elu_backward_parallel(dy, y, scale, scaled_alpha, dx, chunk):
    for i in prange(-(-dx.size // chunk)):
        _elu_backward(dy, y, scale, scaled_alpha, dx, i * chunk, (i + 1) * chunk)


@kernel
def _swish(x, y, start, stop):
    """y = x σ(x)."""
    x, y = x[start:stop], y[start:stop]
    for i in range(y.size):
        y[i] = x[i] * _gate(float(x[i]))


@parallel_kernel
def _swish_parallel(x, y, chunk):
    for i in prange(-(-y.size // chunk)):
        _swish(x, y, i * chunk, (i + 1) * chunk)


@kernel
def _swish_backward(dy, x, dx, start, stop):
    """dx = dy · σ(x) (1 + x σ(−x))."""
    dy, x, dx = dy[start:stop], x[start:stop], dx[start:stop]
    for i in range(dx.size):
        z = float(x[i])
        dx[i] = dy[i] * (_gate(z) * (1.0 + z * _gate(-z)))


@parallel_kernel
def _swish_backward_parallel(dy, x, dx, chunk):
    for i in prange(-(-dx.size // chunk)):
        _swish_backward(dy, x, dx, i * chunk, (i + 1) * chunk)


@kernel
def _gelu(x, y, start, stop):
    """y = x Φ(x)."""
    x, y = x[start:stop], y[start:stop]
    for i in range(y.size):
        y[i] = x[i] * _normal(float(x[i]))


@parallel_kernel
def _gelu_parallel(x, y, chunk):
    for i in prange(-(-y.size // chunk)):
        _gelu(x, y, i * chunk, (i + 1) * chunk)


@kernel
def _gelu_backward(dy, x, dx, start, stop):
    """dx = dy · (Φ(x) + x φ(x))."""
    dy, x, dx = dy[start:stop], x[start:stop], dx[start:stop]
    for i in range(dx.size):
        z = float(x[i])
        density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
        dx[i] = dy[i] * (_normal(z) + z * density)


@parallel_kernel
def _gelu_backward_parallel(dy, x, dx, chunk):
    for i in prange(-(-dx.size // chunk)):
        _gelu_backward(dy, x, dx, i * chunk, (i + 1) * chunk)


@kernel
def _gelu_tanh(x, y, start, stop):
    """y = x σ(2u), u the cubic of ``gelu_tanh``."""
    x, y = x[start:stop], y[start:stop]
    for i in range(y.size):
        z = float(x[i])
        y[i] = z * _gate(_CUBIC * (z + 0.044715 * z * z * z))


@parallel_kernel
def _gelu_tanh_parallel(x, y, chunk):
    for i in prange(-(-y.size // chunk)):
        _gelu_tanh(x, y, i * chunk, (i + 1) * chunk)


@kernel
def _gelu_tanh_backward(dy, x, dx, start, stop):
    """dx = dy · σ(2u) (1 + x · 2u′ σ(−2u))."""
    dy, x, dx = dy[start:stop], x[start:stop], dx[start:stop]
    for i in range(dx.size):
        z = float(x[i])
        v = _CUBIC * (z + 0.044715 * z * z * z)
        slope = _CUBIC * (1.0 + 3 * 0.044715 * z * z)
        dx[i] = dy[i] * (_gate(v) * (1.0 + z * slope * _gate(-v)))


@parallel_kernel
def _gelu_tanh_backward_parallel(dy, x, dx, chunk):
    for i in prange(-(-dx.size // chunk)):
        _gelu_tanh_backward(dy, x, dx, i * chunk, (i + 1) * chunk)


@kernel
def _softplus(x, y, start, stop):
    """y = max(x, 0) + log(1 + exp(−|x|)). NaN stays NaN."""
    x, y = x[start:stop], y[start:stop]
    for i in range(y.size):
        z = float(x[i])
        y[i] = (0.0 if z < 0 else z) + math.log1p(math.exp(-abs(z)))


@parallel_kernel
def _softplus_parallel(x, y, chunk):
    for i in prange(-(-y.size // chunk)):
        _softplus(x, y, i * chunk, (i + 1) * chunk)


@kernel
def _softplus_backward(dy, y, dx, start, stop):
    """dx = dy · (1 − exp(−y))."""
    dy, y, dx = dy[start:stop], y[start:stop], dx[start:stop]
    for i in range(dx.size):
        dx[i] = dy[i] * -math.expm1(-float(y[i]))


@parallel_kernel
def _softplus_backward_parallel(dy, y, dx, chunk):
    for i in prange(-(-dx.size // chunk)):
        _softplus_backward(dy, y, dx, i * chunk, (i + 1) * chunk)


@kernel
def _heaviside(x, y, start, stop):
    """y = 1 where x > 0, else 0. NaN stays NaN."""
    x, y = x[start:stop], y[start:stop]
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(y.size):
        below = zero if x[i] <= zero else x[i]
        y[i] = one if x[i] > zero else below


@parallel_kernel
def _heaviside_parallel(x, y, chunk):
    for i in prange(-(-y.size // chunk)):
        _heaviside(x, y, i * chunk, (i + 1) * chunk)


#: √(8 / π): twice the factor of the cubic.
_CUBIC = math.sqrt(8 / math.pi)


@kernel
def _gate(v):
    """σ(v), from exp(−|v|) <= 1."""
    e = math.exp(-abs(v))
    return (e if v < 0 else 1.0) / (1.0 + e)


@kernel
def _normal(z):
    """Φ(z), from the tail so that nothing cancels."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


@kernel
def _prelu(x, slope, y, start, stop):
    """y = x where x > 0, else slope · x."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for n in range(start, stop):
        x_n, y_n = x[n], y[n]
        for j in range(slope.size):
            y_n[j] = x_n[j] * (one if x_n[j] > zero else slope[j])


@parallel_kernel
def _prelu_parallel(x, slope, y, block):
    for i in prange(-(-len(x) // block)):
        _prelu(x, slope, y, i * block, min(len(x), (i + 1) * block))


@kernel
def _prelu_backward(dy, x, slope, dx, terms, start, stop):
    """dx = dy where x > 0, else slope · dy; terms = dy · min(x, 0)."""
    zero, one = dx.dtype.type(0), dx.dtype.type(1)
    for n in range(start, stop):
        dy_n, x_n, dx_n, terms_n = dy[n], x[n], dx[n], terms[n]
        for j in range(slope.size):
            terms_n[j] = dy_n[j] * (zero if x_n[j] > zero else x_n[j])
            dx_n[j] = dy_n[j] * (one if x_n[j] > zero else slope[j])


@parallel_kernel
def _prelu_backward_parallel(dy, x, slope, dx, terms, block):
    for i in prange(-(-len(x) // block)):
        _prelu_backward(dy, x, slope, dx, terms, i * block, min(len(x), (i + 1) * block))


@kernel
def _softmax(x, y, start, stop):
    """yⱼ = exp(xⱼ − max x) / Σᵢ exp(xᵢ − max x). A NaN is taken for the maximum."""
    e = np.empty(x.shape[1])
    for n in range(start, stop):
        x_n, y_n = x[n], y[n]
        high = x_n[0]
        for j in range(x_n.size):
            if x_n[j] > high or x_n[j] != x_n[j]:
                high = x_n[j]
        top, total = float(high), 0.0
        for j in range(x_n.size):
            e[j] = math.exp(x_n[j] - top)
            total += e[j]
        for j in range(x_n.size):
            y_n[j] = e[j] / total


@parallel_kernel
def _softmax_parallel(x, y, block):
    for i in prange(-(-len(x) // block)):
        _softmax(x, y, i * block, min(len(x), (i + 1) * block))


@kernel
def _softmax_backward(dy, y, dx, start, stop):
    """dxⱼ = yⱼ (dyⱼ − Σᵢ dyᵢ yᵢ)."""
    for n in range(start, stop):
        dy_n, y_n, dx_n = dy[n], y[n], dx[n]
        mean = 0.0
        for j in range(y_n.size):
            mean += float(dy_n[j]) * y_n[j]
        rounded = dx.dtype.type(mean)
        for j in range(y_n.size):
            dx_n[j] = y_n[j] * (dy_n[j] - rounded)


@parallel_kernel
def _softmax_backward_parallel(dy, y, dx, block):
    for i in prange(-(-len(dy) // block)):
        _softmax_backward(dy, y, dx, i * block, min(len(dy), (i + 1) * block))
