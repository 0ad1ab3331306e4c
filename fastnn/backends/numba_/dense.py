"""Dense layer, forward and backward. N batch, K inputs, O outputs.

Why it is fast: the three products y = x w, dx = dz wᵀ and dw = xᵀ dz are one product c = a b
with other operands. ``_multiply`` cuts c into tiles and the depth of the product into blocks,
and copies the block of b that a tile needs into a small contiguous panel, which stays in the
second-level cache while all rows of the tile use it. ``_add_products``, where the time goes,
adds 4 rows of the panel to 5 rows of sums at once: in its inner loop, which LLVM turns into
vector instructions, 4 + 5 loads and 5 stores serve 20 multiply-adds. Copying into panels also
makes all operands alike: what is missing at an edge becomes zeros, and a transposed operand is
read in its own order. Every element of c is one sum over the depth in rising order, wherever
the tiles are cut.
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
from fastnn.backends.numba_.update import update
from fastnn.backends.reference.dense import update_by_panels
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
    _run(_rows(x), _rows(w), x.shape[1], bias, activation == _RELU, y)
    if activation in _AFTERWARDS:
        flat = y.reshape(-1)
        _AFTERWARDS[activation](flat, flat)


def dense_dx(dz, w, dx):
    _run(_rows(dz), _columns(w), dz.shape[1], dx.reshape(-1)[:0], False, dx)


def dense_dw(x, dz, start, dw):
    _run(_columns(x, start), _rows(dz), x.shape[0], dw.reshape(-1)[:0], False, dw)


def dense_dw_update(x, dz, w, state, rule, x_next, y_next):
    update_by_panels(dense_dw, update, x, dz, w, state, rule)
    if x_next is not None:
        dense(x_next, w, None, FUSED_ACTIVATIONS["identity"], y_next)


def dense_db(dz, db):
    elementwise(_dense_db, _dense_db_parallel, 0.1 * len(dz), db, plain(dz))


# An operand is a flat array, the place of its first element and the steps to the next row and
# to the next column. So a matrix and its transpose are of one type to Numba, and one compiled
# function serves all three products.


def _rows(matrix):
    """The operand ``matrix``."""
    return plain(matrix).reshape(-1), 0, matrix.shape[1], 1


def _columns(matrix, start=0):
    """The operand ``matrix.T[start:]``."""
    return plain(matrix).reshape(-1), start, 1, matrix.shape[1]


def _run(a, b, depth, bias, relu, c):
    """c = a b + bias: choose the tiles, and compute them all."""
    rows, columns = c.shape
    if not c.size:
        return
    n = num_threads(c.size * depth * 0.05)
    down, across = -(-rows // (40 * ROWS)), -(-columns // COLUMNS)
    # As many tiles for each thread. A cut across columns copies no part of b twice.
    if down == 1:
        across = _round_up(across, n)
    else:
        down = _round_up(down, n)
    height = _round_up(-(-rows // down), ROWS)
    width = _round_up(-(-columns // across), VECTOR)
    args = *a, *b, depth, bias, relu, c, height, width
    if n == 1:
        _multiply(*args, 0, _tiles(rows, columns, height, width))
    else:
        call_parallel(_multiply_parallel, n, *args, _tiles(rows, columns, height, width))


def _round_up(number, multiple):
    return -(-number // multiple) * multiple


def _tiles(rows, columns, height, width):
    return -(-rows // height) * -(-columns // width)


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


# Unsigned numbers, because an index that may be negative keeps LLVM from making vectors.
_1, _2, _3 = np.uintp(1), np.uintp(2), np.uintp(3)
_STEP, _VECTOR = np.uintp(STEP), np.uintp(VECTOR)
# Where the 5 rows of sums begin: constants, so that LLVM sees that the rows don't overlap.
_ROW_1, _ROW_2, _ROW_3, _ROW_4 = (np.uintp(i * COLUMNS) for i in range(1, ROWS))


@matrix_kernel
def _add_products(a, b, steps, vectors, sums):
    """sums[i] += Σₖ a[i, k] b[k]: 5 rows of sums, 4 rows of b a step.

    a (ROWS, 4 ``steps`` or more) factors; b (4 ``steps`` or more, 16 ``vectors`` or more) panel;
    sums 5 rows of COLUMNS, of which the first 16 ``vectors`` are used.
    """
    f0, f1, f2, f3, f4 = a[0], a[1], a[2], a[3], a[4]
    for step in range(np.uintp(steps)):
        k = step * _STEP
        k1, k2, k3 = k + _1, k + _2, k + _3
        a00, a01, a02, a03 = f0[k], f0[k1], f0[k2], f0[k3]
        a10, a11, a12, a13 = f1[k], f1[k1], f1[k2], f1[k3]
        a20, a21, a22, a23 = f2[k], f2[k1], f2[k2], f2[k3]
        a30, a31, a32, a33 = f3[k], f3[k1], f3[k2], f3[k3]
        a40, a41, a42, a43 = f4[k], f4[k1], f4[k2], f4[k3]
        b0, b1, b2, b3 = b[k], b[k1], b[k2], b[k3]
        for j in range(_VECTOR * np.uintp(vectors)):
            j1, j2, j3, j4 = j + _ROW_1, j + _ROW_2, j + _ROW_3, j + _ROW_4
            w0, w1, w2, w3 = b0[j], b1[j], b2[j], b3[j]
            sums[j] = sums[j] + a00 * w0 + a01 * w1 + a02 * w2 + a03 * w3
            sums[j1] = sums[j1] + a10 * w0 + a11 * w1 + a12 * w2 + a13 * w3
            sums[j2] = sums[j2] + a20 * w0 + a21 * w1 + a22 * w2 + a23 * w3
            sums[j3] = sums[j3] + a30 * w0 + a31 * w1 + a32 * w2 + a33 * w3
            sums[j4] = sums[j4] + a40 * w0 + a41 * w1 + a42 * w2 + a43 * w3


@kernel
def _multiply(
    a, a_first, a_down, a_along, b, b_first, b_down, b_along, depth, bias, relu, c,
    height, width, start, stop,
):  # fmt: skip
    """c = a b + bias, then max(c, 0) if ``relu``, for the tiles start … stop of c.

    Operands a (M, D) and b (D, P), c (M, P) in tiles of ``height`` x ``width``, row after row;
    bias (P,) or (0,). Between blocks of the depth D, c itself holds the sums.
    """
    padded = min(DEPTH, -(-depth // STEP) * STEP)
    factors = np.zeros((ROWS, padded), c.dtype)
    panel = np.empty((padded, width), c.dtype)
    sums = np.zeros(ROWS * COLUMNS, c.dtype)
    across = -(-c.shape[1] // width)
    for tile in range(start, stop):
        top, left = tile // across * height, tile % across * width
        bottom, right = min(top + height, c.shape[0]), min(left + width, c.shape[1])
        vectors = -(-(right - left) // VECTOR)
        for k in range(0, max(depth, 1), DEPTH):
            block = min(DEPTH, depth - k)
            b_here = b_first + k * b_down + left * b_along
            _copy_panel(b, b_here, b_down, b_along, block, right - left, panel)
            for i in range(top, bottom, ROWS):
                rows = min(ROWS, bottom - i)
                a_here = a_first + i * a_down + k * a_along
                _copy_panel(a, a_here, a_down, a_along, rows, block, factors)
                _load(c, i, rows, left, right, bias, k == 0, sums)
                _add_products(factors, panel, -(-block // STEP), vectors, sums)
                _store(sums, relu and k + DEPTH >= depth, c, i, rows, left, right)


@parallel_kernel
def _multiply_parallel(
    a, a_first, a_down, a_along, b, b_first, b_down, b_along, depth, bias, relu, c,
    height, width, tiles,
):  # fmt: skip
    for i in prange(tiles):
        _multiply(
            a, a_first, a_down, a_along, b, b_first, b_down, b_along, depth, bias, relu, c,
            height, width, i, i + 1,
        )  # fmt: skip


@kernel
def _copy_panel(source, first, down, along, rows, columns, panel):
    """panel[:rows, :columns] ← the operand from ``first`` on; zeros in the rest of the panel."""
    panel[rows:] = 0
    panel[:rows, columns:] = 0
    # A transposed operand is read along its own rows, 16 of them at a time.
    blocks = columns // VECTOR if along > 1 else 0
    step = np.uintp(along)
    for block in range(np.uintp(blocks)):
        j = block * _VECTOR
        for i in range(np.uintp(rows)):
            begin, row = np.uintp(first) + i * np.uintp(down) + j * step, panel[i]
            for m in range(_VECTOR):
                row[j + m] = source[begin + m * step]
    for i in range(np.uintp(rows)):
        begin, row = np.uintp(first) + i * np.uintp(down), panel[i]
        for m in range(np.uintp(blocks) * _VECTOR, np.uintp(columns)):
            row[m] = source[begin + m * step]


@kernel
def _load(c, top, rows, left, right, bias, begin, sums):
    """sums ← rows top … of c, columns left … right; at the beginning ← the bias, or 0."""
    for i in range(rows):
        row = sums[i * COLUMNS : i * COLUMNS + right - left]
        if begin and bias.size == 0:
            row[:] = 0
        else:
            source = bias[left:right] if begin else c[top + i, left:right]
            for j in range(row.size):
                row[j] = source[j]


@kernel
def _store(sums, relu, c, top, rows, left, right):
    """Rows top … of c, columns left … right ← sums, or max(sums, 0). NaN stays NaN."""
    zero = c.dtype.type(0)
    for i in range(rows):
        row, source = c[top + i, left:right], sums[i * COLUMNS : (i + 1) * COLUMNS]
        for j in range(row.size):
            row[j] = zero if relu and source[j] < zero else source[j]
