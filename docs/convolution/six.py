"""Rung 6. Six windows with the same taps at a time: a row of w, once loaded, serves all six.

The windows differ only in where they start, so the same runs serve them all. Here the six are the
same pixel of six images: these have the same taps, also at the border.
"""

import numpy as np
from numba import njit
from runs import aligned, inside

ROWS = 6


@njit(fastmath={"contract"})
def add_run(numbers, starts, b, w_start, length, sums):
    """sums[i] += numbers[starts[i] : … + length] · b[w_start : … + length], for six rows i."""
    for k in range(length):
        a0, a1 = numbers[starts[0] + k], numbers[starts[1] + k]
        a2, a3 = numbers[starts[2] + k], numbers[starts[3] + k]
        a4, a5 = numbers[starts[4] + k], numbers[starts[5] + k]
        b_k = b[w_start + k]
        for o in range(b_k.size):
            b_o = b_k[o]
            sums[0, o] += a0 * b_o
            sums[1, o] += a1 * b_o
            sums[2, o] += a2 * b_o
            sums[3, o] += a3 * b_o
            sums[4, o] += a4 * b_o
            sums[5, o] += a5 * b_o


@njit
def loops(x, w, stride, top, left, sums, y):
    images, height, width, depth = x.shape
    kh, kw, _, filters = w.shape
    numbers, b = x.reshape(-1), w.reshape(-1, filters)
    starts = np.empty(ROWS, np.int64)
    for oy in range(y.shape[1]):
        ky_from, ky_to = inside(oy * stride, top, kh, height)
        for ox in range(y.shape[2]):
            kx_from, kx_to = inside(ox * stride, left, kw, width)
            length = max(0, kx_to - kx_from) * depth
            for n in range(0, images, ROWS):
                rows = min(ROWS, images - n)
                sums[...] = 0
                for ky in range(ky_from, ky_to):
                    for i in range(ROWS):
                        # Rows beyond the last image repeat it, and are not written.
                        row = (n + min(i, rows - 1)) * height + oy * stride + ky - top
                        starts[i] = (row * width + ox * stride + kx_from - left) * depth
                    add_run(numbers, starts, b, (ky * kw + kx_from) * depth, length, sums)
                for i in range(rows):
                    for o in range(filters):
                        y[n + i, oy, ox, o] = sums[i, o]


def convolve(x, w, geometry):
    """y (N, OH, OW, O) from x (N, H, W, C), w (KH, KW, C, O)."""
    rows, columns = geometry.rows, geometry.columns
    y = np.empty((len(x), *geometry.out_shape), x.dtype)
    sums = aligned((ROWS, geometry.filters), x.dtype)
    loops(x, w, rows.stride, rows.before, columns.before, sums, y)
    return y
