"""Rung 4. im2col of one image after another: the matrix is used while it is in cache."""

import numpy as np
from matrix import im2col


def convolve(x, w, geometry):
    """y (N, OH, OW, O) from x (N, H, W, C), w (KH, KW, C, O)."""
    y = np.empty((len(x), *geometry.out_shape), x.dtype)
    b = w.reshape(-1, geometry.filters)
    for n in range(len(x)):
        np.matmul(im2col(x[n : n + 1], geometry), b, out=y[n].reshape(-1, geometry.filters))
    return y
