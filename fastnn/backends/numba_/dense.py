"""Dense layer, forward and backward. N batch, K inputs, O outputs.

Why it is fast: the three products y = x w, dx = dz wᵀ and dw = xᵀ dz are one product c = a b
on different views of the arrays. ``_multiply`` cuts c into tiles and the depth of the product
into blocks, and copies the block of b that a tile needs into a small contiguous panel, which
stays in the second-level cache while all rows of the tile use it. ``_add_products``, where the
time goes, adds 4 rows of the panel to 5 rows of sums at once: in its inner loop, which LLVM
turns into vector instructions, 4 + 5 loads and 5 stores serve 20 multiply-adds. Copying into
panels also makes all views alike: rows or columns that are missing at an edge become zeros,
and a transposed operand is read in its own order. Every element of c is one sum over the depth
in rising order, wherever the tiles are cut.
"""

import numpy as np
from numba import prange

from fastnn.backends.numba_ import (
    call_parallel,
    elementwise,
    kernel,
    matrix_kernel,
    num_threads,
    parallel_kernel,
    plain,
)
from fastnn.backends.numba_.activation import sigmoid, tanh
from fastnn.ops import FUSED_ACTIVATIONS

ROWS = 5  # rows of c summed together: divides the batches of 10 and wastes little of others
STEP = 4  # rows of the panel added to them at once; 5 x 4 factors stay in registers
COLUMNS = 256  # most columns of a tile
DEPTH = 128  # rows of a panel: 128 x 256 float32 are 128 KB
VECTOR = 16  # columns are padded to a multiple of this

_RELU = FUSED_ACTIVATIONS["relu"]
_AFTERWARDS = {FUSED_ACTIVATIONS["sigmoid"]: sigmoid, FUSED_ACTIVATIONS["tanh"]: tanh}


def dense(x, w, b, activation, y):
    bias = y.reshape(-1)[:0] if b is None else plain(b)
    relu = activation == _RELU
    _run(_dense, _dense_parallel, y.shape, x.shape[1], plain(x), plain(w), bias, relu, y)
    if activation in _AFTERWARDS:
        flat = y.reshape(-1)
        _AFTERWARDS[activation](flat, flat)


def dense_dx(dz, w, dx):
    _run(_dense_dx, _dense_dx_parallel, dx.shape, dz.shape[1], plain(dz), plain(w), dx)


def dense_dw(x, dz, start, dw):
    _run(_dense_dw, _dense_dw_parallel, dw.shape, x.shape[0], plain(x), plain(dz), start, dw)


def dense_db(dz, db):
    elementwise(_dense_db, _dense_db_parallel, 0.2 * len(dz), db, plain(dz))


