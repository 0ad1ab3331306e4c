"""Pooling as the textbook writes it, over a view of all windows. Letters as in ``conv``.

``geometry`` is a ``Geometry2D``; every window meets the image.
"""

import numpy as np

from fastnn.backends.reference.conv import windows


def max_pool2d(x, geometry, y, index):
    """y = max over the window, index = the position ky·KW + kx of the first tap that has it.

    x (N, H, W, C), y (N, OH, OW, C), index like y (uint8, or int32 for windows of more than 256
    taps). Padding never wins; NaN does, the first one.
    """
    inside = np.isin(windows(np.ones(x.shape, np.int8), geometry, 0), 1)
    values = windows(x, geometry, -np.inf)
    n, oh, ow, kh, kw, c = values.shape
    largest = values.max(axis=(3, 4))
    wins = (values == largest[:, :, :, None, None]) | np.isnan(values)
    index[...] = (wins & inside).reshape(n, oh, ow, kh * kw, c).argmax(axis=3)
    y[...] = largest


def max_pool2d_backward(dy, index, geometry, dx):
    """dx = Σ dy of the windows whose maximum it was, in the order of the windows.

    dy, index (N, OH, OW, C), dx (N, H, W, C). An index that is no tap in the image adds nothing.
    """
    _scatter(dy, geometry, dx, lambda part, tap: np.where(index[part] == tap, dy[part], 0))


def average_pool2d(x, geometry, y):
    """y = mean over the taps of the window that lie in the image. Shapes as in ``max_pool2d``."""
    total = np.zeros_like(y)
    values = windows(x, geometry, 0)
    for ky in range(geometry.rows.kernel):
        for kx in range(geometry.columns.kernel):
            total += values[:, :, :, ky, kx]
    np.divide(total, _counts(geometry).astype(y.dtype), out=y)


def average_pool2d_backward(dy, geometry, dx):
    """dx = Σ dy / (taps in the image) over the windows that meet it, in their order."""
    share = dy / _counts(geometry).astype(dy.dtype)
    _scatter(dy, geometry, dx, lambda part, tap: share[part])


def _counts(geometry):
    """Taps in the image of every window, (OH, OW, 1)."""
    down, across = (
        np.array([len(axis.taps_inside(o)) for o in range(axis.out)])
        for axis in (geometry.rows, geometry.columns)
    )
    return (down[:, None] * across)[:, :, None]


def _scatter(dy, geometry, dx, contribution):
    """Add ``contribution(window, tap)`` to dx at every tap in the image, window after window."""
    rows, cols = geometry.rows, geometry.columns
    dx[...] = 0
    for oy in range(rows.out):
        for ox in range(cols.out):
            part = np.s_[:, oy, ox]
            for ky in rows.taps_inside(oy):
                for kx in cols.taps_inside(ox):
                    iy = oy * rows.stride + ky * rows.dilation - rows.before
                    ix = ox * cols.stride + kx * cols.dilation - cols.before
                    dx[:, iy, ix] += contribution(part, ky * cols.kernel + kx)
