"""Convolution, forward and backward. Letters as in ``fastnn.geometry``.

Why it is fast: a convolution is a product of matrices once the windows are the rows of one, and
the product is that of ``numba_.dense``. The whole matrix of windows may be gigabytes, so there is
only a *panel* of it at a time, which stays in cache between ``_im2col``, which makes it, and the
product, which reads it. The gradient of the input goes the other way: a product makes a panel of
columns and ``_col2im`` adds it to dx, in the gather form, so that no two threads write to one
pixel. How many windows a panel has depends on the shape only.

A depthwise convolution is a product with one column; there the vectors lie along the channels.
"""

import numpy as np
from numba import prange

from fastnn.backends.numba_ import (
    call_parallel,
    kernel,
    matrix_kernel,
    num_threads,
    parallel_kernel,
    plain,
)
from fastnn.backends.numba_.activation import relu, sigmoid, tanh
from fastnn.backends.numba_.dense import VECTOR, _run
from fastnn.ops import FUSED_ACTIVATIONS

PANEL = 1 << 22  # bytes of a panel: parts of it for all threads' second-level caches
COLUMNS = 512  # most columns of dw that are summed together

_RELU = FUSED_ACTIVATIONS["relu"]
_AFTERWARDS = {FUSED_ACTIVATIONS["sigmoid"]: sigmoid, FUSED_ACTIVATIONS["tanh"]: tanh}


def im2col(x, geometry, columns):
    _take(x, geometry, 0, geometry.channels, 0, columns)


def col2im(columns, geometry, x):
    x[...] = 0
    _add(plain(columns), geometry, 0, geometry.channels, 0, x)


def conv2d(x, w, b, geometry, activation, y):
    if _is_depthwise(geometry):
        y[...] = 0 if b is None else b
        _depthwise(_FORWARD, x, w, y, geometry)
        if activation == _RELU:
            relu(y.reshape(-1), y.reshape(-1))
    else:
        _conv2d(x, w, b, geometry, activation == _RELU, y)
    if activation in _AFTERWARDS:
        _AFTERWARDS[activation](y.reshape(-1), y.reshape(-1))


def conv2d_dx(dz, w, geometry, dx):
    dx[...] = 0
    if _is_depthwise(geometry):
        _depthwise(_INPUT, dx, w, dz, geometry)
        return
    depth, filters = _group(geometry)
    total, flat_dz, flat_w = geometry.filters, plain(dz).reshape(-1), plain(w).reshape(-1)
    nothing = dx.reshape(-1)[:0]
    for first, panel in _panels(dx, geometry, depth):
        for g in range(geometry.groups):
            a = flat_dz, first * total + g * filters, total, 1
            _run(a, (flat_w, g * filters, 1, total), filters, nothing, False, panel)
            _add(panel, geometry, g * depth, depth, first, dx)


