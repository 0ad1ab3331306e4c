"""Normalisation over channels, forward and backward. M rows, C channels.

Why it is fast: one pass over x for the statistics, and no temporary array of its size. The vectors
lie along the channels. Sums are taken part by part, of a number of rows that depends on the shape
only, in double.
"""

import numpy as np
from numba import prange

from fastnn.backends.numba_ import call_parallel, kernel, num_threads, parallel_kernel, plain
from fastnn.ops import FUSED_ACTIVATIONS

PART = 65536  # elements of a part, about
BLOCK = 32  # rows summed in the arrays' dtype; these sums are added in double
SHARE = 8  # the mean of the first eighth of a part's rows is its pivot

_RELU = FUSED_ACTIVATIONS["relu"]


def batch_norm_statistics(x, mean, variance):
    step, parts = _parts(x, PART)
    moments = np.zeros((3, parts, x.shape[1]))
    _share(_moments, _moments_parallel, 0.3 * x.size, plain(x), step, moments)
    counts = np.minimum(step, len(x) - step * np.arange(parts))[:, None]
    _join(moments, counts, len(x), mean, variance)


def batch_norm(x, mean, variance, gamma, beta, epsilon, activation, y):
    factors = _factors(x, mean, variance, gamma, epsilon)
    relu = activation == _RELU
    _share(_normalize, _normalize_parallel, 0.3 * x.size, plain(x), *factors, plain(beta), relu, y)


def batch_norm_sums(dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta):
    step, parts = _parts(x, PART)
    totals = np.zeros((2, parts, x.shape[1]))
    factors = *_factors(x, mean, variance, gamma, epsilon), plain(beta), activation == _RELU
    _share(_sums, _sums_parallel, 0.4 * x.size, plain(dy), plain(x), *factors, step, totals)
    dbeta[:], dgamma[:] = totals.sum(axis=1)


def batch_norm_dx(dy, x, mean, variance, gamma, beta, epsilon, activation, dgamma, dbeta, dx):
    factors = *_factors(x, mean, variance, gamma, epsilon), plain(beta), activation == _RELU
    means = (a / dx.dtype.type(max(len(x), 1)) for a in (dbeta, dgamma))
    _share(_dx, _dx_parallel, 0.5 * x.size, plain(dy), plain(x), *factors, *means, dx)


def local_response_norm(x, size, alpha, beta, bias, y):
    factor = alpha / size
    _share(_response, _response_parallel, 3.0 * x.size, plain(x), size, factor, beta, bias, y)


def local_response_norm_backward(dy, x, size, alpha, beta, bias, dx):
    numbers = size, alpha / size, beta, bias
    _share(
        _response_backward, _response_backward_parallel, 5.0 * x.size, plain(dy), plain(x),
        *numbers, dx,
    )  # fmt: skip


