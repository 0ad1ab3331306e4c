"""Images moved, turned and scaled.

Not in the op table, and without a Cython form: nothing in a network calls it, and where images are
prepared beside the training nobody waits for it.
"""

import numpy as np


def affine_transform(x, matrix, mode, fill, y):
    """y[n, oy, ox] = x[n, sy, sx], bilinear, with (sy, sx) = matrix[n] · (oy, ox, 1).

    x (N, H, W, C) uint8 or float, matrix (N, 2, 3) float64, y (N, OH, OW, C) float. With v = x at
    the four pixels around (sy, sx), and p, q the fractions of sy and sx:
    a = v₀₀ + q (v₀₁ − v₀₀), b = v₁₀ + q (v₁₁ − v₁₀), y = a + p (b − a). What lies outside of the
    image, by ``mode``: 0 its nearest pixel, 1 the image mirrored at its edges (d c b a | a b c d),
    again and again, 2 the number ``fill``.
    """
    oy, ox = np.arange(y.shape[1])[:, np.newaxis], np.arange(y.shape[2])
    for image, (to_y, to_x), out in zip(x, matrix, y, strict=True):
        values = image.astype(y.dtype)
        (top, bottom), p = _around(to_y[0] * oy + to_y[1] * ox + to_y[2], len(image), mode)
        (left, right), q = _around(to_x[0] * oy + to_x[1] * ox + to_x[2], image.shape[1], mode)

        def at(rows, columns, values=values):
            inside = (rows >= 0) & (columns >= 0)
            return np.where(inside[..., np.newaxis], values[rows, columns], y.dtype.type(fill))

        p, q = (part[..., np.newaxis].astype(y.dtype) for part in (p, q))
        a, b = at(top, left), at(bottom, left)
        a = a + q * (at(top, right) - a)
        b = b + q * (at(bottom, right) - b)
        out[...] = a + p * (b - a)


def _around(place, size, mode):
    """((before, after), fraction): the elements around each place, −1 for one that isn't there."""
    first = np.floor(place)
    before = first.astype(np.int64)
    return [_element(i, size, mode) for i in (before, before + 1)], place - first


def _element(i, size, mode):
    if mode == 0:
        return np.clip(i, 0, size - 1)
    if mode == 1:
        i = i % (2 * size)
        return np.where(i < size, i, 2 * size - 1 - i)
    return np.where((i >= 0) & (i < size), i, -1)
