"""Normalisation over channels, forward and backward. M rows, C channels.

A row is a sample, or a pixel of an image: (N, H, W, C) is (N·H·W, C). Batch normalisation takes its
statistics down the columns, local response normalisation along the rows.
"""

import numpy as np

from fastnn.backends.reference.activation import relu
from fastnn.ops import FUSED_ACTIVATIONS

_RELU = FUSED_ACTIVATIONS["relu"]


def batch_norm_statistics(x, mean, variance):
    """μ = Σₘ x / M and σ² = Σₘ (x − μ)² / M of each channel, M >= 1.

    x (M, C), mean and variance (C,). Sums are in a wider type, the squares about the mean: else a
    mean far from 0 would cost digits, and so would many rows.
    """
    wide = _wider(x)
    exact = np.mean(x, axis=0, dtype=wide)
    mean[...] = exact
    variance[...] = np.mean((x - exact) ** 2, axis=0)


def batch_norm(x, mean, variance, gamma, beta, epsilon, activation, y):
    """y = f((x − μ) γ/√(σ² + ε) + β), with f the identity or ReLU by its code.

    x, y (M, C), all others (C,): statistics of this batch in training, running ones later.
    """
    y[...] = (x - mean) * _scale(variance, gamma, epsilon) + beta
    if activation == _RELU:
        relu(y, y)


def batch_norm_sums(dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta):
    """dβ = Σₘ dz and dγ = Σₘ dz x̂, where x̂ = (x − μ)/√(σ² + ε) and dz = dy f′(γ x̂ + β).

    dy, x (M, C), all others (C,). The sums are in a wider type.
    """
    wide = _wider(x)
    dz = _undone(dy, x, mean, variance, gamma, beta, epsilon, activation)
    x_hat = (x - mean) * _inverse(variance, epsilon)
    dbeta[...] = np.sum(dz, axis=0, dtype=wide)
    dgamma[...] = np.sum(dz * x_hat, axis=0, dtype=wide)


def batch_norm_dx(dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta, dx):
    """dx = γ/√(σ² + ε) (dz − dβ/M − x̂ dγ/M), with dz and x̂ as in ``batch_norm_sums``.

    dy, x, dx (M, C), all others (C,). The terms with dγ and dβ are there because μ and σ² depend
    on x too; where they don't, as with running statistics, give zeros for both.
    """
    m = max(len(x), 1)
    dz = _undone(dy, x, mean, variance, gamma, beta, epsilon, activation)
    x_hat = (x - mean) * _inverse(variance, epsilon)
    dx[...] = _scale(variance, gamma, epsilon) * (dz - dbeta / m - x_hat * (dgamma / m))


def _wider(x):
    return np.float64 if x.dtype == np.float32 else np.longdouble


def _inverse(variance, epsilon):
    return 1 / np.sqrt(variance + epsilon)


def _scale(variance, gamma, epsilon):
    return gamma * _inverse(variance, epsilon)


def _undone(dy, x, mean, variance, gamma, beta, epsilon, activation):
    """dz: dy where the activation let something through."""
    if activation != _RELU:
        return dy
    z = (x - mean) * _scale(variance, gamma, epsilon) + beta
    return np.where(z > 0, dy, 0)


def local_response_norm(x, size, alpha, beta, bias, y):
    """y = x s^−β with s[c] = bias + α/size Σ x[j]² over the ``size`` channels j around c.

    j runs from c − ⌊(size−1)/2⌋ to c + ⌈(size−1)/2⌉, as far as there are channels. x, y (M, C).
    """
    y[...] = x * _sums(x, size, alpha, bias) ** -beta


def local_response_norm_backward(dy, x, size, alpha, beta, bias, dx):
    """dx[c] = dy[c] s[c]^−β − 2αβ/size x[c] Σ dy[j] x[j] s[j]^(−β−1), over the j whose sum has c.

    dy, x, dx (M, C); s as in ``local_response_norm``.
    """
    s = _sums(x, size, alpha, bias)
    power = s**-beta
    reached = _around(dy * x * power / s, (size - 1) - (size - 1) // 2, (size - 1) // 2)
    dx[...] = dy * power - 2 * alpha * beta / size * x * reached


def _sums(x, size, alpha, bias):
    return bias + alpha / size * _around(x * x, (size - 1) // 2, (size - 1) - (size - 1) // 2)


def _around(a, before, after):
    """Of each column, the sum of those from ``before`` columns before it to ``after`` after it."""
    width = a.shape[1]
    padded = np.pad(a, ((0, 0), (before, after)))
    return sum(padded[:, i : i + width] for i in range(before + after + 1))