def _parts(x, elements):
    """Rows of a part and the number of parts."""
    step = max(BLOCK, elements // max(x.shape[1], 1))
    return step, -(-len(x) // step)


def _share(serial, parallel, work, *args):
    """Run over all rows, or over all parts if the last argument has one sum for each."""
    out = args[-1]
    size = out.shape[-2]
    n = num_threads(work)
    if n == 1:
        serial(*args, 0, size)
    else:
        call_parallel(parallel, n, *args, -(-size // n))


def _factors(x, mean, variance, gamma, epsilon):
    inverse = 1 / np.sqrt(variance + x.dtype.type(epsilon))
    return plain(mean), inverse, gamma * inverse


def _join(moments, counts, m, mean, variance):
    """The statistics from those of the parts: Σ (x − μ)² = Σ (x − p)² + 2 (p − μ) Σ (x − p)
    + n (p − μ)² for a part of n rows about its pivot p.
    """
    pivots, sums, squares = moments
    exact = pivots[0] + (sums + counts * (pivots - pivots[0])).sum(axis=0) / m
    apart = pivots - exact
    mean[:] = exact
    variance[:] = (squares + apart * (2 * sums + counts * apart)).sum(axis=0) / m


@kernel
def _moments(x, step, moments, start, stop):
    """Of each part a pivot, the mean of its first rows, and Σ (x − pivot), Σ (x − pivot)²."""
    width = x.shape[1]
    pivot, (sums, squares) = np.empty(width, x.dtype), np.empty((2, width), x.dtype)
    for part in range(start, stop):
        first, last = part * step, min(part * step + step, len(x))
        begin = (last - first + SHARE - 1) // SHARE
        pivots, totals, total_squares = moments[0, part], moments[1, part], moments[2, part]
        for r in range(first, first + begin):
            for c in range(width):
                pivots[c] += x[r, c]
        for c in range(width):
            pivot[c] = pivots[c] / begin
            pivots[c] = pivot[c]
        for block in range(first, last, BLOCK):
            sums[:] = 0
            squares[:] = 0
            for r in range(block, min(block + BLOCK, last)):
                for c in range(width):
                    offset = x[r, c] - pivot[c]
                    sums[c] += offset
                    squares[c] += offset * offset
            for c in range(width):
                totals[c] += sums[c]
                total_squares[c] += squares[c]


@parallel_kernel
def _moments_parallel(x, step, moments, share):
    parts = moments.shape[1]
    for i in prange(-(-parts // share)):
        _moments(x, step, moments, i * share, min((i + 1) * share, parts))


@kernel
def _normalize(x, mean, inverse, scale, beta, relu, y, start, stop):
    zero = y.dtype.type(0)
    for r in range(start, stop):
        row, out = x[r], y[r]
        for c in range(out.size):
            z = (row[c] - mean[c]) * scale[c] + beta[c]
            out[c] = zero if relu and z < zero else z


@parallel_kernel
def _normalize_parallel(x, mean, inverse, scale, beta, relu, y, share):
    for i in prange(-(-len(y) // share)):
        _normalize(x, mean, inverse, scale, beta, relu, y, i * share, min((i + 1) * share, len(y)))


@kernel
def _sums(dy, x, mean, inverse, scale, beta, relu, step, totals, start, stop):
    """Σ dz and Σ dz x̂ of each part."""
    width, zero = x.shape[1], x.dtype.type(0)
    sums, products = np.empty(width, x.dtype), np.empty(width, x.dtype)
    for part in range(start, stop):
        total, total_products = totals[0, part], totals[1, part]
        last = min(part * step + step, len(x))
        for block in range(part * step, last, BLOCK):
            sums[:] = 0
            products[:] = 0
            for r in range(block, min(block + BLOCK, last)):
                gradient, row = dy[r], x[r]
                for c in range(width):
                    dz, offset = gradient[c], row[c] - mean[c]
                    dz = dz if not relu or offset * scale[c] + beta[c] > zero else zero
                    sums[c] += dz
                    products[c] += dz * (offset * inverse[c])
            for c in range(width):
                total[c] += sums[c]
                total_products[c] += products[c]


@parallel_kernel
def _sums_parallel(dy, x, mean, inverse, scale, beta, relu, step, totals, share):
    parts = totals.shape[1]
    for i in prange(-(-parts // share)):
        stop = min((i + 1) * share, parts)
        _sums(dy, x, mean, inverse, scale, beta, relu, step, totals, i * share, stop)


@kernel
def _dx(dy, x, mean, inverse, scale, beta, relu, dbeta, dgamma, dx, start, stop):
    """dbeta and dgamma are divided by M."""
    zero = dx.dtype.type(0)
    for r in range(start, stop):
        gradient, row, out = dy[r], x[r], dx[r]
        for c in range(out.size):
            dz, offset = gradient[c], row[c] - mean[c]
            dz = dz if not relu or offset * scale[c] + beta[c] > zero else zero
            out[c] = scale[c] * (dz - dbeta[c] - offset * inverse[c] * dgamma[c])


@parallel_kernel
def _dx_parallel(dy, x, mean, inverse, scale, beta, relu, dbeta, dgamma, dx, share):
    for i in prange(-(-len(dx) // share)):
        stop = min((i + 1) * share, len(dx))
        _dx(dy, x, mean, inverse, scale, beta, relu, dbeta, dgamma, dx, i * share, stop)


@kernel
def _powers(row, size, factor, beta, bias, s, power):
    """s = bias + factor · Σ x² over the channels around each, and s^−β."""
    before = (size - 1) // 2
    for c in range(row.size):
        total = 0.0
        for j in range(max(0, c - before), min(row.size, c - before + size)):
            total += row[j] * row[j]
        s[c] = bias + factor * total
        power[c] = s[c] ** -beta


@kernel
def _response(x, size, factor, beta, bias, y, start, stop):
    s, power = np.empty(x.shape[1]), np.empty(x.shape[1])
    for r in range(start, stop):
        row, out = x[r], y[r]
        _powers(row, size, factor, beta, bias, s, power)
        for c in range(out.size):
            out[c] = row[c] * power[c]


@parallel_kernel
def _response_parallel(x, size, factor, beta, bias, y, share):
    for i in prange(-(-len(y) // share)):
        _response(x, size, factor, beta, bias, y, i * share, min((i + 1) * share, len(y)))


@kernel
def _response_backward(dy, x, size, factor, beta, bias, dx, start, stop):
    """A channel gets from those whose sum it is in: as many before it as they look ahead."""
    width, before = x.shape[1], size - 1 - (size - 1) // 2
    s, power = np.empty(width), np.empty(width)
    for r in range(start, stop):
        gradient, row, out = dy[r], x[r], dx[r]
        _powers(row, size, factor, beta, bias, s, power)
        for c in range(width):
            s[c] = gradient[c] * row[c] * power[c] / s[c]
        for c in range(width):
            total = 0.0
            for j in range(max(0, c - before), min(width, c - before + size)):
                total += s[j]
            out[c] = gradient[c] * power[c] - 2 * beta * factor * row[c] * total


@parallel_kernel
def _response_backward_parallel(dy, x, size, factor, beta, bias, dx, share):
    for i in prange(-(-len(dx) // share)):
        stop = min((i + 1) * share, len(dx))
        _response_backward(dy, x, size, factor, beta, bias, dx, i * share, stop)
