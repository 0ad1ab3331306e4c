"""Rung 3. im2col: a row for each window, and the convolution is one product of matrices."""

import numpy as np


def im2col(x, geometry):
    """(N·OH·OW, KH·KW·C) from x (N, H, W, C): the taps of a window one after another, 0 for those
    in the padding."""
    rows, columns = geometry.rows, geometry.columns
    padding = ((0, 0), (rows.before, rows.after), (columns.before, columns.after), (0, 0))
    padded = np.pad(x, padding)
    shape = len(x), rows.out, columns.out, rows.kernel, columns.kernel, geometry.channels
    found = np.empty(shape, x.dtype)
    down, across = (a.stride * (a.out - 1) + 1 for a in (rows, columns))
    for ky in range(rows.kernel):
        for kx in range(columns.kernel):
            part = padded[:, ky : ky + down : rows.stride, kx : kx + across : columns.stride]
            found[:, :, :, ky, kx] = part
    return found.reshape(len(x) * rows.out * columns.out, -1)


def convolve(x, w, geometry):
    """y (N, OH, OW, O) from x (N, H, W, C), w (KH, KW, C, O)."""
    y = im2col(x, geometry) @ w.reshape(-1, geometry.filters)
    return y.reshape(len(x), *geometry.out_shape)
