"""Rung 5. No matrix: its rows are read where they lie in x, one run of numbers per row of taps.

Along a row of a window the taps are neighbours in x, channels and all, and so are the rows of w
that they meet. Taps in the padding are not zeros to multiply by: they are left out.

The sums are read and written for every k, so y begins with a cache line: where a vector lies in
two lines, each of these takes two turns.
"""

import math

import numpy as np
from numba import njit

LINE = 64  # bytes of a cache line, and of the widest vector


@njit(inline="always")
def inside(position, before, kernel, size):
    """The taps from … to that lie in the image, of a window that starts at position − before."""
    first = position - before
    return max(0, -first), min(kernel, size - first)


@njit(fastmath={"contract"})
def loops(x, w, stride, top, left, y):
    images, height, width, depth = x.shape
    kh, kw, _, filters = w.shape
    numbers, b = x.reshape(-1), w.reshape(-1, filters)
    y[...] = 0
    for n in range(images):
        for oy in range(y.shape[1]):
            ky_from, ky_to = inside(oy * stride, top, kh, height)
            for ox in range(y.shape[2]):
                kx_from, kx_to = inside(ox * stride, left, kw, width)
                total = y[n, oy, ox]
                for ky in range(ky_from, ky_to):
                    row = n * height + oy * stride + ky - top
                    start = (row * width + ox * stride + kx_from - left) * depth
                    w_start = (ky * kw + kx_from) * depth
                    for k in range(max(0, kx_to - kx_from) * depth):
                        a_k, b_k = numbers[start + k], b[w_start + k]
                        for o in range(filters):
                            total[o] += a_k * b_k[o]


def aligned(shape, dtype):
    """An empty array that begins with a cache line."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(size + 2 * LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size].view(dtype).reshape(shape)


def convolve(x, w, geometry):
    """y (N, OH, OW, O) from x (N, H, W, C), w (KH, KW, C, O)."""
    rows, columns = geometry.rows, geometry.columns
    y = aligned((len(x), *geometry.out_shape), x.dtype)
    loops(x, w, rows.stride, rows.before, columns.before, y)
    return y
