"""Activations. All arrays have one shape, and an output may be an input.

Most can be undone from their output, so that y may be x. ``swish`` and ``gelu`` fall and rise: one
output belongs to two inputs, and backward takes x.
"""

import math

import numpy as np

#: Of ``selu``: the two constants for which mean 0 and variance 1 are a fixed point.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def relu(x, y):
    """y = max(x, 0). NaN stays NaN."""
    np.maximum(x, 0, out=y)


def relu_backward(dy, y, dx):
    """dx = dy where y > 0, else 0."""
    dx[...] = np.where(y > 0, dy, 0)


def sigmoid(x, y):
    """y = 1 / (1 + exp(−x)), from exp(−|x|) so that nothing overflows."""
    e = np.exp(-np.abs(x))
    np.divide(np.where(x >= 0, 1, e), 1 + e, out=y)


def sigmoid_backward(dy, y, dx):
    """dx = dy · y (1 − y)."""
    np.multiply(dy, y * (1 - y), out=dx)


def tanh(x, y):
    """y = tanh(x)."""
    np.tanh(x, out=y)


def tanh_backward(dy, y, dx):
    """dx = dy · (1 − y²)."""
    np.multiply(dy, 1 - y * y, out=dx)


def leaky_relu(x, slope, y):
    """y = x where x > 0, else slope · x, for slope >= 0. NaN stays NaN."""
    y[...] = np.where(x > 0, x, slope * x)


def leaky_relu_backward(dy, y, slope, dx):
    """dx = dy where y > 0, else slope · dy."""
    dx[...] = np.where(y > 0, dy, slope * dy)


def prelu(x, slope, y):
    """y = x where x > 0, else slope · x. x, y (R, C), slope (C,)."""
    y[...] = np.where(x > 0, x, slope * x)


def prelu_backward(dy, x, slope, dx, terms):
    """dx = dy where x > 0, else slope · dy; terms = dy · min(x, 0).

    The gradient of the slope is Σ terms over the rows (``dense_db``). slope may be negative, so the
    sign is that of x. dy, x, dx, terms (R, C), slope (C,).
    """
    below = np.where(x > 0, 0, x)
    dx[...] = np.where(x > 0, dy, slope * dy)
    np.multiply(dy, below, out=terms)


def elu(x, alpha, y):
    """y = x where x > 0, else α (exp(x) − 1), for α >= 0."""
    y[...] = np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_backward(dy, y, alpha, dx):
    """dx = dy where y > 0, else dy · (y + α)."""
    dx[...] = np.where(y > 0, dy, dy * (y + alpha))


def selu(x, y):
    """y = λ x where x > 0, else λ α (exp(x) − 1), with λ = 1.0507… and α = 1.6732…"""
    below = SELU_SCALE * SELU_ALPHA * np.expm1(np.minimum(x, 0))
    y[...] = np.where(x > 0, SELU_SCALE * x, below)


def selu_backward(dy, y, dx):
    """dx = λ dy where y > 0, else dy · (y + λ α)."""
    dx[...] = np.where(y > 0, SELU_SCALE * dy, dy * (y + SELU_SCALE * SELU_ALPHA))


def swish(x, y):
    """y = x σ(x), σ the sigmoid."""
    np.multiply(x, _sigmoid(x), out=y)


def swish_backward(dy, x, dx):
    """dx = dy · σ(x) (1 + x (1 − σ(x))), with σ(−x) for 1 − σ(x)."""
    np.multiply(dy, _sigmoid(x) * (1 + x * _sigmoid(-x)), out=dx)


def gelu(x, y):
    """y = x Φ(x), Φ(x) = (1 + erf(x / √2)) / 2 the normal distribution."""
    np.multiply(x, _normal(x), out=y)


def gelu_backward(dy, x, dx):
    """dx = dy · (Φ(x) + x φ(x)), φ(x) = exp(−x² / 2) / √(2π) the normal density."""
    np.multiply(dy, _normal(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi), out=dx)


def gelu_tanh(x, y):
    """y = x (1 + tanh(u)) / 2 = x σ(2u), u = √(2/π) (x + 0.044715 x³)."""
    np.multiply(x, _sigmoid(_cubic(x)), out=y)


def gelu_tanh_backward(dy, x, dx):
    """dx = dy · σ(2u) (1 + x · 2u′ (1 − σ(2u))), 2u′ = √(8/π) (1 + 3 · 0.044715 x²)."""
    slope = math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * x * x)
    np.multiply(dy, _sigmoid(_cubic(x)) * (1 + x * slope * _sigmoid(-_cubic(x))), out=dx)


def softplus(x, y):
    """y = log(1 + exp(x)) = max(x, 0) + log(1 + exp(−|x|))."""
    y[...] = np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def softplus_backward(dy, y, dx):
    """dx = dy · (1 − exp(−y)): the sigmoid of the input."""
    np.multiply(dy, -np.expm1(-y), out=dx)


def heaviside(x, y):
    """y = 1 where x > 0, else 0. NaN stays NaN. It has no backward: the derivative is 0."""
    y[...] = np.where(x > 0, 1, np.where(x <= 0, 0, x))


def softmax(x, y):
    """yⱼ = exp(xⱼ) / Σᵢ exp(xᵢ), by rows; their maximum is taken off first. x, y (R, C)."""
    e = np.exp(x - x.max(axis=1, keepdims=True))
    np.divide(e, e.sum(axis=1, keepdims=True), out=y)


def softmax_backward(dy, y, dx):
    """dxⱼ = yⱼ (dyⱼ − Σᵢ dyᵢ yᵢ), by rows. dy, y, dx (R, C)."""
    np.multiply(y, dy - (dy * y).sum(axis=1, keepdims=True), out=dx)


def _sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


_erf = np.vectorize(math.erf, otypes=[float])


def _normal(x):
    return ((1 + _erf(x / math.sqrt(2))) / 2).astype(x.dtype)


def _cubic(x):
    return math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x)
