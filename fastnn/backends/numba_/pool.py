"""Pooling, forward and backward: loops over windows, or over pixels, with the vectors along the
channels. Letters as in ``fastnn.geometry``.

Backward in the gather form: each pixel adds what it gets from the windows that meet it, in their
order, so that threads never write to one place.
"""

from numba import prange

from fastnn.backends.numba_ import call_parallel, kernel, num_threads, parallel_kernel, plain
from fastnn.backends.numba_.conv import _axes


def max_pool2d(x, geometry, y, index):
    args = _pixels(x), *_axes(geometry), _pixels(y), _pixels(index)
    _share(_max, _max_parallel, 0.3 * y.size * geometry.taps, args, _pixels(y))


def max_pool2d_backward(dy, index, geometry, dx):
    args = _pixels(dy), _pixels(index), *_axes(geometry), _pixels(dx)
    _share(_max_backward, _max_backward_parallel, 0.3 * dx.size, args, _pixels(dx))


def average_pool2d(x, geometry, y):
    args = _pixels(x), *_axes(geometry), _pixels(y)
    _share(_average, _average_parallel, 0.2 * y.size * geometry.taps, args, _pixels(y))


def average_pool2d_backward(dy, geometry, dx):
    args = _pixels(dy), *_axes(geometry), _pixels(dx)
    _share(_average_backward, _average_backward_parallel, 0.5 * dx.size, args, _pixels(dx))


def _pixels(images):
    """(N, H, W, C) as a matrix with a row for each pixel."""
    return plain(images).reshape(-1, images.shape[3])


def _share(serial, parallel, work, args, out):
    n = num_threads(work)
    if n == 1:
        serial(*args, 0, len(out))
    else:
        call_parallel(parallel, n, *args, -(-len(out) // n))


@kernel
def _inside(first, size, kernel, dilation):
    """The taps in the image, of a window whose first tap meets element ``first``."""
    begin = max(0, -(first // dilation))
    return range(begin, min(kernel, -((first - size) // dilation)))


@kernel
def _meeting(i, size, stride, dilation, out):
    """The windows from whose first to whose last tap padded element i lies."""
    first = (i - (size - 1) * dilation + stride - 1) // stride
    return range(max(0, first), min(out, i // stride + 1))


@kernel
def _max(x, rows, columns, y, index, start, stop):
    """Windows start … stop. A tap wins if it isn't <= the best so far: larger, or the first NaN."""
    h, kh, sh, dh, top, oh = rows
    w, kw, sw, dw, left, ow = columns
    for window in range(start, stop):
        n = window // (oh * ow)
        iy, ix = window // ow % oh * sh - top, window % ow * sw - left
        best, where = y[window], index[window]
        begin = True
        for ky in _inside(iy, h, kh, dh):
            for kx in _inside(ix, w, kw, dw):
                values = x[(n * h + iy + ky * dh) * w + ix + kx * dw]
                tap = where.dtype.type(ky * kw + kx)
                if begin:
                    begin = False
                    for c in range(best.size):
                        best[c], where[c] = values[c], tap
                    continue
                for c in range(best.size):
                    wins = (not values[c] <= best[c]) & (best[c] == best[c])
                    best[c] = values[c] if wins else best[c]
                    where[c] = tap if wins else where[c]


@parallel_kernel
def _max_parallel(x, rows, columns, y, index, part):
    for i in prange(-(-len(y) // part)):
        _max(x, rows, columns, y, index, i * part, min((i + 1) * part, len(y)))


@kernel
def _max_backward(dy, index, rows, columns, dx, start, stop):
    """Pixels start … stop of dx."""
    h, kh, sh, dh, top, oh = rows
    w, kw, sw, dw, left, ow = columns
    zero = dx.dtype.type(0)
    for pixel in range(start, stop):
        n, iy, ix = pixel // (h * w), pixel // w % h + top, pixel % w + left
        out = dx[pixel]
        out[:] = 0
        for oy in _meeting(iy, kh, sh, dh, oh):
            ky = (iy - oy * sh) // dh
            if oy * sh + ky * dh != iy:
                continue
            for ox in _meeting(ix, kw, sw, dw, ow):
                kx, window = (ix - ox * sw) // dw, (n * oh + oy) * ow + ox
                if ox * sw + kx * dw == ix:
                    part, where, tap = dy[window], index[window], ky * kw + kx
                    for c in range(out.size):
                        out[c] += part[c] if where[c] == tap else zero


@parallel_kernel
def _max_backward_parallel(dy, index, rows, columns, dx, part):
    for i in prange(-(-len(dx) // part)):
        _max_backward(dy, index, rows, columns, dx, i * part, min((i + 1) * part, len(dx)))


@kernel
def _average(x, rows, columns, y, start, stop):
    """Windows start … stop."""
    h, kh, sh, dh, top, oh = rows
    w, kw, sw, dw, left, ow = columns
    for window in range(start, stop):
        n = window // (oh * ow)
        iy, ix = window // ow % oh * sh - top, window % ow * sw - left
        out = y[window]
        out[:] = 0
        down, across = _inside(iy, h, kh, dh), _inside(ix, w, kw, dw)
        for ky in down:
            for kx in across:
                values = x[(n * h + iy + ky * dh) * w + ix + kx * dw]
                for c in range(out.size):
                    out[c] += values[c]
        count = y.dtype.type(len(down) * len(across))
        for c in range(out.size):
            out[c] /= count


@parallel_kernel
def _average_parallel(x, rows, columns, y, part):
    for i in prange(-(-len(y) // part)):
        _average(x, rows, columns, y, i * part, min((i + 1) * part, len(y)))


@kernel
def _average_backward(dy, rows, columns, dx, start, stop):
    """Pixels start … stop of dx."""
    h, kh, sh, dh, top, oh = rows
    w, kw, sw, dw, left, ow = columns
    for pixel in range(start, stop):
        n, iy, ix = pixel // (h * w), pixel // w % h + top, pixel % w + left
        out = dx[pixel]
        out[:] = 0
        for oy in _meeting(iy, kh, sh, dh, oh):
            if (iy - oy * sh) % dh:
                continue
            down = len(_inside(oy * sh - top, h, kh, dh))
            for ox in _meeting(ix, kw, sw, dw, ow):
                if (ix - ox * sw) % dw == 0:
                    across = len(_inside(ox * sw - left, w, kw, dw))
                    part, count = dy[(n * oh + oy) * ow + ox], dx.dtype.type(down * across)
                    for c in range(out.size):
                        out[c] += part[c] / count


@parallel_kernel
def _average_backward_parallel(dy, rows, columns, dx, part):
    for i in prange(-(-len(dx) // part)):
        _average_backward(dy, rows, columns, dx, i * part, min((i + 1) * part, len(dx)))
