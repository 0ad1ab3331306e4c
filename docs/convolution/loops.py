"""Rungs 1 and 2. The definition as seven loops, read by Python and compiled by Numba.

y[n, oy, ox, o] = Σ x[n, oy·S + ky − top, ox·S + kx − left, c] w[ky, kx, c, o], the sum over the
taps (ky, kx) that lie in the image, and over c. All rungs take the geometry of
``fastnn.geometry`` with groups and dilation of 1 and the same stride S down and across.
"""

import numpy as np
from numba import njit


def loops(x, w, stride, top, left, y):
    for n in range(y.shape[0]):
        for oy in range(y.shape[1]):
            for ox in range(y.shape[2]):
                for o in range(y.shape[3]):
                    total = y.dtype.type(0)
                    for ky in range(w.shape[0]):
                        iy = oy * stride + ky - top
                        for kx in range(w.shape[1]):
                            ix = ox * stride + kx - left
                            if 0 <= iy < x.shape[1] and 0 <= ix < x.shape[2]:
                                for c in range(w.shape[2]):
                                    total += x[n, iy, ix, c] * w[ky, kx, c, o]
                    y[n, oy, ox, o] = total


compiled_loops = njit(loops)


def convolve(x, w, geometry, loops=loops):
    """y (N, OH, OW, O) from x (N, H, W, C), w (KH, KW, C, O)."""
    rows, columns = geometry.rows, geometry.columns
    y = np.empty((len(x), *geometry.out_shape), x.dtype)
    loops(x, w, rows.stride, rows.before, columns.before, y)
    return y


def compiled(x, w, geometry):
    """The same, compiled."""
    return convolve(x, w, geometry, compiled_loops)