def _run(serial, parallel, shape, depth, *args):
    """Cut c, of this shape, into tiles, and compute them all."""
    rows, columns = shape
    n = num_threads(rows * columns * depth * 0.06)
    down, across = -(-rows // (40 * ROWS)), -(-columns // COLUMNS)
    # As many tiles for each thread. A cut across columns copies no part of b twice.
    if rows < 200:
        across = _round_up(across, n)
    else:
        down = _round_up(down, n)
    height = _round_up(-(-rows // max(1, down)), ROWS)
    width = _round_up(-(-columns // max(1, across)), VECTOR)
    if n == 1:
        tiles = -(-rows // height) * -(-columns // width) if rows and columns else 0
        serial(*args, height, width, 0, tiles)
    else:
        call_parallel(parallel, n, *args, height, width)


def _round_up(number, multiple):
    return -(-number // multiple) * multiple


@matrix_kernel
def _dense(x, w, b, relu, y, height, width, start, stop):
    """y = x w + b, then max(y, 0) if ``relu``. x (N, K), w (K, O), b (O,) or (0,), y (N, O)."""
    _multiply(x, 0, w, b, relu, y, height, width, start, stop)


@parallel_kernel
def _dense_parallel(x, w, b, relu, y, height, width):
    for i in prange(_tiles(y, height, width)):
        _dense(x, w, b, relu, y, height, width, i, i + 1)


@matrix_kernel
def _dense_dx(dz, w, dx, height, width, start, stop):
    """dx = dz wᵀ. dz (N, O), w (K, O), dx (N, K)."""
    _multiply(dz, 0, w.T, dx[0, :0], False, dx, height, width, start, stop)


@parallel_kernel
def _dense_dx_parallel(dz, w, dx, height, width):
    for i in prange(_tiles(dx, height, width)):
        _dense_dx(dz, w, dx, height, width, i, i + 1)


@matrix_kernel
def _dense_dw(x, dz, first, dw, height, width, start, stop):
    """dw = rows ``first``, … of xᵀ dz. x (N, K), dz (N, O), dw (R, O)."""
    _multiply(x.T, first, dz, dw[0, :0], False, dw, height, width, start, stop)


@parallel_kernel
def _dense_dw_parallel(x, dz, first, dw, height, width):
    for i in prange(_tiles(dw, height, width)):
        _dense_dw(x, dz, first, dw, height, width, i, i + 1)


@kernel
def _dense_db(db, dz, start, stop):
    """db = Σₙ dz: a row at a time, in vectors of neighbouring columns. dz (N, O), db (O,)."""
    db = db[start:stop]
    db[:] = 0
    for n in range(len(dz)):
        row = dz[n, start:stop]
        for j in range(db.size):
            db[j] += row[j]


@parallel_kernel
def _dense_db_parallel(db, dz, chunk):
    for i in prange(-(-db.size // chunk)):
        _dense_db(db, dz, i * chunk, (i + 1) * chunk)


@kernel
def _tiles(c, height, width):
    """Number of tiles of c."""
    return -(-c.shape[0] // height) * -(-c.shape[1] // width)


# Unsigned numbers, because an index that may be negative keeps LLVM from making vectors.
_1, _2, _3, _4 = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
_STEP, _VECTOR, _PACKED = np.uintp(STEP), np.uintp(VECTOR), np.uintp(ROWS * STEP)
# Where the 5 rows of sums begin: constants, so that LLVM sees that the rows don't overlap.
_ROW_1, _ROW_2, _ROW_3, _ROW_4 = (np.uintp(i * COLUMNS) for i in range(1, ROWS))


@matrix_kernel
def _add_products(a, b, steps, vectors, sums):
    """sums[i] += Σₖ a[i, k] b[k]: 5 rows of sums, 4 rows of b a step.

    a: per step the 5 x 4 factors, row after row; b (DEPTH, COLUMNS) panel; sums 5 rows of
    COLUMNS, of which the first 16 ``vectors`` are used.
    """
    for step in range(np.uintp(steps)):
        k = step * _STEP
        b0, b1, b2, b3 = b[k], b[k + _1], b[k + _2], b[k + _3]
        f = a[step]
        a00, a01, a02, a03 = f[0], f[1], f[2], f[3]
        a10, a11, a12, a13 = f[4], f[5], f[6], f[7]
        a20, a21, a22, a23 = f[8], f[9], f[10], f[11]
        a30, a31, a32, a33 = f[12], f[13], f[14], f[15]
        a40, a41, a42, a43 = f[16], f[17], f[18], f[19]
        for j in range(_VECTOR * np.uintp(vectors)):
            j1, j2, j3, j4 = j + _ROW_1, j + _ROW_2, j + _ROW_3, j + _ROW_4
            w0, w1, w2, w3 = b0[j], b1[j], b2[j], b3[j]
            sums[j] = sums[j] + a00 * w0 + a01 * w1 + a02 * w2 + a03 * w3
            sums[j1] = sums[j1] + a10 * w0 + a11 * w1 + a12 * w2 + a13 * w3
            sums[j2] = sums[j2] + a20 * w0 + a21 * w1 + a22 * w2 + a23 * w3
            sums[j3] = sums[j3] + a30 * w0 + a31 * w1 + a32 * w2 + a33 * w3
            sums[j4] = sums[j4] + a40 * w0 + a41 * w1 + a42 * w2 + a43 * w3


@kernel
def _multiply(a, first, b, bias, relu, c, height, width, start, stop):
    """c = a[first:] b + bias, then max(c, 0) if ``relu``, for the tiles start … stop of c.

    a (≥ first + M, D), b (D, P), c (M, P), tiles of ``height`` x ``width``, row after row; bias
    (P,) or (0,). Between blocks of the depth D, c itself holds the sums.
    """
    factors = np.zeros((DEPTH // STEP, ROWS * STEP), c.dtype)
    panel = np.zeros((DEPTH, COLUMNS), c.dtype)
    sums = np.zeros(ROWS * COLUMNS, c.dtype)
    across = -(-c.shape[1] // width)
    depth = b.shape[0]
    for tile in range(start, stop):
        top, left = tile // across * height, tile % across * width
        bottom, right = min(top + height, c.shape[0]), min(left + width, c.shape[1])
        vectors = -(-(right - left) // VECTOR)
        for k in range(0, max(depth, 1), DEPTH):
            steps = -(-min(DEPTH, depth - k) // STEP)
            _copy_panel(b, k, left, right, panel)
            for i in range(top, bottom, ROWS):
                _copy_factors(a, first + i, first + bottom, k, factors)
                _load(c, i, bottom, left, right, bias, k == 0, sums)
                _add_products(factors, panel, steps, vectors, sums)
                _store(sums, relu and k + DEPTH >= depth, c, i, bottom, left, right)


@kernel
def _copy_panel(b, k, left, right, panel):
    """panel ← b[k:, left:right], 16 columns at a time; rows to a multiple of 4 ← 0."""
    depth = min(DEPTH, b.shape[0] - k)
    for j in range(0, right - left, VECTOR):
        n = min(VECTOR, right - left - j)
        for i in range(depth):
            source, target = b[k + i, left + j :], panel[i, j:]
            for l in range(n):
                target[l] = source[l]
    panel[depth : -(-depth // STEP) * STEP] = 0


@kernel
def _copy_factors(a, top, bottom, k, factors):
    """factors[s, 4 i + t] ← a[top + i, k + 4 s + t]; zeros where a ends."""
    depth = min(DEPTH, a.shape[1] - k)
    flat = factors.reshape(-1)
    flat[: -(-depth // STEP) * ROWS * STEP] = 0
    for i in range(min(ROWS, bottom - top)):
        row = a[top + i, k:]
        for l in range(depth):
            flat[l // STEP * ROWS * STEP + i * STEP + l % STEP] = row[l]


@kernel
def _load(c, top, bottom, left, right, bias, begin, sums):
    """sums ← rows top … of c, columns left … right; at the beginning ← the bias, or 0."""
    for i in range(ROWS):
        row = sums[i * COLUMNS : i * COLUMNS + right - left]
        if not begin and top + i < bottom:
            source = c[top + i, left:right]
        else:
            source = bias[left:right]
        if begin and bias.size == 0:
            row[:] = 0
        else:
            for j in range(source.size):
                row[j] = source[j]


@kernel
def _store(sums, relu, c, top, bottom, left, right):
    """Rows top … of c, columns left … right ← sums, or max(sums, 0). NaN stays NaN."""
    zero = c.dtype.type(0)
    for i in range(min(ROWS, bottom - top)):
        row, source = c[top + i, left:right], sums[i * COLUMNS : (i + 1) * COLUMNS]
        for j in range(row.size):
            row[j] = zero if relu and source[j] < zero else source[j]
