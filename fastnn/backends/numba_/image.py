"""Images moved, turned and scaled: a loop over pixels, on the thread that calls it.

Threads that prepare batches each have their own images; the kernel lets go of the GIL.
"""

import math

from fastnn.backends.numba_ import kernel, plain


def affine_transform(x, matrix, mode, fill, y):
    _affine(plain(x), matrix, mode, y.dtype.type(fill), y)


@kernel
def _element(i, size, mode):
    """The element that stands for number i, or −1."""
    if 0 <= i < size:
        return i
    if mode == 0:
        return 0 if i < 0 else size - 1
    if mode == 1:
        i %= 2 * size
        return i if i < size else 2 * size - 1 - i
    return -1


@kernel
def _affine(x, matrix, mode, fill, y):
    _, h, w, channels = x.shape
    number = y.dtype.type
    for n in range(len(y)):
        pixels = x[n].reshape(h * w, channels)
        (yy, yx, y0), (xy, xx, x0) = matrix[n, 0], matrix[n, 1]
        for oy in range(y.shape[1]):
            for ox in range(y.shape[2]):
                out = y[n, oy, ox]
                sy, sx = yy * oy + yx * ox + y0, xy * oy + xx * ox + x0
                top, left = math.floor(sy), math.floor(sx)
                p, q = number(sy - top), number(sx - left)
                if 0 <= top < h - 1 and 0 <= left < w - 1:
                    first = top * w + left
                    v00, v01 = pixels[first], pixels[first + 1]
                    v10, v11 = pixels[first + w], pixels[first + w + 1]
                    for c in range(channels):
                        a, b = number(v00[c]), number(v10[c])
                        a += q * (number(v01[c]) - a)
                        b += q * (number(v11[c]) - b)
                        out[c] = a + p * (b - a)
                    continue
                bottom, right = _element(top + 1, h, mode), _element(left + 1, w, mode)
                top, left = _element(top, h, mode), _element(left, w, mode)
                for c in range(channels):
                    a = b = a2 = b2 = fill
                    if top >= 0 and left >= 0:
                        a = number(pixels[top * w + left, c])
                    if top >= 0 and right >= 0:
                        a2 = number(pixels[top * w + right, c])
                    if bottom >= 0 and left >= 0:
                        b = number(pixels[bottom * w + left, c])
                    if bottom >= 0 and right >= 0:
                        b2 = number(pixels[bottom * w + right, c])
                    a += q * (a2 - a)
                    b += q * (b2 - b)
                    out[c] = a + p * (b - a)