def conv2d_dw(x, dz, geometry, dw):
    if _is_depthwise(geometry):
        dw[...] = 0
        _depthwise(_WEIGHTS, x, dw, dz, geometry)
        return
    depth, filters = _group(geometry)
    # Some channels at a time, in parts of a size, so that the sums stay in cache.
    columns = max(1, min(COLUMNS, PANEL // 4 // (filters * dw.itemsize)))
    step = -(-depth // min(depth, -(-depth * geometry.taps // columns)))
    for g in range(geometry.groups):
        for channel in range(0, depth, step):
            _dw(x, dz, geometry, g, channel, min(step, depth - channel), dw)


def _conv2d(x, w, b, geometry, relu_, y):
    """y = max(im2col(x) w + b, 0), or without the maximum, group after group."""
    depth, filters = _group(geometry)
    total, flat, rows = geometry.filters, plain(w).reshape(-1), y.reshape(-1, geometry.filters)
    bias = y.reshape(-1)[:0] if b is None else plain(b)
    for first, panel in _panels(x, geometry, depth):
        here = rows[first : first + len(panel)]
        out = here if geometry.groups == 1 else np.empty((len(panel), filters), y.dtype)
        for g in range(geometry.groups):
            part = slice(g * filters, (g + 1) * filters)
            _take(x, geometry, g * depth, depth, first, panel)
            factors = flat, g * filters, total, 1
            _run((panel.reshape(-1), 0, panel.shape[1], 1), factors, panel.shape[1],
                 bias[part], relu_, out)  # fmt: skip
            if out is not here:
                here[:, part] = out


def _dw(x, dz, geometry, g, channel, channels, dw):
    """dw of some channels of a group: the sum of dzᵀ im2col(x) over panels, transposed."""
    depth, filters = _group(geometry)
    flat = plain(dz).reshape(-1)
    sums = np.zeros((filters, geometry.taps * channels), dw.dtype)
    product = np.empty_like(sums)
    for first, panel in _panels(x, geometry, channels):
        _take(x, geometry, g * depth + channel, channels, first, panel)
        a = flat, first * geometry.filters + g * filters, 1, geometry.filters
        b = panel.reshape(-1), 0, panel.shape[1], 1
        _run(a, b, len(panel), dw.reshape(-1)[:0], False, product)
        sums += product
    out = dw.reshape(geometry.taps, depth, geometry.filters)
    out[:, channel : channel + channels, g * filters : (g + 1) * filters] = sums.reshape(
        filters, geometry.taps, channels
    ).transpose(1, 2, 0)


def _group(geometry):
    """The channels and the outputs of a group."""
    return geometry.channels // geometry.groups, geometry.filters // geometry.groups


def _is_depthwise(geometry):
    return geometry.groups == geometry.channels > 1


def _panels(x, geometry, depth):
    """(first window, panel with a row for each window) one after another, in the same memory."""
    windows = len(x) * geometry.rows.out * geometry.columns.out
    width = geometry.taps * depth
    height = min(max(1, PANEL // (width * x.itemsize)), windows)
    panel = np.empty((height, width), x.dtype)
    for first in range(0, windows, max(height, 1)):
        yield first, panel[: windows - first]


def _axes(geometry):
    """What the kernels read of the geometry: size, kernel, stride, dilation, before, out."""
    rows, columns = geometry.rows, geometry.columns
    return tuple((a.size, a.kernel, a.stride, a.dilation, a.before, a.out) for a in (rows, columns))


def _take(x, geometry, channel, depth, first, columns):
    """columns ← the windows from ``first`` on, ``depth`` channels from ``channel`` on."""
    args = plain(x).reshape(-1), *_axes(geometry), geometry.channels, channel, depth, first, columns
    _share(_im2col, _im2col_parallel, 0.2 * columns.size, args, 0, len(columns))


def _add(columns, geometry, channel, depth, first, x):
    """x += what ``_take`` would have taken, for pixels from the first window's to the last's."""
    if not columns.size:
        return
    rows, across = geometry.rows, geometry.rows.out * geometry.columns.out
    width = geometry.columns.size

    def pixel(window, tap):
        iy = window % across // geometry.columns.out * rows.stride - rows.before + tap
        return (window // across * rows.size + min(max(iy, 0), rows.size)) * width

    args = columns, *_axes(geometry), geometry.channels, channel, depth, first, x.reshape(-1)
    begin, end = pixel(first, 0), pixel(first + len(columns) - 1, rows.span)
    _share(_col2im, _col2im_parallel, 0.3 * columns.size, args, begin, end)


def _depthwise(which, x, w, y, geometry):
    """One of y += x ∗ w, dx += dz ∗ w and dw += x ∗ dz, with a group for each channel."""
    args = which, *(plain(a).reshape(-1) for a in (x, w, y)), len(x), *_axes(geometry)
    args += geometry.channels, geometry.filters // geometry.channels
    work = 0.2 * y.size * geometry.taps
    _share(_multiply_depthwise, _multiply_depthwise_parallel, work, args, 0, geometry.channels)


def _share(serial, parallel, work, args, start, stop):
    """Share start … stop out among the threads, in parts that begin at multiples of a vector."""
    n = num_threads(work)
    if n == 1:
        serial(*args, start, stop)
    else:
        part = -(-(stop - start) // (n * VECTOR)) * VECTOR
        call_parallel(parallel, n, *args, start, stop, max(part, 1))


@kernel
def _im2col(x, rows, columns, channels, channel, depth, first, out, start, stop):
    """Rows start … stop of out ← the windows from first + start on. out (P, KH·KW·depth)."""
    h, kh, sh, dh, top, oh = rows
    w, kw, sw, dw, left, ow = columns
    run = kw if dw == 1 and depth == channels else 1  # taps side by side in memory
    for row in range(start, stop):
        n, oy, ox = (first + row) // (oh * ow), (first + row) // ow % oh, (first + row) % ow
        for ky in range(kh):
            iy = oy * sh + ky * dh - top
            for kx in range(0, kw, run):
                ix = ox * sw + kx * dw - left
                tap = ky * kw + kx
                part = out[row, tap * depth : (tap + run) * depth]
                begin, end = max(0, -ix), min(run, w - ix)
                if iy < 0 or iy >= h or begin >= end:
                    part[:] = 0
                    continue
                part[: begin * depth] = 0
                part[end * depth :] = 0
                inside = part[begin * depth : end * depth]
                source = ((n * h + iy) * w + ix + begin) * channels + channel
                source = x[source : source + inside.size]
                for j in range(inside.size):
                    inside[j] = source[j]


@parallel_kernel
def _im2col_parallel(x, rows, columns, channels, channel, depth, first, out, start, stop, part):
    for i in prange(-(-(stop - start) // part)):
        begin = start + i * part
        end = min(begin + part, stop)
        _im2col(x, rows, columns, channels, channel, depth, first, out, begin, end)


@kernel
def _col2im(source, rows, columns, channels, channel, depth, first, x, start, stop):
    """Pixels start … stop of x += the rows of source whose windows meet them, in their order."""
    h, kh, sh, dh, top, oh = rows
    w, kw, sw, dw, left, ow = columns
    for pixel in range(start, stop):
        n, iy, ix = pixel // (h * w), pixel // w % h + top, pixel % w + left
        out = x[pixel * channels + channel : pixel * channels + channel + depth]
        for oy in _meeting(iy, kh, sh, dh, oh):
            ky = (iy - oy * sh) // dh
            if oy * sh + ky * dh != iy:
                continue
            for ox in _meeting(ix, kw, sw, dw, ow):
                kx, row = (ix - ox * sw) // dw, (n * oh + oy) * ow + ox - first
                if ox * sw + kx * dw == ix and 0 <= row < len(source):
                    part = source[row, (ky * kw + kx) * depth : (ky * kw + kx + 1) * depth]
                    for j in range(out.size):
                        out[j] += part[j]


@parallel_kernel
def _col2im_parallel(source, rows, columns, channels, channel, depth, first, x, start, stop, part):
    for i in prange(-(-(stop - start) // part)):
        begin = start + i * part
        end = min(begin + part, stop)
        _col2im(source, rows, columns, channels, channel, depth, first, x, begin, end)


@kernel
def _meeting(i, size, stride, dilation, out):
    """The windows from whose first to whose last tap padded element i lies."""
    first = (i - (size - 1) * dilation + stride - 1) // stride
    return range(max(0, first), min(out, i // stride + 1))


_FORWARD, _INPUT, _WEIGHTS = range(3)


@kernel
def _multiply_depthwise(which, x, w, y, images, rows, columns, channels, outputs, start, stop):
    """Channels start … stop of y, x or w += the products of the other two, in their order.

    x (N·H·W, C), w (KH·KW, C·M), y (N·OH·OW, C·M), flat.
    """
    h, kh, sh, dh, top, oh = rows
    width, kw, sw, dw, left, ow = columns
    for window in range(images * oh * ow):
        n, oy, ox = window // (oh * ow), window // ow % oh, window % ow
        for ky in range(kh):
            iy = oy * sh + ky * dh - top
            if iy < 0 or iy >= h:
                continue
            for kx in range(kw):
                ix = ox * sw + kx * dw - left
                if ix < 0 or ix >= width:
                    continue
                image = ((n * h + iy) * width + ix) * channels + start
                for m in range(outputs):
                    tap = ((ky * kw + kx) * channels + start) * outputs + m
                    out = (window * channels + start) * outputs + m
                    if which == _FORWARD:
                        _add_product(y, out, outputs, x, image, 1, w, tap, outputs, stop - start)
                    elif which == _INPUT:
                        _add_product(x, image, 1, y, out, outputs, w, tap, outputs, stop - start)
                    else:
                        _add_product(w, tap, outputs, x, image, 1, y, out, outputs, stop - start)


@matrix_kernel
def _add_product(c, at_c, step_c, a, at_a, step_a, b, at_b, step_b, count):
    """c += a b, ``count`` elements from a place on in steps."""
    c, a, b = c[at_c:], a[at_a:], b[at_b:]
    step_c, step_a, step_b = np.uintp(step_c), np.uintp(step_a), np.uintp(step_b)
    for i in range(np.uintp(count)):
        c[i * step_c] += a[i * step_a] * b[i * step_b]


@parallel_kernel
def _multiply_depthwise_parallel(
    which, x, w, y, images, rows, columns, channels, outputs, start, stop, part
):
    for i in prange(-(-(stop - start) // part)):
        begin = start + i * part
        end = min(begin + part, stop)
        _multiply_depthwise(
            which, x, w, y, images, rows, columns, channels, outputs, begin, end
        )  # fmt: skip
