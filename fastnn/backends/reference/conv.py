"""Convolution as the textbook writes it: im2col, then one matrix product per group.

N batch, H W image, C channels in, O out, KH KW kernel, OH OW output, G groups. ``geometry`` is a
``Conv2DGeometry``. The gradient of the bias is ``dense_db`` on dz as (N·OH·OW, O).
"""

import numpy as np

from fastnn.backends.reference.dense import APPLY


def im2col(x, geometry, columns):
    """columns[(n, oy, ox), (ky, kx, c)] = x[n, oy·SH + ky·DH − top, ox·SW + kx·DW − left, c].

    x (N, H, W, C), columns (N·OH·OW, KH·KW·C): a row per window, with 0 for what lies in the
    padding.
    """
    np.copyto(columns.reshape(len(x), *_window_shape(geometry)), windows(x, geometry, 0))


def col2im(columns, geometry, x):
    """x = Σ over all windows that meet it: each element of columns is added where ``im2col`` took
    it from; what was padding is dropped. Shapes as there.
    """
    rows, cols = geometry.rows, geometry.columns
    taps = columns.reshape(len(x), *_window_shape(geometry))
    padded = np.zeros(_padded_shape(x, geometry), x.dtype)
    for ky in range(rows.kernel):
        for kx in range(cols.kernel):
            padded[_meeting_tap(geometry, ky, kx)] += taps[:, :, :, ky, kx]
    x[...] = padded[_inside(geometry)]


def conv2d(x, w, b, geometry, activation, y):
    """y[n, oy, ox, o] = f(Σ x[n, oy·SH + ky·DH − top, ox·SW + kx·DW − left, c] w[ky, kx, c, o]
    + b[o]), the sum over ky, kx, c, with f by its code in ``FUSED_ACTIVATIONS``.

    x (N, H, W, C), w (KH, KW, C/G, O), b (O,) or None, y (N, OH, OW, O). Group g takes the g-th
    part of the channels to the g-th part of the outputs.
    """
    columns = _columns(x, geometry)
    for g in range(geometry.groups):
        c, o = _parts(geometry, g)
        y[..., o] = np.tensordot(columns[..., c], w[..., o], 3)
    if b is not None:
        y += b
    if activation in APPLY:
        APPLY[activation](y, y)


def conv2d_dx(dz, w, geometry, dx):
    """dx = col2im(dz wᵀ): the gradient of the input from dz, the gradient of x ∗ w + b.

    dz (N, OH, OW, O), w (KH, KW, C/G, O), dx (N, H, W, C).
    """
    columns = np.empty((len(dz), *_window_shape(geometry)), dz.dtype)
    for g in range(geometry.groups):
        c, o = _parts(geometry, g)
        columns[..., c] = np.tensordot(dz[..., o], w[..., o], (3, 3))
    col2im(columns, geometry, dx)


def conv2d_dw(x, dz, geometry, dw):
    """dw = im2col(x)ᵀ dz: the gradient of the weights, summed over all windows.

    x (N, H, W, C), dz (N, OH, OW, O), dw (KH, KW, C/G, O).
    """
    columns = _columns(x, geometry)
    for g in range(geometry.groups):
        c, o = _parts(geometry, g)
        dw[..., o] = np.tensordot(columns[..., c], dz[..., o], ((0, 1, 2), (0, 1, 2)))


def windows(x, geometry, padding):
    """A view (N, OH, OW, KH, KW, C) of x padded with ``padding``: all windows."""
    padded = np.full(_padded_shape(x, geometry), padding, x.dtype)
    padded[_inside(geometry)] = x
    rows, cols = geometry.rows, geometry.columns
    n, h, w, c = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded,
        (len(x), *_window_shape(geometry)),
        (n, h * rows.stride, w * cols.stride, h * rows.dilation, w * cols.dilation, c),
    )


def _columns(x, geometry):
    columns = np.empty((len(x), *_window_shape(geometry)), x.dtype)
    im2col(x, geometry, columns)
    return columns


def _parts(geometry, g):
    """The channels and the outputs of group g."""
    c, o = geometry.channels // geometry.groups, geometry.filters // geometry.groups
    return slice(g * c, (g + 1) * c), slice(g * o, (g + 1) * o)


def _window_shape(geometry):
    rows, cols = geometry.rows, geometry.columns
    return rows.out, cols.out, rows.kernel, cols.kernel, geometry.channels


def _padded_shape(x, geometry):
    n, h, w, c = x.shape
    rows, cols = geometry.rows, geometry.columns
    return n, h + rows.before + rows.after, w + cols.before + cols.after, c


def _inside(geometry):
    """Where the image lies in the padded one."""
    down, across = (slice(a.before, a.before + a.size) for a in (geometry.rows, geometry.columns))
    return slice(None), down, across


def _meeting_tap(geometry, ky, kx):
    """The elements of the padded image that tap (ky, kx) meets, over all windows."""
    pairs = ((geometry.rows, ky), (geometry.columns, kx))
    starts = [(a, t * a.dilation) for a, t in pairs]
    return (slice(None), *(slice(s, s + (a.out - 1) * a.stride + 1, a.stride) for a, s in starts))
